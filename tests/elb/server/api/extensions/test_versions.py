from __future__ import annotations

from typing import Any

import pytest

from certferry.core.x509.pem import parse_chain
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from tests.elb.support.server import Api, Elb, another, connected, serving, settings_in
from tests.support.certs import Pair, authority


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def put(api: Api, identifier: str, pair: Pair) -> None:
    assert api("PUT", f"/certificates/{identifier}", {"certificate": content(pair)}).status == 200


def made(api: Api, *pairs: Pair, **fields: Any) -> str:
    identifier = str(api.make("certificate", **content(pairs[0]), **fields)["id"])
    for pair in pairs[1:]:
        put(api, identifier, pair)
    return identifier


async def test_versions_have_content_and_writer(elb: Elb) -> None:
    first, second = authority().issue("a.example"), authority().issue("a.example", "b.example")
    identifier = made(elb.admin, first)
    put(another(elb, "mary", "member"), identifier, second)
    async with connected(elb.admin) as client:
        newest, oldest = await extensions.versions(client, identifier)
    assert (newest.number, newest.current, newest.user, newest.via) == (2, True, "mary", "put")
    assert (oldest.number, oldest.current, oldest.user, oldest.via) == (1, False, "admin", "create")
    assert newest.domains == ("a.example", "b.example")
    assert oldest.fingerprint == parse_chain(first.certificate).fingerprint
    assert oldest.digest == parse_chain(first.certificate).digest
    assert newest.request_id != oldest.request_id
    assert elb.admin.show("certificate", identifier)["certferry"]["versions"] == 2


async def test_a_rollback_serves_the_content_before_with_its_key(elb: Elb) -> None:
    first, second = authority().issue("a.example"), authority().issue("a.example")
    identifier = made(elb.admin, first, second)
    async with connected(elb.admin) as client:
        back = await extensions.roll_back(client, identifier, reason="the new one has the wrong issuer")
        assert back.id == identifier
        assert back.chain == parse_chain(first.certificate)
        newest = (await extensions.versions(client, identifier))[0]
        assert (newest.number, newest.via) == (3, "rollback")
        put(elb.admin, identifier, authority().issue("a.example"))
        await extensions.roll_back(client, identifier, version=2)
    # the key came back too: a PUT of the certificate alone fits it
    body = {"certificate": {"certificate": second.certificate}}
    assert elb.admin("PUT", f"/certificates/{identifier}", body).status == 200
    (record,) = [r for r in records(elb, identifier) if r["reason"]]
    assert (record["verb"], record["reason"]) == ("rollback", "the new one has the wrong issuer")


def records(elb: Elb, identifier: str) -> list[dict[str, Any]]:
    found = elb.admin.extension("GET", "/audit", query=f"certificate_id={identifier}").body["records"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("earlier", "because"),
    [
        ({"days": -3}, "expired"),
        ({"days": 90, "started": -20}, "not valid before"),
        ({"names": ("other.example",)}, "not for a.example"),
    ],
)
def test_a_rollback_never_makes_it_worse(elb: Elb, earlier: dict[str, Any], because: str) -> None:
    names = earlier.pop("names", ("a.example",))
    old, new = authority().issue(*names, **earlier), authority().issue("a.example")
    identifier = made(elb.admin, old, new, domain="a.example")
    reply = elb.admin.extension("POST", f"/certificates/{identifier}/rollback", {"version": 1})
    assert (reply.status, reply.code) == (409, "ELB.8907")
    assert because in reply.sentence
    assert elb.admin.show("certificate", identifier)["certificate"] == new.certificate


def test_a_rollback_needs_an_earlier_version(elb: Elb) -> None:
    identifier = made(elb.admin, authority().issue("a.example"))
    path = f"/certificates/{identifier}/rollback"
    reply = elb.admin.extension("POST", path, {})
    assert (reply.status, reply.sentence) == (409, "no previous version available")
    assert elb.admin.extension("POST", path, {"version": 7}).status == 404
    assert elb.admin.extension("POST", path, {"version": 0}).status == 400
    assert elb.admin.extension("POST", "/certificates/none/rollback", {}).status == 404


async def test_only_the_last_versions_are_kept(tmp_path: Any) -> None:
    pairs = [authority().issue("a.example") for _ in range(5)]
    with serving(settings_in(tmp_path, certificate_versions=3)) as elb:
        identifier = made(elb.admin, *pairs)
        assert elb.admin.show("certificate", identifier)["certferry"]["versions"] == 3
        async with connected(elb.admin) as client:
            assert [v.number for v in await extensions.versions(client, identifier)] == [5, 4, 3]
            with pytest.raises(ElbError) as gone:
                await extensions.roll_back(client, identifier, version=2)
            assert gone.value.status == 404
    with serving(settings_in(tmp_path, certificate_versions=10)) as elb:
        assert elb.admin.show("certificate", identifier)["certferry"]["versions"] == 3, "told truly"


def test_readers_read_and_do_not_roll_back(elb: Elb) -> None:
    identifier = made(elb.admin, authority().issue("a.example"), authority().issue("a.example"))
    reader = another(elb, "eve", "reader")
    assert reader.extension("GET", f"/certificates/{identifier}/versions").status == 200
    assert reader.extension("POST", f"/certificates/{identifier}/rollback", {}).status == 403


def test_no_extension_answers_with_a_key(elb: Elb) -> None:
    pair, other = authority().issue("a.example"), authority().issue("a.example")
    identifier = made(elb.admin, pair, other)
    said = str(elb.admin.extension("POST", f"/certificates/{identifier}/rollback", {}).body)
    for path in (f"/certificates/{identifier}/versions", f"/certificates/{identifier}/status", "/audit"):
        said += str(elb.admin.extension("GET", path).body)
    assert parse_chain(pair.certificate).fingerprint in said, "we look at the right answers"
    for key in (pair.key, other.key):
        assert not [line for line in key.splitlines()[1:-1] if line in said]


async def test_clients_discover_the_extensions(elb: Elb) -> None:
    async with connected(elb.admin) as client:
        assert {"versions", "rollback", "status", "break-glass", "audit", "events"} <= await extensions.available(
            client
        )
