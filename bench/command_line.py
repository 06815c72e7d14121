"""Start-up of the command line: wall time of whole processes, beside Python with three standard modules.

``python -m bench cli`` prints it alone. The commands run in turns, so that a change of the machine's speed meets all.
"""

from __future__ import annotations

import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

FLOOR: Final = ("-c", "import asyncio, json, re")
RUNS: Final = 21
RATIO: Final = 3.0
"""Promise for ``version`` and ``--help``, as a multiple of the floor."""
MILLISECONDS: Final = 300.0
"""Promise for commands that ask a running `certferry up`."""


def main(_: list[str]) -> None:
    """Print the table."""
    print(table(measure()))


def measure(runs: int = RUNS) -> dict[str, float]:
    """Return the median milliseconds of each command; the floor has the name ""."""
    place = Path(tempfile.mkdtemp(prefix="cfb-"))
    state = place / "s"
    command = [sys.executable, "-m", "certferry", "up", "--state", str(state)]
    with (place / "up.log").open("wb") as log:
        up = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while b"is ready" not in (place / "up.log").read_bytes():  # it serves the demo's first certificate
            if up.poll() is not None:
                raise RuntimeError((place / "up.log").read_text())
            time.sleep(0.2)
        of = ("--state", str(state))
        commands: dict[str, tuple[str, ...]] = {
            "": FLOOR,
            "version": ("-m", "certferry", "version"),
            "--help": ("-m", "certferry", "--help"),
            "cert ls": ("-m", "certferry", "cert", "ls", *of),
            "why HOST": ("-m", "certferry", "why", "hello.certferry.test", *of),
        }
        spent: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, words in commands.items():
                before = time.perf_counter()
                subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
                spent[name].append(1000 * (time.perf_counter() - before))
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)
        shutil.rmtree(place, ignore_errors=True)
    return {name: statistics.median(times) for name, times in spent.items()}


def table(medians: dict[str, float]) -> str:
    """Return the Markdown table of what `measure` returned."""
    floor = medians[""]
    lines = ["| command | median | / floor | promised | |", "|---|---:|---:|---:|---|"]
    lines.append(f"| `python {FLOOR[0]} '{FLOOR[1]}'` (floor) | {floor:.0f} ms | 1.0 |  |  |")
    for name, median in medians.items():
        if not name:
            continue
        fixed = name in ("version", "--help")
        met = median / floor <= RATIO if fixed else median <= MILLISECONDS
        promised = f"≤ {RATIO:.0f} × floor" if fixed else f"≤ {MILLISECONDS:.0f} ms"
        verdict = "met" if met else "not met"
        lines.append(f"| `certferry {name}` | {median:.0f} ms | {median / floor:.1f} | {promised} | {verdict} |")
    return "\n".join(lines)
