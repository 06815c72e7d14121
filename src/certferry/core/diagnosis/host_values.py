"""The values of a host's state; ``host_state`` derives them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from certferry.core.diagnosis.wanted import CertificateSource, KeyKind, WantedCertificate
from certferry.core.model.elb import LoadBalancer
from certferry.core.model.kubernetes import Name, ObjectRef
from certferry.core.model.problems import Reason
from certferry.core.x509 import expiry
from certferry.core.x509.pem import Chain

HostStatus = Literal[
    "served", "expiring", "compromised", "expired", "wrong", "unusable", "missing", "unreachable", "unknown"
]
"""The certificate that clients get for a host, in one word.

served: the right certificate. expiring: the same, and its renewal is late. compromised: a valid certificate whose
key is marked as compromised. expired: a certificate that has expired,
or is not valid yet. wrong: a certificate that does not cover the host, or another than the listener has.
unusable, missing: nothing, or a substitute, because the wanted certificate cannot be used or does not exist.
unreachable: no probe reached the listener. unknown: the bound certificate cannot be read.
"""


Harm = Literal["nothing", "wrong", "expired", "unreachable"]
"""The harm to clients of a host without a certificate that they can use; most severe first."""


class HostKey(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One place where a client gets a certificate."""

    address: str
    """Of the load balancer, else its id."""
    port: int
    """Where clients connect."""
    sni: str
    """"" for clients that name no host, or one that no claim wants."""
    key_kind: KeyKind
    """"" while nothing of either kind is wanted or bound."""


class HostProbe(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one handshake: the chain, or the error."""

    address: str
    port: int
    """Where it connected."""
    sni: str
    key_kind: KeyKind = ""
    """"" if the client takes both."""
    prober: str = ""
    """Who probed: "" for this process, else the address of an Envoy."""
    chain: Chain | None = None
    fingerprint: str = ""
    """Of the leaf, where the chain is not known."""
    error: str = ""
    reached: bool = True
    """False: the connection failed, which says nothing of the certificate."""
    at: datetime | None = None
    expected: str = ""
    """Digest of the chain that was expected; the result says nothing about another one. "": it was made just now."""

    @property
    def leaf(self) -> str:
        """Fingerprint of the leaf; "" if the handshake failed."""
        return self.chain.fingerprint if self.chain else self.fingerprint


class ShownCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The chain that one prober or Envoy last showed for a host."""

    address: str
    """The prober or Envoy."""
    chain: Chain | None
    fingerprint: str
    error: str
    reached: bool
    at: datetime | None
    matches_bound: bool

    @property
    def mismatch(self) -> str:
        """A clause: how this contradicts the binding; "" if it does not."""
        if self.matches_bound:
            return ""
        if not self.reached:
            return f"the endpoint does not answer ({self.error})"
        if not self.fingerprint:
            return f"the TLS handshake failed ({self.error})"
        return self.error or f"another certificate ({self.fingerprint[:16]}) is served"


class BoundCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that a listener selects."""

    certificate_id: str
    """In the desired state possibly a key."""
    name: str
    chain: Chain | None
    slot: Literal["default", "sni"]
    matched: str
    """The SNI name that selects it; "" for the default slot."""
    why: str
    """A clause: why this one is selected."""
    source: CertificateSource
    ingresses: tuple[Name, ...]
    """The Ingresses on this listener that bring it, oldest first."""
    compromised: bool = False
    """True if its key is marked as compromised."""


class HostProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a host, on the object that has to change."""

    object: ObjectRef
    reason: Reason
    sentence: str
    action: str
    """A command or an edit."""


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one host."""

    key: HostKey
    loadbalancer: LoadBalancer
    listener_id: str
    """"" if the ELB has no listener there."""
    listener_name: str
    port: int
    """The listener's port on the ELB; see ``key.port`` for the one that clients use."""
    owner: Name | None
    """The listener owner; None if no Ingress of this cluster decides on the listener."""
    claims: tuple[Name, ...]
    """Ingresses that want this host, oldest first."""
    wanted: WantedCertificate | None
    """The oldest claim's that can be bound, else the oldest claim's; None if no claim wants one."""
    other_wants: tuple[WantedCertificate, ...]
    """Certificates that other claims, or other Secrets of the claim, name for the same host and key kind."""
    bound: BoundCertificate | None
    """The certificate that the listener selects now."""
    desired: BoundCertificate | None
    """The certificate that the controller binds there."""
    in_step: bool
    """True if `bound` is `desired`, with the same content."""
    successor: str
    """The certificate that would be selected without the desired one; "" if none."""
    shown: tuple[ShownCertificate, ...]
    data_plane: str
    """Why the data plane rejected the bound certificate; "" if it did not."""
    expires: datetime | None
    """The end of what clients get: of the bound certificate."""
    expiry_state: expiry.State | None
    problems: tuple[HostProblem, ...]
    """Most severe first."""
    status: HostStatus
    sentence: str
    """One line: what clients get, and why it is wrong."""
    next_action: str
    """A command or an edit; "" if nothing is wrong."""

    @property
    def host(self) -> str:
        """The SNI name; "" for clients that name none."""
        return self.key.sni

    @property
    def well(self) -> bool:
        """True if clients get the wanted certificate and it has no problem."""
        return self.status == "served" and not self.problems

    @property
    def needs_action(self) -> bool:
        """True if clients get a wrong certificate, or one that a claim wants cannot be served."""
        return self.status not in ("served", "expiring", "unknown") or not all(w.good for w in self.wants)

    @property
    def harm(self) -> Harm | None:
        """The harm to clients of the host; None if they get a certificate that they can use."""
        if self.status in ("missing", "unusable"):
            return None if self.bound else "nothing"
        if self.status == "wrong" and any(s.reached and not s.fingerprint for s in self.shown):
            return "nothing"
        return self.status if self.status in ("wrong", "expired", "unreachable") else None

    @property
    def wants(self) -> tuple[WantedCertificate, ...]:
        """Everything that claims want for it, the one that counts first."""
        return (self.wanted, *self.other_wants) if self.wanted else self.other_wants
