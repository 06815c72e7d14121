"""``certferry why HOST[:PORT]``: from a hostname to the cause, in one command."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from msgspec.structs import replace

from certferry.cli.cert.completion import hosts
from certferry.cli.cert.lookup import Cluster, chosen, policy, read_fleet, run
from certferry.cli.cert.show import limits
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, document
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core.diagnosis.host import (
    HandshakeResult,
    HostDiagnosis,
    HostListener,
    diagnose,
    listeners_for_host,
)
from certferry.core.translate.certificate_slots import present
from certferry.core.x509.pem import InvalidPem, parse_shown
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from certferry.settings import UserError


def why(
    host: Annotated[str, typer.Argument(help="HOST or HOST:PORT.", autocompletion=hosts)],
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Explain what HOST serves, what is wrong, and what to do next. Exit code 1 if something is wrong."""
    name, _, digits = host.lower().partition(":")
    if digits and not digits.isdigit():
        raise UserError(f"“{host}” is no HOST:PORT.")

    rules = policy(config, state)

    async def work() -> int:
        seen = await read_fleet(chosen(config, state, cluster))
        # why it is not newer is what the controller's own settings make of it
        pictures = [replace(p, options=replace(p.options, checks=rules)) for p in seen.pictures]
        stories = [
            await _story(picture, door, config)
            for picture in pictures
            if picture.view
            for door in listeners_for_host(
                picture.view, picture.observed, picture.options, name, int(digits) if digits else None
            )
        ]
        if not stories:
            raise UserError(
                f"No Ingress of a cluster that answered asks for {host} over HTTPS (certferry cert ls lists what is served).",
                BAD,
            )
        if output is Format.table:
            for one in stories:
                _print(one)
        else:
            document(stories, output)
        return BAD if any(not one.well for one in stories) else seen.code

    run(work)


async def _story(picture: ClusterSnapshot, door: HostListener, config: object) -> HostDiagnosis:
    assert picture.view is not None
    return diagnose(
        picture.view,
        picture.observed,
        picture.options,
        door,
        await _look(door),
        _rotation(picture, door.host),
        await _data_plane(picture, door),
        datetime.now(UTC),
        limits(config),
    )


async def _look(door: HostListener) -> HandshakeResult:
    from certferry.runtime.tls_probe import NotReached, Target, handshake

    address = door.loadbalancer.vip_address or ""
    try:
        shown = await handshake(Target(address=address, port=door.bound, host=door.host))
        return HandshakeResult(chain=parse_shown(shown))
    except NotReached as error:
        return HandshakeResult(trouble=f"nobody answers ({error.strerror})", reached=False)
    except (OSError, TimeoutError, InvalidPem) as error:
        return HandshakeResult(trouble=f"the TLS handshake failed ({error})")


async def _data_plane(picture: ClusterSnapshot, door: HostListener) -> tuple[str, ...]:
    """What the data plane refused of the certificate that is to be served there."""
    listener = next(
        (
            it
            for it in picture.observed.listeners.values()
            if (it.loadbalancer_id, it.protocol_port) == (door.loadbalancer.id, door.port)
        ),
        None,
    )
    bound = present(listener, picture.observed.certificates).answer(door.host)
    if bound is None or "status" not in picture.extensions:
        return ()
    async with picture.cluster.elb() as elb:
        try:
            status = await extensions.status(elb, bound.id)
        except ElbError:
            return ()
    return tuple(sorted({s.message for s in status.listeners if s.state == "rejected" and s.message}))


def _rotation(picture: ClusterSnapshot, host: str) -> str:
    assert picture.view is not None
    for name, text in picture.rotations.items():
        ingress = picture.view.ingresses.get(name)
        if text and ingress and host in {*ingress.hosts, *(h for e in ingress.tls for h in e.hosts)}:
            try:
                said = json.loads(text)
            except ValueError:
                continue
            seen = f"served {said.get('served')}" if said.get("served") else "not seen by a client"
            return f"{str(said.get('fingerprint'))[:16]}: changed {said.get('changed')}, accepted {said.get('accepted')}, {seen}"
    return ""


def _print(one: HostDiagnosis) -> None:
    rows = (
        ("host", f"{one.host} (cluster {one.cluster})"),
        ("served", one.served),
        ("should be", one.expected),
        ("load balancer", one.loadbalancer),
        ("listener", one.listener),
        ("governed by", one.governing),
        ("source", one.source),
        ("last rotation", one.last_rotation),
        *(("problem", p) for p in one.problems),
        ("why", one.why),
        ("next", one.next),
    )
    for label, text in rows:
        typer.echo(f"{label + ':':15}{text}")
    typer.echo()
