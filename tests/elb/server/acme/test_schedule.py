"""Times of renewals and repetitions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certferry.core.x509.pem import Chain, parse_chain
from certferry.elb.server.acme.schedule import (
    MOST_PATIENT,
    Window,
    after_failure,
    after_trouble,
    ari_identifier,
    next_look,
    renewal,
)
from tests.support.certs import authority

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def chain(days: float) -> Chain:
    return parse_chain(authority().issue("a.example.com", days=days, started=0).certificate)


@pytest.mark.parametrize(("days", "share"), [(90, 2 / 3), (45, 2 / 3), (10.5, 2 / 3), (6, 1 / 2), (0.5, 1 / 2)])
def test_without_a_window_a_share_of_the_life_decides(days: float, share: float) -> None:
    issued = chain(days)
    at, reason = renewal(issued, None)
    life = issued.not_after - issued.not_before
    assert share - 0.031 <= (at - issued.not_before) / life <= share
    assert reason == ("two thirds of its life" if share > 0.5 else "half of its life")
    assert renewal(issued, None) == (at, reason)


def test_certificates_of_one_day_are_not_renewed_at_one_instant() -> None:
    assert len({renewal(chain(90), None).at for _ in range(20)}) > 15


def test_a_window_decides_unless_it_cannot_be_meant() -> None:
    issued = chain(90)
    start = issued.not_before + timedelta(days=3)
    assert start <= renewal(issued, Window(start, start + timedelta(days=1))).at <= start + timedelta(days=1)
    assert "suggests" in renewal(issued, Window(start, start)).reason
    late = issued.not_after + timedelta(seconds=1)
    for window in (Window(late, late + timedelta(days=1)), Window(start, start - timedelta(seconds=1))):
        assert renewal(issued, window) == renewal(issued, None)


def test_retry_after_counts_within_limits() -> None:
    assert after_failure(NOW, 1, None) == NOW + timedelta(minutes=5)
    assert after_failure(NOW, 100, None) == NOW + timedelta(days=1)
    assert after_failure(NOW, 1, timedelta(hours=3)) == NOW + timedelta(hours=3)
    assert after_failure(NOW, 1, timedelta(days=4000)) == NOW + MOST_PATIENT
    assert after_trouble(NOW, 1, timedelta(seconds=1)) == NOW + timedelta(seconds=5)
    assert after_trouble(NOW, 100, None) == NOW + timedelta(minutes=15)
    assert next_look(NOW, None) == NOW + timedelta(hours=6)
    assert next_look(NOW, timedelta(0)) == NOW + timedelta(minutes=1)
    assert next_look(NOW, timedelta(days=30)) == NOW + timedelta(days=1)


def test_the_identifier_is_that_of_the_rfc() -> None:
    """RFC 9773, 4.1: its example, of an authority key identifier and a serial number."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 0x87654321, NOW, NOW + timedelta(days=1))
    identifier = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")
    extension = x509.AuthorityKeyIdentifier(identifier, None, None)
    certificate = builder.add_extension(extension, critical=False).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(Encoding.PEM).decode()
    assert ari_identifier(pem) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    bare = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    assert ari_identifier(bare) is None
