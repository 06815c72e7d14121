"""Why a certificate is not newer, and what to type next: the same words in alerts and in `certferry why`.

It is given what is known of one certificate and its source, and chooses the one sentence that a
person needs first.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from certferry.core.model import naming as names
from certferry.core.model import quarantine
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import Name, Secret
from certferry.core.model.managers import Manager


class CertificateOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate and all that is known of where its content comes from."""

    certificate: Certificate
    secret_name: Name | None = None
    """The Secret that it follows; None: its content is on the ELB alone."""
    secret: Secret | None = None
    """None: there is none of that name, or it cannot be read."""
    refusal: str | None = None
    """Why the Secret's content is not taken."""
    failure: str | None = None
    """What the load balancer answered to the last write."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why it is not newer, and what to type."""

    why: str
    command: str


def source(it: CertificateOrigin) -> str:
    """Where its content comes from."""
    if it.secret_name is None:
        return f"ELB certificate {it.certificate.name or it.certificate.id}"
    keeper = it.secret.manager if it.secret else None
    return f"Secret {it.secret_name}" + (f", kept by {keeper.tool} ({keeper.where})" if keeper else "")


def owner(it: CertificateOrigin) -> str:
    """Who is to act."""
    if it.secret_name:
        return f"namespace {it.secret_name.namespace}"
    return it.certificate.owner or "whoever keeps it on the ELB"


def cause(it: CertificateOrigin) -> Cause:
    """The first thing that stands in the way of a newer one."""
    if it.secret_name is None:
        return _on_the_elb(it.certificate)
    name = it.secret_name
    look = f"kubectl describe secret {name.name} -n {name.namespace}"
    if it.secret is None:
        return Cause(why=f"Secret {name} does not exist or cannot be read", command=look)
    if it.secret.chain is None:
        flaw = it.secret.flaw.sentence if it.secret.flaw else "it holds no certificate"
        return Cause(
            why=f"the content of Secret {name} cannot be used: {flaw}",
            command=f"certferry cert check secret/{name}",
        )
    if quarantine.is_quarantined(it.secret, it.certificate.description):
        return Cause(
            why=f"the content of Secret {name} is parked, because clients saw that it does not work",
            command=f"certferry cert check secret/{name}, correct the Secret; or certferry cert resume {name}",
        )
    same = it.certificate.chain and it.certificate.chain.digest == it.secret.chain.digest
    if not same and it.refusal:
        return Cause(
            why=f"the content of Secret {name} is not taken: {it.refusal}",
            command=f"certferry cert check secret/{name}",
        )
    if it.failure:
        return Cause(why=f"the load balancer refuses it: {it.failure}", command=f"certferry cert show {name}")
    if not same:
        return Cause(why="the Secret's content is on its way", command=f"certferry cert show {name}")
    if keeper := it.secret.manager:
        return Cause(
            why=f"{keeper.tool} ({keeper.where}) has not put a newer one into Secret {name}; it writes over a change by hand",
            command=_look_at(keeper),
        )
    return Cause(
        why=f"nobody has put a newer one into Secret {name}",
        command=f"certferry cert replace {name} --cert new.crt --key new.key",
    )


def _look_at(keeper: Manager) -> str:
    """What shows why a tool has not renewed a Secret."""
    kind, _, name = keeper.where.partition(" ")
    namespace, slash, name = name.partition("/")
    if slash and kind in ("Certificate", "ExternalSecret", "SealedSecret"):
        return f"kubectl describe {kind.lower()} {name} -n {namespace}"
    return f"look at {keeper.where}"


def _on_the_elb(certificate: Certificate) -> Cause:
    said = names.described(certificate.description)
    if certificate.source and "secret_id" in said:
        of = certificate.source
        return Cause(
            why=f"it follows Secret {of.namespace}/{of.secret} of cluster {of.cluster or said.get('cluster_id')}",
            command=f"certferry cert show {certificate.id}",
        )
    return Cause(
        why="nobody has replaced its content on the ELB",
        command=f"certferry cert replace {certificate.id} --cert new.crt --key new.key",
    )


def followed(
    certificate: Certificate, by_uid: Mapping[str, Name], cluster_id: str, cluster_name: str
) -> Name | None:
    """The Secret of this cluster that a certificate follows, by the uid in its description, else as the
    ELB says. `by_uid`: the names of the Secrets that there are.
    """
    said, origin = names.described(certificate.description), certificate.source
    if cluster_id and said.get("cluster_id", cluster_id) != cluster_id:
        return None
    if found := by_uid.get(said.get("secret_id", "")):
        return found
    if origin and ("cluster_id" in said or origin.cluster == cluster_name):
        return Name(origin.namespace, origin.secret)
    return None
