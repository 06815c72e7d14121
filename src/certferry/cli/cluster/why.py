"""``certferry why HOST[:PORT]``: what a host serves and the cause, with a handshake of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from certferry.cli.cert.completion import hosts
from certferry.cli.cert.lookup import Cluster, FleetSnapshot, read_fleet, run
from certferry.cli.handshake import shake_hands
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, block, coloured, document, instant
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core.diagnosis.host_state import HostProbe, HostState
from certferry.core.x509.pem import Chain
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from certferry.settings import UserError


class _Rotation(msgspec.Struct, frozen=True):
    """The annotation ``certferry.io/rotation``."""

    fingerprint: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    changed: Annotated[datetime, msgspec.Meta(tz=True)]
    accepted: Annotated[datetime, msgspec.Meta(tz=True)]
    served: Annotated[datetime, msgspec.Meta(tz=True)] | None

    def after(self, at: datetime) -> str:
        """Return the time from the change to `at`."""
        seconds = (at - self.changed).total_seconds()
        return f"{1000 * seconds:.0f} ms" if abs(seconds) < 10 else f"{seconds:.0f} s"


_PROBE_KINDS: Final = {"": "", "ECDSA": "EC", "RSA": "RSA"}


def why(
    host: Annotated[str, typer.Argument(help="HOST or HOST:PORT.", autocompletion=hosts)],
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Explain what HOST serves, what is wrong, and what to do next. Exit code 1 if something is wrong."""
    name, _, digits = host.lower().partition(":")
    name = name.rstrip(".")
    if not name or (digits and not digits.isdigit()):
        raise UserError(f"“{host}” is not HOST:PORT.")

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        port = int(digits) if digits else None
        answers = await asyncio.gather(*(_of_cluster(fleet, one, name, port) for one in fleet.clusters))
        facts = [_facts(one, answer) for one, states in zip(fleet.clusters, answers, strict=True) for answer in states]
        if not facts:
            if fleet.code:
                raise UserError(
                    f"No Ingress that can be read asks for {host}, and not every cluster answered. "
                    f"`certferry cert where {name}` asks the load balancers alone.",
                    fleet.code,
                )
            raise UserError(f"No Ingress asks for {host} over HTTPS (certferry cert ls lists what is served).", BAD)
        if output.for_people:
            for one in facts:
                _print(one)
        else:
            document(facts, output)
        return BAD if any(not one["well"] for one in facts) else fleet.code

    run(work)


async def _of_cluster(
    fleet: FleetSnapshot, cluster: ClusterSnapshot, host: str, port: int | None
) -> Sequence[HostState]:
    """Return the states of a host with what a probe of now shows, one for each address, port and key kind."""
    wanted = _claimed(fleet.hosts(cluster, host=host), port)
    if not wanted:
        return ()
    several = {s.key.port: sum(o.key.port == s.key.port for o in wanted) > 1 for s in wanted}
    probes = [_probe(s, host, kind=s.key.key_kind if several[s.key.port] else "") for s in wanted]
    shown, rejections = await asyncio.gather(asyncio.gather(*probes), _rejections(cluster, wanted))
    return _claimed(fleet.hosts(cluster, shown, rejections, host), port)


def _claimed(states: Sequence[HostState], port: int | None) -> Sequence[HostState]:
    """Return the states that a claim wants; `port` as clients use it or as the listener has it."""
    return [s for s in states if s.claims and port in (None, s.port, s.key.port)]


async def _probe(state: HostState, host: str, kind: str) -> HostProbe:
    key = state.key
    answer = await shake_hands(key.address, key.port, host, _PROBE_KINDS[kind])
    return HostProbe(
        address=key.address,
        port=key.port,
        sni=key.sni,
        key_kind=key.key_kind if kind else "",
        chain=answer.chain,
        error=answer.error,
        reached=answer.reached,
        at=datetime.now(UTC),
    )


async def _rejections(cluster: ClusterSnapshot, states: Sequence[HostState]) -> dict[str, str]:
    """Return why the data plane rejected the bound certificates, by id."""
    if "status" not in cluster.extensions:
        return {}
    rejections: dict[str, str] = {}
    async with cluster.cluster.elb(short=True) as elb:
        for ref in sorted({s.bound.certificate_id for s in states if s.bound}):
            try:
                status = await extensions.status(elb, ref)
            except ElbError:
                continue
            messages = {s.message for s in status.listeners if s.state == "rejected" and s.message}
            if messages:
                rejections[ref] = "; ".join(sorted(messages))
    return rejections


def _facts(cluster: ClusterSnapshot, state: HostState) -> dict[str, Any]:
    """Return one state as the fields of ``-o json``."""
    balancer = state.loadbalancer
    shown = state.shown[0] if state.shown else None
    bound = state.bound
    return {
        "host": state.host,
        "cluster": cluster.cluster.name,
        "status": state.status,
        "key_kind": state.key.key_kind,
        "well": state.well,
        "served": _described(shown.chain) if shown and shown.chain else shown.error if shown else "not probed",
        "bound": f"{_described(bound.chain)}; {bound.why}" if bound else "nothing",
        "expected": _expected(state),
        "loadbalancer": f"{balancer.name or balancer.id} ({state.key.address}:{state.key.port})",
        "listener": f"{state.listener_name or state.listener_id} (port {state.port})" if state.listener_id else "none",
        "governing": _owner(state),
        "ingresses": [str(name) for name in state.claims],
        "source": _source(cluster, state),
        "last_rotation": _rotation(cluster, state.host) or "none",
        "problems": [
            f"{p.reason} on {p.object.kind} {p.object.namespace}/{p.object.name}: {p.sentence}" for p in state.problems
        ],
        "why": state.sentence,
        "next": state.next_action or "nothing",
    }


def _expected(state: HostState) -> str:
    """Return what the host's own claim wants, never what happens to be bound."""
    if state.wanted is None:
        return "nothing: no Ingress names a certificate for this host"
    if state.wanted.good:
        return _described(state.wanted.chain)
    return f"a certificate for {state.host} from {state.wanted.source}"


def _source(cluster: ClusterSnapshot, state: HostState) -> str:
    """Return where the wanted certificate comes from, and which tool manages that."""
    source = state.wanted.source if state.wanted else state.bound.source if state.bound else None
    if source is None:
        return "none"
    secret = cluster.view.secrets.get(source.secret) if cluster.view and source.secret else None
    managed = f", managed by {secret.manager.tool} ({secret.manager.where})" if secret and secret.manager else ""
    return f"{source}{managed}"


def _owner(state: HostState) -> str:
    if state.owner is None:
        return "no Ingress of this cluster"
    if not state.claims or state.owner in state.claims:
        return state.owner.claimant
    return f"{state.owner.claimant}, the oldest on this listener; the host is of {state.claims[0].claimant}"


def _rotation(cluster: ClusterSnapshot, host: str) -> str:
    """Return the instants of the last rotation, from the annotation of the Ingress."""
    assert cluster.view is not None
    for name, text in cluster.rotations.items():
        ingress = cluster.view.ingresses.get(name)
        if text and ingress and host in {*ingress.hosts, *(h for e in ingress.tls for h in e.hosts)}:
            try:
                rotation = msgspec.json.decode(text, type=_Rotation)
            except msgspec.DecodeError:  # every user of the Ingress may write it
                continue
            served = f"served after {rotation.after(rotation.served)}" if rotation.served else "not served yet"
            return (
                f"{rotation.fingerprint[:16]}: changed {rotation.changed.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, "
                f"accepted after {rotation.after(rotation.accepted)}, {served}"
            )
    return ""


def _described(chain: Chain | None) -> str:
    if chain is None:
        return "a certificate that cannot be read"
    return f"{chain.fingerprint[:16]} for {', '.join(chain.names[:3])}, until {instant(chain.not_after)}"


def _print(facts: dict[str, Any]) -> None:
    kind = f", {facts['key_kind']}" if facts["key_kind"] else ""
    title = f"{facts['host']} (cluster {facts['cluster']}{kind}): {coloured(facts['status'], facts['status'])}"
    rows = [
        ("served", facts["served"]),
        ("bound", facts["bound"]),
        ("should be", facts["expected"]),
        ("source", facts["source"]),
        ("load balancer", facts["loadbalancer"]),
        ("listener", facts["listener"]),
        ("listener owner", facts["governing"]),
        ("last rotation", facts["last_rotation"]),
        *(("problem", problem) for problem in facts["problems"]),
        ("why", facts["why"] if not facts["well"] else "No problems found."),
        ("next", facts["next"] if not facts["well"] else ""),
    ]
    typer.echo(block(title, rows) + "\n")
