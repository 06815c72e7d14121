"""Waiting for what must become true: the only place where the end-to-end tests let time pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

NOT_YET = (OSError, AssertionError, LookupError)
"""What a condition may raise while it is not true yet: no connection, a failed check, a missing key."""


def until(condition: Callable[[], T | None], what: str, *, seconds: float = 20) -> T:
    """The first truthy value of `condition`; after `seconds` fails with `what` and the last reason."""
    deadline = time.monotonic() + seconds
    reason = "never true"
    while True:
        try:
            value = condition()
        except NOT_YET as missing:
            reason = f"{type(missing).__name__}: {missing}"
        else:
            if value:
                return value
            reason = f"it was {value!r}"
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for: {what} ({reason})")
        time.sleep(0.03)
