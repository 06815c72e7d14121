"""``certferry cert check``: the checks on a file, an address, a Secret or what an Ingress is served with.

They are the controller's own; nothing is changed. Exit code 1: something is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from certferry.cli.cert.lookup import Cluster, FleetSnapshot, chosen, policy, read_fleet, run
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, ago, document
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core import checks
from certferry.core.checks import Policy
from certferry.core.diagnosis import sni_overlap as neighbours
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain, InvalidPem, parse_chain, parse_key, parse_shown
from certferry.settings import UserError


class CheckSubject(NamedTuple):
    """What is checked: a chain, or the reason why there is none."""

    what: str
    chain: Chain | None
    hosts: tuple[str, ...] = ()
    key: str | None = None
    flaw: str = ""
    before: Chain | None = None
    """What is in its place now."""
    taken: Mapping[str, str] = {}


def check(
    target: Annotated[
        str, typer.Argument(help="A file, HOST:PORT, secret/NAMESPACE/NAME or ingress/NAMESPACE/NAME.")
    ],
    key: Annotated[Path | None, typer.Option(help="The private key that belongs to a file.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="A host it is to serve; several times.")] = None,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Check a file, an address, a Secret or an Ingress; change nothing. Exit code 1 if a check fails."""
    file = Path(target) if Path(target).is_file() else None

    async def work() -> int:
        hosts = tuple(h.lower() for h in host or ())
        kind, slash, rest = target.partition("/")
        if slash and kind in ("secret", "ingress"):
            seen = await read_fleet(chosen(config, state, cluster))
            found = _secret(seen, rest) if kind == "secret" else await _ingress(seen, rest)
        elif file:
            found = [_file(file, key)]
        elif ":" in target:
            found = [await _address(target)]
        else:
            raise UserError(
                f"“{target}” is no file that exists, and neither HOST:PORT, secret/NAMESPACE/NAME nor ingress/NAMESPACE/NAME."
            )
        rules = policy(config, state)
        facts = [_facts(it._replace(hosts=hosts or it.hosts), rules) for it in found]
        if output is Format.table:
            for one in facts:
                _print(one)
        else:
            document(facts, output)
        return BAD if any(not one["good"] for one in facts) else 0

    run(work)


def _file(file: Path, key: Path | None) -> CheckSubject:
    try:
        text = file.read_text(errors="replace")
        chain = parse_chain(text)
        beside = key.read_text(errors="replace") if key else text
        spki = parse_key(beside).spki if key or "PRIVATE KEY-----" in text else None
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except InvalidPem as defect:
        return CheckSubject(str(file), None, flaw=defect.sentence)
    return CheckSubject(str(file), chain, key=spki)


def _secret(seen: FleetSnapshot, text: str) -> list[CheckSubject]:
    namespace, _, name = text.partition("/")
    found = [
        (picture, picture.view.secrets[Name(namespace, name)])
        for picture in seen.pictures
        if picture.view and Name(namespace, name) in picture.view.secrets
    ]
    if not found:
        raise UserError(f"There is no Secret {text} in any cluster that answered.")
    hosts = tuple(
        sorted(
            {
                h
                for picture in seen.pictures
                if picture.view
                for i in picture.view.ingresses.values()
                for entry in i.tls
                if i.meta.namespace == namespace and entry.secret == name
                for h in entry.hosts or i.hosts
            }
        )
    )
    return [
        CheckSubject(
            f"{picture.cluster.name} secret/{text}", s.chain, hosts, flaw=s.flaw.sentence if s.flaw else ""
        )._replace(**_in_place(picture, Name(namespace, name)))
        for picture, s in found
    ]


def _in_place(picture: ClusterSnapshot, secret: Name) -> dict[str, Any]:
    """What a Secret's content is compared with."""
    for it in picture.watched:
        if it.origin and it.origin.secret_name == secret:
            certificate = it.origin.certificate
            return {
                "before": certificate.chain,
                "taken": neighbours.overlapping_names(certificate, picture.observed),
            }
    return {}


async def _ingress(seen: FleetSnapshot, text: str) -> list[CheckSubject]:
    from certferry.controller.verify.rotation import expected_certificates
    from certferry.core.translate.translate import translate

    found = []
    for picture in seen.pictures:
        if picture.view and Name(*text.partition("/")[::2]) in picture.view.ingresses:
            made = translate(picture.view, picture.observed, picture.options, datetime.now(UTC))
            for target, seat in sorted(expected_certificates(made, picture.observed).items()):
                if f"{seat.ingress.namespace}/{seat.ingress.name}" == text:
                    one = await _address(f"{target.address}:{target.port}", target.host)
                    found.append(one._replace(what=f"{picture.cluster.name} {target}"))
    if not found:
        raise UserError(f"There is no Ingress {text} that is served over HTTPS in any cluster that answered.")
    return found


async def _address(text: str, host: str = "") -> CheckSubject:
    from certferry.runtime.tls_probe import NotReached, Target, handshake

    address, _, port = text.rpartition(":")
    if not port.isdigit():
        raise UserError(f"“{text}” is no address: it must be like shop.example.com:443.")
    name = host or address.strip("[]")
    try:
        shown = await handshake(Target(address=address.strip("[]"), port=int(port), host=name))
    except NotReached as error:
        return CheckSubject(text, None, flaw=f"Nobody answers there: {error.strerror}.")
    except (OSError, TimeoutError) as error:
        return CheckSubject(text, None, flaw=f"It was reached, but the TLS handshake failed: {error}.")
    named = name if any(c.isalpha() for c in name) else ""
    try:
        return CheckSubject(text, parse_shown(shown), (named,) if named else ())
    except InvalidPem as defect:
        return CheckSubject(text, None, flaw=defect.sentence)


def _facts(it: CheckSubject, rules: Policy) -> dict[str, Any]:
    if it.chain is None:
        return {"what": it.what, "good": False, "flaw": it.flaw, "findings": []}
    found = checks.findings(
        it.chain, it.before, it.hosts, datetime.now(UTC), rules, taken=it.taken, key=it.key
    )
    return {
        "what": it.what,
        "good": not any(f.severity == "refuse" for f in found),
        "names": list(it.chain.names),
        "hosts": list(it.hosts),
        "issuer": it.chain.issuer,
        "key": it.chain.key,
        "not_before": it.chain.not_before,
        "not_after": it.chain.not_after,
        "fingerprint": it.chain.fingerprint,
        "findings": [{"severity": f.severity, "reason": f.reason, "sentence": f.sentence} for f in found],
    }


def _print(facts: dict[str, Any]) -> None:
    typer.echo(f"{facts['what']}: {'good' if facts['good'] else 'not good'}")
    if flaw := facts.get("flaw"):
        typer.echo(f"  {flaw}")
        return
    end = f"{facts['not_after']:%Y-%m-%d %H:%M} UTC ({ago(facts['not_after'], datetime.now(UTC))})"
    typer.echo(f"  for {', '.join(facts['names']) or 'no name'}, {facts['key']}, by {facts['issuer']}")
    typer.echo(f"  ends {end}, fingerprint {facts['fingerprint']}")
    for finding in facts["findings"]:
        typer.echo(f"  {finding['severity']} {finding['reason']}: {finding['sentence']}")
