"""Compromised keys of a project: no write brings one back in place of a content that is as good."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime

from certferry.core import checks
from certferry.core.checks.better import CertificateFacts, Rank, rank
from certferry.core.model.elb import domain_names
from certferry.core.x509.pem import Chain
from certferry.elb.server.errors import conflict
from certferry.elb.server.store.tables import Content, Row, StoreSnapshot

KIND = "compromised_key"


def mark_of(snapshot: StoreSnapshot, project_id: str, spki: str) -> Row | None:
    """Return the mark of a public key; None if it has none."""
    return next(iter(snapshot.find(KIND, _by_spki, (project_id, spki))), None)


def marks(snapshot: StoreSnapshot, project_id: str, *chains: Chain) -> frozenset[str]:
    """Return the public keys of `chains` that are marked."""
    return frozenset(c.spki for c in chains if mark_of(snapshot, project_id, c.spki))


def holders(snapshot: StoreSnapshot, project_id: str, spki: str) -> tuple[Row, ...]:
    """Return the server certificates whose present private key belongs to a public key."""
    return snapshot.find("certificate", _by_key, (project_id, spki))


def check_content(snapshot: StoreSnapshot, row: Row, chain: Chain, now: datetime) -> None:
    """Raise ApiError (409) if `chain` has a marked key and the present content of `row` is as good without it."""
    assert row.content is not None
    present, hosts = row.content.chain, domain_names(row.data["domain"])
    marked = marks(snapshot, row.project_id, chain, present)
    finding = checks.objection(chain, present, hosts, now, marked) if marked else None
    if finding and finding.reason == "CertificateCompromised":
        mark = mark_of(snapshot, row.project_id, chain.spki)
        why = f" ({mark.data['reason']})" if mark else ""
        raise conflict(f"The certificate is not accepted: {finding.sentence}{why}. Issue one with a new key")


def replacements(snapshot: StoreSnapshot, row: Row, kept: Iterable[Content], now: datetime) -> list[Content]:
    """Return those of the `kept` contents that may replace a compromised one, best first.

    Each is valid, covers every host that the present one covers, and has a key that is not marked.
    """
    assert row.content is not None
    present = row.content.chain
    hosts = domain_names(row.data["domain"]) or present.names

    def ranked(chain: Chain) -> Rank:
        marked = bool(marks(snapshot, row.project_id, chain))
        facts = CertificateFacts(chain.names, chain.not_before, chain.not_after, chain.loadable, marked)
        return rank(facts, hosts, now)

    least = ranked(present)
    usable = [
        (r, one)
        for one in kept
        if (r := ranked(one.chain)).usable and r.valid and r.trusted and r.covered >= least.covered
        if checks.objection(one.chain, present, hosts, now) is None
    ]
    return [one for _, one in sorted(usable, key=lambda pair: (pair[0].fitness, pair[1].version), reverse=True)]


def _by_spki(row: Row) -> Iterable[Hashable]:
    return ((row.project_id, row.data["spki"]),)


def _by_key(row: Row) -> Iterable[Hashable]:
    if row.content is None or row.content.key is None:
        return ()
    return ((row.project_id, row.content.chain.spki),)
