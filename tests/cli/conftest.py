"""The world of part D of the defects for commands: one good host among several without a good certificate."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

import pytest
import yaml

from certferry.cli.cert.lookup import FleetSnapshot
from certferry.clusters.cluster import ClusterAccess
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core.checks import CheckPolicy
from certferry.core.decide import decide
from certferry.core.drift.drift import Modes
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
from tests.support import golden


class Clock(datetime):
    """A clock that stands at the time of the golden cases."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return NOW


def settled_fleet(secrets: dict[str, Any] | None = None) -> FleetSnapshot:
    """Return the world once the controller has acted; `secrets` then have another content."""
    path = golden.TESTDATA / "host-state" / "one-good-host-among-broken-ones.in.yaml"
    given: Any = yaml.safe_load(path.read_text())
    elb, cluster = Elb(observed(given["observed"])), view(given)
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    decision = decide(translate(cluster, elb.state, options, NOW), elb.state, CLUSTER, Modes())
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    if secrets:
        cluster = view({**given, "secrets": given["secrets"] | secrets})
    snapshot = ClusterSnapshot(
        cluster=ClusterAccess(name="test"), observed=elb.state, extensions=frozenset(), options=options, view=cluster
    )
    return FleetSnapshot([snapshot], 0, Limits(), CheckPolicy())


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> FleetSnapshot:
    """Return the settled world, and let the clock of the commands stand."""
    for module in ("rows", "lookup", "show"):
        monkeypatch.setattr(f"certferry.cli.cert.{module}.datetime", Clock)
    return settled_fleet()
