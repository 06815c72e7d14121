"""Rows of `certferry cert ls` and `expiring` in a world with one good and several bad certificates."""

from __future__ import annotations

import msgspec
import pytest

from certferry.cli.cert import rows as certificate_rows
from certferry.cli.cert.lookup import FleetSnapshot
from certferry.settings import UserError


def test_every_wanted_certificate_has_a_row_with_the_status_of_its_hosts(fleet: FleetSnapshot) -> None:
    rows = {row["secret"]: row["status"] for row in certificate_rows.inventory(fleet)}
    assert rows["demo/hello-tls"] == "served"
    assert rows["team/live-tls"] == "missing (SecretNotFound)"
    assert rows["team/sso-tls"] == "unusable (CertificateUnusable)"
    assert "CertificateExpired" in rows["demo/old3-tls"]


def test_a_row_names_the_cause_and_the_secret_to_change(fleet: FleetSnapshot) -> None:
    rows = {row["secret"]: row for row in certificate_rows.inventory(fleet)}
    old = rows["demo/old3-tls"]
    assert old["hosts"] == ["old3.example.test"]
    assert old["needs_action"]
    assert "demo/old3-tls" in old["next"]
    assert "hello" not in old["why"] + old["next"]
    assert not rows["demo/hello-tls"]["needs_action"]


def test_an_expired_certificate_that_a_host_wants_counts_as_used(fleet: FleetSnapshot) -> None:
    rows = {row["secret"]: row for row in certificate_rows.inventory(fleet)}
    assert rows["demo/old3-tls"]["used"]
    assert certificate_rows.late(rows["demo/old3-tls"])


def test_a_host_means_the_certificate_that_a_listener_selects_for_it(fleet: FleetSnapshot) -> None:
    def secrets(word: str) -> list[str]:
        return [str(located.secret) for located in fleet.matching(word)]

    assert secrets("shop.apps.example.test") == ["apps/shop-tls"]
    assert secrets("new.apps.example.test") == ["apps/wildcard-tls"]
    assert secrets("hello.example.test") == ["demo/hello-tls"]
    with pytest.raises(UserError, match="No certificate is"):
        fleet.matching("old3.example.test")


def test_rows_are_values_that_json_can_hold(fleet: FleetSnapshot) -> None:
    assert msgspec.json.encode(certificate_rows.inventory(fleet))
