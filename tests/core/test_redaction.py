from __future__ import annotations

import base64

import pytest

from certferry.core.redaction import masked
from tests.e2e.support.key_leak_scanner import find, needles
from tests.support.certs import Authority


@pytest.mark.parametrize("put", ["{}", "Certificate {} is unknown.", '{{"a":"{}"}}', "x\\n{}"])
def test_a_key_is_not_repeated_in_any_form(put: str) -> None:
    key = Authority().issue("a.test.example").key
    rows = key.splitlines()[1:-1]
    forms = [key, key[:100], repr(key), "\n".join(rows), rows[1], base64.b64encode(key.encode()).decode()]
    for form in forms:
        text = masked(put.format(form))
        assert find(text.encode(), needles(key)) is None
        assert "***" in text


@pytest.mark.parametrize(
    "plain",
    [
        "Certificate 0123456789abcdef0123456789abcdef does not exist on the load balancer; it is left out.",
        "sha256 " + "0f" * 32,
        "Secret shop/a-rather-long-name-of-a-secret-in-kebab-case-0123456789 is missing.",
        "9f0c1d2e-5a6b-4c7d-8e9f-0a1b2c3d4e5f",
        "create pool k8s_checkout-frontend_web-8080_HTTPS-10458",
        "The private key is not PEM: no line says BEGIN PRIVATE KEY.",
    ],
)
def test_other_texts_stay_as_they_are(plain: str) -> None:
    assert masked(plain) == plain
