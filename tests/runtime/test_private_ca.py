from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from certferry.runtime.private_ca import SERVER, Issued, Leaf, PrivateCa, PrivateCaError, subject

NOW = datetime.now(UTC)
HOST = "a.example"


def opened(folder: Path) -> PrivateCa:
    return PrivateCa.open_or_create(folder / "ca.crt", folder / "ca.key", "Test CA", NOW - timedelta(days=1))


def issue(ca: PrivateCa, days: float = 1) -> Issued:
    end = NOW + timedelta(days=days)
    return ca.issue(Leaf(subject(HOST), [x509.DNSName(HOST)], SERVER, NOW - timedelta(hours=1), end))


def verify(leaf: Issued, authority: bytes) -> None:
    store = Store([x509.load_pem_x509_certificate(authority)])
    strict = PolicyBuilder().store(store).build_server_verifier(x509.DNSName(HOST))
    strict.verify(x509.load_pem_x509_certificate(leaf.certificate), [])


def test_leaves_of_a_reopened_ca_pass_a_strict_verifier(tmp_path: Path) -> None:
    first = opened(tmp_path).pem
    again = opened(tmp_path)
    assert again.pem == first
    verify(issue(again), first)


def test_two_cas_have_different_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = (x509.load_pem_x509_certificate(opened(f).pem) for f in (tmp_path, tmp_path / "other"))
    assert one.subject != other.subject


def test_a_leaf_does_not_outlive_its_ca(tmp_path: Path) -> None:
    ca = opened(tmp_path)
    assert issue(ca, 5000).not_after == x509.load_pem_x509_certificate(ca.pem).not_valid_after_utc


def test_a_lost_certificate_is_made_again_and_both_verify_the_leaves_of_either(tmp_path: Path) -> None:
    before = opened(tmp_path)
    (tmp_path / "ca.crt").unlink()
    after = opened(tmp_path)
    verify(issue(before), after.pem)
    verify(issue(after), before.pem)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_missing_or_damaged_key_is_an_error_that_names_the_file_and_the_way_out(
    tmp_path: Path, content: bytes | None
) -> None:
    opened(tmp_path)
    certificate = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.key").unlink()
    if content is not None:
        (tmp_path / "ca.key").write_bytes(content)
    with pytest.raises(
        PrivateCaError, match=r"ca\.key is (missing|damaged)\. Restore it .* delete ca\.key and ca\.crt"
    ):
        opened(tmp_path)
    assert (tmp_path / "ca.crt").read_bytes() == certificate


def test_a_key_of_another_ca_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    opened(tmp_path / "other")
    opened(tmp_path)
    (tmp_path / "other" / "ca.key").replace(tmp_path / "ca.key")
    with pytest.raises(PrivateCaError, match=r"ca\.key is not the key of ca\.crt"):
        opened(tmp_path)


def test_a_damaged_certificate_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "ca.crt").write_text("nonsense")
    with pytest.raises(PrivateCaError, match=r"ca\.crt is damaged: delete it"):
        opened(tmp_path)


def test_an_issued_key_is_not_printed(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(issue(opened(tmp_path)))
