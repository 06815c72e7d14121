"""The form of an Ingress: from an object to the form's fields, and back. Pure.

The labels are the vendor's (Certificate Source, Server Certificate, SNI …). Fields of an object that the form
does not show stay unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from certferry.console.pages.ingresses.listener_annotations import (
    Access,
    Redirect,
    access_of,
    https_port_of,
    put_access,
    put_redirect,
    redirect_of,
)
from certferry.core.model.elb import domain_names
from certferry.core.model.kubernetes import MATCH_MODE, PATH_MATCH_MODE
from certferry.core.translate.ingress_annotations import PREFIX, TLS_POLICIES

Object = dict[str, Any]
Source = Literal["secret", "elb"]

IDS: Final = f"{PREFIX}tls-certificate-ids"
OPTIONS: Final = {
    "policy": f"{PREFIX}tls-ciphers-policy",
    "http2": f"{PREFIX}http2-enable",
    "backend": f"{PREFIX}pool-protocol",
    "idle": f"{PREFIX}keepalive_timeout",
    "request": f"{PREFIX}client_timeout",
    "response": f"{PREFIX}member_timeout",
    "port": f"{PREFIX}port",
}
"""Fields of the form and their annotations."""
PATH_TYPES: Final = {
    "Prefix": "Prefix match",
    "Exact": "Exact match",
    "REGEX": "RegEx match",
    "ImplementationSpecific": "As the Ingress says",
}
"""Path types and their labels. The last two are one type in Kubernetes; the match mode tells them apart."""
POLICIES: Final = tuple((name, name.upper()) for name in TLS_POLICIES)


class Sni(msgspec.Struct, frozen=True):
    """A row of SNI from Secrets."""

    domains: str
    secret: str


class Forwarding(msgspec.Struct, frozen=True):
    """A row of the forwarding policies."""

    domain: str
    matching: str
    path: str
    service: str
    port: str


class IngressForm(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of the form."""

    protocol: str = "HTTPS"
    source: Source = "secret"
    secret: str = ""
    certificate: str = ""
    """Id on the ELB."""
    sni: tuple[Sni, ...] = ()
    sni_certificates: tuple[str, ...] = ()
    options: Mapping[str, str] = {}
    """By the names of ``OPTIONS``; "" if not set."""
    access: Access = Access()
    redirect: Redirect = Redirect()
    forwarding: tuple[Forwarding, ...] = ()


def form_of(obj: Mapping[str, Any]) -> IngressForm:
    """Return the form's fields for the object `obj`."""
    notes, spec = obj["metadata"].get("annotations") or {}, obj.get("spec") or {}
    entries = spec.get("tls") or []
    ids = tuple(i.strip() for i in notes.get(IDS, "").split(",") if i.strip())
    server = _server(entries)
    options = {name: notes.get(key, "") for name, key in OPTIONS.items()}
    redirect = redirect_of(notes)
    if redirect.on:
        options["port"] = https_port_of(notes)  # elb.port has no effect beside listen-ports
    return IngressForm(
        protocol="HTTPS" if entries or ids else "HTTP",
        source="elb" if ids else "secret",
        secret=entries[server].get("secretName") or "" if entries else "",
        certificate=ids[0] if ids else "",
        sni=tuple(
            Sni(", ".join(entry.get("hosts") or ()), entry.get("secretName") or "")
            for number, entry in enumerate(entries)
            if number != server
        ),
        sni_certificates=ids[1:],
        options=options,
        access=access_of(notes),
        redirect=redirect,
        forwarding=tuple(_forwarding(spec, notes)),
    )


def applied(form: IngressForm, obj: Mapping[str, Any]) -> Object:
    """Return `obj` with the values of the form; other fields stay unchanged."""
    changed: Object = copy.deepcopy(dict(obj))
    before = form_of(obj)
    notes = changed["metadata"].get("annotations") or {}
    spec = changed.setdefault("spec", {})
    _put_options(form, before, notes)
    put_access(notes, form.access)
    # the annotation has precedence; spec.tls stays, so that the user can return to it
    elb = form.source == "elb" and form.protocol == "HTTPS"
    ids = (form.certificate, *(i for i in form.sni_certificates if i != form.certificate)) if elb else ()
    _put(notes, IDS, ",".join(ids))
    if form.forwarding != before.forwarding:
        _put(spec, "rules", _rules(form, spec.get("rules") or [], notes))
        _put_match_mode(form, before, notes)
    if not elb and (form.secret, form.sni, form.protocol) != (before.secret, before.sni, before.protocol):
        _put(spec, "tls", _tls(form, spec.get("tls") or []) if form.protocol == "HTTPS" else [])
    _put(changed["metadata"], "annotations", notes)
    return changed


def _put_options(form: IngressForm, before: IngressForm, notes: dict[str, str]) -> None:
    """Put the changed options, and the redirect with the port that it takes."""
    for name, key in OPTIONS.items():
        if form.options.get(name, "") != before.options.get(name, ""):
            _put(notes, key, form.options.get(name, ""))
    redirect = form.redirect if form.protocol == "HTTPS" else Redirect()
    port = form.options.get("port", "")
    if (redirect, redirect.on and port) != (before.redirect, redirect.on and before.options["port"]):
        put_redirect(notes, redirect, port)
        if not redirect.on:
            _put(notes, OPTIONS["port"], port)  # it has effect again


def _put_match_mode(form: IngressForm, before: IngressForm, notes: dict[str, str]) -> None:
    """Put the annotation that makes paths regular expressions, because a stock API server would prune `property`."""
    expressions = {row for row in form.forwarding if row.matching == "REGEX"}
    if expressions - {*before.forwarding}:
        notes[MATCH_MODE] = "REGEX"
    elif not expressions and notes.get(MATCH_MODE) == "REGEX":
        del notes[MATCH_MODE]


def _tls(form: IngressForm, entries: list[Object]) -> list[Object]:
    server = _server(entries)
    first = {**entries[server], "secretName": form.secret} if entries else {"secretName": form.secret}
    rows = [{"hosts": list(domain_names(row.domains)), "secretName": row.secret} for row in form.sni]
    return [first, *rows]


def _server(entries: list[Object]) -> int:
    """Return the index of the server certificate: the entry without hosts, else the first."""
    return next((n for n, entry in enumerate(entries) if not entry.get("hosts")), 0)


def _forwarding(spec: Object, notes: Mapping[str, str]) -> list[Forwarding]:
    return [
        Forwarding(
            rule.get("host") or "",
            _matching(path, notes),
            path.get("path") or "/",
            *_service(path.get("backend") or {}),
        )
        for rule in spec.get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    ]


def _matching(path: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """Return the key in ``PATH_TYPES`` of a path."""
    kind = path.get("pathType") or "ImplementationSpecific"
    mode = (path.get("property") or {}).get(PATH_MATCH_MODE) or notes.get(MATCH_MODE)
    return "REGEX" if (kind, mode) == ("ImplementationSpecific", "REGEX") else str(kind)


def _service(backend: Object) -> tuple[str, str]:
    service = backend.get("service") or {}
    port = service.get("port") or {}
    return service.get("name") or "", str(port.get("number") or port.get("name") or "")


def _rules(form: IngressForm, before: list[Object], notes: Mapping[str, str]) -> list[Object]:
    """Return the rules by host in the form's order; a known path keeps fields that the form does not show."""
    paths_before = {
        (rule.get("host") or "", p.get("path") or "/", _matching(p, notes)): p
        for rule in before
        for p in (rule.get("http") or {}).get("paths") or ()
    }
    hosts: dict[str, list[Object]] = {}
    for row in form.forwarding:
        port: Object = {"number": int(row.port)} if row.port.isdecimal() else {"name": row.port}
        path = {
            **paths_before.get((row.domain, row.path, row.matching), {}),
            "path": row.path,
            "pathType": "ImplementationSpecific" if row.matching == "REGEX" else row.matching,
            "backend": {"service": {"name": row.service, "port": port}},
        }
        hosts.setdefault(row.domain, []).append(path)
    return [({"host": host} if host else {}) | {"http": {"paths": paths}} for host, paths in hosts.items()]


def _put(fields: Object, key: str, value: object) -> None:
    """Put `value`, or remove the field if it is empty."""
    if value:
        fields[key] = value
    else:
        fields.pop(key, None)
