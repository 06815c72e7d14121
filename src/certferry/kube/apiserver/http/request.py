"""A request and its answer, without sockets: what `http` hands to `api` and gets back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from certferry.kube.apiserver.apply.managed_fields import Writer
from certferry.kube.apiserver.auth.auth import User
from certferry.kube.apiserver.errors import (
    FieldError,
    bad_request,
    forbidden_field,
    invalid,
    required,
    too_long,
    unprocessable,
)
from certferry.kube.apiserver.http.codec import APPLY, VALIDATIONS
from certferry.kube.apiserver.resources.builtin import ResourceDefinition
from certferry.kube.apiserver.storage.log import Stored

_MANAGER = 128


class Request(msgspec.Struct, frozen=True):
    """One request, as far as an answer depends on it."""

    method: str
    path: str
    query: Mapping[str, str]
    user: User
    accept: str = ""
    media: str = ""
    """Content-Type without parameters."""
    body: bytes = b""
    host: str = ""
    user_agent: str = ""
    """User-Agent: names the writer who gives no ``fieldManager``."""

    def writer(self, now: datetime, subresource: str) -> Writer:
        """Who writes, for the managed fields. Raises ``Refused``."""
        asked = self.query.get("fieldManager", "")
        applies = self.media == APPLY and self.method == "PATCH"
        faults = [too_long("fieldManager", _MANAGER)] if len(asked) > _MANAGER else []
        faults += [
            invalid("fieldManager", asked, f"invalid character U+{ord(c):04X} (at position {n})")
            for n, c in enumerate(asked)
            if not c.isprintable()
        ]
        if applies and not asked:
            faults.append(required("fieldManager", "is required for apply patch"))
        if self.method == "PATCH" and not applies and "force" in self.query:
            faults.append(forbidden_field("force", "may not be specified for non-apply patch"))
        if faults:
            options = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(self.method, "PatchOptions")
            raise unprocessable("meta.k8s.io", options, "", faults)
        agent = "".join(c for c in self.user_agent.partition("/")[0] if c.isprintable())
        return Writer(asked or agent[:_MANAGER], now.strftime("%Y-%m-%dT%H:%M:%SZ"), subresource)

    def flag(self, name: str) -> bool:
        """A boolean as Go and as Python write it."""
        value = self.query.get(name, "")
        return value.lower() in ("1", "t", "true") or (value == "" and name in self.query)

    @property
    def dry_run(self) -> bool:
        """Whether nothing shall be stored (``dryRun=All``). Raises ``Refused`` for other values."""
        asked = self.query.get("dryRun", "")
        if asked not in ("", "All"):
            text = f'Unsupported value: "{asked}": supported values: "All"'
            raise unprocessable("", "", "", [FieldError("dryRun", "FieldValueNotSupported", text)])
        return bool(asked)

    @property
    def validation(self) -> str:
        """What happens to unknown fields; Warn unless told. Raises ``Refused`` for other values."""
        asked = self.query.get("fieldValidation") or "Warn"
        if asked not in VALIDATIONS:
            raise bad_request(
                f'fieldValidation: Unsupported value: "{asked}": supported values: "Ignore", "Strict", "Warn"'
            )
        return asked


class Response(msgspec.Struct, frozen=True):
    """A whole answer."""

    body: bytes = b""
    code: int = 200
    media: str = "application/json"
    warnings: tuple[str, ...] = ()
    parts: Sequence[bytes] = ()
    """The body in pieces, in place of `body`: a long list is never put together in memory."""


class Target(msgspec.Struct, frozen=True):
    """What a path of a resource names."""

    kind: ResourceDefinition
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_count(text: str, name: str) -> int:
    """A count in the query; 0 if it is not there. Raises ``Refused``."""
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'{name}: Invalid value: "{text}": must be a number')
    return int(text)


def encode_continue(revision: int, last: Stored) -> str:
    """Where the next page of a list begins."""
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, last.namespace, last.name])).decode()


def decode_continue(token: str) -> tuple[int, tuple[str, str]]:
    """The revision of the first page, and the last object told. Raises ``Refused``."""
    try:
        revision, namespace, name = msgspec.json.decode(
            base64.urlsafe_b64decode(token), type=tuple[int, str, str]
        )
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise bad_request("continue key is not valid: it is no token of this server") from None
    return revision, (namespace, name)
