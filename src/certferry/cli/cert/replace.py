"""``certferry cert replace``: write a new pair wherever the old certificate is used.

Writes every Secret and ELB certificate of all clusters that holds the same content, then probes every listener.
A journal is written first, so that the same command continues after an interruption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from certferry.cli.cert.history import pair_of
from certferry.cli.cert.lookup import Cluster, FleetSnapshot, LocatedCertificate, Reference, read_fleet, run
from certferry.cli.cert.replace_journal import Journal, Place
from certferry.cli.cert.verify import place_of, results
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, PARTIAL, Format, Output, instant, plural, show, warn
from certferry.clusters import ClusterAccess
from certferry.core import checks
from certferry.core.model.kubernetes import Name
from certferry.core.model.managers import managers
from certferry.core.x509.pem import Chain, covers, listed, parse_chain
from certferry.settings import UserError


class Pair(NamedTuple):
    """The new certificate and key."""

    certificate: str
    key: str
    chain: Chain


def replace(
    certificate: Reference,
    cert: Annotated[Path, typer.Option(help="New certificate file (PEM, with its chain).")],
    key: Annotated[Path, typer.Option(help="Private key file.")],
    plan: Annotated[bool, typer.Option("--plan", help="Show the changes and exit.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Continue although a check fails or another tool manages the Secret.")
    ] = False,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Replace a certificate everywhere it is used, and verify that each listener serves the new one."""
    text, secret_key = pair_of(cert, key)
    new = Pair(text, secret_key, parse_chain(text))

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        journal = Journal(new.chain.fingerprint, certificate)
        todo = journal.read() or _places(fleet, certificate)
        _announce(fleet, todo, new)
        objections = [*_objections(fleet, todo, new), *[o for p in todo for o in await _writers(fleet, p)]]
        for sentence in objections:
            warn(sentence)
        if plan:
            return 0
        if objections and not force:
            raise UserError("Nothing was changed. Fix this first, or continue with --force.", BAD)
        if not yes:
            typer.confirm(f"Replace it in {plural(len(todo), 'place')}?", abort=True, err=True)
        journal.write(todo)
        for number, place in enumerate(todo, start=1):
            done = await _write(fleet, place, new)
            typer.echo(f"[{number}/{len(todo)}] {place}: {done}", err=True)
        rows = await results(fleet, todo, new.chain)
        columns = {"place": "PLACE", "listener": "LISTENER", "host": "HOST", "result": "RESULT"}
        show(rows, columns, output, {"cluster": "CLUSTER"})
        if not all(row["served"] for row in rows):
            return BAD
        journal.remove()
        if unbound := [place for place in todo if not any(c.info.listeners for c in _at(fleet, place))]:
            warn(f"{unbound[0]} was on no listener before, so nothing was verified: see `certferry cert ls`.")
        return fleet.code

    run(work)


def _places(fleet: FleetSnapshot, word: str) -> list[Place]:
    """Return the Secrets and ELB certificates that hold the same content as what `word` means."""
    contents = {located.info.fingerprint for located in fleet.matching(word)}
    places = (place_of(c) for c in fleet.certificates() if c.info.fingerprint in contents)
    return list(dict.fromkeys(places))


def _announce(fleet: FleetSnapshot, todo: list[Place], new: Pair) -> None:
    names = ", ".join(new.chain.names)
    typer.echo(f"New: {names}, until {instant(new.chain.not_after)}, {new.chain.fingerprint}", err=True)
    for place in todo:
        for located in _at(fleet, place):
            hosts = ", ".join(located.info.hosts) or "no host"
            typer.echo(f"  {place}: {hosts}; {plural(len(located.info.listeners), 'listener')}", err=True)


def _at(fleet: FleetSnapshot, place: Place) -> list[LocatedCertificate]:
    return [c for c in fleet.certificates() if place_of(c) == place]


def _objections(fleet: FleetSnapshot, todo: list[Place], new: Pair) -> list[str]:
    from datetime import UTC, datetime

    now, said = datetime.now(UTC), []
    for place in todo:
        for located in _at(fleet, place):
            certificate = located.snapshot.observed.certificates[located.info.id]
            marked = located.snapshot.compromised
            refusal = checks.compromised(new.chain, marked) or checks.refusal(
                new.chain, certificate.chain, located.info.hosts, now, fleet.checks, marked
            )
            if refusal:
                said.append(f"{place}: {refusal.reason}: {refusal.sentence}.")
            elif missing := [host for host in located.info.hosts if not covers(new.chain.names, host)]:
                said.append(f"{place}: HostNotCovered: the new certificate does not cover {listed(tuple(missing))}.")
    return said


async def _writers(fleet: FleetSnapshot, place: Place) -> list[str]:
    """Return a sentence for each tool that would overwrite a change there."""
    if place.kind != "Secret":
        return []
    from certferry.kube.client.client import SECRET

    name = Name(*place.name.partition("/")[::2])
    async with _cluster(fleet, place).kube(short=True) as kube:
        item = await kube.get(SECRET, name.name, name.namespace)
    return [f"{place}: {m.sentence}" for m in managers({**item, "kind": "Secret"})]


async def _write(fleet: FleetSnapshot, place: Place, new: Pair) -> str:
    cluster = _cluster(fleet, place)
    if place.kind == "Secret":
        return await _write_secret(cluster, Name(*place.name.partition("/")[::2]), new)
    async with cluster.elb(short=True) as elb:
        present = (await elb.certificates()).get(place.name)
        if present is None:
            return "deleted meanwhile"
        if present.chain and present.chain.digest == new.chain.digest:
            return "already there"
        fields: dict[str, Any] = {"certificate": new.certificate, "private_key": new.key}
        await elb.update_certificate(place.name, fields)
    return "written"


async def _write_secret(cluster: ClusterAccess, name: Name, new: Pair) -> str:
    import base64

    from certferry.core.model.kubernetes import parse_secret
    from certferry.kube.client.client import SECRET

    async with cluster.kube(short=True) as kube:
        present, _ = parse_secret(await kube.get(SECRET, name.name, name.namespace))
        if present.chain and present.chain.digest == new.chain.digest:
            return "already there"
        data = {
            "tls.crt": base64.b64encode(new.certificate.encode()).decode(),
            "tls.key": base64.b64encode(new.key.encode()).decode(),
        }
        await kube.merge(SECRET, name.name, {"data": data}, name.namespace)
    return "written"


def _cluster(fleet: FleetSnapshot, place: Place) -> ClusterAccess:
    for snapshot in fleet.clusters:
        if snapshot.cluster.name == place.cluster:
            return snapshot.cluster
    raise UserError(f"Cluster {place.cluster} does not answer. Run the same command again later.", PARTIAL)
