"""What the life of each kind is: made of what, changed how, found by what, and refused when.

Given as the wire's names; the ids of what it depends on come in by kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.support.certs import authority

Ids = Mapping[str, list[str]]


class Refused(NamedTuple):
    """A request that is refused: what it would create (or change the first one to), and the answer."""

    fields: dict[str, Any]
    status: int
    code: str


class Life(NamedTuple):
    kind: str
    create: Callable[[Ids, int], dict[str, Any]]
    update: dict[str, Any]
    found: dict[str, Any]
    """A query that finds the first one of those made, and not the others, after its update."""
    refusals: Callable[[Ids], list[Refused]]
    held: bool = False
    """Whether something uses the first one, so that it cannot be deleted yet."""


def content(name: str) -> dict[str, str]:
    pair = authority().issue(name)
    return {"certificate": pair.certificate, "private_key": pair.key}


def _listener(ids: Ids, n: int) -> dict[str, Any]:
    more: list[dict[str, Any]] = [
        {
            "protocol": "HTTPS",
            "default_tls_container_ref": ids["certificate"][0],
            "sni_container_refs": [ids["certificate"][1]],
            "security_policy_id": ids["security_policy"][0],
            "ipgroup": {"ipgroup_id": ids["ipgroup"][0], "enable_ipgroup": True, "type": "white"},
            "enhance_l7policy_enable": True,
        },
        {"protocol": "HTTP"},
        {"protocol": "HTTP"},
    ]
    return {"loadbalancer_id": ids["loadbalancer"][0], "protocol_port": 443 + n, "name": f"l{n}", **more[n]}


def _bad_listeners(ids: Ids) -> list[Refused]:
    base = {"loadbalancer_id": ids["loadbalancer"][0], "protocol": "HTTPS", "protocol_port": 8443}
    first, second = ids["certificate"][:2]
    return [
        Refused(base, 400, "ELB.8902"),
        Refused({**base, "default_tls_container_ref": "f" * 32}, 404, "ELB.8904"),
        Refused({**base, "default_tls_container_ref": first, "protocol_port": 443}, 409, "ELB.8907"),
        Refused({**base, "default_tls_container_ref": first, "sni_container_refs": [first]}, 400, "ELB.8902"),
        Refused({**base, "default_tls_container_ref": second, "tls_ciphers_policy": "ssl-3"}, 400, "ELB.8902"),
        Refused({**base, "default_tls_container_ref": first, "protocol_port": 70000}, 400, "ELB.8902"),
    ]


LIVES = (
    Life(
        "loadbalancer",
        lambda ids, n: {"name": f"lb{n}", "availability_zone_list": ["eu-de-01"], "vpc_id": "v"},
        {"name": "renamed", "description": "d"},
        {"name": "renamed"},
        lambda ids: [
            Refused({"guaranteed": False, "availability_zone_list": ["eu-de-01"]}, 400, "ELB.8902"),
            Refused({"vip_address": "192.0.2.1", "availability_zone_list": ["eu-de-01"]}, 400, "ELB.8902"),
        ],
        held=True,
    ),
    Life(
        "certificate",
        lambda ids, n: {"name": f"c{n}", "domain": f"{n}.example" if n else "", **content(f"{n}.example")},
        {"name": "renewed", **content("0.example")},
        {"name": "renewed"},
        lambda ids: [
            Refused(content("a.example") | {"private_key": content("b.example")["private_key"]}, 400, "ELB.1011"),
            Refused(content("a.example") | {"domain": "a_b"}, 400, "ELB.8902"),
            Refused({"certificate": "-----", "private_key": "-----"}, 400, "ELB.1011"),
        ],
        held=True,
    ),
    Life(
        "ipgroup",
        lambda ids, n: {"name": f"g{n}", "ip_list": [{"ip": f"10.0.0.{n}", "description": "d"}]},
        {"description": "changed", "ip_list": [{"ip": "10.9.0.0/16", "description": ""}]},
        {"description": "changed"},
        lambda ids: [Refused({"name": "g", "ip_list": [{"ip": "nowhere"}]}, 400, "ELB.8902")],
        held=True,
    ),
    Life(
        "security_policy",
        lambda ids, n: {"name": f"s{n}", "protocols": ["TLSv1.2"], "ciphers": ["AES128-SHA"]},
        {"description": "changed", "protocols": ["TLSv1.1", "TLSv1.2"]},
        {"description": "changed"},
        lambda ids: [Refused({"protocols": ["SSLv3"], "ciphers": ["AES128-SHA"]}, 400, "ELB.8902")],
        held=True,
    ),
    Life(
        "listener",
        _listener,
        {"name": "changed", "http2_enable": True, "client_timeout": 7},
        {"name": "changed"},
        _bad_listeners,
        held=True,
    ),
    Life(
        "pool",
        lambda ids, n: {
            "name": f"p{n}",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            **({"listener_id": ids["listener"][0]} if n == 0 else {"loadbalancer_id": ids["loadbalancer"][0]}),
        },
        {
            "name": "changed",
            "lb_algorithm": "LEAST_CONNECTIONS",
            "session_persistence": {"type": "HTTP_COOKIE", "persistence_timeout": 5},
            "slow_start": {"enable": True, "duration": 60},
        },
        {"name": "changed"},
        lambda ids: [
            Refused({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}, 400, "ELB.8902"),
            Refused(
                {"protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "listener_id": ids["listener"][1]}, 400, "ELB.8902"
            ),
        ],
        held=True,
    ),
    Life(
        "member",
        lambda ids, n: {"name": f"m{n}", "address": f"127.0.0.{n + 1}", "protocol_port": 8080, "weight": n},
        {"name": "changed", "weight": 7},
        {"name": "changed"},
        lambda ids: [
            Refused({"address": "127.0.0.1", "protocol_port": 8080}, 409, "ELB.8907"),
            Refused({"address": "127.0.0.9", "protocol_port": 8080, "weight": 101}, 400, "ELB.8902"),
        ],
    ),
    Life(
        "healthmonitor",
        lambda ids, n: {
            "pool_id": ids["pool"][n],
            "name": f"h{n}",
            "type": "HTTP",
            "delay": 5,
            "timeout": 3,
            "max_retries": 3,
        },
        {"name": "changed", "url_path": "/healthy", "expected_codes": "200-299"},
        {"name": "changed"},
        lambda ids: [
            Refused(
                {"pool_id": ids["pool"][0], "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 3}, 409, "ELB.8907"
            )
        ],
    ),
    Life(
        "l7policy",
        lambda ids, n: {
            "name": f"y{n}",
            "listener_id": ids["listener"][0],
            **(
                {"action": "REDIRECT_TO_POOL", "redirect_pool_id": ids["pool"][1]},
                {"action": "FIXED_RESPONSE", "fixed_response_config": {"status_code": "404"}},
                {"action": "REDIRECT_TO_URL", "redirect_url_config": {"status_code": "301", "host": "www.example"}},
            )[n],
        },
        {"name": "changed", "priority": 77},
        {"name": "changed"},
        lambda ids: [
            Refused({"listener_id": ids["listener"][0], "action": "REDIRECT_TO_POOL"}, 400, "ELB.8902"),
            Refused(
                {
                    "listener_id": ids["listener"][1],
                    "action": "FIXED_RESPONSE",
                    "fixed_response_config": {"status_code": "404"},
                },
                400,
                "ELB.8902",
            ),
        ],
    ),
    Life(
        "rule",
        lambda ids, n: (
            {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"},
            {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "a.example"},
            {"type": "HEADER", "compare_type": "EQUAL_TO", "value": "", "conditions": [{"key": "x", "value": "y"}]},
        )[n],
        {"compare_type": "EQUAL_TO", "value": "/b"},
        {"type": "PATH"},
        lambda ids: [
            Refused({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/c"}, 400, "ELB.8902"),
            Refused({"type": "QUERY_STRING", "compare_type": "REGEX", "value": "x"}, 400, "ELB.8902"),
        ],
    ),
)
"""In the order in which they can be made; they are deleted the other way round."""
