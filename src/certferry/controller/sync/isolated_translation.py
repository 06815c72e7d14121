"""Translations of one controller that no single object can prevent: see ``core.diagnosis.isolation``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from certferry.core.diagnosis.cluster import Isolation, TranslatedCluster, translate_cluster
from certferry.core.memo import Memo
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.runtime.metrics import Metrics

RETRY_SKIPPED: Final = 300.0
"""Seconds after which a skipped object is tried again although it has not changed."""

_log = structlog.get_logger()


class IsolatedTranslation:
    """Translations; an object that was skipped stays skipped until it changes.

    `later` derives what follows from a translation; after ``suspect`` it is part of each attempt.
    """

    def __init__(
        self, options: TranslateOptions, later: Callable[[TranslatedCluster], object], metrics: Metrics
    ) -> None:
        self._options = options
        self._later = later
        self._check: Callable[[TranslatedCluster], object] = lambda cluster: cluster
        self._metrics = metrics
        self._isolation = Isolation()
        self._memo = Memo()
        self._searched_at = 0.0
        self._reported: frozenset[Problem] = frozenset()

    def suspect(self) -> None:
        """Skip objects over which a later step raises, too, from now on."""
        self._isolation = Isolation(before=self._isolation.before)
        self._check = self._later

    async def derive(self, view: ClusterView, observed: State) -> TranslatedCluster:
        """Return the translation, made in a thread on immutable values, so that a rotation need not wait for it."""
        isolation = self._isolation
        if not isolation.known or time.monotonic() - self._searched_at >= RETRY_SKIPPED:
            self._searched_at = time.monotonic()
            isolation = Isolation(before=isolation.before)
        now = datetime.now(UTC)
        cluster = await asyncio.to_thread(
            translate_cluster, view, observed, self._options, now, isolation, self._check, self._memo
        )
        self._isolation = Isolation(before=cluster.view, known=cluster.skipped)
        skipped = frozenset(p for p in cluster.translation.problems if p.reason == "ObjectSkipped")
        for problem in sorted(skipped - self._reported):
            ref = problem.object
            self._metrics.objects_skipped.labels(ref.kind).inc()
            _log.error("object skipped", kind=ref.kind, object=f"{ref.namespace}/{ref.name}", why=problem.sentence)
        self._reported = skipped
        return cluster
