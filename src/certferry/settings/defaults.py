"""The default state directory, and parsing of listen addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from certferry.settings.errors import UserError


def state_default(environ: Mapping[str, str]) -> Path:
    """Return the user's state directory (XDG)."""
    base = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "certferry"


def host_port(listen: str) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:8080`` or ``[::1]:8080``. Raises UserError if it is neither."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UserError(f"“{listen}” is no address to listen on: it must be like 127.0.0.1:8080.")
    return host.strip("[]"), int(port)


def networks(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the addresses and networks in the setting `trusted_proxies`. Raises UserError if one is neither."""
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise UserError(f"trusted_proxies: {error}.") from None
