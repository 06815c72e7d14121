"""Contents that Envoy rejected, and the accepted content before each: for an Envoy that starts with empty slots.

The digests are kept in a file, because Envoy and this server may restart together. It has no keys.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from certferry.core.envoy import TlsSecret
from certferry.core.envoy.listeners.sds import CLIENT_CA
from certferry.core.x509.pem import Chain, PrivateKey
from certferry.runtime import private_files

_log = structlog.get_logger(__name__)


class SlotContent(msgspec.Struct, frozen=True, eq=False):
    """A secret and its key; None for a secret of authorities."""

    secret: TlsSecret
    key: PrivateKey | None


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected content of a slot, by digest, and the one that Envoy accepted before."""

    rejected: str
    accepted: str
    trust: bool = False
    """True for a slot of authorities."""


FindContent = Callable[[str], tuple[Chain, PrivateKey | None] | None]
"""Returns a kept content by ``Chain.digest``."""


def no_content(_: str) -> None:
    """Find nothing."""


class RejectionFile:
    """Rejections by Envoy and slot, in the file `path`; in memory alone without one."""

    def __init__(self, path: Path | None = None, find: FindContent = no_content) -> None:
        self.find: Final = find
        self._path = path
        self._entries: dict[str, dict[str, Rejection]] = _read(path) if path else {}

    def of(self, envoy: str) -> dict[str, Rejection]:
        """Return the rejections of `envoy` by slot. Call `write` after each change."""
        return self._entries.setdefault(envoy, {})

    def write(self) -> None:
        """Write the file. A failure is logged."""
        if self._path is None:
            return
        try:
            private_files.write(self._path, msgspec.json.encode({n: e for n, e in self._entries.items() if e}))
        except OSError as error:
            _log.warning("rejected contents not recorded", file=str(self._path), reason=str(error.strerror))


class Fallbacks:
    """The contents that one Envoy accepted last, and its rejections."""

    def __init__(self, file: RejectionFile, envoy: str) -> None:
        self._file = file
        self._rejections = file.of(envoy)
        self._accepted: dict[str, SlotContent] = {}

    def accepted(self, slot: str, content: SlotContent) -> None:
        """Record that Envoy has `content` in `slot`."""
        self._accepted[slot] = content
        entry = self._rejections.get(slot)
        if entry is not None and entry.accepted != content.secret.version:
            self._forget(slot)

    def rejected(self, slot: str, digest: str, before: str | None) -> None:
        """Record that Envoy rejected `digest` after it had accepted `before`."""
        content, entry = self._accepted.get(slot), self._rejections.get(slot)
        if entry is not None and entry.accepted == digest:
            self._forget(slot)
            return
        accepted = content.secret.version if content else before
        if accepted is None or accepted == digest:
            return
        trust = content.secret.trust if content else slot.endswith(f"/{CLIENT_CA}/0")
        made = Rejection(rejected=digest, accepted=accepted, trust=trust)
        if made != entry:
            self._rejections[slot] = made
            self._file.write()

    def instead_of(self, slot: str, digest: str) -> SlotContent | None:
        """Return the content to send to an empty `slot` before the rejected `digest`; None if there is none."""
        entry = self._rejections.get(slot)
        if entry is None or entry.rejected != digest:
            return None
        content = self._accepted.get(slot)
        if content is not None and content.secret.version == entry.accepted:
            return content
        if (kept := self._file.find(entry.accepted)) is None or (kept[1] is None and not entry.trust):
            return None
        chain, key = kept
        self._accepted[slot] = SlotContent(TlsSecret(name=slot, chain=chain, trust=entry.trust), key)
        return self._accepted[slot]

    def removed(self, slot: str) -> None:
        """Forget a removed slot."""
        self._accepted.pop(slot, None)
        self._forget(slot)

    def _forget(self, slot: str) -> None:
        if self._rejections.pop(slot, None) is not None:
            self._file.write()


def _read(path: Path) -> dict[str, dict[str, Rejection]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Rejection]])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("rejected contents not read", file=str(path), reason=str(error))
        return {}
