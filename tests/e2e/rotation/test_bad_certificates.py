"""Unusable Secrets: the last good certificate stays, and a Warning says why."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects
from tests.e2e.support.site import INGRESS, SECRET, SERVICE, Site
from tests.e2e.support.tls import get, handshake
from tests.e2e.support.waiting import until
from tests.support.certs import Pair, authority

GARBAGE = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n"

BAD: dict[str, tuple[Callable[[Site], Pair], str]] = {
    "mismatch": (lambda s: Pair(s.pair().certificate, s.pair().key), "does not belong"),
    "garbage": (lambda s: Pair(GARBAGE, s.pair().key), "cannot be read"),
    "no-pem": (lambda s: Pair("nonsense", s.pair().key), "not PEM"),
    "garbage-key": (lambda s: Pair(s.pair().certificate, "nonsense"), "not PEM"),
    "empty": (lambda s: Pair("", s.pair().key), "empty"),
    "empty-key": (lambda s: Pair(s.pair().certificate, ""), "empty"),
    "expired": (lambda s: s.pair(days=-2), "expired"),
}
"""What a Secret may hold, and words of the sentence that tells its user."""


@pytest.mark.parametrize("kind", BAD)
def test_the_valid_certificate_stays_until_the_secret_is_correct(kind: str, site: MakeSite) -> None:
    make, words = BAD[kind]
    shop = site(f"bad-{kind}")
    valid, corrected = shop.pair(), shop.pair()
    shop.publish(valid)
    shop.shows(valid)

    shop.apply_secret(*make(shop))
    warned(shop, "Secret", SECRET, words)
    warned(shop, "Ingress", INGRESS, words)
    shop.shows(valid)
    assert get(shop.address, shop.host) == 200

    shop.apply_secret(*corrected)
    shop.shows(corrected)


def test_an_expired_certificate_is_served_if_nothing_was(site: MakeSite) -> None:
    shop = site("first-expired")
    expired, valid = shop.pair(days=-2), shop.pair()
    shop.publish(expired)
    shop.shows(expired)
    warned(shop, "Secret", SECRET, "expired")
    warned(shop, "Ingress", INGRESS, "expired")

    shop.apply_secret(*valid)
    shop.shows(valid)


def test_a_certificate_that_expires_while_served_stays_until_a_better_one_exists(site: MakeSite) -> None:
    shop = site("expires")
    brief, valid = shop.pair(days=5 / 86_400), shop.pair()
    over = time.time() + 5
    shop.publish(brief)
    shop.shows(brief)
    until(lambda: time.time() > over, "the certificate has expired", seconds=8)

    broken = Pair(GARBAGE, shop.pair().key)
    shop.apply_secret(*broken)
    warned(shop, "Secret", SECRET, "cannot be read")
    shop.shows(brief)

    shop.apply_secret(*valid)
    shop.shows(valid)


def test_a_missing_or_broken_secret_recovers(site: MakeSite) -> None:
    shop = site("first-broken")
    valid = shop.pair()
    shop.publish(valid)
    shop.shows(valid)
    other = "other"
    host = f"other.{shop.host}"
    entry = {"hosts": [host], "secretName": other}
    shop.system.apply(objects.ingress(shop.name, other, SERVICE, [host], [entry], {objects.PORT: str(shop.port)}))
    warned(shop, "Ingress", other, "other")

    broken = Pair(GARBAGE, shop.pair().key)
    shop.system.apply(objects.pair_secret(shop.name, other, broken))
    warned(shop, "Secret", other, "cannot be read")
    assert get(shop.address, shop.host) == 200

    # the neighbour on the same listener goes on as if nothing were wrong
    renewed = shop.pair()
    shop.apply_secret(*renewed)
    shop.shows(renewed)

    correct = authority().issue(host)
    shop.system.apply(objects.pair_secret(shop.name, other, correct))
    shop.shows(correct, host=host)
    assert get(shop.address, host) == 200
    shop.shows(renewed)


def test_a_listener_opens_when_its_only_secret_is_corrected(site: MakeSite) -> None:
    shop = site("only-broken")
    shop.publish(Pair(GARBAGE, shop.pair().key))
    warned(shop, "Secret", SECRET, "cannot be read")
    warned(shop, "Ingress", INGRESS, "cannot be read")

    correct = shop.pair()
    shop.apply_secret(*correct)
    shop.shows(correct)
    until(lambda: get(shop.address, shop.host) == 200, "the policy follows its listener")


def test_a_deleted_secret_removes_nothing(site: MakeSite) -> None:
    shop = site("gone")
    valid, again = shop.pair(), shop.pair()
    shop.publish(valid)
    shop.shows(valid)

    shop.system.kubectl("delete", "secret", SECRET, "-n", shop.name)
    warned(shop, "Ingress", INGRESS, SECRET)
    shop.shows(valid)
    assert get(shop.address, shop.host) == 200

    shop.apply_secret(*again)
    shop.shows(again)
    assert handshake(shop.address, shop.host)


def warned(shop: Site, kind: str, name: str, words: str) -> None:
    """Wait for a Warning Event on the object whose sentence has `words`; a sentence is for people."""
    sentence = until(
        lambda: next((e["message"] for e in shop.warnings(kind, name) if words in e["message"]), None),
        f"a Warning on {kind} {name} that says “{words}”",
    )
    assert sentence.endswith("."), sentence
    assert not re.search(r"Traceback|Error\(|0x[0-9a-f]{6}|-----BEGIN", sentence), sentence
