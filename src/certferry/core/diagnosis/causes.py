"""Causes of a certificate that was not renewed, with the next command: for alerts and the command line."""

from __future__ import annotations

import msgspec

from certferry.core.diagnosis import host_verdict
from certferry.core.diagnosis.wanted import CertificateSource
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import Name, Secret
from certferry.core.translate.secret_certificates import SecretVerdict


class CertificateOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate and all that is known of where its content comes from."""

    certificate: Certificate
    secret_name: Name | None = None
    """The Secret of this cluster that it follows; None: its content is on the ELB alone."""
    secret: Secret | None = None
    """None if there is none of that name, or it cannot be read."""
    rejection: SecretVerdict | None = None
    """Why the Secret's content is not to be served."""
    failure: str | None = None
    """The load balancer's answer to the last write."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why it is not newer, and the next command."""

    why: str
    command: str


def source(origin: CertificateOrigin) -> str:
    """Return where the content comes from, and which tool manages that."""
    if origin.secret_name is None:
        return f"ELB certificate {origin.certificate.name or origin.certificate.id}"
    manager = origin.secret.manager if origin.secret else None
    managed = f", managed by {manager.tool} ({manager.where})" if manager else ""
    return f"Secret {origin.secret_name}{managed}"


def owner(origin: CertificateOrigin) -> str:
    """Return who has to act."""
    if origin.secret_name:
        return f"namespace {origin.secret_name.namespace}"
    return origin.certificate.owner or "the administrator of the ELB project"


def cause(origin: CertificateOrigin) -> Cause:
    """Return the first thing that stands in the way of a newer certificate, else that there is none."""
    if obstacle := obstacle_of(origin):
        return obstacle
    name, secret = origin.secret_name, origin.secret
    if name is None:
        return _on_the_elb(origin.certificate)
    command = host_verdict.action(CertificateSource(secret=name), None, secret)
    if secret and (manager := secret.manager):
        why = f"{manager.tool} ({manager.where}) has not renewed Secret {name}; it overwrites manual changes"
        return Cause(why=why, command=command)
    return Cause(why=f"Secret {name} has not been renewed", command=command)


def obstacle_of(origin: CertificateOrigin) -> Cause | None:
    """Return the first thing that keeps a newer content of the Secret from the listeners, or None."""
    name, secret, rejection = origin.secret_name, origin.secret, origin.rejection
    if name is None:
        return None
    if secret is None:
        why = f"Secret {name} does not exist or cannot be read"
        return Cause(why=why, command=f"kubectl describe secret {name.name} -n {name.namespace}")
    same = bool(origin.certificate.chain and secret.chain and origin.certificate.chain.digest == secret.chain.digest)
    if rejection and not same:
        command = host_verdict.action(CertificateSource(secret=name), rejection.reason, secret)
        return Cause(why=f"the content of Secret {name} is rejected: {rejection.clause}", command=command)
    if secret.chain is None:
        flaw = secret.flaw.sentence if secret.flaw else "it holds no certificate"
        why = f"the content of Secret {name} cannot be used: {flaw}"
        return Cause(why=why, command=f"certferry cert check secret/{name}")
    if origin.failure:
        why = f"the load balancer rejects it: {origin.failure}"
        return Cause(why=why, command="certferry audit --since 1h")
    if not same:
        why = f"the controller has not written the content of Secret {name} yet"
        return Cause(why=why, command="certferry doctor")
    return None


def _on_the_elb(certificate: Certificate) -> Cause:
    said = names.described(certificate.description)
    if certificate.source and "secret_id" in said:
        of = certificate.source
        cluster = of.cluster or said.get("cluster_id")
        return Cause(
            why=f"it follows Secret {of.namespace}/{of.secret} of cluster {cluster}",
            command=f"kubectl describe secret {of.secret} -n {of.namespace} in cluster {cluster}",
        )
    return Cause(
        why="its content on the ELB has not been replaced",
        command=f"certferry cert replace {certificate.id} --cert new.crt --key new.key",
    )
