"""What one check says: well, worth knowing, or wrong; and what to do about it."""

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
    """All is well."""
    return CheckResult(check=check, sentence=sentence)


def warning(check: str, sentence: str, remedy: str) -> CheckResult:
    """It works, and may not for long."""
    return CheckResult(check=check, level="warning", sentence=sentence, remedy=remedy)


def failure(check: str, sentence: str, remedy: str) -> CheckResult:
    """It does not work."""
    return CheckResult(check=check, level="failure", sentence=sentence, remedy=remedy)
