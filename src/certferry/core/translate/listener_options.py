"""The options of a listener, from the annotations of its listener owner.

A field that stays None is not managed: the ELB keeps its value. A removed annotation writes a value only if the vendor's
table says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import ENCRYPTED, LAYER_4, IpGroupBinding, Listener, ListenerDefaults, State
from certferry.core.model.problems import Problem
from certferry.core.translate.certificate_binding import ListenerBinding
from certferry.core.translate.listener_claims import ListenerClaim

NO_ACCESS_LIST: Final = IpGroupBinding(ipgroup_id="", enable_ipgroup=False)
"""The value of a listener without access list: an existing one is removed."""

LAYER_4_IDLE: Final = 10
"""Seconds of the shortest idle timeout of a TCP, UDP or TLS listener."""
_SHARED: Final = ("tls-1-0", "tls-1-1", "tls-1-2", "tls-1-2-strict", "tls-1-0-inherit")
"""TLS policies that a shared load balancer supports too."""

BINDINGS: Final = ("default_tls_container_ref", "sni_container_refs")
"""The certificates of a listener. They are written separately from the options, so that a rejected option holds up no
certificate."""
OPTIONS: Final = (
    *("tls_ciphers_policy", "security_policy_id", "http2_enable", "keepalive_timeout", "client_timeout"),
    *("member_timeout", "ipgroup", "enhance_l7policy_enable", "client_ca_tls_container_ref"),
)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of the options beside the annotations."""

    advanced: bool = False
    """True if policies have numbers."""
    access: IpGroupBinding | None = None
    authority: str | None = ""
    """The CA of client certificates; "" for none, None to keep the present one."""
    shared: bool = False
    """True if the load balancer is a shared one."""
    defaults: ListenerDefaults = ListenerDefaults()


def listener(
    group: Sequence[ListenerClaim],
    key: str,
    binding: ListenerBinding | None,
    default_pool: str | None,
    cluster_id: str,
    setting: Setting,
) -> Listener:
    """Build the listener of `group` as its listener owner wants it."""
    master, values = group[0], group[0].values
    https, layer4 = master.protocol == "HTTPS", master.protocol in LAYER_4
    encrypted = master.protocol in ENCRYPTED
    default = binding.slots.default if binding else None
    http2 = setting.defaults.http2_enable if values.http2_enable is None else values.http2_enable
    options: dict[str, Any] = {
        "tls_ciphers_policy": _tls_policy(master, setting) if encrypted else None,
        "security_policy_id": values.security_policy_id if encrypted and not setting.shared else None,
        "http2_enable": http2 if https else None,
        "keepalive_timeout": _idle(values.keepalive_timeout, layer4=layer4),
        "client_timeout": None if layer4 else values.client_timeout,
        "member_timeout": None if layer4 else values.member_timeout,
        "ipgroup": setting.access,
        "enhance_l7policy_enable": True if setting.advanced else None,
    }
    # in no mark if none is wanted, because it is then the same for every declaration
    asked = options | ({"client_ca_tls_container_ref": setting.authority} if setting.authority else {})
    bound: dict[str, Any] = {
        "default_tls_container_ref": default.id if default else None,
        "sni_container_refs": tuple(c.id for c in binding.slots.sni) if binding and default else None,
    }
    return Listener(
        id=key,
        loadbalancer_id=master.loadbalancer,
        protocol=master.protocol,
        protocol_port=master.port,
        name=names.listener_name(master.protocol, master.port),
        description=describe(cluster_id, options=names.mark(asked), bound=names.mark(bound)),
        default_pool_id=default_pool or "",
        client_ca_tls_container_ref=setting.authority if encrypted else None,
        **options,
        **bound,
    )


def describe(cluster_id: str, *, options: str, bound: str) -> str:
    """Return a listener's description: its cluster, and the marks of its declaration."""
    return names.describe(cluster_id, options=options, bound=bound)


def access(
    group: Sequence[ListenerClaim], have: Listener | None, observed: State
) -> tuple[IpGroupBinding | None, tuple[Problem, ...], bool]:
    """Return the access list (None: the present one stays), problems, and whether the port may be opened.

    An invalid list never opens a port to all clients.
    """
    master, values = group[0], group[0].values
    if values.acl_unclear:
        return None, (), have is not None
    if values.acl_id is None:
        return None, (), True
    if not values.acl_id:
        return NO_ACCESS_LIST, (), True
    missing = [ref for ref in values.acl_id if ref not in observed.ipgroups]
    if missing:
        rest = "the port keeps its present list" if have else "the port is not opened"
        text = f"IP address group {', '.join(missing)} (annotation elb.acl-id) does not exist on the load balancer; {rest}."
        return None, (master.problem("AccessListNotFound", text),), have is not None
    wanted = IpGroupBinding(
        ipgroup_id=",".join(values.acl_id), enable_ipgroup=bool(values.acl_status), type=values.acl_type or "white"
    )
    return wanted, (), True


def client_ca(
    group: Sequence[ListenerClaim], have: Listener | None, observed: State
) -> tuple[str | None, tuple[Problem, ...]]:
    """Return the CA of client certificates ("" for none, None to keep the present one), and a problem if it is absent.

    An absent CA never opens a port to clients without certificate.
    """
    master, wanted = group[0], group[0].values.client_ca_id
    if not wanted or master.protocol not in ENCRYPTED:
        return "", ()
    authority = observed.certificates.get(wanted)
    if authority is not None and authority.type == "client":
        return wanted, ()
    rest = "the port keeps its present one" if have else "the port is not opened"
    text = f"Client CA {wanted} (annotation elb.client-ca-cert-id) does not exist on the load balancer; {rest}."
    return None, (master.problem("CertificateNotFound", text),)


def shared_problems(group: Sequence[ListenerClaim]) -> tuple[Problem, ...]:
    """Report options of the listener owner that a shared load balancer does not support."""
    master, values = group[0], group[0].values
    asked = {
        "listen-ports": values.listen_ports,
        "security_policy_id": values.security_policy_id,
        "pool-protocol": values.pool_protocol not in (None, "http"),
        "tls-ciphers-policy": values.tls_ciphers_policy not in (None, *_SHARED),
        "ingress-order": values.ingress_order,
        "rule-priority-enabled": values.rule_priority_enabled,
    }
    return tuple(
        master.problem(
            "AnnotationInvalid",
            f"Annotation kubernetes.io/elb.{key} needs a dedicated load balancer; {master.loadbalancer} is a shared one.",
        )
        for key, value in asked.items()
        if value
    )


def equal(want: object, have: object) -> bool:
    """Return whether an option has the wanted value; an unmanaged one always has."""
    return want is None or want == have or (have is None and (want == NO_ACCESS_LIST or not want))


def differing(want: Listener, have: Listener) -> tuple[str, ...]:
    """Return the options in which `have` differs from `want`."""
    return tuple(f for f in OPTIONS if not equal(getattr(want, f), getattr(have, f)))


def _idle(seconds: int | None, *, layer4: bool) -> int | None:
    return max(seconds, LAYER_4_IDLE) if layer4 and seconds is not None else seconds


def _tls_policy(master: ListenerClaim, setting: Setting) -> str:
    asked = master.values.tls_ciphers_policy or setting.defaults.tls_ciphers_policy
    return ListenerDefaults().tls_ciphers_policy if setting.shared and asked not in _SHARED else asked
