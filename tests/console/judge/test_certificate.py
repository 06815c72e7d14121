"""Checks of a certificate form against the certificate in service."""

from __future__ import annotations

from datetime import UTC, datetime

from certferry.console.judge.certificate import CertificateContext, check_certificate_form
from certferry.core.x509.pem import parse_chain
from tests.support.certs import authority

NOW = datetime.now(UTC)


def test_a_compromised_key_is_rejected_in_place_of_a_good_one() -> None:
    good, stolen = authority().issue("shop.example.com"), authority().issue("shop.example.com")
    serving, chain = parse_chain(good.certificate), parse_chain(stolen.certificate)
    context = CertificateContext(
        present=serving, serving=serving, hosts=("shop.example.com",), compromised=frozenset({chain.spki})
    )
    checked = check_certificate_form(stolen.certificate, stolen.key, context, NOW)
    assert checked.errors == {
        "certificate": "It cannot replace the certificate in service: its key is marked as compromised."
    }
    assert check_certificate_form(good.certificate, good.key, context, NOW).errors == {}


def test_a_compromised_key_is_a_finding_if_nothing_better_is_served() -> None:
    stolen = authority().issue("shop.example.com")
    context = CertificateContext(compromised=frozenset({parse_chain(stolen.certificate).spki}))
    checked = check_certificate_form(stolen.certificate, stolen.key, context, NOW)
    assert checked.errors == {}
    assert "CertificateCompromised" in [finding.reason for finding in checked.findings]
