"""An audit export: JSON lines in which each record has the SHA-256 of the record before.

A changed, missing, added or reordered record breaks the chain, and an export without its end lacks the last line. A
program that can replace the whole file can also compute it anew; only the last hash, kept elsewhere, shows that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

FIRST: Final = "0" * 64
"""The hash before the first record."""
_FORMAT: Final = "certferry-audit/1"


def chained(records: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the lines of an export, without line ends: a header, `records`, and the end with their number."""
    before, count = FIRST, 0
    for record in ({"format": _FORMAT}, *records):
        line = _line(record, count, before)
        before, count = line["hash"], count + 1
        yield msgspec.json.encode(line)
    yield msgspec.json.encode(_line({"end": True, "records": count - 1}, count, before))


def objection(lines: Iterable[bytes], expected: str = "") -> tuple[str, int, str]:
    """Return (the first defect or "", the number of records, the last hash) of an export.

    `expected`: the last hash as it was printed by the export; "" if it is not known.
    """
    before, count, ended = FIRST, 0, False
    for count, text in enumerate(lines, start=1):
        try:
            line = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            return f"Line {count} is not a record.", count, before
        if ended:
            return f"Line {count} comes after the end.", count, before
        if count == 1 and line.get("format") != _FORMAT:
            return f"The first line is not that of an audit export ({_FORMAT}).", count, before
        if line.get("hash") != _hash(line):
            return f"The record in line {count} was changed.", count, before
        if line.get("previous") != before or line.get("number") != count - 1:
            return f"Before line {count}, a record is missing, was added or has another place.", count, before
        before, ended = line["hash"], bool(line.get("end"))
    if not ended:
        return "The end is missing: records may have been cut off.", count, before
    if expected and expected != before:
        return f"The last hash is {before}, and not the expected one: this is another export.", count, before
    return "", count - 2, before


def _line(record: Mapping[str, Any], number: int, before: str) -> dict[str, Any]:
    line = {"number": number, **msgspec.to_builtins(record), "previous": before}
    return line | {"hash": _hash(line)}


def _hash(line: Mapping[str, Any]) -> str:
    content = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
