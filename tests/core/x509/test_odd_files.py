"""Certificates as they come in: cut off, with an unrelated CA in front, without the intermediate."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from certferry.core.model.kubernetes import parse_secret
from certferry.core.x509.pem import InvalidPem, parse_chain, parse_pair
from tests.support.certs import Authority, Pair, authority

BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def intermediate() -> tuple[Authority, Pair]:
    """An intermediate CA below the tests' root, and a leaf of it with its chain."""
    between = Authority("Between CA", by=authority())
    return between, between.issue("shop.example.com")


def secret(**data: str) -> dict[str, Any]:
    named = {key.replace("_", "."): base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {
        "metadata": {"namespace": "demo", "name": "tls", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "type": "kubernetes.io/tls",
        "data": named,
    }


@pytest.mark.parametrize(
    "cut",
    [
        lambda leaf, ca: leaf + ca[: len(ca) // 2],
        lambda leaf, ca: leaf + ca.replace(BEGIN, ""),
        lambda leaf, ca: leaf + BEGIN + "\n",
        lambda leaf, ca: leaf.replace(END, "") + ca,
        lambda leaf, ca: leaf[: len(leaf) // 2],
    ],
)
def test_a_truncated_file_is_rejected_as_a_whole(cut: Any) -> None:
    between, pair = intermediate()
    text = cut(pair.certificate, between.certificate)
    with pytest.raises(InvalidPem) as raised:
        parse_pair(text, pair.key)
    assert raised.value.reason == "BrokenCertificate"
    held, _ = parse_secret(secret(tls_crt=text, tls_key=pair.key))
    assert held.flaw is not None
    assert held.flaw.reason == "BrokenCertificate"


def test_an_opaque_secret_with_a_pair_is_used_like_a_tls_secret() -> None:
    pair = authority().issue("shop.example.com")
    held, parsed = parse_secret(secret(tls_crt=pair.certificate, tls_key=pair.key) | {"type": "Opaque"})
    assert (held.tls, held.flaw, held.chain) == (True, None, parsed and parsed.chain)
    for other in (secret(password="x") | {"type": "Opaque"}, secret(tls_crt=pair.certificate) | {"type": "Opaque"}):
        held, parsed = parse_secret(other)
        assert not held.tls
        assert parsed is None
    bad, _ = parse_secret(secret(tls_crt="x", tls_key=pair.key) | {"type": "Opaque"})
    assert bad.tls
    assert bad.flaw


def test_text_between_blocks_is_no_truncation() -> None:
    between, pair = intermediate()
    text = f"# the leaf\n{pair.certificate}\n-- its issuer --\n{between.certificate}"
    assert parse_chain(text).length == 2


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_key_says_which_certificate_is_the_leaf(position: int) -> None:
    between, pair = intermediate()
    blocks = [pair.certificate, between.certificate]
    blocks.insert(position, Authority("Unrelated CA").certificate)
    chain = parse_pair("".join(blocks), pair.key).chain
    assert chain.names == ("shop.example.com",)
    assert chain.links[0].signed_by_next


def test_ca_crt_completes_a_chain_without_its_intermediate() -> None:
    between, pair = intermediate()
    beside = between.certificate + authority().certificate
    held, completed = parse_secret(secret(tls_crt=pair.certificate, tls_key=pair.key, ca_crt=beside))
    assert held.chain is not None
    assert completed is not None
    assert held.chain.length == 2, "the root is of no use to clients"
    assert held.chain.digest == completed.chain.digest
    assert held.chain.links[0].signed_by_next


@pytest.mark.parametrize("beside", ["", "no certificate", Authority("Unrelated CA").certificate, BEGIN * 100])
def test_a_ca_crt_that_does_not_help_changes_nothing(beside: str) -> None:
    _, pair = intermediate()
    held, _ = parse_secret(secret(tls_crt=pair.certificate, tls_key=pair.key, ca_crt=beside))
    assert held.chain is not None
    assert held.chain.length == 1


def test_many_blocks_are_rejected_before_they_are_read() -> None:
    with pytest.raises(InvalidPem) as raised:
        parse_chain(BEGIN * 1000)
    assert raised.value.reason == "TooLong"
