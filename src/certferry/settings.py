"""Settings: one frozen struct per program, read once.

The CLI calls ``read``; everything else is handed the result. A value comes from a flag, else from
the environment (``CERTFERRY_<PROGRAM>_<FIELD>``), else from the program's section in a YAML or JSON
file, else it is the default. It knows no program's meaning of its settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

T = TypeVar("T", bound=msgspec.Struct)


UNUSABLE: Final = 2
"""Exit code: what was asked for cannot be done here (flags, ports, directories, a second instance)."""
NEWER: Final = 3
"""Exit code: the state was written by a newer Certferry."""


class Refused(Exception):
    """A program cannot start or go on, for a reason that its user can change: one sentence, an exit code."""

    def __init__(self, sentence: str, code: int = UNUSABLE) -> None:
        super().__init__(sentence)
        self.code = code


def state_default(environ: Mapping[str, str]) -> Path:
    """Where state lives unless told: the user's own state directory (XDG)."""
    base = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "certferry"


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry up`: the whole system from one directory."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    demo: bool = True
    """Make the demo page and print how to try things out."""
    patience: float = 60.0
    """Seconds to wait for everything to be ready."""


class KubeServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry kube`: the embedded Kubernetes API."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """The kubeconfigs are written here; all else in its folder `kube`."""
    listen: str = "127.0.0.1:0"
    """Port 0: one that is free, chosen at the first start and kept."""
    loopback_endpoints: bool = False
    """Whether an EndpointSlice may name loopback addresses (a real server forbids them)."""
    service_cidr: str = "10.96.0.0/16"
    """Where Services get their cluster addresses from."""
    history_revisions: int = 10_000
    """Watches resume from any of the last so many changes,"""
    history_seconds: float = 600.0
    """and from any change younger than this; older ones are told 410 Gone."""


def host_port(listen: str) -> tuple[str, int]:
    """The two halves of ``127.0.0.1:8080`` (``[::1]:8080``). Raises ``Refused``."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Refused(f"“{listen}” is no address to listen on: it must be like 127.0.0.1:8080.")
    return host.strip("[]"), int(port)


def read(
    kind: type[T],
    program: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None = None,
) -> T:
    """The settings of `program`; flags that are None were not given. Raises ``Refused``."""
    fields = {field.name for field in msgspec.structs.fields(kind)}
    values = _from_file(file, program, fields) if file else {}
    prefix = f"CERTFERRY_{program.upper()}_"
    values |= {f: _from_text(environ[prefix + f.upper()]) for f in fields if environ.get(prefix + f.upper())}
    values |= {name: value for name, value in flags.items() if value is not None}
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise Refused(f"A setting of {program} cannot be used: {error}.") from None


def _from_text(text: str) -> Any:
    # Lists and nested settings are JSON; everything else stands for itself.
    if text[:1] not in ("{", "["):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _from_file(file: Path, program: str, fields: set[str]) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise Refused(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Refused(f"The settings file {file} is neither YAML nor JSON.") from None
    section = (document or {}).get(program) or {} if isinstance(document, dict | None) else None
    if not isinstance(section, dict):
        raise Refused(f"The settings file {file} needs a mapping, with one mapping per program in it.")
    unknown = sorted(set(map(str, section)) - fields)
    if unknown:
        raise Refused(f"The settings file {file} sets {program}.{unknown[0]}, which does not exist.")
    return dict(section)


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser() if isinstance(value, str) else value
    raise NotImplementedError(kind)
