"""The number of examples that property tests draw: a tenth with ``--fast``."""

from __future__ import annotations

from hypothesis import settings

_divisor = 1


def draw_few() -> None:
    """Draw a tenth of the examples from now on."""
    global _divisor
    _divisor = 10
    settings.load_profile("fast")


def examples(number: int) -> settings:
    """Return the settings of a property that draws `number` examples."""
    return settings(max_examples=max(number // _divisor, 5))
