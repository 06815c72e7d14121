"""``certferry cert wait``: wait until clients of a host get a certificate."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from certferry.cli.cert.completion import hosts
from certferry.cli.cert.lookup import Cluster, FleetSnapshot, read_fleet, run
from certferry.cli.handshake import Handshake, shake_hands
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, duration, instant
from certferry.core.diagnosis.host_state import for_host
from certferry.core.x509.pem import InvalidPem, parse_chain
from certferry.settings import UserError

PAUSE: Final = 0.2
"""Seconds between two rounds of handshakes."""
_SHORTEST: Final = 8
"""Characters of a fingerprint at least."""


def wait(
    host: Annotated[str, typer.Argument(help="Host whose clients are to get it.", autocompletion=hosts)],
    fingerprint: Annotated[
        str | None, typer.Option(help="SHA-256 fingerprint of the certificate, or its beginning.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="File of the certificate, instead of --fingerprint.")] = None,
    timeout: Annotated[str, typer.Option(help="How long to wait, like 30s or 5m.")] = "60s",
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Wait until every listener serves a certificate to clients of HOST. Exit code 1 after the timeout."""
    wanted = _wanted(fingerprint, cert)
    deadline = time.monotonic() + duration(timeout).total_seconds()

    async def work() -> int:
        different: dict[str, str] = {}
        while True:
            fleet = await read_fleet(config, state, cluster, quiet=True)
            if targets := _targets(fleet, host.lower()):
                answers = await asyncio.gather(*(shake_hands(*target) for target in targets))
                served = {f"{a}:{p}": answer for (a, p, _), answer in zip(targets, answers, strict=True)}
                different = {at: text for at, answer in served.items() if (text := _difference(answer, wanted))}
                if not different:
                    for at, answer in served.items():
                        typer.echo(_line(at, answer))
                    return fleet.code
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(PAUSE)
        missing = "; ".join(f"{address}: {what}" for address, what in different.items())
        raise UserError(
            f"{host} does not serve {wanted[:16]} after {timeout}: {missing or 'no listener has this host'}.", BAD
        )

    run(work)


def _wanted(fingerprint: str | None, cert: Path | None) -> str:
    if (fingerprint is None) == (cert is None):
        raise UserError("Give either --fingerprint or --cert.")
    if cert is not None:
        try:
            return parse_chain(cert.read_text(errors="replace")).fingerprint
        except OSError as error:
            raise UserError(f"{cert} cannot be read: {error.strerror}.") from None
        except InvalidPem as defect:
            raise UserError(f"{cert}: {defect.sentence}") from None
    text = str(fingerprint).replace(":", "").lower()
    if len(text) < _SHORTEST or not all(c in "0123456789abcdef" for c in text):
        raise UserError(f"“{fingerprint}” is not a SHA-256 fingerprint: give at least {_SHORTEST} hex digits.")
    return text


def _targets(fleet: FleetSnapshot, host: str) -> list[tuple[str, int, str]]:
    """Return address, port and host of each listener that claims of the host use."""
    wildcard = f"*.{host.partition('.')[2]}"
    for name in (host, wildcard):
        states = [s for one in fleet.clusters for s in for_host(fleet.hosts(one), name) if s.claims]
        if states:
            return sorted({(s.key.address, s.key.port, host) for s in states})
    return []


def _difference(answer: Handshake, wanted: str) -> str:
    """Return what is served instead of the wanted certificate; "" if it is served."""
    if answer.chain is None:
        return answer.error
    shown = answer.chain.fingerprint
    return "" if shown.startswith(wanted) else f"serves {shown[:16]}"


def _line(address: str, answer: Handshake) -> str:
    assert answer.chain is not None
    return f"{address} serves {answer.chain.fingerprint[:16]}, valid until {instant(answer.chain.not_after)}."
