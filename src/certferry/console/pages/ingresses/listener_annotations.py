"""Listener settings that consist of several annotations: access control and redirect from HTTP. Pure.

An annotation that the form does not change stays as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from certferry.core.translate.ingress_annotations import PREFIX

Mode = Literal["", "all", "white", "black"]

MODES: Final[dict[str, str]] = {
    "": "Inherit ELB Configurations",
    "all": "Allow all IP addresses",
    "white": "Trustlist",
    "black": "Blocklist",
}
"""Access modes and their labels."""
MOST_GROUPS: Final = 5
_IDS, _STATUS, _TYPE = (f"{PREFIX}acl-{part}" for part in ("id", "status", "type"))
_PORTS, _REDIRECT = f"{PREFIX}listen-ports", f"{PREFIX}ssl-redirect"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Access control of a listener."""

    mode: str = ""
    """A key of ``MODES``."""
    groups: tuple[str, ...] = ()
    """Ids of IP address groups on the ELB."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """Redirect from an HTTP port to the HTTPS port; port "" is 80."""

    on: bool = False
    port: str = ""


def access_of(notes: Mapping[str, str]) -> Access:
    """Return the access control of the annotations; a disabled or incomplete list as its effect."""
    if _IDS not in notes:
        return Access()
    groups = tuple(dict.fromkeys(i.strip() for i in notes[_IDS].split(",") if i.strip()))
    if not groups or notes.get(_STATUS) in ("off", "false"):
        return Access(mode="all")
    kind = notes.get(_TYPE, "")
    return Access(mode=kind, groups=groups) if kind in ("white", "black") else Access()


def put_access(notes: dict[str, Any], access: Access) -> None:
    """Write `access` into the annotations if it changes them."""
    if access == access_of(notes):
        return
    for key in (_IDS, _STATUS, _TYPE):
        notes.pop(key, None)
    if access.mode == "all":
        notes[_IDS] = ""
    elif access.mode:
        notes |= {_IDS: ",".join(access.groups), _STATUS: "on", _TYPE: access.mode}


def redirect_of(notes: Mapping[str, str]) -> Redirect:
    """Return the redirect of the annotations."""
    ports = _listen_ports(notes)
    if notes.get(_REDIRECT) != "true" or not {"HTTP", "HTTPS"} <= ports.keys():
        return Redirect()
    return Redirect(on=True, port="" if ports["HTTP"] == 80 else str(ports["HTTP"]))


def https_port_of(notes: Mapping[str, str]) -> str:
    """Return the HTTPS port in ``listen-ports``; "" for 443 and if absent."""
    port = _listen_ports(notes).get("HTTPS", 443)
    return "" if port == 443 else str(port)


def put_redirect(notes: dict[str, Any], redirect: Redirect, https_port: str) -> None:
    """Write `redirect` into the annotations. Call it only if the redirect or the port has changed."""
    if redirect.on:
        ports = [{"HTTP": int(redirect.port or 80)}, {"HTTPS": int(https_port or 443)}]
        notes |= {_PORTS: msgspec.json.encode(ports).decode(), _REDIRECT: "true"}
    else:
        for key in (_PORTS, _REDIRECT):
            notes.pop(key, None)


def _listen_ports(notes: Mapping[str, str]) -> dict[str, int]:
    try:
        entries = msgspec.json.decode(notes.get(_PORTS, "[]"), type=list[dict[str, int]])
    except msgspec.MsgspecError:
        return {}
    return {protocol: port for entry in entries for protocol, port in entry.items()}
