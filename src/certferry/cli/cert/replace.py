"""``certferry cert replace``: one new pair, put wherever the old certificate is used.

It finds every place (Secrets, ELB certificates, in all clusters) that holds the same content, shows
what would be touched, writes each, and looks at every listener. What is to be done is written down
first, so that the same command goes on after an interruption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from certferry.cli.cert.history import pair_of
from certferry.cli.cert.lookup import (
    Cluster,
    FleetSnapshot,
    Found,
    Reference,
    chosen,
    policy,
    read_fleet,
    run,
)
from certferry.cli.cert.replace_journal import Journal, Place
from certferry.cli.cert.verify import results
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, show, warn
from certferry.core import checks
from certferry.core.checks import Policy
from certferry.core.model.kubernetes import Name
from certferry.core.model.managers import managers
from certferry.core.x509.pem import Chain, parse_chain
from certferry.settings import UserError


class Pair(NamedTuple):
    """What is to be put there."""

    certificate: str
    key: str
    chain: Chain


def replace(
    certificate: Reference,
    cert: Annotated[Path, typer.Option(help="The new certificate (PEM, with its chain).")],
    key: Annotated[Path, typer.Option(help="Its private key (PEM).")],
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on though a tool will write over it, or a check objects.")
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
        seen = await read_fleet(chosen(config, state, cluster))
        journal = Journal(new.chain.fingerprint, certificate)
        todo = journal.read() or _places(seen, certificate)
        _announce(seen, todo, new)
        rules = policy(config, state)
        objections = [
            *_objections(seen, todo, new, rules),
            *[o for p in todo for o in await _writers(seen, p)],
        ]
        for sentence in objections:
            warn(sentence)
        if plan:
            return 0
        if objections and not force:
            raise UserError("Nothing was changed. Put that right first, or go on with --force.", BAD)
        if not yes:
            typer.confirm(f"Replace it in {len(todo)} place{'s' * (len(todo) != 1)}?", abort=True, err=True)
        journal.write(todo)
        for number, place in enumerate(todo, start=1):
            done = await _write(seen, place, new)
            typer.echo(f"[{number}/{len(todo)}] {place}: {done}", err=True)
        rows = await results(seen, todo, new.chain)
        show(rows, ("cluster", "place", "listener", "host", "result"), output)
        if all(row["served"] for row in rows):
            journal.remove()
            return seen.code
        return BAD

    run(work)


def _places(seen: FleetSnapshot, word: str) -> list[Place]:
    """The Secrets and ELB certificates that hold the same content as what `word` means."""
    meant = seen.matching(word)
    contents = {f.it.fingerprint for f in meant}
    found: dict[tuple[str, str, str], Place] = {}
    for one in seen.certificates():
        if one.it.fingerprint in contents:
            place = _place(one)
            found.setdefault((place.cluster, place.kind, place.name), place)
    return list(found.values())


def _place(found: Found) -> Place:
    if found.secret:
        return Place(cluster=found.cluster.name, kind="Secret", name=str(found.secret))
    return Place(cluster=found.cluster.name, kind="ELB certificate", name=found.it.id)


def _announce(seen: FleetSnapshot, todo: list[Place], new: Pair) -> None:
    names = ", ".join(new.chain.names)
    typer.echo(
        f"New: {names}, until {new.chain.not_after:%Y-%m-%d %H:%M} UTC, {new.chain.fingerprint}", err=True
    )
    for place in todo:
        for found in _at(seen, place):
            hosts = ", ".join(found.it.hosts) or "no host"
            count = len(found.it.listeners)
            typer.echo(f"  {place}: {hosts}; {count} listener{'s' * (count != 1)}", err=True)


def _at(seen: FleetSnapshot, place: Place) -> list[Found]:
    return [f for f in seen.certificates() if _place(f) == place]


def _objections(seen: FleetSnapshot, todo: list[Place], new: Pair, rules: Policy) -> list[str]:
    from datetime import UTC, datetime

    now, said = datetime.now(UTC), []
    for place in todo:
        for found in _at(seen, place):
            certificate = found.picture.observed.certificates[found.it.id]
            refusal = checks.refusal(new.chain, certificate.chain, found.it.hosts, now, rules)
            if refusal:
                said.append(f"{place}: {refusal.reason}: {refusal.sentence}.")
    return said


async def _writers(seen: FleetSnapshot, place: Place) -> list[str]:
    """Who will write over a change there."""
    if place.kind != "Secret":
        return []
    from certferry.kube.client.client import SECRET

    name = Name(*place.name.partition("/")[::2])
    async with _picture(seen, place).cluster.kube() as kube:
        item = await kube.get(SECRET, name.name, name.namespace)
    return [f"{place}: {m.sentence}" for m in managers({**item, "kind": "Secret"})]


async def _write(seen: FleetSnapshot, place: Place, new: Pair) -> str:
    cluster = _picture(seen, place).cluster
    if place.kind == "Secret":
        return await _write_secret(cluster, Name(*place.name.partition("/")[::2]), new)
    async with cluster.elb() as elb:
        present = (await elb.certificates()).get(place.name)
        if present is None:
            return "it is gone"
        if present.chain and present.chain.digest == new.chain.digest:
            return "has it already"
        fields: dict[str, Any] = {"certificate": new.certificate, "private_key": new.key}
        await elb.update_certificate(place.name, fields)
    return "written"


async def _write_secret(cluster: Any, name: Name, new: Pair) -> str:
    import base64

    from certferry.core.model.kubernetes import parse_secret
    from certferry.kube.client.client import SECRET

    async with cluster.kube() as kube:
        present, _ = parse_secret(await kube.get(SECRET, name.name, name.namespace))
        if present.chain and present.chain.digest == new.chain.digest:
            return "has it already"
        data = {
            "tls.crt": base64.b64encode(new.certificate.encode()).decode(),
            "tls.key": base64.b64encode(new.key.encode()).decode(),
        }
        await kube.merge(SECRET, name.name, {"data": data}, name.namespace)
    return "written"


def _picture(seen: FleetSnapshot, place: Place) -> Any:
    found = next((p for p in seen.pictures if p.cluster.name == place.cluster), None)
    if found is None:
        raise UserError(f"Cluster {place.cluster} does not answer; the same command goes on when it does.", 4)
    return found
