"""Drift as a value: a difference on the ELB that another client made, and its mode.

The ELB's audit log, if it has one, names the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Mode = Literal["repair", "adopt", "report", "off"]
"""Revert; keep and report once; keep and report; ignore."""
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
    """One difference that another client made."""

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
    """Ids of its parts: a change of those may have caused the difference."""

    @property
    def sentence(self) -> str:
        """Return the difference and its consequence, without the client."""
        return f"{self.seen} {self.end}"

    @property
    def seen(self) -> str:
        """Return the difference as a sentence."""
        what = {"binding": "listener", "policy": "forwarding policy"}.get(self.kind, self.kind)
        if self.what in ("deleted", "added"):
            seen = f"The {what} {self.name} was {self.what} on the load balancer"
        else:
            seen = f"{self.what} of {what} {self.name} was changed on the load balancer to {self.have or 'nothing'}; the cluster asks for {self.want or 'nothing'}"
        return f"{seen}."

    @property
    def end(self) -> str:
        """Return the consequence as a sentence."""
        if self.mode == "adopt":
            return f"It is accepted until {_UNTIL[self.kind]}."
        return _ENDS[self.mode]


_UNTIL: Final[Mapping[Kind, str]] = {
    "certificate": "the Secret holds something new",
    "binding": "the Ingresses of the port ask for other certificates",
    "listener": "the listener owner asks for other options",
    "pool": "the Service asks for other settings",
    "policy": "the Ingress changes this path",
}
"""The end of an adopted difference that no annotation expresses (see ``adopt``)."""
_ENDS: Final[Mapping[Mode, str]] = {"repair": "It is reverted.", "report": "It stays.", "off": ""}
