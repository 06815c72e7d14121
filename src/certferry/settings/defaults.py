"""Where things are unless they are told: the state directory, and an address in two halves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certferry.settings.errors import UserError


def state_default(environ: Mapping[str, str]) -> Path:
    """Where state lives unless told: the user's own state directory (XDG)."""
    base = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "certferry"


def host_port(listen: str) -> tuple[str, int]:
    """The two halves of ``127.0.0.1:8080`` (``[::1]:8080``). Raises ``Refused``."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UserError(f"“{listen}” is no address to listen on: it must be like 127.0.0.1:8080.")
    return host.strip("[]"), int(port)
