"""`make faults`: run every fault once and write docs/faults.md; exit code 1 if one did harm."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.faults import tested
from tests.e2e.faults.run import FAULTS, SLOW, Outcome, outcome, stage

PAGE = Path(__file__).resolve().parents[3] / "docs" / "faults.md"
HEAD = """# Faults

`make faults` measures the effect of each fault on a whole system. Kubernetes API, ELB, Envoy and controller are
processes, and a proxy before each API of the controller injects the faults. During each fault the certificate in a
Secret is renewed. Clients connect one after another, each with a new verified connection and a request.

| column | meaning |
|---|---|
| affected | requests of the controller that the fault affected |
| requests, failed | requests of clients, and failed ones, from before the fault until the new certificate was served |
| lost | renewals that were never served |
| recovery | time from the renewal, or from the end of the fault if that is later, until a client got the new certificate |
| writes | writes of the certificate in the ELB's audit log; one renewal is one write |

The second table has faults of files and programs, and hostile input. `make faults` runs their tests. Further faults: in
`tests/controller/test_replicas.py` a leader is stopped in the middle of a plan and resumed, or killed.
In `tests/e2e/faults/test_faults.py` the controller restarts after each step of a plan.
"""


async def _all() -> list[Outcome]:
    async with stage() as on:
        found = []
        for name, act in (FAULTS | SLOW).items():
            found.append(await outcome(on, name, act))
            print(_row(found[-1]), flush=True)
        return found


def _row(it: Outcome) -> str:
    cells = (it.name, it.hits, it.requests, len(it.failures), it.lost, f"{it.heal:.2f} s", it.writes)
    return f"| {' | '.join(map(str, cells))} |"


def _page(found: Sequence[Outcome], passed: dict[str, bool]) -> str:
    table = ["| fault | affected | requests | failed | lost | recovery | writes |", "|---|" + "---:|" * 6]
    failed, lost = sum(len(it.failures) for it in found), sum(it.lost for it in found)
    twice = sum(it.writes != it.changes for it in found)
    close = f"Together: {failed} failed, {lost} lost, {twice} written more or less than once."
    made = f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.system()} {platform.machine()}, Python {platform.python_version()}."
    return "\n".join([HEAD, *table, *map(_row, found), "", close, "", *tested.table(passed), "", made, ""])


def main() -> None:
    found = asyncio.run(_all())
    passed = tested.run_tests()
    PAGE.write_text(_page(found, passed))
    print("\n".join(tested.table(passed)))
    noticed = any(it.failures or it.lost or it.writes != it.changes for it in found)
    sys.exit(noticed or not all(passed.values()))


if __name__ == "__main__":
    main()
