"""Settings of the listener that are several annotations at once: who may connect, and the way from HTTP. Pure.

``ingress_form`` calls it. An annotation that the form does not change stays as somebody wrote it.
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
"""And the form's words."""
MOST_GROUPS: Final = 5
_IDS, _STATUS, _TYPE = (f"{PREFIX}acl-{part}" for part in ("id", "status", "type"))
_PORTS, _REDIRECT = f"{PREFIX}listen-ports", f"{PREFIX}ssl-redirect"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may connect."""

    mode: str = ""
    """A key of ``MODES``."""
    groups: tuple[str, ...] = ()
    """Ids of IP address groups on the ELB."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP port whose requests are sent to the HTTPS one; "" for 80."""

    on: bool = False
    port: str = ""


def access_of(notes: Mapping[str, str]) -> Access:
    """What the annotations say. A list that is switched off, or is not whole, shows as it acts."""
    if _IDS not in notes:
        return Access()
    groups = tuple(dict.fromkeys(i.strip() for i in notes[_IDS].split(",") if i.strip()))
    if not groups or notes.get(_STATUS) in ("off", "false"):
        return Access(mode="all")
    kind = notes.get(_TYPE, "")
    return Access(mode=kind, groups=groups) if kind in ("white", "black") else Access()


def put_access(notes: dict[str, Any], access: Access) -> None:
    """Makes the annotations say `access`."""
    if access == access_of(notes):
        return
    for key in (_IDS, _STATUS, _TYPE):
        notes.pop(key, None)
    if access.mode == "all":
        notes[_IDS] = ""
    elif access.mode:
        notes |= {_IDS: ",".join(access.groups), _STATUS: "on", _TYPE: access.mode}


def redirect_of(notes: Mapping[str, str]) -> Redirect:
    """Whether the annotations redirect, and from which port."""
    ports = _listened(notes)
    if notes.get(_REDIRECT) != "true" or not {"HTTP", "HTTPS"} <= ports.keys():
        return Redirect()
    return Redirect(on=True, port="" if ports["HTTP"] == 80 else str(ports["HTTP"]))


def https_port_of(notes: Mapping[str, str]) -> str:
    """The HTTPS port where ``listen-ports`` decides on it; "" for 443, and where it does not."""
    port = _listened(notes).get("HTTPS", 443)
    return "" if port == 443 else str(port)


def put_redirect(notes: dict[str, Any], redirect: Redirect, https_port: str) -> None:
    """Makes the annotations say `redirect`. Call it only where it, or the port, was changed."""
    if redirect.on:
        ports = [{"HTTP": int(redirect.port or 80)}, {"HTTPS": int(https_port or 443)}]
        notes |= {_PORTS: msgspec.json.encode(ports).decode(), _REDIRECT: "true"}
    else:
        for key in (_PORTS, _REDIRECT):
            notes.pop(key, None)


def _listened(notes: Mapping[str, str]) -> dict[str, int]:
    try:
        entries = msgspec.json.decode(notes.get(_PORTS, "[]"), type=list[dict[str, int]])
    except msgspec.MsgspecError:
        return {}
    return {protocol: port for entry in entries for protocol, port in entry.items()}
