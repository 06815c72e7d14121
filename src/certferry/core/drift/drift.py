"""A difference on the ELB that the cluster did not ask for, as a value, and what may become of it.

Found by ``settle`` (what carries a mark) and ``unmarked`` (the rest), told by the controller. It does
not know who did it: that is in an ELB's audit log, if it has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Mode = Literal["repair", "adopt", "report", "off"]
"""Put right; left, told once; left and reported; left alone and not looked at."""
Kind = Literal["certificate", "binding", "listener", "pool", "policy", "member"]


class Modes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reaction to a change of another client, per kind."""

    certificate: Mode = "repair"
    """The content, name and domain of a certificate that follows a Secret."""
    binding: Mode = "repair"
    """The certificates of a listener."""
    listener: Mode = "report"
    """The other options of a listener."""
    pool: Mode = "repair"
    """Load balancing, sticky sessions and health checks."""
    policy: Mode = "repair"
    """The target of a host and path."""


class Drift(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One difference that the cluster did not ask for."""

    kind: Kind
    id: str
    """Of the object on the ELB; of one that was deleted, the id that it had."""
    key: str
    name: str
    what: str
    """Which field, or ``deleted`` or ``added``."""
    have: str
    want: str
    mode: Mode
    parts: tuple[str, ...] = ()
    """Ids of what belongs to it: who changed those may have made the difference."""

    @property
    def sentence(self) -> str:
        """For people, without who did it."""
        return f"{self.seen} {self.end}"

    @property
    def seen(self) -> str:
        """What was found."""
        what = {"binding": "listener", "policy": "forwarding policy"}.get(self.kind, self.kind)
        if self.what in ("deleted", "added"):
            seen = f"The {what} {self.name} was {self.what} on the load balancer"
        else:
            seen = f"{self.what} of {what} {self.name} was changed on the load balancer to {self.have or 'nothing'}; the cluster asks for {self.want or 'nothing'}"
        return f"{seen}."

    @property
    def end(self) -> str:
        """What becomes of it."""
        if self.mode == "adopt":
            return f"It is taken as it is, until {_UNTIL[self.kind]}."
        return _ENDS[self.mode]


_UNTIL: Final[Mapping[Kind, str]] = {
    "certificate": "the Secret holds something new",
    "binding": "the Ingresses of the port ask for other certificates",
    "listener": "the Ingress that governs the port asks for other options",
    "pool": "the Service asks for other settings",
    "policy": "the Ingress changes this path",
}
"""Where no annotation of an Ingress can say it (see ``adoption``)."""
_ENDS: Final[Mapping[Mode, str]] = {
    "repair": "It is put right.",
    "report": "It is left as it is.",
    "off": "",
}
