"""`certferry audit export` and `verify`: every change of a file is detected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from certferry.cli import app
from certferry.cli.audit.chain import chained, objection

BEGIN = datetime(2026, 11, 28, tzinfo=UTC)


def records(count: int) -> list[dict[str, Any]]:
    return [
        {"sequence": n, "at": BEGIN + timedelta(hours=n), "user": "ann", "verb": "update", "name": f"“site” {n}"}
        for n in range(count)
    ]


def changed(line: bytes, **fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(line) | fields)


def tampered(lines: list[bytes], how: str) -> list[bytes]:
    match how:
        case "changed":
            return [*lines[:3], changed(lines[3], user="bob"), *lines[4:]]
        case "missing":
            return [*lines[:3], *lines[4:]]
        case "first missing":
            return lines[1:]
        case "reordered":
            return [*lines[:3], lines[4], lines[3], *lines[5:]]
        case "added":
            return [*lines[:3], lines[3], *lines[3:]]
        case "cut off":
            return lines[:-1]
        case "cut off twice":
            return lines[:-3]
        case "after the end":
            return [*lines, lines[3]]
        case "no JSON":
            return [*lines[:3], b"{", *lines[4:]]
        case "a number":
            return [*lines[:3], b"7", *lines[4:]]
        case _:
            return []


@pytest.mark.parametrize("count", [0, 1, 50])
def test_an_untouched_export_is_verified_with_its_number_of_records(count: int) -> None:
    lines = list(chained(records(count)))
    defect, number, last = objection(lines)
    assert (defect, number) == ("", count)
    assert objection(lines, last)[0] == ""


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("changed", "line 4 was changed"),
        ("missing", "Before line 4"),
        ("first missing", "first line"),
        ("reordered", "Before line 4"),
        ("added", "Before line 5"),
        ("cut off", "end is missing"),
        ("cut off twice", "end is missing"),
        ("after the end", "after the end"),
        ("no JSON", "Line 4 is not a record"),
        ("a number", "Line 4 is not a record"),
        ("empty", "end is missing"),
    ],
)
def test_a_touched_export_is_detected(how: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"\n".join(tampered(list(chained(records(5))), how)))
    result = CliRunner().invoke(app, ["audit", "verify", str(file)])
    assert result.exit_code == 1
    assert sentence in result.stdout


def test_an_export_that_was_computed_anew_differs_in_its_last_hash(tmp_path: Path) -> None:
    last = objection(list(chained(records(5))))[2]
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"\n".join(chained(records(4))))
    assert CliRunner().invoke(app, ["audit", "verify", str(file)]).exit_code == 0
    result = CliRunner().invoke(app, ["audit", "verify", str(file), "--hash", last])
    assert result.exit_code == 1
    assert "another export" in result.stdout


def test_an_export_is_one_line_a_record_and_prints_the_last_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    async def collect(*_: object) -> tuple[list[dict[str, Any]], int]:
        return [{**record, "when": "today"} for record in records(3)], 0

    monkeypatch.setattr("certferry.cli.audit.export.collect", collect)
    result = CliRunner().invoke(app, ["audit", "export", "--since", "2d"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.encode().splitlines()
    assert objection(lines)[:2] == ("", 3)
    assert objection(lines)[2] in result.stderr
    assert "when" not in msgspec.json.decode(lines[1])
