"""Certificates and keys as they really come: normalised where they can be used, refused with a sentence where not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certferry.core.x509.pem import parse_key
from tests.elb.support.server import Api
from tests.support.certs import Pair, authority, rsa_key

PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
NOTE = "Bag Attributes\n    friendlyName: shop\nsubject=CN = a.example\n"


def traditional(key: str) -> str:
    """PKCS#1 of an RSA key, SEC1 of an EC key."""
    loaded: Any = load_pem_private_key(key.encode(), None)
    return str(loaded.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode())


def one_line(pem: str) -> str:
    """All of a block's base64 in one row."""
    head, *rows, tail = pem.strip().splitlines()
    return "\n".join((head, "".join(rows), tail)) + "\n"


def blocks(certificate: str) -> list[str]:
    end = "-----END CERTIFICATE-----\n"
    return [part + end for part in certificate.split(end) if part]


Change = Callable[[Pair], Pair]
USABLE: dict[str, Change] = {
    "line ends of Windows": lambda p: Pair(*(t.replace("\n", "\r\n") for t in p)),
    "line ends of old Macs": lambda p: Pair(*(t.replace("\n", "\r") for t in p)),
    "no line end at the end": lambda p: Pair(*(t.rstrip("\n") for t in p)),
    "blank lines": lambda p: Pair(*("\n\n" + t.replace("-----BEGIN", "\n\n-----BEGIN") for t in p)),
    "blank lines within": lambda p: Pair(*(t.replace("-----\nM", "-----\n\n\nM") for t in p)),
    "spaces at line ends": lambda p: Pair(*(t.replace("\n", "  \t\n") for t in p)),
    "indented": lambda p: Pair(*("  " + t.rstrip().replace("\n", "\n  ") for t in p)),
    "rows of another length": lambda p: Pair("".join(map(one_line, blocks(p.certificate))), one_line(p.key)),
    "notes between": lambda p: Pair(NOTE + p.certificate.replace("-----BEGIN", NOTE + "-----BEGIN"), NOTE + p.key),
    "a byte order mark": lambda p: Pair(*("\ufeff" + t for t in p)),
    "root first": lambda p: Pair("".join(reversed(blocks(p.certificate))), p.key),
    "each certificate twice": lambda p: Pair("".join(blocks(p.certificate) * 2), p.key),
    "the traditional form of the key": lambda p: Pair(p.certificate, traditional(p.key)),
    "the key beside the chain": lambda p: Pair(p.key + p.certificate, p.key),
}


@pytest.mark.parametrize("family", ["EC", "RSA"])
@pytest.mark.parametrize("name", USABLE)
def test_a_certificate_is_normalised(api: Api, name: str, family: str) -> None:
    key = rsa_key() if family == "RSA" else ec.generate_private_key(ec.SECP256R1())
    pair = authority().issue("a.example", key=key, chain=True)
    changed = USABLE[name](pair)
    assert changed != pair
    made = api.make("certificate", certificate=changed.certificate, private_key=changed.key)
    assert made["certificate"] == pair.certificate
    body = {"certificate": {"certificate": changed.certificate, "private_key": changed.key}}
    assert api("PUT", f"/certificates/{made['id']}", body).body["certificate"] == made, "and is no new content"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_keys_of_each_curve_with_their_parameters(api: Api, curve: Any) -> None:
    pair = authority().issue("a.example", key=ec.generate_private_key(curve))
    key = PARAMETERS + traditional(pair.key)
    assert api.make("certificate", certificate=pair.certificate, private_key=key)["id"]


def encrypted(key: str) -> str:
    loaded: Any = load_pem_private_key(key.encode(), None)
    protected = BestAvailableEncryption(b"secret")
    return str(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protected).decode())


def other_key(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def cut(pem: str) -> str:
    rows = pem.splitlines()
    return "\n".join([*rows[:2], *rows[3:]]) + "\n"


UNUSABLE: dict[str, tuple[Change, str]] = {
    "nothing": (lambda p: Pair("", p.key), "The certificate is empty"),
    "no key": (lambda p: Pair(p.certificate, " \n"), "The private key is empty"),
    "no PEM": (lambda p: Pair("x", p.key), "no line says BEGIN CERTIFICATE"),
    "DER in base64": (lambda p: Pair(base64.b64encode(b"0\x82").decode(), p.key), "no line says BEGIN CERTIFICATE"),
    "a key for a certificate": (lambda p: Pair(p.key, p.key), "no line says BEGIN CERTIFICATE"),
    "a certificate for a key": (lambda p: Pair(p.certificate, p.certificate), "no line says BEGIN PRIVATE KEY"),
    "a certificate cut off": (lambda p: Pair(cut(p.certificate), p.key), "The certificate cannot be read"),
    "the second cut off": (
        lambda p: Pair(p.certificate + cut(authority().certificate), p.key),
        "Certificate 2 of the chain cannot be read",
    ),
    "a key cut off": (lambda p: Pair(p.certificate, cut(p.key)), "The private key cannot be read"),
    "an encrypted key": (lambda p: Pair(p.certificate, encrypted(p.key)), "without a passphrase"),
    "the key of another": (
        lambda p: Pair(p.certificate, authority().issue("b.example").key),
        "does not belong to the certificate for a.example",
    ),
    "too many certificates": (
        lambda p: Pair(p.certificate + "".join(authority().issue(f"{n}.a").certificate for n in range(11)), p.key),
        "12 certificates; at most 11",
    ),
    "too long": (lambda p: Pair(p.certificate + " " * 65_536, p.key), "at most 65536"),
    "too long a key": (lambda p: Pair(p.certificate, p.key + " " * 8_192), "at most 8192"),
    "a DSA key": (lambda p: Pair(p.certificate, other_key(dsa.generate_private_key(1024))), "neither RSA"),
    "an Ed448 key": (lambda p: Pair(p.certificate, other_key(ed448.Ed448PrivateKey.generate())), "neither RSA"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_pem_is_reported(api: Api, name: str) -> None:
    change, words = UNUSABLE[name]
    good = authority().issue("a.example")
    bad = change(good)
    body = {"certificate": {"certificate": bad.certificate, "private_key": bad.key}}
    made = api.make("certificate", certificate=good.certificate, private_key=good.key)
    for reply in (api("POST", "/certificates", body), api("PUT", f"/certificates/{made['id']}", body)):
        if reply.status == 200:  # an empty key in a PUT is none: the other half is taken alone
            assert name == "no key"
            continue
        assert (reply.status, reply.code) == (400, "ELB.1011")
        assert words in reply.sentence
        secret = max(bad.key.splitlines(), key=len, default="")
        assert len(secret) < 20 or secret not in reply.sentence, "no key in an answer"
    assert api.show("certificate", made["id"])["certificate"] == good.certificate


def test_a_ca_certificate_has_its_own_error_code(api: Api) -> None:
    body = {"certificate": {"type": "client", "certificate": "x"}}
    assert api("POST", "/certificates", body).code == "ELB.5051"
    made = api.make("certificate", type="client", certificate=authority().certificate)
    reply = api("PUT", f"/certificates/{made['id']}", {"certificate": {"certificate": "x"}})
    assert (reply.status, reply.code) == (400, "ELB.5051")


def flagged(api: Api, pair: Pair, **fields: Any) -> set[str]:
    made = api.make("certificate", certificate=pair.certificate, private_key=pair.key, **fields)
    listed = api("GET", "/certificates", query=f"id={made['id']}").body["certificates"][0]
    assert listed["certferry"]["findings"] == made["certferry"]["findings"]
    assert all(one["sentence"] for one in made["certferry"]["findings"])
    return {one["reason"] for one in made["certferry"]["findings"]}


def test_certificates_that_the_vendor_accepts_are_stored_and_flagged(api: Api) -> None:
    issue = authority().issue
    assert "CertificateExpired" in flagged(api, issue("a.example", days=-2, started=30))
    assert "CertificateNotYetValid" in flagged(api, issue("a.example", started=-5))
    assert "CertificateUnusable" in flagged(api, issue("a.example", key=rsa_key(1024)))
    secp256k1 = ec.generate_private_key(ec.SECP256K1())
    assert "CertificateUnusable" in flagged(api, issue("a.example", key=secp256k1))
    assert "HostNotCovered" in flagged(api, issue("a.example"), domain="b.example")
    good = flagged(api, issue("a.example"), domain="a.example")
    assert not good & {"CertificateExpired", "CertificateNotYetValid", "CertificateUnusable", "HostNotCovered"}


def test_a_certificate_without_a_san_is_stored_and_flagged(api: Api) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = (
        builder.not_valid_before(now.replace(year=now.year - 1))
        .not_valid_after(now.replace(year=now.year + 1, day=1))
        .sign(key, hashes.SHA256())
    )
    pair = Pair(signed.public_bytes(Encoding.PEM).decode(), other_key(key))
    assert flagged(api, pair, domain="a.example")


def test_ed25519_is_accepted(api: Api) -> None:
    key: Any = ed25519.Ed25519PrivateKey.generate()
    assert parse_key(other_key(key)).spki
    pair = authority().issue("a.example", key=key)
    assert api.make("certificate", certificate=pair.certificate, private_key=pair.key)["id"]


def test_the_source_of_a_certificate_is_stored(api: Api) -> None:
    pair = authority().issue("a.example")
    fields = {"certificate": pair.certificate, "private_key": pair.key}
    assert api.make("certificate", **fields)["source"] is None
    made = api.make("certificate", scm_certificate_id="scs1", **fields)
    assert (made["source"], made["scm_certificate_id"]) == ("scm", "scs1")
    for bad in ({"source": "ccm"}, {"enterprise_project_id": ""}):
        reply = api("POST", "/certificates", {"certificate": fields | bad})
        assert (reply.status, reply.code) == (400, "ELB.8902")
