"""The order of certificates, and its agreement with the invariant."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from certferry.core import checks
from certferry.core.checks.better import CertificateFacts, Rank, rank
from certferry.core.x509.pem import Chain
from tests.core.support.fixtures import NOW, chain

HOST = "shop.example.com"
DAY = timedelta(days=1)
FACTS = st.fixed_dictionaries(
    {
        "names": st.sampled_from([(HOST,), ("other.example.com",)]),
        "not_after": st.sampled_from([NOW - DAY, NOW + DAY, NOW + 9 * DAY]),
        "key": st.sampled_from(["P-256", "RSA-1024"]),
    }
)
MARKED = st.frozensets(st.sampled_from(["new", "old"]))


def test_the_order_is_usable_covering_valid_uncompromised_later_expiry() -> None:
    best = _facts(chain("a"), frozenset())
    worse = [
        best._replace(not_after=best.not_after - DAY),
        best._replace(compromised=True),
        best._replace(not_after=NOW),
        best._replace(names=("other.example.com",)),
        best._replace(usable=False),
    ]
    ranks = [rank(facts, (HOST,), NOW) for facts in (best, *worse)]
    assert ranks == sorted(ranks, reverse=True)
    assert len({*ranks}) == len(ranks)


@given(FACTS, FACTS, MARKED)
def test_no_accepted_certificate_is_worse_than_a_good_one(new: dict, old: dict, marked: frozenset[str]) -> None:  # type: ignore[type-arg]
    a, b = chain("new", **new), chain("old", **old)
    if checks.objection(a, b, (HOST,), NOW, marked) is None:
        assert not (_whole(b, marked) and not _whole(a, marked))


@given(FACTS, FACTS, MARKED)
def test_a_good_certificate_replaces_every_other(new: dict, old: dict, marked: frozenset[str]) -> None:  # type: ignore[type-arg]
    a, b = chain("new", **new), chain("old", **old)
    if _whole(a, marked):
        assert checks.objection(a, b, (HOST,), NOW, marked) is None


@given(FACTS, FACTS, MARKED)
def test_a_compromised_key_replaces_another_only_by_what_comes_first(
    new: dict,  # type: ignore[type-arg]
    old: dict,  # type: ignore[type-arg]
    marked: frozenset[str],
) -> None:
    a, b = chain("new", **new), chain("old", **old)
    if marked == {"new"} and checks.objection(a, b, (HOST,), NOW, marked) is None:
        assert _rank(a, marked)[:3] > _rank(b, marked)[:3] or not checks.valid(b, NOW)


def _whole(one: Chain, marked: frozenset[str]) -> bool:
    return _rank(one, marked).fitness == (True, 1, True, True)


def _rank(one: Chain, marked: frozenset[str]) -> Rank:
    return rank(_facts(one, marked), (HOST,), NOW)


def _facts(one: Chain, marked: frozenset[str]) -> CertificateFacts:
    return CertificateFacts(one.names, one.not_before, one.not_after, one.loadable, one.spki in marked)
