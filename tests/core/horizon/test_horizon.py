"""Golden cases of the horizon: a cluster and an ELB in, the renewals to come out; and its calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as arbitrary
from hypothesis import strategies as st

from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.inventory import watched
from certferry.core.horizon.icalendar import calendar
from certferry.core.horizon.projection import Horizon, horizon_of
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509 import lifetimes
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, NOW, observed, view
from tests.support import golden

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
LIMITS = Limits()


def horizon(given: Any, limits: Limits = LIMITS) -> Horizon:
    return horizon_of(watched(diagnose(view(given), observed(given["observed"]), OPTIONS, NOW, limits)), NOW, limits)


@pytest.mark.parametrize("path", golden.cases("horizon"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    result = horizon(given)
    return {
        "certificates": [
            {
                "certificate": c.renewal.certificate.id,
                "by": f"{c.renewal.renewer}: {c.renewal.by}",
                "due": c.renewal.due,
                "overdue": c.renewal.overdue,
                "would fail": c.renewal.obstacle.why if c.renewal.obstacle else None,
                "renewals": len(c.renewals),
                "lives": [
                    f"{c.days}",
                    *(f"{s.days} from {s.since:%Y-%m-%d}, first on {s.first:%Y-%m-%d}" for s in c.steps),
                ],
            }
            for c in result.certificates
        ],
        "dates": [
            f"{e.rule.since:%Y-%m-%d} {e.rule.whose}: {e.shorter} of {e.certificates} shorter, {e.by_hand} by hand. "
            f"{e.validation}"
            for e in result.rules
        ],
        "load": [f"{p.begin} to {p.end}: {p.renewals}, {p.by_hand} by hand, most {p.most}" for p in result.periods],
        "calendar": [
            line for line in calendar(result).split("\r\n") if line.startswith(("DTSTART", "SUMMARY", "TRIG"))
        ],
    }


def test_the_dates_are_those_of_the_ballots_and_of_lets_encrypt() -> None:
    assert [(f"{r.since:%Y-%m-%d}", r.days, r.issuer) for r in lifetimes.RULES[1:]] == [
        ("2026-03-15", 200, ""),
        ("2027-02-10", 64, "Let's Encrypt"),
        ("2027-03-15", 100, ""),
        ("2028-02-16", 45, "Let's Encrypt"),
        ("2029-03-15", 47, ""),
    ]


@pytest.mark.parametrize(
    ("at", "days"),
    [("2026-03-14", 398), ("2026-03-15", 200), ("2027-03-14", 200), ("2027-03-15", 100), ("2029-03-15", 47)],
)
def test_browsers_limit_a_lifetime_from_its_day_of_issue(at: str, days: int) -> None:
    assert lifetimes.limit_of_browsers(datetime.fromisoformat(at).replace(tzinfo=UTC)) == days


@arbitrary(
    started=st.integers(-400, 400),
    life=st.integers(1, 4000),
    share=st.floats(0.01, 1),
    days=st.none() | st.integers(0, 400),
)
def test_every_certificate_is_projected_to_the_end_whatever_the_limits(
    started: int, life: int, share: float, days: int | None
) -> None:
    begin = NOW - timedelta(days=started)
    given: Any = {
        "observed": {
            "certificates": {"one": {"not_before": begin, "not_after": begin + timedelta(days=life)}},
            "listeners": {"li": {"protocol": "HTTPS", "protocol_port": 443, "default_tls_container_ref": "one"}},
        }
    }
    result = horizon(given, Limits(late=share, late_days=days))
    (one,) = result.certificates
    assert all(NOW <= at < result.until for at in one.renewals)
    assert list(one.renewals) == sorted(set(one.renewals))
    assert sum(p.renewals for p in result.periods) <= len(one.renewals)
    assert sum(count for _, count in result.days) == len(one.renewals)
