"""``certferry cert history``, ``rollback``, ``resume``, ``break-glass``: earlier versions and emergencies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.completion import certificates
from certferry.cli.cert.lookup import Cluster, LocatedCertificate, Reference, read_fleet, run
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, ago, duration, instant, show, warn
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core.model import quarantine
from certferry.core.model.kubernetes import RESUME_ANNOTATION, Name
from certferry.core.x509.pem import InvalidPem, parse_pair
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError
from certferry.settings import UserError

NO_VERSION: Final = "no previous version available"
COLUMNS: Final = {
    "version": "VERSION",
    "serves": "CURRENT",
    "ends": "EXPIRES",
    "fingerprint": "FINGERPRINT",
    "written": "WRITTEN",
    "user": "USER",
}
WIDE: Final = {"via": "VIA", "created_at": "WRITTEN AT", "not_after": "NOT AFTER", "cluster": "CLUSTER", "id": "ID"}
For = Annotated[str, typer.Option("--for", help="How long, like 30m, 4h or 2d.")]
Reason = Annotated[str, typer.Option(help="Reason for the ELB's audit log.")]


def history(
    certificate: Reference,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """List the versions of a certificate: content, validity, who wrote it and when."""

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        rows: list[dict[str, Any]] = []
        for located in fleet.matching(certificate):
            if "versions" not in located.snapshot.extensions:
                warn(f"The ELB of {located.cluster.name} keeps no versions.")
                continue
            async with located.cluster.elb(short=True) as elb:
                rows += [_row(located, v) for v in await extensions.versions(elb, located.info.id)]
        marked = {"compromised": "COMPROMISED"} if any(row["compromised"] for row in rows) else {}
        several = {"secret": "NAMESPACE/SECRET"} if len({row["id"] for row in rows}) > 1 else {}
        if output is Format.table:
            rows = [{**row, "fingerprint": row["fingerprint"][:16]} for row in rows]
        show(rows, several | COLUMNS | marked, output, WIDE)
        return fleet.code

    run(work)


def rollback(
    certificate: Reference,
    to: Annotated[int | None, typer.Option(help="Number of the version. Default: the one before.")] = None,
    reason: Reason = "",
    pause: Annotated[
        str | None, typer.Option(help="Pause sync from its Secret for this time, like 4h, and roll back.")
    ] = None,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Serve an earlier version of a certificate. An expired one is rejected."""

    async def work() -> int:
        located = (await read_fleet(config, state, cluster)).one(certificate)
        if not {"versions", "rollback"} <= located.snapshot.extensions:
            raise UserError(f"The ELB of {located.cluster.name} keeps no versions: {NO_VERSION}.", BAD)
        async with located.cluster.elb(short=True) as elb:
            kept = [v for v in await extensions.versions(elb, located.info.id) if not v.current]
            if not kept or (to is not None and to not in {v.number for v in kept}):
                raise UserError(f"Certificate {located.info.name}: {NO_VERSION}.", BAD)
            if located.secret:
                if pause is None:
                    _explain(located)
                    return BAD
                why = reason or "rolled back by hand"
                until = datetime.now(UTC) + duration(pause)
                await extensions.open_break_glass(elb, located.info.id, why, until, "rollback-pause")
            try:
                back = await extensions.roll_back(elb, located.info.id, to, reason)
            except ElbError:
                if located.secret:  # without a rollback, sync is not paused either
                    await extensions.close_break_glass(elb, located.info.id)
                raise
        assert back.chain is not None
        typer.echo(f"{back.name or back.id} serves {back.chain.fingerprint} again.")
        if located.secret:
            typer.echo(f"Sync from Secret {located.secret} is paused until {instant(until)}.")
        return 0

    run(work)


def resume(
    secret: Annotated[
        str, typer.Argument(help="NAMESPACE/SECRET whose content is quarantined.", autocompletion=certificates)
    ],
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Try a quarantined Secret again: write the annotation certferry.io/resume to it."""
    from certferry.kube.client.client import SECRET

    async def work() -> int:
        located = (await read_fleet(config, state, cluster)).one(secret)
        name, mark = located.secret, _quarantined(located.snapshot, located.info.id)
        if name is None or mark is None:
            raise UserError(f"No content of “{secret}” is quarantined.", BAD)
        async with located.cluster.kube(short=True) as kube:
            patch = {"metadata": {"annotations": {RESUME_ANNOTATION: mark}}}
            await kube.merge(SECRET, name.name, patch, name.namespace)
        typer.echo(f"Secret {name}: the controller tries its content {mark[:16]} again.")
        return 0

    run(work)


def break_glass(
    certificate: Reference,
    cert: Annotated[Path | None, typer.Option(help="Certificate file to serve now (PEM, with its chain).")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key file.")] = None,
    reason: Reason = "",
    for_: For = "4h",
    end: Annotated[
        bool, typer.Option("--end", help="End it, or the pause of a rollback: sync from the Secret again.")
    ] = False,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Replace a certificate on the ELB alone, for a limited time. Works while the cluster is down."""

    async def work() -> int:
        located = (await read_fleet(config, state, cluster)).one(certificate)
        if "break-glass" not in located.snapshot.extensions:
            raise UserError(
                f"The ELB of {located.cluster.name} has no break-glass. Replace the certificate there by hand; the controller reverts it to the Secret's content.",
                BAD,
            )
        async with located.cluster.elb(short=True) as elb:
            if end:
                await extensions.close_break_glass(elb, located.info.id)
                typer.echo(f"The pause ended: {located.info.name} follows its Secret again.")
                return 0
            span = duration(for_)
            await _emergency(elb, located, cert, key, reason, span)
        until = instant(datetime.now(UTC) + span)
        typer.echo(f"{located.info.name} serves the new certificate. Sync from its Secret is paused until {until}.")
        return 0

    run(work)


async def _emergency(
    elb: ElbClient, located: LocatedCertificate, cert: Path | None, key: Path | None, reason: str, span: timedelta
) -> None:
    if cert is None or key is None or not reason:
        raise UserError("Give --cert, --key and --reason (or --end to end one).")
    pair = pair_of(cert, key)
    await extensions.open_break_glass(elb, located.info.id, reason, datetime.now(UTC) + span)
    await elb.update_certificate(located.info.id, {"certificate": pair[0], "private_key": pair[1]})


def pair_of(cert: Path, key: Path) -> tuple[str, str]:
    """Read both files; check that they belong together, and order the chain. Raises UserError."""
    try:
        pair = parse_pair(cert.read_text(errors="replace"), key.read_text(errors="replace"))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except InvalidPem as defect:
        raise UserError(f"{cert}: {defect.sentence}") from None
    return pair.chain.pem, pair.key.reveal()


def _quarantined(snapshot: ClusterSnapshot, ref: str) -> str | None:
    return quarantine.quarantined_mark(snapshot.observed.certificates[ref].description)


def _explain(located: LocatedCertificate) -> None:
    name: Name | None = located.secret
    warn(
        f"Nothing was changed: certificate {located.info.name} follows Secret {name}, which would revert a rollback at once.\n"
        f"Write the earlier pair to the Secret: certferry cert replace {name} --cert old.crt --key old.key\n"
        f"or pause sync: certferry cert rollback {located.info.id} --pause 4h --reason “…”"
    )


def _row(located: LocatedCertificate, version: extensions.Version) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "cluster": located.cluster.name,
        "secret": str(located.secret or f"(ELB) {located.info.name}"),
        "id": located.info.id,
        "version": version.number,
        "serves": version.current,
        "compromised": version.compromised,
        "fingerprint": version.fingerprint,
        "ends": ago(version.not_after, now),
        "not_before": version.not_before,
        "not_after": version.not_after,
        "names": list(version.domains),
        "written": ago(version.created_at, now),
        "created_at": version.created_at,
        "user": version.user,
        "via": version.via,
    }
