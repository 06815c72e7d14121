from __future__ import annotations

import pytest

from certferry.core.diagnosis.sni_overlap import overlapping_names
from certferry.core.model.elb import Certificate, Listener, State
from tests.core.support.fixtures import chain


def certificate(ref: str, *domain: str, key: str = "P-256") -> Certificate:
    return Certificate(id=ref, name=f"{ref}-name", domain=domain, chain=chain(ref, key=key))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (certificate("other", "shop.example.com"), {"shop.example.com": "other-name"}),
        (certificate("other", "*.example.com"), {"shop.example.com": "other-name"}),
        (certificate("other", "else.example.com"), {}),
        (certificate("other", "shop.example.com", key="RSA-2048"), {}),
    ],
    ids=["the same name", "a wildcard over it", "another name", "the other kind of key"],
)
def test_names_where_an_sni_certificate_hides_the_default_certificate(
    other: Certificate, expected: dict[str, str]
) -> None:
    mine = certificate("mine", "shop.example.com")
    listener = Listener(
        id="l",
        loadbalancer_id="b",
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref="mine",
        sni_container_refs=("other",),
    )
    state = State(listeners={"l": listener}, certificates={"mine": mine, "other": other})
    assert overlapping_names(mine, state) == expected
    assert overlapping_names(other, state) == {}
