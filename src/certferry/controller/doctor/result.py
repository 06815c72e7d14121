"""What one check says: well, worth knowing, or wrong; and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failure"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    check: str
    level: Level = "ok"
    sentence: str
    remedy: str = ""


def well(check: str, sentence: str) -> Verdict:
    """All is well."""
    return Verdict(check=check, sentence=sentence)


def doubtful(check: str, sentence: str, remedy: str) -> Verdict:
    """It works, and may not for long."""
    return Verdict(check=check, level="warning", sentence=sentence, remedy=remedy)


def wrong(check: str, sentence: str, remedy: str) -> Verdict:
    """It does not work."""
    return Verdict(check=check, level="failure", sentence=sentence, remedy=remedy)
