"""The result of one check: ok, warning or failure, with what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failure"]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    check: str
    level: Level = "ok"
    sentence: str
    remedy: str = ""


def ok(check: str, sentence: str) -> CheckResult:
    """Return a passed check."""
    return CheckResult(check=check, sentence=sentence)


def warning(check: str, sentence: str, remedy: str) -> CheckResult:
    """Return a check that passed for now."""
    return CheckResult(check=check, level="warning", sentence=sentence, remedy=remedy)


def failure(check: str, sentence: str, remedy: str) -> CheckResult:
    """Return a failed check."""
    return CheckResult(check=check, level="failure", sentence=sentence, remedy=remedy)
