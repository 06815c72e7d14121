"""PEM as people have it: in any order, with any line ends, and broken in every way."""

from __future__ import annotations

import base64
import copy
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certferry.core.x509 import pem
from certferry.core.x509.pem import InvalidPem, parse_chain, parse_key, parse_pair
from tests.support.certs import Key, authority, key_pem, rsa_key
from tests.support.examples import examples

CA = authority()


def _certificates(text: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode())


def test_facts_are_those_of_the_leaf() -> None:
    pair = CA.issue("Shop.example.com", "*.example.com", days=30)
    leaf = _certificates(pair.certificate)[0]
    chain = parse_chain(pair.certificate)
    assert chain.names == ("*.example.com", "shop.example.com")
    assert chain.fingerprint == leaf.fingerprint(hashes.SHA256()).hex()
    assert (chain.not_before, chain.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert chain.key == "P-256"
    assert chain.length == 1


def test_a_chain_in_any_order_comes_back_leaf_first() -> None:
    pair = CA.issue("shop.example.com", chain=True)
    leaf, issuer = re.findall(r"-----BEGIN.*?END CERTIFICATE-----\n", pair.certificate, re.DOTALL)
    assert parse_chain(issuer + leaf).digest == parse_chain(leaf + issuer).digest
    assert parse_chain(issuer + leaf).pem.startswith(leaf)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\n\n"),
        lambda t: "\n\n  " + t.replace("\n", "  \n") + "\n\n",
        lambda t: "Bag Attributes\n    friendlyName: x\n" + t,
        lambda t: t + t,
        lambda t: re.sub(
            r"-----\n(.*)\n-----END",
            lambda m: "-----\n" + m.group(1).replace("\n", "") + "\n-----END",
            t,
            flags=re.DOTALL,
        ),
    ],
    ids=["crlf", "blank lines", "spaces", "text before", "twice", "one long row"],
)
def test_certificates_are_normalised(spoil: Callable[[str], str]) -> None:
    clean = CA.issue("shop.example.com").certificate
    assert parse_chain(spoil(clean)) == parse_chain(clean)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa_key()], ids=["EC", "RSA"])
def test_keys_in_every_usual_encoding(key: Key) -> None:
    traditional = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    parameters = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"
    normal = key_pem(key)
    for text in (normal, traditional, parameters + traditional, normal.replace("\n", "\r\n")):
        assert parse_key(text).reveal() == normal


def _signed_by_its_own(key: ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _encrypted(form: PrivateFormat) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x")).decode()


GOOD = CA.issue("shop.example.com")
OTHER = CA.issue("other.example.com")


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("", GOOD.key, "Empty"),
        (" \n", GOOD.key, "Empty"),
        (GOOD.certificate, "", "Empty"),
        ("hello", GOOD.key, "NotPEM"),
        (GOOD.key, GOOD.key, "NotPEM"),
        (GOOD.certificate, "hello", "NotPEM"),
        (GOOD.certificate, GOOD.certificate, "NotPEM"),
        (GOOD.certificate.replace("MII", "AAA", 1), GOOD.key, "BrokenCertificate"),
        (GOOD.certificate[:200] + "\n-----END CERTIFICATE-----", GOOD.key, "BrokenCertificate"),
        (GOOD.certificate, GOOD.key.replace("MIGH", "AAAA", 1), "BrokenKey"),
        (GOOD.certificate, _encrypted(PrivateFormat.PKCS8), "EncryptedKey"),
        (GOOD.certificate, _encrypted(PrivateFormat.TraditionalOpenSSL), "EncryptedKey"),
        (GOOD.certificate, _signed_by_its_own(dsa.generate_private_key(1024)), "UnsupportedKey"),
        (GOOD.certificate, OTHER.key, "KeyMismatch"),
        (GOOD.certificate + OTHER.certificate * 6 + CA.certificate * 6, GOOD.key, "TooLong"),
        (GOOD.certificate + " " * 70_000, GOOD.key, "TooLong"),
        (GOOD.certificate, GOOD.key + " " * 9_000, "TooLong"),
    ],
)
def test_unusable_input_is_reported_and_never_quoted(certificate: str, key: str, reason: str) -> None:
    with pytest.raises(InvalidPem) as caught:
        parse_pair(certificate, key)
    assert caught.value.reason == reason
    assert caught.value.sentence.endswith((".", ")."))
    assert caught.value.__cause__ is None
    for row in key.splitlines()[1:-1]:
        assert not row or row not in caught.value.sentence


def test_a_pair_of_each_key_type_matches() -> None:
    edwards = ed25519.Ed25519PrivateKey.generate()
    for key in (rsa_key(), ec.generate_private_key(ec.SECP521R1())):
        pair = CA.issue("shop.example.com", key=key)
        assert parse_pair(pair.certificate, pair.key).chain.loadable
    assert parse_key(_signed_by_its_own(edwards)).spki


@pytest.mark.parametrize(("bits", "loadable"), [(1024, False), (2048, True)])
def test_weak_keys_are_parsed_and_marked_weak(bits: int, loadable: bool) -> None:
    assert parse_chain(CA.issue("shop.example.com", key=rsa_key(bits)).certificate).loadable is loadable


def test_a_key_never_prints() -> None:
    pair = parse_pair(GOOD.certificate, GOOD.key)
    secret = base64.b64encode(base64.b64decode("".join(GOOD.key.splitlines()[1:-1]))).decode()[20:60]
    for text in (repr(pair), str(pair), repr(pair.key), f"{pair.key}", repr([pair.key]), f"{pair.key!s:>30}"):
        assert secret not in text
        assert "PRIVATE KEY-----" not in text
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(pair.key)


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (("shop.example.com",), "SHOP.example.com", True),
        (("*.example.com",), "shop.example.com", True),
        (("*.example.com",), "a.shop.example.com", False),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "*.example.com", True),
        (("shop.example.com",), "*.example.com", False),
        (("*.0.0.1",), "127.0.0.1", False),
        (("127.0.0.1",), "127.0.0.1", True),
    ],
)
def test_hosts_that_names_cover(names: tuple[str, ...], host: str, covered: bool) -> None:
    assert pem.covers(names, host) is covered


@examples(200)
@given(st.text() | st.text().map(lambda t: f"-----BEGIN CERTIFICATE-----{t}-----END CERTIFICATE-----"))
def test_any_text_is_parsed_or_rejected_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidPem):
        parse_chain(text)
    with pytest.raises(InvalidPem):
        parse_key(text.replace("CERTIFICATE", "PRIVATE KEY"))


def test_validity_is_in_utc() -> None:
    chain = parse_chain(GOOD.certificate)
    assert chain.not_after.tzinfo is UTC or chain.not_after.utcoffset() == datetime.now(UTC).utcoffset()
