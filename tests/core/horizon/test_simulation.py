"""The short version of the simulated year: no valid certificate is withheld, and each exception is alerted before."""

from __future__ import annotations

import pytest

from tests.core.horizon.simulation import DAY, Report, Year


@pytest.fixture(scope="module")
def year() -> Report:
    return Year(30).run(2 * DAY)


def test_no_host_is_served_an_expired_certificate_while_a_valid_one_exists(year: Report) -> None:
    assert year.renewals > 300
    assert year.avoidable == 0, [e for e in year.exposures if e.valid_pair]


def test_each_exception_is_alerted_before(year: Report) -> None:
    """Overlooked alerts lead to exceptions, so the year has some."""
    assert len(year.exposures) >= 2
    assert year.not_alerted == []


def test_a_bad_renewal_and_an_outage_of_the_ca_are_alerts(year: Report) -> None:
    assert sum(year.bad_renewals.values()) >= 3
    assert year.alerts["CertificateRejected"]
    assert year.alerts["RenewalLate"]


def test_a_full_quota_delays_new_hosts_alone(year: Report) -> None:
    assert set(year.waiting.values()) == {2.0}
    assert len(year.waiting) == year.quota_alerts == 3


def test_lifetimes_are_shortened_on_the_day(year: Report) -> None:
    assert set(year.lifetimes) == {47, 45, 64}
