"""What the ELB says of a certificate by itself, after the one before it, and among its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from certferry.elb.client import extensions
from tests.elb.support.server import Api, Elb, connected, serving, settings_in
from tests.support.certs import Pair, authority, rsa_key


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def put(api: Api, identifier: str, pair: Pair) -> set[str]:
    reply = api("PUT", f"/certificates/{identifier}", {"certificate": content(pair)})
    return reasons(reply.body["certificate"]["certferry"])


def reasons(said: dict[str, Any]) -> set[str]:
    return {found["reason"] for found in said["findings"] if found["severity"] == "warn"}


def shown(api: Api, identifier: str) -> set[str]:
    return reasons(api.show("certificate", identifier)["certferry"])


def test_a_version_is_compared_with_the_one_before_also_after_a_restart(tmp_path: Path) -> None:
    key = rsa_key()
    with serving(settings_in(tmp_path)) as elb:
        first = authority().issue("a.example", "b.example", key=key)
        identifier = str(elb.admin.make("certificate", **content(first))["id"])
        assert shown(elb.admin, identifier) == set()
        assert put(elb.admin, identifier, authority().issue("a.example", key=key)) == {"KeyReused", "NamesRemoved"}
    with serving(settings_in(tmp_path)) as elb:
        assert shown(elb.admin, identifier) == {"KeyReused", "NamesRemoved"}
        assert put(elb.admin, identifier, authority().issue("a.example", key=rsa_key(3072))) == set()
        assert shown(elb.admin, identifier) == set()


async def test_a_name_that_another_certificate_of_the_listener_serves(elb: Elb) -> None:
    api = elb.admin
    one = api.make("certificate", **content(authority().issue("a.example")), domain="a.example", name="one")
    two = api.make("certificate", **content(authority().issue("a.example")), domain="a.example", name="two")
    rsa = authority().issue("a.example", key=rsa_key())
    three = api.make("certificate", **content(rsa), domain="a.example", name="three")
    listener = {
        "loadbalancer_id": api.make("loadbalancer")["id"],
        "protocol": "HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": one["id"],
        "sni_container_refs": [two["id"], three["id"]],
    }
    api.make("listener", **listener)
    async with connected(api) as client:
        (found,) = [f for f in (await extensions.status(client, one["id"])).findings if f.severity == "warn"]
        others = [await extensions.status(client, ref["id"]) for ref in (two, three)]
    assert found.reason == "SniConflict"
    assert found.sentence == "a.example has certificate two on the same listener already"
    assert [f.reason for status in others for f in status.findings if f.severity == "warn"] == []
