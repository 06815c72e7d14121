"""Marks of compromised keys: who may set them, what they do to certificates, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certferry.core.x509.pem import parse_chain
from certferry.elb.client import extensions
from certferry.elb.client.observe import compromised_keys
from tests.elb.support.server import Api, Elb, another, connected, serving, settings_in
from tests.support.certs import Pair, authority

MARKS = "/compromised-keys"


def issue(*names: str, **facts: Any) -> Pair:
    return authority().issue(*(names or ("a.example",)), **facts)


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def made(api: Api, *pairs: Pair, **fields: Any) -> str:
    identifier = str(api.make("certificate", **content(pairs[0]), **fields)["id"])
    for pair in pairs[1:]:
        assert put(api, identifier, pair).status == 200
    return identifier


def put(api: Api, identifier: str, pair: Pair) -> Any:
    return api("PUT", f"/certificates/{identifier}", {"certificate": content(pair)})


def spki(pair: Pair) -> str:
    return parse_chain(pair.certificate).spki


def mark(api: Api, pair: Pair, reason: str = "laptop stolen") -> Any:
    return api.extension("POST", MARKS, {"spki": spki(pair), "reason": reason})


def served(elb: Elb, identifier: str) -> str:
    return parse_chain(elb.admin.show("certificate", identifier)["certificate"]).fingerprint


def fingerprint(pair: Pair) -> str:
    return parse_chain(pair.certificate).fingerprint


def test_a_mark_serves_the_best_earlier_version_with_another_key_at_once(elb: Elb) -> None:
    good, stolen = issue(days=30), issue()
    identifier = made(elb.admin, issue("other.example"), issue(days=-3), good, stolen, domain="a.example")
    reply = elb.admin.extension("POST", MARKS, {"certificate_id": identifier, "reason": "laptop stolen"})
    assert reply.status == 201
    assert reply.body["certificates"] == [{"id": identifier, "name": "", "version": 3}]
    assert served(elb, identifier) == fingerprint(good)
    marking, rollback = records(elb)[-2:]
    assert (marking["verb"], marking["kind"]) == ("compromised", "compromised_key")
    assert (marking["user"], marking["reason"]) == ("admin", "laptop stolen")
    assert (rollback["verb"], rollback["resource_id"]) == ("rollback", identifier)
    assert rollback["reason"] == "compromised key: laptop stolen"


def test_a_mark_holds_for_every_certificate_with_the_key_and_for_renewals_of_it(elb: Elb) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    stolen, renewed = issue(key=key), issue(key=key)
    first, second = made(elb.admin, issue(), stolen), made(elb.admin, issue(), stolen, renewed)
    answer = mark(elb.admin, stolen).body["certificates"]
    assert {one["id"]: one["version"] for one in answer} == {first: 1, second: 1}, "version 2 has the key too"


def test_without_a_usable_earlier_version_the_certificate_stays(elb: Elb) -> None:
    stolen = issue()
    identifier = made(elb.admin, issue("other.example"), issue(days=-3), stolen, domain="a.example")
    assert mark(elb.admin, stolen).body["certificates"] == [{"id": identifier, "name": "", "version": None}]
    shown = elb.admin.show("certificate", identifier)
    assert served(elb, identifier) == fingerprint(stolen)
    assert next(f["reason"] for f in shown["certferry"]["findings"]) == "CertificateCompromised"


def test_no_write_and_no_rollback_brings_the_key_back(elb: Elb) -> None:
    good, stolen, newer = issue(), issue(), issue()
    identifier = made(elb.admin, good, stolen)
    mark(elb.admin, stolen)
    refused = put(elb.admin, identifier, stolen)
    assert (refused.status, refused.code) == (409, "ELB.8907")
    assert "its key is marked as compromised (laptop stolen). Issue one with a new key" in refused.sentence
    path = f"/certificates/{identifier}/rollback"
    refused = elb.admin.extension("POST", path, {"version": 2})
    assert (refused.status, refused.sentence) == (
        409,
        "Version 2 is not served again: its key is marked as compromised",
    )
    assert put(elb.admin, identifier, newer).status == 200
    assert elb.admin.extension("POST", path, {}).status == 200
    assert served(elb, identifier) == fingerprint(good), "the marked version 2 is skipped"
    versions = elb.admin.extension("GET", f"/certificates/{identifier}/versions").body["versions"]
    assert [v["number"] for v in versions if v["compromised"]] == [2]


def test_a_marked_key_may_replace_what_is_no_better(elb: Elb) -> None:
    stolen = issue()
    mark(elb.admin, stolen)
    assert put(elb.admin, made(elb.admin, issue(days=-3)), stolen).status == 200
    assert made(elb.admin, stolen), "a new certificate takes nothing away"


def test_a_mark_outlives_a_restart_and_its_removal_is_recorded(tmp_path: Any) -> None:
    good, stolen = issue(), issue()
    with serving(settings_in(tmp_path)) as elb:
        identifier = made(elb.admin, good, stolen)
        mark(elb.admin, stolen)
    with serving(settings_in(tmp_path)) as elb:
        assert put(elb.admin, identifier, stolen).status == 409
        member = another(elb, "mary", "member")
        assert member.extension("DELETE", f"{MARKS}/{spki(stolen)}").status == 403
        assert elb.admin.extension("DELETE", f"{MARKS}/{spki(stolen)}", query="reason=a+mistake").status == 204
        assert elb.admin.extension("DELETE", f"{MARKS}/{spki(stolen)}").status == 404
        assert records(elb)[-1]["verb"] == "compromised-end"
        assert records(elb)[-1]["reason"] == "a mistake"
        assert put(elb.admin, identifier, stolen).status == 200


def test_who_may_mark_a_key(elb: Elb) -> None:
    member, reader, controller = another(elb, "mary", "member"), another(elb, "eve", "reader"), elb.controller
    own, owned = issue(), issue()
    made(member, own)
    made(controller, owned)
    assert mark(reader, own).status == 403
    assert mark(member, issue()).status == 403, "not on the ELB"
    assert mark(member, owned).status == 409, "owned by a controller"
    assert mark(controller, own).status == 403, "not the controller's"
    assert mark(member, own).status == 201
    assert mark(controller, owned).status == 201
    assert mark(elb.admin, issue()).status == 201, "an admin may mark any key"


def test_a_public_certificate_is_not_enough_to_mark_its_key(elb: Elb) -> None:
    member, controller = another(elb, "mary", "member"), elb.controller
    owned = issue()
    identifier = made(controller, issue(), owned)
    copy = member.make("certificate", type="client", certificate=owned.certificate)
    for body in ({"certificate_id": copy["id"]}, {"certificate_id": identifier}, {"spki": spki(owned)}):
        assert member.extension("POST", MARKS, {**body, "reason": "harm"}).status in (403, 409)
    assert served(elb, identifier) == fingerprint(owned)


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "both", "spki": "a" * 64, "certificate_id": "x"},
        {"reason": "neither"},
        {"reason": " ", "spki": "a" * 64},
        {"spki": "a" * 64},
        {"reason": "no digest", "spki": "A" * 64},
        {"reason": "no digest", "spki": "../x"},
    ],
)
def test_a_malformed_mark_is_refused(elb: Elb, body: dict[str, str]) -> None:
    assert elb.admin.extension("POST", MARKS, body).status == 400


def test_marks_are_of_one_project(elb: Elb) -> None:
    assert elb.admin.extension("POST", MARKS, {"certificate_id": "none", "reason": "x"}).status == 404


async def test_the_client_reads_sets_and_removes_marks(elb: Elb) -> None:
    good, stolen = issue(), issue()
    identifier = made(elb.admin, good, stolen)
    async with connected(elb.admin) as client:
        marked, replaced = await extensions.mark_compromised(client, "INC-1", certificate_id=identifier)
        assert (marked.spki, marked.reason, marked.user) == (spki(stolen), "INC-1", "admin")
        assert [(r.id, r.version) for r in replaced] == [(identifier, 1)]
        again, _ = await extensions.mark_compromised(client, "INC-2", spki=spki(stolen))
        assert [k for k in await extensions.compromised_keys(client) if k.spki == spki(stolen)] == [again]
        assert spki(stolen) in await compromised_keys(client)
        await extensions.unmark_compromised(client, spki(stolen), "done")
        assert spki(stolen) not in await compromised_keys(client)


def records(elb: Elb) -> list[dict[str, Any]]:
    found = elb.admin.extension("GET", "/audit", query="limit=1000").body["records"]
    assert isinstance(found, list)
    return found
