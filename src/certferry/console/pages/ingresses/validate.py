"""The posted form of an Ingress: read, and validated against the cluster and the ELB.

Each rejected field gets a sentence in `errors`. Nothing is written here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from certferry.console.pages.ingresses.form import OPTIONS, PATH_TYPES, Forwarding, IngressForm, Sni
from certferry.console.pages.ingresses.listener_annotations import MODES, MOST_GROUPS, Access, Redirect
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.forms import FormFields
from certferry.core.model.elb import Certificate, domain_names
from certferry.core.model.kubernetes import Name
from certferry.core.translate.ingress_annotations import TLS_POLICIES

NUMBERS: Final = {
    "port": (1, 65535),
    "http_port": (1, 65535),
    "idle": (0, 4000),
    "request": (1, 300),
    "response": (1, 300),
}
_HOST = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def read(fields: FormFields, errors: dict[str, str]) -> IngressForm:
    """Return the form; malformed fields add sentences to `errors`."""
    options = {name: fields.text(name) for name in OPTIONS}
    for name, (low, high) in NUMBERS.items():
        fields.number(name, low, high, errors)
    if options["policy"] and options["policy"] not in TLS_POLICIES:
        errors["policy"] = "This security policy does not exist."
    options["http2"] = "true" if fields.text("http2") else ""
    sni = tuple(
        Sni(", ".join(domain_names(domains)), secret)
        for domains, secret in zip(fields.all("sni_domain"), fields.all("sni_secret"), strict=False)
        if domains or secret
    )
    rows = zip(*(fields.all(n) for n in ("domain", "matching", "path", "service", "service_port")), strict=False)
    return IngressForm(
        protocol=fields.text("protocol") or "HTTPS",
        source="elb" if fields.text("source") == "elb" else "secret",
        secret=fields.text("secret"),
        certificate=fields.text("certificate"),
        sni=sni,
        sni_certificates=tuple(dict.fromkeys(fields.all("sni_certificate"))),
        options=options,
        access=_access(fields, errors),
        redirect=Redirect(on=True, port=fields.text("http_port")) if fields.text("redirect") else Redirect(),
        forwarding=tuple(Forwarding(r[0].lower(), r[1], r[2] or "/", r[3], r[4]) for r in rows if any(r)),
    )


def _access(fields: FormFields, errors: dict[str, str]) -> Access:
    mode = fields.text("access")
    groups = tuple(dict.fromkeys(fields.all("ipgroup"))) if mode in ("white", "black") else ()
    if mode not in MODES:
        errors["access"] = "Select an access control."
    elif mode in ("white", "black") and not groups:
        errors["ipgroup"] = "Select at least one IP address group."
    elif len(groups) > MOST_GROUPS:
        errors["ipgroup"] = f"At most {MOST_GROUPS} IP address groups."
    return Access(mode=mode, groups=groups)


def check(
    cluster: ClusterContext, namespace: str, form: IngressForm, before: IngressForm, errors: dict[str, str]
) -> None:
    """Check that cluster and ELB have the objects that the form names, and that they can be used."""
    if form.protocol == "HTTPS":
        certificates = cluster.elb.state.certificates
        if form.source == "elb":
            _check_chosen(form, before, certificates, errors)
        else:
            _check_secrets(cluster, namespace, form, errors)
    if gone := [g for g in form.access.groups if g not in cluster.elb.state.ipgroups]:
        errors["ipgroup"] = f"IP address group {gone[0]} is no longer on the load balancer."
    if form.redirect.on and (form.redirect.port or "80") == (form.options.get("port") or "443"):
        errors["http_port"] = "HTTP and HTTPS need different ports."
    _check_forwarding(cluster, namespace, form, before, errors)


def _check_chosen(
    form: IngressForm, before: IngressForm, certificates: Mapping[str, Certificate], errors: dict[str, str]
) -> None:
    server = certificates.get(form.certificate)
    if not form.certificate:
        errors["certificate"] = "Select a server certificate, or create one."
    elif server is None or server.type != "server":
        errors["certificate"] = "This certificate is no longer on the load balancer."
    elif server.chain is None or not server.chain.loadable:
        errors["certificate"] = "This certificate cannot be served."
    elif server.chain.not_after <= datetime.now(UTC) and before.certificate != form.certificate:
        errors["certificate"] = "This certificate has expired; a new choice must be a valid one."
    names: dict[str, str] = {}
    for ref in form.sni_certificates:
        certificate = certificates.get(ref)
        if certificate is None or not certificate.domain:
            errors["sni_certificate"] = "An SNI certificate needs a domain on the load balancer."
            continue
        kind = "RSA" if certificate.chain and certificate.chain.key.startswith("RSA") else "EC"
        for name in certificate.domain:
            if (other := names.setdefault(f"{kind} {name}", ref)) != ref:
                label = certificates[other].name or other
                errors["sni_certificate"] = f"{name} has two certificates: {label} and {certificate.name or ref}."


def _check_secrets(cluster: ClusterContext, namespace: str, form: IngressForm, errors: dict[str, str]) -> None:
    if not form.secret:
        errors["secret"] = "Select a server certificate, or create a Secret."  # noqa: S105 - a sentence
    for field, secret in (("secret", form.secret), *(("sni_secret", row.secret) for row in form.sni)):
        listed = cluster.kube.secrets.get(Name(namespace, secret)) if secret else None
        if secret and (listed is None or not listed.parsed.tls):
            errors[field] = f"There is no TLS Secret {namespace}/{secret}."
        elif listed and listed.parsed.chain is None and listed.parsed.flaw:
            errors[field] = f"Secret {secret} cannot be used: {listed.parsed.flaw.sentence}"
    secrets: dict[str, str] = {}
    for row in form.sni:
        if not row.domains or not row.secret:
            errors["sni_domain"] = "Each row needs a domain name and a certificate."
        for name in domain_names(row.domains):
            if not _HOST.fullmatch(name):
                errors["sni_domain"] = f"“{name[:60]}” is not a domain name."
            elif secrets.setdefault(name, row.secret) != row.secret:
                errors["sni_domain"] = f"{name} has two certificates: {secrets[name]} and {row.secret}."


def _check_forwarding(
    cluster: ClusterContext, namespace: str, form: IngressForm, before: IngressForm, errors: dict[str, str]
) -> None:
    for row in form.forwarding:
        if row in before.forwarding:
            continue  # unchanged rows are accepted
        service = cluster.kube.services.get(Name(namespace, row.service))
        ports = {p for s in service.parsed.ports for p in (str(s.port), s.name)} if service else set()
        if row.domain and not _HOST.fullmatch(row.domain):
            errors["domain"] = f"“{row.domain[:60]}” is not a domain name."
        if row.matching not in PATH_TYPES or not row.path.startswith("/"):
            errors["path"] = "A path begins with /."
        if service is None:
            errors["service"] = f"There is no Service {namespace}/{row.service}."
        elif row.port not in ports:
            errors["service_port"] = f"Service {row.service} has no port {row.port or '(none given)'}."
    rows, exclusive = {*form.forwarding}, {"REGEX", "ImplementationSpecific"}
    new = {row.matching for row in rows - {*before.forwarding}}
    if exclusive & new and exclusive <= {row.matching for row in rows}:
        errors["path"] = (
            "RegEx match applies to every path with “As the Ingress says”. Choose Prefix or Exact match there."
        )
    if not form.forwarding and before.forwarding:
        errors["domain"] = "An Ingress needs at least one forwarding policy."
