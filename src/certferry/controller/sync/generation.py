"""One immutable result of a gather: the cluster, the ELB, and what follows from both.

``Reconciler`` publishes it through ``Latest``; the fast paths, the rollback and the reports read the newest one.
Invariant: a generation is never changed after it was published.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from certferry.core.diagnosis.cluster import TranslatedCluster
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.translate import Translation
from certferry.runtime.latest import Latest


class Generation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The view, the observed state and their translation. Compared by identity, because the values are large.

    ``report.host_reporter`` derives the state of each host after the generation has settled.
    """

    cluster: TranslatedCluster
    in_step: bool = False
    """True if the ELB has everything that `translation` asks for."""

    @property
    def view(self) -> ClusterView:
        """The cluster."""
        return self.cluster.view

    @property
    def observed(self) -> State:
        """The ELB."""
        return self.cluster.observed

    @property
    def translation(self) -> Translation:
        """The desired state with its problems."""
        return self.cluster.translation


Generations: TypeAlias = Latest[Generation | None]
"""None before the first reconcile, and while another replica leads."""
