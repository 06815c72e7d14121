"""The objects of a load balancer, in the terms of the ELB v3 API.

*Observed* state is what an ELB has; ids are its own. *Desired* state is what a cluster wants. There the id of an object
that may not exist yet is a *key*: it starts with ``@``, and references to the object hold the same text.

For every field of a ``Listener``, ``Pool`` and ``Policy``: None means *not managed* in the desired state (never
compared, never written) and *not set* in the observed state. Empty (``""``, ``()``, ``False``) is a value.

Private keys are not part of the model: see ``core.x509.pem.PrivateKey``.

The terms (listener, policy, rule, pool, member, slot, owner, digest) are in docs/glossary.md and docs/elb-api.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from certferry.core.x509.pem import Chain

OWN_PREFIX: Final = "k8s_plb_default"
"""The prefix of the name of every managed certificate."""


LAYER_4: Final = frozenset({"TCP", "UDP", "TLS"})
"""Protocols of listeners and pools that carry bytes or datagrams, and know nothing of requests."""
ENCRYPTED: Final = frozenset({"HTTPS", "TERMINATED_HTTPS", "TLS"})
"""Protocols of listeners that have certificates."""


class LoadBalancer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One VIP. The shifts map its ports to bound ports: see ``bind_port``."""

    id: str
    name: str = ""
    description: str = ""
    vip_address: str | None = None
    guaranteed: bool = True
    """True: dedicated; False: shared, with fewer features."""
    placement: Mapping[str, Any] = MappingProxyType({})
    """Fields for its creation only (zones, subnets, a public address)."""
    privileged_shift: int = 0
    """Added to ports under 1024 if the process may not bind those (443 → 8443)."""
    port_shift: int = 0
    """Added to every port if several load balancers share one address."""


class IpGroupBinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The access list: addresses of groups, as a white or black list."""

    ipgroup_id: str
    enable_ipgroup: bool = True
    type: str = "white"


class Listener(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A port and a protocol of a load balancer."""

    id: str
    loadbalancer_id: str
    protocol: str
    """HTTP, HTTPS, TCP, UDP or TLS."""
    protocol_port: int
    name: str | None = None
    description: str | None = None
    default_pool_id: str | None = None
    """"" = none."""
    default_tls_container_ref: str | None = None
    sni_container_refs: tuple[str, ...] | None = None
    client_ca_tls_container_ref: str | None = None
    tls_ciphers_policy: str | None = None
    security_policy_id: str | None = None
    http2_enable: bool | None = None
    keepalive_timeout: int | None = None
    """Seconds without a request, or without bytes, until an idle connection is closed."""
    client_timeout: int | None = None
    """Seconds for a client to send its request."""
    member_timeout: int | None = None
    """Seconds for a member to answer, then 504."""
    ipgroup: IpGroupBinding | None = None
    enhance_l7policy_enable: bool | None = None
    gzip_enable: bool | None = None
    """Compress responses for clients that accept gzip."""
    proxy_protocol_enable: bool | None = None
    """Tell members of a TCP or TLS listener the client's address, by the PROXY protocol."""
    insert_headers: Mapping[str, bool | str] | None = None
    admin_state_up: bool | None = None
    protection_status: str | None = None
    protection_reason: str | None = None
    past_names: tuple[str, ...] = ()
    """Names that had an SNI certificate here before. Our ELB keeps them, so that the slot of a routed host stays,
    and with it its connections, when another certificate is chosen."""

    @property
    def place(self) -> tuple[str, int]:
        """Return the load balancer and the number of the port: see ``port_number``."""
        return self.loadbalancer_id, port_number(self.protocol, self.protocol_port)


class Certificate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A certificate under an ELB id."""

    id: str
    chain: Chain | None
    """None if the content cannot be parsed."""
    name: str = ""
    description: str = ""
    type: str = "server"
    domain: tuple[str, ...] = ()
    """The names that it is an SNI certificate for."""
    owner: str | None = None
    source: Source | None = None
    protection_status: str | None = None
    protection_reason: str | None = None
    break_glass: BreakGlass | None = None
    """Set while admins may replace the content although it has an owner (our ELB only)."""
    emergency: bool = False
    """True if the content was written under break-glass, and so is not the owner's."""


PauseKind = Literal["break-glass", "rollback-pause"]
"""Why the owner's content waits: an emergency certificate is in place, or an earlier version."""


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pause of the owner's content that an admin declared: its end, and that content at its start."""

    kind: PauseKind = "break-glass"
    reason: str
    until: datetime
    user: str = ""
    since: datetime | None = None
    digest: str = ""
    """Of the owner's last content, which waits for the end."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The Secret that an owned certificate follows; shown to users and in the lock's error."""

    cluster: str
    namespace: str
    secret: str


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A backend address. Matched by address and port within its pool."""

    id: str
    address: str
    protocol_port: int
    name: str = ""
    weight: int = 1


class HealthMonitor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The health check of a pool; times in seconds."""

    id: str
    type: str = "TCP"
    delay: int = 5
    timeout: int = 10
    max_retries: int = 3
    max_retries_down: int = 3
    url_path: str | None = None
    domain_name: str | None = None
    monitor_port: int | None = None
    expected_codes: str | None = None
    http_method: str | None = None


class Pool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Members, and how requests are distributed to them."""

    id: str
    loadbalancer_id: str
    name: str
    protocol: str = "HTTP"
    description: str | None = None
    lb_algorithm: str | None = None
    session_persistence: SessionPersistence | None = None
    slow_start: SlowStart | None = None
    members: tuple[Member, ...] = ()
    healthmonitor: HealthMonitor | None = None

    @property
    def by_address(self) -> bool:
        """Return whether the client's address chooses the member."""
        if self.session_persistence is None:
            return self.lb_algorithm == "SOURCE_IP"
        return self.session_persistence.type == "SOURCE_IP"


class SessionPersistence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stickiness: HTTP_COOKIE, APP_COOKIE or SOURCE_IP; the timeout in minutes."""

    type: str
    cookie_name: str | None = None
    persistence_timeout: int | None = None


class SlowStart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new member gets its full share only after `duration` seconds."""

    enable: bool = False
    duration: int = 30


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alternative of a rule with several values."""

    value: str
    key: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One condition of a policy."""

    type: str
    """HOST_NAME, PATH, METHOD, HEADER, QUERY_STRING, SOURCE_IP."""
    compare_type: str = "EQUAL_TO"
    value: str = ""
    conditions: tuple[Condition, ...] = ()
    id: str = ""


class PoolShare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pool and its weight (0 to 100) in a policy."""

    pool_id: str
    weight: int = 1


class RedirectUrl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The target of REDIRECT_TO_URL; ``${host}`` and the like keep the request's part."""

    status_code: str
    protocol: str = "${protocol}"
    host: str = "${host}"
    port: str = "${port}"
    path: str = "${path}"
    query: str = "${query}"


class FixedResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of FIXED_RESPONSE."""

    status_code: str
    content_type: str = "text/plain"
    message_body: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An action for requests that match all of `rules`. The smallest priority comes first."""

    id: str
    listener_id: str
    action: str
    """REDIRECT_TO_POOL, REDIRECT_TO_LISTENER, REDIRECT_TO_URL, FIXED_RESPONSE."""
    name: str | None = None
    description: str | None = None
    priority: int | None = None
    redirect_pool_id: str | None = None
    redirect_pools_config: tuple[PoolShare, ...] | None = None
    redirect_listener_id: str | None = None
    redirect_url_config: RedirectUrl | None = None
    fixed_response_config: FixedResponse | None = None
    rules: tuple[Rule, ...] = ()


class ListenerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one listener; the defaults are the vendor's for a dedicated load balancer."""

    policies: int = 100
    sni_certificates: int = 50
    sni_names: int = 200
    """Names of all its SNI certificates together."""


class ListenerDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an HTTPS listener whose Ingress does not set them; the values here are those of CCE."""

    tls_ciphers_policy: str = "tls-1-2"
    http2_enable: bool = False


class HttpChallenge(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a CA's HTTP-01 challenge for `host` (RFC 8555, 8.3) on some listeners."""

    host: str
    token: str
    answer: str
    """The key authorization."""
    listener_ids: tuple[str, ...]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of load balancers, by id (observed) or by key (desired)."""

    loadbalancers: Mapping[str, LoadBalancer] = MappingProxyType({})
    listeners: Mapping[str, Listener] = MappingProxyType({})
    certificates: Mapping[str, Certificate] = MappingProxyType({})
    pools: Mapping[str, Pool] = MappingProxyType({})
    policies: Mapping[str, Policy] = MappingProxyType({})
    ipgroups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Addresses, networks and a-b ranges by group id."""
    security_policies: Mapping[str, SecurityPolicy] = MappingProxyType({})
    limits: ListenerLimits = ListenerLimits()
    listener_defaults: ListenerDefaults = ListenerDefaults()
    challenges: Mapping[str, tuple[HttpChallenge, ...]] = MappingProxyType({})
    """By the id of the order that they belong to."""
    compromised: frozenset[str] = frozenset()
    """Public keys (``Chain.spki``) that are marked as compromised."""


class SecurityPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A custom TLS policy: TLSv1 … TLSv1.3, and OpenSSL cipher names."""

    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]


def port_number(protocol: str, port: int) -> int:
    """Return the number of a port among all of a load balancer: those of UDP follow the 65,536 of TCP."""
    return port + 65_536 if protocol == "UDP" else port


def bind_port(loadbalancer: LoadBalancer, port: int) -> int:
    """Return the port on which `port` of `loadbalancer` is bound."""
    return port + (loadbalancer.privileged_shift if port < 1024 else 0) + loadbalancer.port_shift


def domain_names(domain: str | None) -> tuple[str, ...]:
    """Return the names in a certificate's ``domain`` field (comma separated on the wire), sorted."""
    return tuple(sorted({n.strip().lower() for n in (domain or "").split(",") if n.strip()}))


def convert(kind: type[Any], wire: Mapping[str, Any]) -> Any:
    """Convert the wire form to a model object; keys that the model lacks are ignored."""
    return msgspec.convert(wire, kind, strict=True)
