"""Measured figures against promised ones, as numbers and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MEDIAN = 20.0
"""Milliseconds that the median may take at most."""
RATIO = 4.0
"""Times the floor's median that the median may take at most."""
P99 = 150.0
"""Milliseconds that the slowest of a hundred may take at most."""
WRITES = 1.0
"""Writes to the ELB per rotation."""


@dataclass(frozen=True)
class Row:
    """All that was measured at one number of certificates; times in milliseconds, one per rotation."""

    certificates: int
    times: Sequence[float]
    floor: Sequence[float]
    writes: int
    """Writes to the ELB during all rotations."""
    cpu: dict[str, float]
    """CPU milliseconds per rotation and process."""

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def ratio(self) -> float:
        return self.median / statistics.median(self.floor)

    @property
    def writes_each(self) -> float:
        return self.writes / len(self.times)

    def verdicts(self) -> list[tuple[str, str, str, bool]]:
        """(what, measured, promised, met)."""
        return [
            ("median", f"{self.median:.1f} ms", f"≤ {MEDIAN:g} ms", self.median <= MEDIAN),
            ("median / floor", f"{self.ratio:.1f}", f"≤ {RATIO:g}", self.ratio <= RATIO),
            ("p99", f"{p99(self.times):.1f} ms", f"≤ {P99:g} ms", p99(self.times) <= P99),
            ("ELB writes per rotation", f"{self.writes_each:g}", f"{WRITES:g}", self.writes_each == WRITES),
        ]


def p99(times: Sequence[float]) -> float:
    """The 99th percentile, by the nearest rank: a value that was measured."""
    ordered = sorted(times)
    return ordered[-(-len(ordered) * 99 // 100) - 1]


def table(rows: Sequence[Row]) -> str:
    """The Markdown of all rows."""
    lines = ["| certificates | what | measured | promised | |", "|---:|---|---:|---:|---|"]
    for row in rows:
        for what, measured, promised, met in row.verdicts():
            lines.append(f"| {row.certificates:,} | {what} | {measured} | {promised} | {_word(met)} |")
    lines += ["", "| certificates | rotations | min | median | p90 | p99 | max | floor median | floor p99 |"]
    lines.append("|" + "---:|" * 9)
    lines += [_spread(row) for row in rows]
    lines += ["", "CPU milliseconds per rotation:", ""]
    names = list(rows[0].cpu) if rows else []
    lines.append("| certificates | " + " | ".join(names) + " |")
    lines.append("|" + "---:|" * (len(names) + 1))
    lines += [
        f"| {row.certificates:,} | " + " | ".join(f"{row.cpu[name]:.1f}" for name in names) + " |" for row in rows
    ]
    return "\n".join(lines)


def _word(met: bool) -> str:
    return "met" if met else "**not met**"


def _spread(row: Row) -> str:
    ordered = sorted(row.times)
    numbers = (
        ordered[0],
        row.median,
        ordered[len(ordered) * 9 // 10],
        p99(row.times),
        ordered[-1],
        statistics.median(row.floor),
        p99(row.floor),
    )
    return f"| {row.certificates:,} | {len(row.times)} | " + " | ".join(f"{n:.1f}" for n in numbers) + " |"
