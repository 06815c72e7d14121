"""``certferry cert history``, ``rollback``, ``resume``, ``break-glass``: what was, and the way back to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from certferry.cli.cert.completion import certificates
from certferry.cli.cert.lookup import Cluster, Found, Reference, chosen, read_fleet, run
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, ago, show, warn
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core.model import quarantine as parking
from certferry.core.model.kubernetes import RESUME_ANNOTATION, Name
from certferry.core.x509.pem import InvalidPem, parse_pair
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError
from certferry.settings import UserError

NO_VERSION = "no previous version available"
For = Annotated[str, typer.Option("--for", help="How long, like 4h or 30m or 2d.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the ELB's audit log.")]


def history(
    certificate: Reference,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """List the versions of a certificate: content, validity, who wrote it and when."""

    async def work() -> int:
        seen = await read_fleet(chosen(config, state, cluster))
        rows: list[dict[str, Any]] = []
        for found in seen.matching(certificate):
            if "versions" not in found.picture.extensions:
                warn(f"The ELB of {found.cluster.name} keeps no versions.")
                continue
            async with found.cluster.elb() as elb:
                rows += [_row(found, v) for v in await extensions.versions(elb, found.it.id)]
        show(
            rows,
            ("cluster", "id", "version", "serves", "fingerprint", "ends", "written", "user", "via"),
            output,
        )
        return seen.code

    run(work)


def rollback(
    certificate: Reference,
    to: Annotated[int | None, typer.Option(help="Which version; the one before if not given.")] = None,
    reason: Reason = "",
    pause: Annotated[
        str | None, typer.Option(help="Pause the follow of its Secret for so long, like 4h, and roll back.")
    ] = None,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Serve an earlier version of a certificate. An expired one is rejected."""

    async def work() -> int:
        found = (await read_fleet(chosen(config, state, cluster))).one(certificate)
        if not {"versions", "rollback"} <= found.picture.extensions:
            raise UserError(f"The ELB of {found.cluster.name} keeps no versions: {NO_VERSION}.", BAD)
        async with found.cluster.elb() as elb:
            kept = [v for v in await extensions.versions(elb, found.it.id) if not v.current]
            if not kept or (to is not None and to not in {v.number for v in kept}):
                raise UserError(f"Certificate {found.it.name}: {NO_VERSION}.", BAD)
            if found.secret:
                if pause is None:
                    _explain(found)
                    return BAD
                until = datetime.now(UTC) + duration(pause)
                why = reason or "rolled back by hand"
                await extensions.open_break_glass(elb, found.it.id, why, until)
            try:
                back = await extensions.roll_back(elb, found.it.id, to, reason)
            except ElbError:
                if found.secret:  # nothing was rolled back: nothing is to be paused
                    await extensions.close_break_glass(elb, found.it.id)
                raise
        assert back.chain is not None
        typer.echo(f"{back.name or back.id} serves {back.chain.fingerprint} again.")
        if found.secret:
            typer.echo(f"Secret {found.secret} is not followed for {pause}; then its content comes back.")
        return 0

    run(work)


def resume(
    secret: Annotated[
        str, typer.Argument(help="NAMESPACE/SECRET whose content is parked.", autocompletion=certificates)
    ],
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Try a quarantined Secret again: write the annotation certferry.io/resume to it."""
    from certferry.kube.client.client import SECRET

    async def work() -> int:
        seen = await read_fleet(chosen(config, state, cluster))
        found = seen.one(secret)
        name, mark = found.secret, _parked(found.picture, found.it.id)
        if name is None or mark is None:
            raise UserError(f"Nothing of “{secret}” is parked.", BAD)
        async with found.cluster.kube() as kube:
            patch = {"metadata": {"annotations": {RESUME_ANNOTATION: mark}}}
            await kube.merge(SECRET, name.name, patch, name.namespace)
        typer.echo(f"Secret {name}: its content {mark[:16]} is tried again.")
        return 0

    run(work)


def break_glass(
    certificate: Reference,
    cert: Annotated[
        Path | None, typer.Option(help="The certificate to serve now (PEM, with its chain).")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    reason: Reason = "",
    for_: For = "4h",
    end: Annotated[bool, typer.Option("--end", help="End it: the Secret decides again.")] = False,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Replace a certificate on the ELB alone, for a limited time. Works while the cluster is down."""

    async def work() -> int:
        found = (await read_fleet(chosen(config, state, cluster))).one(certificate)
        if "break-glass" not in found.picture.extensions:
            raise UserError(
                f"The ELB of {found.cluster.name} has no break-glass: replace the certificate there by hand; the controller puts the Secret's content back.",
                BAD,
            )
        async with found.cluster.elb() as elb:
            if end:
                await extensions.close_break_glass(elb, found.it.id)
                typer.echo(f"{found.it.name}: its Secret decides again.")
                return 0
            await _emergency(elb, found, cert, key, reason, duration(for_))
        typer.echo(f"{found.it.name} serves the new certificate; its Secret is not followed for {for_}.")
        return 0

    run(work)


async def _emergency(
    elb: ElbClient, found: Found, cert: Path | None, key: Path | None, reason: str, span: timedelta
) -> None:
    if cert is None or key is None or not reason:
        raise UserError("Give --cert, --key and --reason (or --end to end one).")
    pair = pair_of(cert, key)
    await extensions.open_break_glass(elb, found.it.id, reason, datetime.now(UTC) + span)
    await elb.update_certificate(found.it.id, {"certificate": pair[0], "private_key": pair[1]})


def pair_of(cert: Path, key: Path) -> tuple[str, str]:
    """Both files, checked to belong together and put in order. Raises ``Refused``."""
    try:
        pair = parse_pair(cert.read_text(errors="replace"), key.read_text(errors="replace"))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except InvalidPem as defect:
        raise UserError(f"{cert}: {defect.sentence}") from None
    return pair.chain.pem, pair.key.reveal()


def duration(text: str) -> timedelta:
    """``90s``, ``30m``, ``4h``, ``2d``. Raises ``Refused``."""
    found = re.fullmatch(r"(\d{1,5})([smhd])", text)
    if not found:
        raise UserError(f"“{text}” is no time: it must be like 30m, 4h or 2d.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
    return timedelta(**{unit: int(found[1])})


def _parked(picture: ClusterSnapshot, ref: str) -> str | None:
    return parking.parked(picture.observed.certificates[ref].description)


def _explain(found: Found) -> None:
    name: Name | None = found.secret
    warn(
        f"Certificate {found.it.name} follows Secret {name}: the Secret is the truth, and would bring its content back at once. Nothing was changed. Either\n"
        f"  write the earlier pair there:  certferry cert replace {name} --cert old.crt --key old.key\n"
        f"  or pause the follow:           certferry cert rollback {found.it.id} --pause 4h --reason “…”"
    )


def _row(found: Found, version: extensions.Version) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "cluster": found.cluster.name,
        "id": found.it.id,
        "version": version.number,
        "serves": version.current,
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
