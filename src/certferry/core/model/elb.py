"""The one vocabulary: what a load balancer has, in the words of the ELB v3 API.

Two worlds are written in it. *Observed* is what an ELB has (ids are its own); *desired* is what a
cluster asks for. In the desired world an object that may not exist yet has a *key* for an id: it
starts with ``@``, and references to it hold the same text; ``plan`` puts the real id in its place.

Rules for every field of a ``Listener``, ``Pool`` and ``Policy``: None means *not managed* in the
desired world (never compared, never written) and *not set* in the observed one. Empty (``""``,
``()``, ``False``) is a value.

Private keys are not in here: see ``core.pem.PrivateKey``.

Glossary
    load balancer  one address (VIP) with listeners
    listener       a port of a load balancer and a protocol; an HTTPS one has a server certificate,
                   for clients that name no known host, and SNI certificates for named hosts
    policy         (l7policy) what a listener does with requests that match all of its rules
    rule           one condition: host, path, method, header, query or source address
    pool           (backend server group) members, and how requests are shared out among them
    member         one address and port of a backend
    certificate    a chain and its key under an ELB id; its ``domain`` says for which names it is SNI
    owner          the controller user that alone may write a certificate; set by the server
    leaf, chain    the certificate for the hosts, and all that is sent with it
    fingerprint    SHA-256 of the leaf: what a handshake shows
    digest         SHA-256 of the whole chain: the identity of a certificate's content
    break-glass    an admin's right, for a time, to replace the content of a certificate with an owner
    seat           where a certificate sits on a listener: the default one, or one per name
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec

from certferry.core.x509.pem import Chain

OWN_PREFIX: Final = "k8s_plb_default"
"""How the name of every certificate of a controller begins."""


class LoadBalancer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One VIP. The shifts say where its ports really are: see ``bind_port``."""

    id: str
    name: str = ""
    description: str = ""
    vip_address: str | None = None
    guaranteed: bool = True
    """A dedicated one; False: shared, which can do less."""
    placement: Mapping[str, Any] = MappingProxyType({})
    """Fields that only a new one is made with (zones, subnets, a public address)."""
    privileged_shift: int = 0
    """Added to ports under 1024 where those cannot be bound (443 → 8443)."""
    port_shift: int = 0
    """Added to every port where several load balancers share one address."""


class IpGroupBinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who may connect: the addresses of groups, as a white or black list."""

    ipgroup_id: str
    enable_ipgroup: bool = True
    type: str = "white"


class Listener(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A port and a protocol of a load balancer."""

    id: str
    loadbalancer_id: str
    protocol: str
    """HTTP or HTTPS (others are stored, and not served)."""
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
    """Seconds without a request until an idle connection is closed."""
    client_timeout: int | None = None
    """Seconds for a client to send its request."""
    member_timeout: int | None = None
    """Seconds for a member to answer, then 504."""
    ipgroup: IpGroupBinding | None = None
    enhance_l7policy_enable: bool | None = None
    insert_headers: Mapping[str, bool | str] | None = None
    admin_state_up: bool | None = None
    protection_status: str | None = None
    protection_reason: str | None = None
    past_names: tuple[str, ...] = ()
    """Names that had an SNI certificate here before. Kept by our ELB, so that no seat of a host
    that is still routed goes away, and with it its connections, when another certificate is chosen."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A certificate under an ELB id."""

    id: str
    chain: Chain | None
    """None when the ELB holds something that cannot be read."""
    name: str = ""
    description: str = ""
    type: str = "server"
    domain: tuple[str, ...] = ()
    """The names it is SNI certificate for."""
    owner: str | None = None
    source: Source | None = None
    protection_status: str | None = None
    protection_reason: str | None = None
    break_glass: BreakGlass | None = None
    """Whether admins may replace the content though it has an owner (our ELB alone)."""
    emergency: bool = False
    """Whether the content was put in under break-glass, and so is not the owner's."""


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An emergency that an admin declared: until when, and what the owner's content was then."""

    reason: str
    until: datetime
    user: str = ""
    since: datetime | None = None
    digest: str = ""
    """Of the owner's last content: putting it back is what waits for the end."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The Secret that an owned certificate follows; for people and for the lock's sentence."""

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
    """How the members of a pool are checked; times in seconds."""

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
    """Members, and how requests are shared out among them."""

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
    """Where REDIRECT_TO_URL leads; ``${host}`` and the like keep the request's part."""

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
    """What a listener does with requests that match all of `rules`. Smaller priority first."""

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


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One world, by id (observed) or by key (desired)."""

    loadbalancers: Mapping[str, LoadBalancer] = MappingProxyType({})
    listeners: Mapping[str, Listener] = MappingProxyType({})
    certificates: Mapping[str, Certificate] = MappingProxyType({})
    pools: Mapping[str, Pool] = MappingProxyType({})
    policies: Mapping[str, Policy] = MappingProxyType({})
    ipgroups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Addresses, networks and a-b ranges by group id."""
    security_policies: Mapping[str, SecurityPolicy] = MappingProxyType({})


class SecurityPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A custom TLS policy: TLSv1 … TLSv1.3, and OpenSSL cipher names."""

    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]


def bind_port(loadbalancer: LoadBalancer, port: int) -> int:
    """The port on which `port` of `loadbalancer` is really reached."""
    return port + (loadbalancer.privileged_shift if port < 1024 else 0) + loadbalancer.port_shift


def domain_names(domain: str | None) -> tuple[str, ...]:
    """The names in a certificate's ``domain`` field (comma separated on the wire), sorted."""
    return tuple(sorted({n.strip().lower() for n in (domain or "").split(",") if n.strip()}))


def convert(kind: type[Any], wire: Mapping[str, Any]) -> Any:
    """A model object from its wire form; keys that the model does not know are left out."""
    return msgspec.convert(wire, kind, strict=True)
