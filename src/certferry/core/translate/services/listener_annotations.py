"""The ``kubernetes.io/elb.*`` annotations by which a Service of type LoadBalancer configures its listeners.

Rows that an Ingress has too are those of ``ingress_annotations``. Source: the vendor's Service annotation tables. The
annotations of pools are in ``pool_annotations``. Each key has a heading in docs/annotations.md.
"""

from __future__ import annotations

import re
from typing import Any, Final

from certferry.core.model.kubernetes import TLS_HOSTS, TLS_SECRET, Service
from certferry.core.model.problems import Problem, Reason
from certferry.core.translate.ingress_annotations import (
    ANNOTATIONS,
    INERT,
    MOST_HINTS,
    OF_SERVICES,
    PREFIX,
    Annotation,
    Values,
    check_access,
    identifier,
    unknown,
)

PROTOCOL_PORT: Final = f"{PREFIX}protocol-port"
PROTOCOLS: Final = ("http", "https", "tls")
_SHARED: Final = frozenset(
    {"acl-id", "acl-status", "acl-type", "autocreate", "class", "client_timeout", "http2-enable", "id", "ip"}
    | {"keepalive_timeout", "member_timeout", "pool-protocol", "security_policy_id", "slowstart"}
    | {"tls-certificate-ids", "tls-ciphers-policy"}
)


def _protocols(value: str) -> dict[int, str]:
    expected = ValueError("a list such as https:443,http:80 (protocols http, https and tls)")
    result: dict[int, str] = {}
    for part in value.split(","):
        match = re.fullmatch(r"\s*([a-zA-Z]+):([0-9]{1,5})\s*", part)
        if not match or match[1].lower() not in PROTOCOLS or not 1 <= int(match[2]) <= 65535 or int(match[2]) in result:
            raise expected
        result[int(match[2])] = match[1].upper()
    return result


def _secret(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", value):
        raise ValueError("the name of a Secret in the namespace of the Service")
    return value


def _hosts(value: str) -> tuple[str, ...]:
    hosts = tuple(dict.fromkeys(h.strip().lower() for h in value.split(",") if h.strip()))
    if not hosts or not all(re.fullmatch(r"(\*\.)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", host) for host in hosts):
        raise ValueError("one or more host names, separated by commas")
    return hosts


OF_LISTENERS: Final = (
    Annotation("cert-id", identifier, "cert_id"),
    Annotation("client-ca-cert-id", identifier, "client_ca_id"),
    Annotation("protocol-port", _protocols, "protocols"),
)
"""Keys that are valid on a Service only."""
_INERT: Final = ("enterpriseID", "pass-through", "transparent-client-ip")
"""Keys of Services without effect on our load balancers; accepted silently."""
OWN: Final = (Annotation(TLS_HOSTS, _hosts, "tls_hosts"), Annotation(TLS_SECRET, _secret, "tls_secret"))
"""Our own annotations, under full keys."""


class ServiceValues(Values, frozen=True, kw_only=True):
    """The values of the annotations of one Service; None for one that is absent or invalid."""

    protocols: dict[int, str] | None = None
    """HTTP, HTTPS or TLS by port of the Service."""
    tls_secret: str | None = None
    tls_hosts: tuple[str, ...] = ()


def read(service: Service) -> tuple[ServiceValues, tuple[Problem, ...]]:
    """Return the values of `service`, and a problem for each invalid annotation.

    ``cert-id`` is the server certificate; the ids of ``tls-certificate-ids`` are for SNI only.
    """
    annotations = service.meta.annotations
    rows = [
        (PREFIX + row.key, row) for row in (*ANNOTATIONS, *OF_LISTENERS) if row.key in _SHARED or row in OF_LISTENERS
    ]
    values: dict[str, Any] = {}
    sentences: list[str] = []
    for key, row in (*rows, *((row.key, row) for row in OWN)):
        if key not in annotations:
            continue
        try:
            values[row.field] = row.read(annotations[key])
        except ValueError as expected:
            sentences.append(f"Annotation {key} is ignored: “{annotations[key][:60]}” is not {expected}.")
    accepted = {*(row.key for _, row in rows), *OF_SERVICES, *INERT, *_INERT}
    given = {key.removeprefix(PREFIX) for key in annotations if key.startswith(PREFIX)}
    strange: list[tuple[Reason, str]] = [
        ("AnnotationUnknown", unknown(key, accepted if number < MOST_HINTS else ()))
        for number, key in enumerate(sorted(given - accepted))
    ]
    if PROTOCOL_PORT in annotations and "protocols" not in values:
        values["acl_unclear"] = True
        sentences.append("A port of this Service that is open stays as it is; a new port is not opened.")
    if f"{PREFIX}acl-id" in annotations:
        sentences += check_access(values)
    values.pop("kind", None)
    values["sni_certificate_ids"] = values.pop("tls_certificate_ids", None)
    if server := values.pop("cert_id", None):
        values["tls_certificate_ids"] = (server,)
        if values.pop("tls_secret", None):
            sentences.append(f"Annotation {TLS_SECRET} is ignored: kubernetes.io/elb.cert-id names the certificate.")
    said: list[tuple[Reason, str]] = [("AnnotationInvalid", text) for text in sentences]
    problems = (Problem(object=service.ref, reason=r, sentence=text) for r, text in (*said, *strange))
    return ServiceValues(**values), tuple(problems)
