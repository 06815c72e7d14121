"""The ``kubernetes.io/elb.*`` annotations of an Ingress, each declared once.

A row says the key, how its text is read, and what a bad text is called. ``read`` gives typed
values; texts that cannot be read, and keys that nobody knows, come back as problems with a
sentence. Facts: the vendor's ingress annotation tables (1.3 to 1.6).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from certferry.core.objects import Ingress
from certferry.core.problems import Problem, Reason

PREFIX: Final = "kubernetes.io/elb."

TLS_POLICIES: Final = (
    "tls-1-0-inherit",
    "tls-1-0",
    "tls-1-1",
    "tls-1-2",
    "tls-1-2-strict",
    "tls-1-2-strict-no-cbc",
    "tls-1-2-fs",
    "tls-1-0-with-1-3",
    "tls-1-2-fs-with-1-3",
    "hybrid-policy-1-0",
)

Reader = Callable[[str], Any]
"""A text to its value; raises ValueError with what was expected."""


class Annotation(msgspec.Struct, frozen=True):
    """One key (without the prefix), its reader, and the ``Values`` field it fills."""

    key: str
    read: Reader
    field: str


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What the annotations of one Ingress say; None where one is absent or cannot be read."""

    id: str | None = None
    ip: str | None = None
    autocreate: Mapping[str, Any] | None = None
    port: int | None = None
    listen_ports: tuple[tuple[str, int], ...] | None = None
    tls_certificate_ids: tuple[str, ...] | None = None
    tls_ciphers_policy: str | None = None
    security_policy_id: str | None = None
    http2_enable: bool | None = None
    pool_protocol: str | None = None
    ssl_redirect: bool | None = None
    keepalive_timeout: int | None = None
    client_timeout: int | None = None
    member_timeout: int | None = None


def _text(value: str) -> str:
    if not 1 <= len(value) <= 100:
        raise ValueError("1 to 100 characters")
    return value


def _number(low: int, high: int) -> Reader:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return read


def _choice(*allowed: str) -> Reader:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value

    return read


def _flag(value: str) -> bool:
    return bool(_choice("true", "false")(value) == "true")


def _object(value: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise ValueError('a JSON object such as {"type":"inner"}') from None


def _ids(value: str) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(i.strip() for i in value.split(",") if i.strip()))
    if not ids:
        raise ValueError("one or more certificate ids, separated by commas")
    return ids


def _listen_ports(value: str) -> tuple[tuple[str, int], ...]:
    expected = ValueError('a JSON list such as [{"HTTP":80},{"HTTPS":443}]')
    try:
        entries = msgspec.json.decode(value, type=list[dict[str, int]])
    except msgspec.MsgspecError:
        raise expected from None
    ports = [item for entry in entries for item in entry.items()]
    if not ports or any(len(e) != 1 for e in entries):
        raise expected
    if any(protocol not in ("HTTP", "HTTPS") or not 1 <= port <= 65535 for protocol, port in ports):
        raise expected
    return tuple(dict.fromkeys(ports))


ANNOTATIONS: Final = (
    Annotation("autocreate", _object, "autocreate"),
    Annotation("client_timeout", _number(1, 300), "client_timeout"),
    Annotation("http2-enable", _flag, "http2_enable"),
    Annotation("id", _text, "id"),
    Annotation("ip", _text, "ip"),
    Annotation("keepalive_timeout", _number(0, 4000), "keepalive_timeout"),
    Annotation("listen-ports", _listen_ports, "listen_ports"),
    Annotation("member_timeout", _number(1, 300), "member_timeout"),
    Annotation("pool-protocol", _choice("http", "https"), "pool_protocol"),
    Annotation("port", _number(1, 65535), "port"),
    Annotation("security_policy_id", _text, "security_policy_id"),
    Annotation("ssl-redirect", _flag, "ssl_redirect"),
    Annotation("tls-certificate-ids", _ids, "tls_certificate_ids"),
    Annotation("tls-ciphers-policy", _choice(*TLS_POLICIES), "tls_ciphers_policy"),
)
"""Sorted by key."""

NOT_YET: Final = (
    *("acl-id", "acl-status", "acl-type", "canary", "canary-by-cookie", "canary-by-cookie-value"),
    *("canary-by-header", "canary-by-header-value", "canary-weight", "cors-allow-credentials"),
    *("cors-allow-headers", "cors-allow-methods", "cors-allow-origin", "cors-expose-headers", "cors-max-age"),
    *("ingress-order", "redirect-url", "redirect-url-code", "rewrite-target", "rule-priority-enabled"),
    *("slowstart", "x-forwarded-for-port", "x-forwarded-host", "x-forwarded-port"),
)
"""Keys of the vendor that Certferry does not act on yet: said so, lest somebody rely on them."""
NOT_YET_PREFIXES: Final = ("actions.", "conditions.", "headers.")
INERT: Final = ("class", "custom-eip-id", "custom-eip-status", "eip-id", "subnet-id", "tags")
"""Keys that say nothing a load balancer of ours could do differently; accepted silently."""


def read(ingress: Ingress) -> tuple[Values, tuple[Problem, ...]]:
    """The values of `ingress`, and a problem for each text that could not be taken."""
    given = {
        key.removeprefix(PREFIX): text
        for key, text in ingress.meta.annotations.items()
        if key.startswith(PREFIX)
    }
    values: dict[str, Any] = {}
    problems = []
    for row in ANNOTATIONS:
        if row.key not in given:
            continue
        text = given.pop(row.key)
        try:
            values[row.field] = row.read(text)
        except ValueError as expected:
            sentence = f"Annotation {PREFIX}{row.key} is ignored: “{text[:60]}” is not {expected}."
            problems.append(_problem(ingress, "AnnotationInvalid", sentence))
    problems += [
        _problem(ingress, "AnnotationUnknown", _unknown(key)) for key in sorted(given) if key not in INERT
    ]
    return Values(**values), tuple(problems)


def _unknown(key: str) -> str:
    if key in NOT_YET or key.startswith(NOT_YET_PREFIXES):
        return f"Annotation {PREFIX}{key} is not supported yet and has no effect."
    known = [*(row.key for row in ANNOTATIONS), *NOT_YET, *INERT]
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
    return f"Annotation {PREFIX}{key} is not known and has no effect.{hint}"


def _problem(ingress: Ingress, reason: Reason, sentence: str) -> Problem:
    return Problem(object=ingress.ref, reason=reason, sentence=sentence)
