from __future__ import annotations

from typing import Any

import pytest

from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.sni_names import overlapping_names, unused_names
from certferry.core.model.elb import Certificate, Listener, State
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, NOW, chain, observed, view


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


@pytest.mark.parametrize(
    ("hosts", "unused"),
    [
        (["shop.example.com"], ("*.apps.example.com", "old.example.com")),
        (["shop.example.com", "a.apps.example.com", "old.example.com"], ()),
        (["*.example.com"], ("*.apps.example.com",)),
        ([], ()),
    ],
    ids=["one host", "a host of the wildcard", "a wildcard host uses each name below it", "an Ingress without hosts"],
)
def test_names_that_no_host_uses(hosts: list[str], unused: tuple[str, ...]) -> None:
    facts = {"names": ["*.apps.example.com", "old.example.com", "shop.example.com"]}
    rules: list[Any] = [{"host": host} for host in hosts] or [{"http": {"paths": []}}]
    spec = {"ingressClassName": "cce", "tls": [{"hosts": hosts, "secretName": "site"}], "rules": rules}
    given: Any = {
        "objects": [{"kind": "Ingress", "metadata": {"name": "first"}, "spec": spec}],
        "secrets": {"site": facts},
        "observed": {
            "certificates": {"c": {"secret_id": "uid-site", "content": "site", **facts}},
            "listeners": {"l": {"protocol": "HTTPS", "protocol_port": 443, "default_tls_container_ref": "c"}},
        },
    }
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    current = diagnose(view(given), observed(given["observed"]), options, NOW, Limits())
    assert unused_names(current.observed.certificates["c"], current.states) == unused
