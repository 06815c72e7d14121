"""Delays between failed attempts."""

from __future__ import annotations

import pytest

from certferry.runtime.backoff import Backoff, delay_after


def test_delays_double_up_to_the_ceiling_and_start_over_after_a_reset() -> None:
    """The ceiling holds from the attempt that would exceed it."""
    backoff = Backoff(1.0, 5.0)
    assert [backoff.advance() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.delay == 1.0


def test_one_attempt_may_have_a_ceiling_of_its_own() -> None:
    """A lower ceiling limits the next delay only."""
    backoff = Backoff(1.0, 8.0)
    assert [backoff.advance(1.0), backoff.advance(), backoff.advance()] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.1), (2, 0.2), (6, 3.2), (7, 5.0), (10_000, 5.0)])
def test_the_delay_after_a_number_of_failures(failures: int, delay: float) -> None:
    """A high count neither overflows nor exceeds the ceiling."""
    assert delay_after(failures, 0.1, 5.0) == pytest.approx(delay)
