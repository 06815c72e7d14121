"""Hosts by category, and problems by object: each problem once, on the object that has to change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certferry.console.judge.health import CATEGORIES, HostPlace, counts, overall, places, problems, worst
from certferry.console.judge.rotation_log import read_rotation, timeline
from certferry.console.pages.hosts.details import commands
from certferry.console.web.formatting import ago
from certferry.core.model.kubernetes import Name
from certferry.elb.client.extensions import Record
from tests.console.judge.test_hosts import derived
from tests.core.support.fixtures import NOW


def test_each_host_is_in_one_category() -> None:
    hosts = places(derived().hosts)
    numbers = counts(hosts)
    assert numbers == {"wrong": 3, "expired": 0, "unknown": 0, "expiring": 0, "right": 5}
    assert [host.category for host in hosts] == sorted((h.category for h in hosts), key=[*numbers].index)
    assert {host.host for host in hosts[:3]} == {"live.example.test", "old3.example.test", "sso.example.test"}


def test_a_problem_that_secret_and_ingress_bear_is_listed_once() -> None:
    state = derived()
    reported = {(p.object.kind, str(Name(p.object.namespace, p.object.name))) for p in state.translation.problems}
    assert {("Secret", "demo/old3-tls"), ("Ingress", "demo/old3")} <= reported
    listed = problems(state.hosts, state.translation.problems)
    assert sorted((p.object.kind, str(p.name)) for p in listed) == [
        ("Ingress", "team/live"),
        ("Secret", "demo/old3-tls"),
        ("Secret", "team/sso-tls"),
    ]
    assert all(p.badge.level == "bad" and p.action and p.hosts for p in listed)
    # without host states, what the controller reports is there all the same
    assert len(problems((), state.translation.problems)) == 3


@pytest.mark.parametrize(
    ("numbers", "level", "word"),
    [
        ({"wrong": 2, "expired": 1, "expiring": 4}, "bad", "2 wrong, 1 expired"),
        ({"unknown": 1, "right": 9}, "warn", "1 unknown"),
        ({"right": 9}, "good", "All right"),
        ({}, "idle", "No hosts"),
    ],
)
def test_the_worst_state_in_a_few_words(numbers: dict[str, int], level: str, word: str) -> None:
    badge = worst({category.key: 0 for category in CATEGORIES} | numbers)
    assert (badge.level, badge.word) == (level, word)


def test_a_problem_that_no_client_notices_is_a_warning() -> None:
    state = derived()
    good = [host for host in places(state.hosts) if host.category == "right"]
    assert overall(good) == worst(counts(good))
    (problem,) = next(h for h in state.hosts if h.host == "old3.example.test").problems
    first = good[0].worst
    warned = HostPlace(states=(msgspec.structs.replace(first, problems=(problem,)),))
    assert (overall([warned, *good[1:]]).level, overall([warned, *good[1:]]).word) == ("warn", "1 warning")
    assert overall(places(state.hosts)).word == "3 wrong"


def test_commands_quote_the_host_and_request_a_name_that_a_wildcard_covers() -> None:
    by_host = {host.host: dict(commands(host.worst)) for host in places(derived().hosts)}
    assert "-servername certferry-probe.apps.example.test " in by_host["*.apps.example.test"]["openssl"]
    assert "-noservername" in by_host[""]["openssl"]
    assert "https://hello.example.test:443/" in by_host["hello.example.test"]["curl"]


def test_a_timeline_has_audit_records_and_rotations_the_latest_first() -> None:
    def record(number: int, verb: str, fingerprint: str, previous: str) -> Record:
        return Record(
            sequence=number,
            at=NOW + timedelta(minutes=number),
            user="alice",
            role="admin",
            verb=verb,
            kind="certificate",
            resource_id="c",
            name="c",
            fingerprint=fingerprint,
            previous_fingerprint=previous,
        )

    served = NOW + timedelta(minutes=2, seconds=1)
    annotation = (
        f'{{"fingerprint":"b","changed":"{(NOW + timedelta(minutes=2)).isoformat()}","served":"{served.isoformat()}"}}'
    )
    rotation = read_rotation(annotation)
    assert rotation
    entries = timeline(
        [record(1, "create", "a", ""), record(2, "update", "b", "a"), record(3, "rollback", "a", "b")],
        {Name("shop", "web"): rotation},
    )
    assert [e.word for e in entries] == ["Rolled back", "Served", "New content accepted", "Created"]
    assert entries[1].reason == "1.00 s after the change"
    assert (entries[2].previous, entries[2].fingerprint, entries[2].by) == ("a", "b", "alice (admin)")
    assert read_rotation("{") is None
    assert read_rotation(None) is None


def test_times_are_relative_in_both_directions() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(now - timedelta(minutes=3), now) == "3 minutes ago"
    assert ago(now + timedelta(hours=2), now) == "in 2 hours"
