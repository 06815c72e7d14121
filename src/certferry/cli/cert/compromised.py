"""``certferry cert compromised``: mark a key, so that its certificates leave service; list and remove marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.completion import certificates
from certferry.cli.cert.lookup import Cluster, FleetSnapshot, LocatedCertificate, each, read_fleet, run
from certferry.cli.options import Config, State, chosen
from certferry.cli.output import BAD, PARTIAL, Format, Output, instant, paragraph, show, warn
from certferry.clusters.cluster import ClusterAccess
from certferry.core.x509.pem import InvalidPem, listed, parse_chain, parse_key
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from certferry.elb.client.extensions import COMPROMISED_KEYS, ReplacedCertificate
from certferry.settings import UserError

COLUMNS: Final = {"key": "KEY", "reason": "REASON", "user": "USER", "marked": "MARKED"}
WIDE: Final = {"cluster": "CLUSTER", "spki": "SHA-256 OF THE PUBLIC KEY"}


def compromised(
    certificate: Annotated[
        str | None,
        typer.Argument(
            help="An id, a name, NAMESPACE/SECRET, a host, or a PEM file with the certificate or the key. "
            "Without it: list the marks.",
            autocompletion=certificates,
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the key is compromised, for the audit log.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the mark. For admins.")] = False,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Mark a private key as compromised: its certificates leave service, and no rollback brings it back."""
    file = Path(certificate) if certificate and Path(certificate).is_file() else None

    async def work() -> int:
        if certificate is None:
            return await _list(config, state, cluster, output)
        if not reason.strip():
            raise UserError("Give --reason: it is what the audit log and other users see.")
        fleet = await read_fleet(config, state, cluster)
        spki = _key_of(file) if file else _served_key(fleet, certificate)
        holders = [c for c in fleet.certificates() if _spki(c) == spki]
        # a file marks the key everywhere, because an ELB may have it in an earlier version alone
        clusters = {c.cluster.name: c.cluster for c in holders}
        if file:
            clusters = {s.cluster.name: s.cluster for s in fleet.clusters}
        offered = {s.cluster.name: COMPROMISED_KEYS in s.extensions for s in fleet.clusters}
        codes = [
            await (_remove if remove else _mark)(one, spki, reason.strip()) if offered[name] else _no_marks(one, spki)
            for name, one in sorted(clusters.items())
        ]
        return max([*codes, fleet.code])

    run(work)


async def _mark(cluster: ClusterAccess, spki: str, reason: str) -> int:
    try:
        async with cluster.elb(short=True) as elb:
            mark, replaced = await extensions.mark_compromised(elb, reason, spki=spki)
    except ElbError as error:
        warn(f"Cluster {cluster.name}: not marked: {error.message}")
        return BAD
    typer.echo(f"Cluster {cluster.name}: key {mark.spki[:16]} is marked as compromised.")
    for one in replaced:
        typer.echo("\n".join(paragraph(_result(one), "  ", "    ")))
    if not replaced:
        typer.echo("  No certificate of this ELB has the key now.")
    return 0


def _result(one: ReplacedCertificate) -> str:
    name = one.name or one.id
    if one.version is not None:
        return f"{name}: version {one.version}, with another key, serves again."
    return (
        f"{name}: no earlier version can take its place. The controller gives its hosts to another certificate of the "
        "listener that covers them. Without one, it stays in service: issue a certificate with a new key. "
        "See: certferry cert ls"
    )


async def _remove(cluster: ClusterAccess, spki: str, reason: str) -> int:
    try:
        async with cluster.elb(short=True) as elb:
            await extensions.unmark_compromised(elb, spki, reason)
    except ElbError as error:
        said = "the key is not marked" if error.status == 404 else f"not removed: {error.message}"
        warn(f"Cluster {cluster.name}: {said}.".replace("..", "."))
        return BAD
    typer.echo(f"Cluster {cluster.name}: the mark of key {spki[:16]} is removed. What is served stays.")
    return 0


def _no_marks(cluster: ClusterAccess, spki: str) -> int:
    warn(
        f"Cluster {cluster.name}: its ELB keeps no marks. Add the key to the settings of its controller:\n"
        f"controller:\n  compromised:\n  - {spki}"
    )
    return BAD


async def _list(config: Path | None, state: Path | None, cluster: str | None, output: Format) -> int:
    async def ask(one: ClusterAccess) -> Sequence[Mapping[str, Any]] | None:
        async with one.elb(short=True) as elb:
            if COMPROMISED_KEYS not in await extensions.available(elb):
                return None
            marks = await extensions.compromised_keys(elb)
        return [
            {
                "cluster": one.name,
                "key": mark.spki[:16],
                "spki": mark.spki,
                "reason": mark.reason,
                "user": mark.user,
                "marked": instant(mark.marked_at) if output is Format.table else mark.marked_at,
            }
            for mark in marks
        ]

    answers, code = await each(chosen(config, state, cluster), ask)
    if answers and all(a.trouble for a in answers):
        return PARTIAL
    for answer in answers:
        if answer.value is None and not answer.trouble:
            warn(f"Cluster {answer.cluster}: its ELB keeps no marks; the setting controller.compromised has them.")
    show([row for a in answers for row in a.value or ()], COLUMNS, output, WIDE)
    return code


def _spki(located: LocatedCertificate) -> str:
    chain = located.snapshot.observed.certificates[located.info.id].chain
    return chain.spki if chain else ""


def _served_key(fleet: FleetSnapshot, word: str) -> str:
    """Return the public key of the certificates that `word` means. Raises UserError if they are of several."""
    matches = fleet.matching(word)
    keys = {_spki(c) for c in matches} - {""}
    if len(keys) != 1:
        names = listed(tuple(c.info.id for c in matches))
        raise UserError(f"“{word}” means certificates with {len(keys)} keys: {names}. Give the id of one.")
    return keys.pop()


def _key_of(file: Path) -> str:
    """Return the public key of a PEM file with a certificate or a private key. Raises UserError."""
    try:
        text = file.read_text(errors="replace")
        return parse_chain(text).spki if "-----BEGIN CERTIFICATE-----" in text else parse_key(text).spki
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except InvalidPem as defect:
        raise UserError(f"{file}: {defect.sentence}") from None
