"""The ``kubernetes.io/elb.*`` annotations of an Ingress, each declared once.

A row of ``ANNOTATIONS`` has the key, how its text is read and written, and its field. Invalid values, conflicting keys
and unknown keys become problems. Source: the vendor's ingress annotation tables (1.3 to 1.8). The annotations of a
Service are in ``service_annotations``. Each key has a heading in docs/annotations.md.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from certferry.core.model.elb import RedirectUrl
from certferry.core.model.kubernetes import MATCH_MODE, Ingress
from certferry.core.model.problems import Problem, Reason

MOST_HINTS: Final = 20
"""Unknown keys for which a similar one is looked up; each look-up takes 0.2 ms."""
PREFIX: Final = "kubernetes.io/elb."
MATCH_MODES: Final = ("STARTS_WITH", "EQUAL_TO", "REGEX")

TlsPolicy = Literal[
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
]
TLS_POLICIES: Final = get_args(TlsPolicy)

Reader = Callable[[str], Any]
"""Return the value of a text; raises ValueError with the expected format if the text is invalid."""
Writer = Callable[[Any], str]
"""Return the text for a value: the inverse of its reader."""


class Annotation(msgspec.Struct, frozen=True):
    """One key (without the prefix `elb.`, or a full one), its reader, and the ``Values`` field it fills."""

    key: str
    read: Reader
    field: str
    write: Writer | None = None
    """For a setting that a ``Listener`` has under the same field name; None for other annotations."""
    label: str = ""
    """The setting's name in the console."""


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the annotations of one Ingress; None for one that is absent or invalid."""

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
    acl_id: tuple[str, ...] | None = None
    """() = all clients."""
    acl_status: bool | None = None
    acl_type: str | None = None
    acl_unclear: bool = False
    """True if the access list, or the protocol of a Service's ports, is incomplete or invalid: a new port is then not
    opened, so that it is not open to all clients, or without TLS."""
    ingress_order: int | None = None
    rule_priority_enabled: bool | None = None
    redirect_url: RedirectUrl | None = None
    redirect_url_code: str | None = None
    slowstart: int | None = None
    sni_certificate_ids: tuple[str, ...] | None = None
    """For SNI alone, beside a Secret or `tls_certificate_ids` (of a Service)."""
    client_ca_id: str | None = None
    """The CA of client certificates (of a Service)."""
    match_mode: str | None = None


def identifier(value: str) -> str:
    """Read the id of an object of the load balancer."""
    if not 1 <= len(value) <= 100:
        raise ValueError("1 to 100 characters")
    return value


def _number(low: int, high: int) -> Reader:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return read


def choice(*allowed: str) -> Reader:
    """Return the reader of a text that is one of `allowed`."""

    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value

    return read


def _flag(value: str) -> bool:
    return bool(choice("true", "false")(value) == "true")


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


def _groups(value: str) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(i.strip() for i in value.split(",") if i.strip()))
    if len(ids) > 5:
        raise ValueError("at most 5 ids of IP address groups, separated by commas")
    return ids


def _switch(value: str) -> bool:
    return choice("on", "true", "off", "false")(value) in ("on", "true")


def _order(value: str) -> int:
    return int(_number(1, 1000)(value))


def _flag_text(value: bool) -> str:
    return "true" if value else "false"


def redirect_target(value: str) -> RedirectUrl:
    """Parse ``https://other.example.com/path?query``; absent parts keep those of the request."""
    match = re.fullmatch(r"(https?)://([A-Za-z0-9._-]+)(?::(\d{1,5}))?(/[^?#\s]*)?(?:\?([^#\s]*))?", value)
    if not match or int(match[3] or 1) > 65535:
        raise ValueError("a URL such as https://www.example.com/path")
    scheme, host, port, path, query = match.groups()
    return RedirectUrl(
        status_code="301",
        protocol=scheme.upper(),
        host=host.lower(),
        port=port or ("443" if scheme == "https" else "80"),
        path=path or "${path}",
        query=query or "${query}",
    )


def _autocreate(value: str) -> Mapping[str, Any]:
    wanted = _object(value)
    name = wanted.get("name", "cce-lb")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ValueError("JSON whose name has 1 to 64 letters, digits, “_”, “.” or “-”")
    if wanted.get("type", "inner") not in ("public", "inner"):
        raise ValueError("JSON whose type is public or inner")
    return wanted


ANNOTATIONS: Final = (
    Annotation("acl-id", _groups, "acl_id"),
    Annotation("acl-status", _switch, "acl_status"),
    Annotation("acl-type", choice("white", "black"), "acl_type"),
    Annotation("autocreate", _autocreate, "autocreate"),
    Annotation("class", choice("union", "performance"), "kind"),
    Annotation("client_timeout", _number(1, 300), "client_timeout", str, "Request Timeout"),
    Annotation("http2-enable", _flag, "http2_enable", _flag_text, "HTTP2"),
    Annotation("id", identifier, "id"),
    Annotation("ingress-order", _order, "ingress_order"),
    Annotation("ip", identifier, "ip"),
    Annotation("keepalive_timeout", _number(0, 4000), "keepalive_timeout", str, "Idle Timeout"),
    Annotation("listen-ports", _listen_ports, "listen_ports"),
    Annotation("member_timeout", _number(1, 300), "member_timeout", str, "Response Timeout"),
    Annotation("pool-protocol", choice("http", "https", "grpc"), "pool_protocol"),
    Annotation("port", _number(1, 65535), "port"),
    Annotation("redirect-url", redirect_target, "redirect_url"),
    Annotation("redirect-url-code", choice("301", "302", "303", "307", "308"), "redirect_url_code"),
    Annotation("rule-priority-enabled", _flag, "rule_priority_enabled"),
    Annotation("security_policy_id", identifier, "security_policy_id", str),
    Annotation("slowstart", _number(30, 1200), "slowstart"),
    Annotation("ssl-redirect", _flag, "ssl_redirect"),
    Annotation("tls-certificate-ids", _ids, "tls_certificate_ids"),
    Annotation("tls-ciphers-policy", choice(*TLS_POLICIES), "tls_ciphers_policy", str, "Security Policy"),
)
"""Sorted by key."""
LISTENER_SETTINGS: Final = {row.field: (row, row.write) for row in ANNOTATIONS if row.write}
"""The annotations of listener settings, with their writers, by field."""
OWN: Final = (Annotation(MATCH_MODE, choice(*MATCH_MODES), "match_mode"),)
"""Our own annotations, under full keys: a stock API server prunes the vendor's field for them."""

NOT_YET: Final = (
    *("canary", "canary-by-cookie", "canary-by-cookie-value", "canary-by-header"),
    *("canary-by-header-value", "canary-weight", "cors-allow-credentials"),
    *("cors-allow-headers", "cors-allow-methods", "cors-allow-origin", "cors-expose-headers", "cors-max-age"),
    *("rewrite-target", "x-forwarded-for-port", "x-forwarded-host", "x-forwarded-port"),
)
"""Keys of the vendor that Certferry does not support yet; each is reported, so that no user relies on it."""
NOT_YET_PREFIXES: Final = ("actions.", "conditions.", "headers.")
OF_SERVICES: Final = (
    *("adaptive-weight", "cert-id", "client-ca-cert-id", "health-check-flag", "health-check-option"),
    *("health-check-options", "lb-algorithm", "protocol-port", "session-affinity-mode", "session-affinity-option"),
)
"""Keys that are valid on a Service only."""
INERT: Final = ("custom-eip-id", "custom-eip-status", "eip-id", "subnet-id", "tags")
"""Keys without effect on our load balancers; accepted silently."""


def read(ingress: Ingress) -> tuple[Values, tuple[Problem, ...]]:
    """Return the values of `ingress`, and a problem for each annotation that is invalid or unknown."""
    annotations = ingress.meta.annotations
    given = {k.removeprefix(PREFIX): text for k, text in annotations.items() if k.startswith(PREFIX)}
    values: dict[str, Any] = {}
    sentences: list[tuple[Reason, str]] = []
    for row, full, text in _given(given, annotations):
        try:
            values[row.field] = row.read(text)
        except ValueError as expected:
            text = f"Annotation {full} is ignored: “{text[:60]}” is not {expected}."
            sentences.append(("AnnotationInvalid", text))
    accepted = {row.key for row in ANNOTATIONS} | set(INERT)
    similar = [*(row.key for row in ANNOTATIONS), *NOT_YET, *INERT, *OF_SERVICES]
    sentences += [
        ("AnnotationUnknown", _unknown(key, similar if number < MOST_HINTS else ()))
        for number, key in enumerate(sorted(given.keys() - accepted))
    ]
    sentences += [("AnnotationInvalid", text) for text in _together(values, given)]
    values.pop("kind", None)
    return Values(**values), tuple(
        Problem(object=ingress.ref, reason=reason, sentence=text) for reason, text in sentences
    )


def _given(given: Mapping[str, str], annotations: Mapping[str, str]) -> Iterator[tuple[Annotation, str, str]]:
    for row in ANNOTATIONS:
        if row.key in given:
            yield row, PREFIX + row.key, given[row.key]
    for row in OWN:
        if row.key in annotations:
            yield row, row.key, annotations[row.key]


def _together(values: dict[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each conflict between keys, and correct `values`."""
    if "id" in values and "autocreate" in values:
        del values["autocreate"]
        yield "Annotation kubernetes.io/elb.autocreate is ignored: elb.id names a load balancer that exists."
    if "acl-id" in given:
        yield from check_access(values)
    if "tls_certificate_ids" in values:
        ids = Counter(i.strip() for i in given["tls-certificate-ids"].split(",") if i.strip())
        for twice in sorted(i for i, times in ids.items() if times > 1):
            yield f"Annotation kubernetes.io/elb.tls-certificate-ids names certificate {twice} more than once; it is used once."
    if values.get("ssl_redirect") and not _both_protocols(values):
        del values["ssl_redirect"]
        yield "Annotation kubernetes.io/elb.ssl-redirect is ignored: it needs kubernetes.io/elb.listen-ports with an HTTP and an HTTPS port."
    if "redirect_url_code" in values and "redirect_url" not in values:
        yield "Annotation kubernetes.io/elb.redirect-url-code has no effect without kubernetes.io/elb.redirect-url."
    elif "redirect_url_code" in values:
        code = values["redirect_url_code"]
        values["redirect_url"] = msgspec.structs.replace(values["redirect_url"], status_code=code)


def check_access(values: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence if the access list is incomplete, and mark it so in `values`."""
    if values.get("acl_id") == ():
        return
    missing = [k for k in ("acl-id", "acl-status", "acl-type") if k.replace("-", "_") not in values]
    if missing:
        values.pop("acl_id", None)
        values["acl_unclear"] = True
        listed = " and ".join(f"kubernetes.io/elb.{k}" for k in missing)
        yield f"The access list is not applied: {listed} is missing or invalid. An open port stays as it is; a new port is not opened."


def _both_protocols(values: Mapping[str, Any]) -> bool:
    return {protocol for protocol, _ in values.get("listen_ports") or ()} == {"HTTP", "HTTPS"}


def _unknown(key: str, supported: Iterable[str]) -> str:
    if key in NOT_YET or key.startswith(NOT_YET_PREFIXES):
        return f"Annotation {PREFIX}{key} is not supported yet and has no effect."
    if key in OF_SERVICES:
        return f"Annotation {PREFIX}{key} belongs on the Service and has no effect on an Ingress."
    return unknown(key, supported)


def unknown(key: str, supported: Iterable[str]) -> str:
    """Return the sentence on an unknown key, with the most similar one of `supported`."""
    near = difflib.get_close_matches(key, list(supported), n=1)
    hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
    return f"Annotation {PREFIX}{key} is not known and has no effect.{hint}"
