"""`python -m bench`: the numbers of docs/benchmarks.md, measured and written, met or not."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import cold_start, command_line, console, elb, kube
from bench.floor import floor
from bench.rotation import measure
from bench.rows import Row, table
from bench.scale import measure as measure_scale
from bench.scale import table as scale_table
from tests.core.horizon import simulation

REPORT: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"

LIMITS: Final = {
    "CERTFERRY_ELB_LIMITS": '{"certificate":2000,"sni_certificates":2000,"sni_names":2000}',
    "CERTFERRY_CONTROLLER_MAX_SNI_CERTIFICATES": "2000",
    "CERTFERRY_CONTROLLER_MAX_SNI_NAMES": "2000",
}
"""Settings that let a thousand certificates stand on one listener."""

OTHERS: Final[dict[str, Callable[[list[str]], None]]] = {
    "cli": command_line.main,
    "console": console.main,
    "elb": elb.main,
    "horizon": simulation.main,
    "kube": kube.main,
    "memory": cold_start.memory_main,
    "spaced": cold_start.spaced_main,
}
"""What is measured by name alone, each with a page of its own."""

INTRODUCTION: Final = """\
# Benchmarks

The duration of a rotation: from the write of the Secret to the Kubernetes API until a client has completed a TLS
handshake that shows the new certificate. `make bench` measures it and writes this page, also if a target is missed.

- The clock starts directly before a merge patch of the Secret is sent over a kept HTTPS connection. It stops after a
  handshake on a new connection. One client makes handshakes without a pause, so each time includes up to two of its
  handshakes (1 to 3 ms each).
- The client continues for 4 ms after the first new certificate, and an old certificate in that time would end the run.
  Then the next rotation begins. So the controller's own probe of one rotation is mostly finished by then; without the
  pause a rotation takes about a millisecond more.
- 50 rotations precede each measurement as a warm-up, of the whole system and of the floor, because processes that were
  idle for seconds are slow.
- Kubernetes API, controller, ELB and Envoy are separate processes of `certferry up`. They and the client share the
  machine.
- *Floor*: the same content passed directly to the xDS server in the same run, which is the time of Envoy and the
  client.
- One listener holds all certificates.
- The ELB's audit log counts ELB writes.
- The speed of a shared machine varies by half within an hour, for the client as for everything else: compare figures of
  one run. Seven runs of 2026-11-23 on an idle machine gave 3.6 to 4.7 times the floor at 1 certificate (median 4.0) and
  3.6 to 4.2 times at 1,000 (median 3.7), so the ratio is the least certain row. A rotation needs two synced writes and
  five processes on two cores, one of which the client keeps busy.
"""


SCALE: Final = """\
## Scale

Only the controller, with the embedded Kubernetes API and the ELB without Envoy; limits raised. *Cold*: the ELB has only
load balancers, and each object is one request. *Controller's time*: from the receipt of a Secret's event until its
write to the ELB is sent, the mean of 50 changes.
"""

COMMAND_LINE: Final = """\
## Command line

Wall time of whole processes, medians of 21 runs in turns. `cert ls` and `why` ask a running `certferry up`.
"""


def main() -> None:
    """Measure, print, write."""
    if len(sys.argv) > 1 and sys.argv[1] in OTHERS:
        OTHERS[sys.argv[1]](sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rotations", type=int, default=200)
    parser.add_argument("--certificates", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--ingresses", type=int, default=10_000, help="for the scale; 0 leaves it out")
    parser.add_argument("--secrets", type=int, default=2_000)
    parser.add_argument("--report", type=Path, default=REPORT)
    asked = parser.parse_args()
    print("settings:", " ".join(f"{name}={value}" for name, value in LIMITS.items()) or "defaults", flush=True)
    rows = [_row(certificates, asked.rotations) for certificates in asked.certificates]
    asked.report.parent.mkdir(exist_ok=True)
    scale = _scale(asked.ingresses, asked.secrets) if asked.ingresses else ""
    commands = f"\n{COMMAND_LINE}\n{command_line.table(command_line.measure())}\n"
    asked.report.write_text(_page(rows) + scale + commands)
    print(table(rows) + scale + commands)


def _row(certificates: int, rotations: int) -> Row:
    print(f"{certificates:,} certificates: the floor", file=sys.stderr, flush=True)
    least = asyncio.run(floor(certificates, rotations))
    print(f"{certificates:,} certificates: {rotations} rotations", file=sys.stderr, flush=True)
    place = Path(tempfile.mkdtemp(prefix="cfb-"))
    try:
        return measure(certificates, rotations, place / "s", LIMITS, least)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _scale(ingresses: int, secrets: int) -> str:
    place = Path(tempfile.mkdtemp(prefix="cfb-"))
    try:
        return f"\n{SCALE}\n{scale_table(measure_scale(ingresses, secrets, place / 's'))}\n"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _page(rows: list[Row]) -> str:
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, `python -m bench`"
    )
    limits = ", ".join(f"`{name}={value}`" for name, value in LIMITS.items())
    raised = f"Limits raised for the run: {limits}.\n\n" if limits else ""
    return f"{INTRODUCTION}\n## Results\n\n{where}.\n\n{raised}{table(rows)}\n"


if __name__ == "__main__":
    main()
