"""From a translation to what is to be done: drift is settled, then steps are planned.

The controller's loop and ``certferry plan`` call it, so that what is printed is what would be done.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from certferry.core.drift.detect import detect_drift
from certferry.core.drift.detect_unmarked import NOTHING, Baseline
from certferry.core.drift.drift import Drift, Modes
from certferry.core.model.elb import State
from certferry.core.plan.plan import match, plan
from certferry.core.plan.steps import Step
from certferry.core.translate.translate import Translation


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and what was found."""

    ids: Mapping[str, str]
    """Key → id of what exists."""
    steps: tuple[Step, ...]
    drifts: tuple[Drift, ...]


def decide(
    translation: Translation,
    observed: State,
    cluster_id: str,
    modes: Modes,
    known: Baseline = NOTHING,
) -> Decision:
    """`known`: what was there before, as far as we changed nothing since."""
    ids = match(translation.desired, observed, cluster_id)
    settled = detect_drift(translation.desired, observed, ids, modes, known)
    return Decision(
        ids=ids,
        steps=plan(settled.desired, observed, cluster_id, translation.retained),
        drifts=settled.drifts,
    )
