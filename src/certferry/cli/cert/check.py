"""``certferry cert check``: run the controller's checks on a file, an address, a Secret or an Ingress.

Nothing is changed. Exit code 1 if something would be rejected, or an address shows no certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from certferry.cli.cert.lookup import Cluster, FleetSnapshot, read_fleet, run
from certferry.cli.handshake import shake_hands
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, SEVERITIES, Format, Output, ago, block, coloured, document, instant
from certferry.clusters import locate
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core import checks
from certferry.core.checks import CheckPolicy
from certferry.core.diagnosis import sni_names
from certferry.core.diagnosis.host_state import for_ingress
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain, InvalidPem, covers, parse_chain, parse_key
from certferry.settings import UserError

Result = Literal[
    "good", "not good", "wrong certificate", "unreadable", "not resolved", "not reached", "handshake failed"
]


class CheckSubject(NamedTuple):
    """A chain to check, or the reason why there is none."""

    what: str
    chain: Chain | None
    hosts: tuple[str, ...] = ()
    key: str | None = None
    flaw: str = ""
    before: Chain | None = None
    """The content that it replaces."""
    taken: Mapping[str, str] = {}
    result: Result = "unreadable"
    """If there is no chain."""
    served: bool = False
    """True if an address shows it."""
    compromised: frozenset[str] = frozenset()
    """The public keys that are marked as compromised."""


def check(
    target: Annotated[str, typer.Argument(help="A file, HOST:PORT, secret/NAMESPACE/NAME or ingress/NAMESPACE/NAME.")],
    key: Annotated[Path | None, typer.Option(help="Private key file that belongs to a certificate file.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="Host that it must cover; repeatable.")] = None,
    connect: Annotated[str | None, typer.Option(help="Address to connect to instead of HOST, like 10.0.0.7.")] = None,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Check a file, an address, a Secret or an Ingress; change nothing. Exit code 1 if a check fails."""
    file = Path(target) if Path(target).is_file() else None

    async def work() -> int:
        kind, slash, rest = target.partition("/")
        policy: CheckPolicy | None = None
        if slash and kind in ("secret", "ingress"):
            fleet = await read_fleet(config, state, cluster)
            policy = fleet.checks
            subjects = _secret(fleet, rest) if kind == "secret" else await _ingress(fleet, rest)
            marks = frozenset[str]().union(*(snapshot.compromised for snapshot in fleet.clusters))
            subjects = [subject._replace(compromised=marks) for subject in subjects]
        elif file:
            subjects = [_file(file, key)]
        elif ":" in target:
            subjects = [await _address(target, connect=connect)]
        else:
            raise UserError(
                f"“{target}” is no file that exists, and neither HOST:PORT, secret/NAMESPACE/NAME nor ingress/NAMESPACE/NAME."
            )
        hosts = tuple(h.lower() for h in host or ())
        policy = policy or _policy(config, state)
        facts = [_facts(one._replace(hosts=hosts or one.hosts), policy) for one in subjects]
        if output.for_people:
            for one in facts:
                _print(one)
        else:
            document(facts, output)
        return BAD if any(not one["good"] for one in facts) else 0

    run(work)


def _policy(config: Path | None, state: Path | None) -> CheckPolicy:
    """Return how severe findings count: as in the controller's section of the settings file."""
    import os

    from certferry.clusters.translate_options import options_of
    from certferry.settings import ControllerSettings, read

    file = locate(config, state, os.environ)
    return options_of(read(ControllerSettings, "controller", {}, os.environ, file)).checks


def _file(file: Path, key: Path | None) -> CheckSubject:
    try:
        text = file.read_text(errors="replace")
        chain = parse_chain(text)
        key_text = key.read_text(errors="replace") if key else text
        spki = parse_key(key_text).spki if key or "PRIVATE KEY-----" in text else None
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except InvalidPem as defect:
        return CheckSubject(str(file), None, flaw=defect.sentence)
    return CheckSubject(str(file), chain, key=spki)


def _secret(fleet: FleetSnapshot, text: str) -> list[CheckSubject]:
    name = Name(*text.partition("/")[::2])
    subjects = []
    hosts: set[str] = set()
    for snapshot in fleet.clusters:
        view = snapshot.view
        if view is None:
            continue
        hosts |= {
            h
            for ingress in view.ingresses.values()
            for entry in ingress.tls
            if ingress.meta.namespace == name.namespace and entry.secret == name.name
            for h in entry.hosts or ingress.hosts
        }
        if secret := view.secrets.get(name):
            flaw = secret.flaw.sentence if secret.flaw else ""
            what = f"{snapshot.cluster.name} secret/{text}"
            subject = CheckSubject(what, secret.chain, flaw=flaw)
            subjects.append(subject._replace(**_in_place(snapshot, name)))
    if not subjects:
        raise _absent(f"Secret {text}", fleet)
    return [subject._replace(hosts=tuple(sorted(hosts))) for subject in subjects]


def _absent(what: str, fleet: FleetSnapshot) -> UserError:
    """Return the error for an object that no cluster has, as far as they answered."""
    if fleet.code:
        return UserError(f"There is no {what} that can be read, and not every cluster answered.", fleet.code)
    return UserError(f"There is no {what}.")


def _in_place(snapshot: ClusterSnapshot, secret: Name) -> dict[str, Any]:
    """Return what a Secret's content is compared with."""
    for info in snapshot.watched:
        if info.origin and info.origin.secret_name == secret:
            certificate = info.origin.certificate
            return {"before": certificate.chain, "taken": sni_names.overlapping_names(certificate, snapshot.observed)}
    return {}


async def _ingress(fleet: FleetSnapshot, text: str) -> list[CheckSubject]:
    """Return what the listeners show for each host of an Ingress."""
    targets = [
        (snapshot.cluster.name, f"{key.address}:{key.port}", key.sni)
        for snapshot in fleet.clusters
        for key in dict.fromkeys(
            s.key for s in for_ingress(fleet.hosts(snapshot), Name(*text.partition("/")[::2])) if s.bound
        )
    ]
    if not targets:
        raise _absent(f"Ingress {text} that is served over HTTPS", fleet)
    subjects = await asyncio.gather(*(_address(address, host) for _, address, host in dict.fromkeys(targets)))
    return [
        subject._replace(what=f"{cluster} {address}" + (f" ({host})" if host else ""))
        for (cluster, address, host), subject in zip(dict.fromkeys(targets), subjects, strict=True)
    ]


async def _address(text: str, host: str = "", connect: str | None = None) -> CheckSubject:
    """Connect to HOST:PORT, at the address `connect` if given; ask for HOST, or for `host`."""
    address, _, port = text.rpartition(":")
    if not port.isdigit():
        raise UserError(f"“{text}” is not an address: write it like shop.example.com:443.")
    name = host or address.strip("[]")
    answer = await shake_hands((connect or address).strip("[]"), int(port), name)
    if answer.chain is None:
        hint = " Try --connect ADDRESS." if answer.failure == "not resolved" and not connect else ""
        flaw = f"{answer.error[0].upper()}{answer.error[1:]}.{hint}"
        return CheckSubject(text, None, flaw=flaw, result=answer.failure or "unreadable")
    named = name if any(c.isalpha() for c in name) and ":" not in name else ""
    return CheckSubject(text, answer.chain, (named,) if named else (), served=True)


def _facts(subject: CheckSubject, policy: CheckPolicy) -> dict[str, Any]:
    if subject.chain is None:
        return {"what": subject.what, "good": False, "result": subject.result, "flaw": subject.flaw, "findings": []}
    chain = subject.chain
    findings = checks.findings(
        chain,
        subject.before,
        subject.hosts,
        datetime.now(UTC),
        policy,
        taken=subject.taken,
        key=subject.key,
        compromised=subject.compromised,
    )
    good = not any(f.severity == "refuse" for f in findings)
    wrong = subject.served and not all(covers(chain.names, host) for host in subject.hosts)
    return {
        "what": subject.what,
        "good": good and not wrong,
        "result": "wrong certificate" if wrong else "good" if good else "not good",
        "names": list(chain.names),
        "hosts": list(subject.hosts),
        "issuer": chain.issuer,
        "key": chain.key,
        "not_before": chain.not_before,
        "not_after": chain.not_after,
        "fingerprint": chain.fingerprint,
        "findings": [{"severity": f.severity, "reason": f.reason, "sentence": f.sentence} for f in findings],
    }


def _print(facts: dict[str, Any]) -> None:
    title = f"{facts['what']}: {coloured(facts['result'], facts['result'])}"
    if flaw := facts.get("flaw"):
        typer.echo(block(title, [("", flaw)]))
        return
    end: datetime = facts["not_after"]
    lines: Sequence[tuple[str, Any]] = [
        ("names", facts["names"]),
        ("key", facts["key"]),
        ("issuer", facts["issuer"]),
        ("expires", f"{instant(end)} ({ago(end, datetime.now(UTC))})"),
        ("fingerprint", facts["fingerprint"]),
        *((SEVERITIES[f["severity"]], f"{f['reason']}: {f['sentence']}") for f in facts["findings"]),
    ]
    typer.echo(block(title, lines))
