"""Decide the steps for a translation: detect drift, then plan.

The controller and ``certferry plan`` share it, so that a printed plan is the plan that would run.
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
    """The steps to carry out, and the drift that was detected."""

    ids: Mapping[str, str]
    """Key → id of each desired object that exists."""
    steps: tuple[Step, ...]
    drifts: tuple[Drift, ...]


def decide(
    translation: Translation, observed: State, cluster_id: str, modes: Modes, known: Baseline = NOTHING
) -> Decision:
    """Return the steps and the drift. `known`: the state of the last reconcile, without our own changes since."""
    ids = match(translation.desired, observed, cluster_id)
    result = detect_drift(translation.desired, observed, ids, modes, known)
    return Decision(
        ids=ids, steps=plan(result.desired, observed, cluster_id, translation.retained), drifts=result.drifts
    )
