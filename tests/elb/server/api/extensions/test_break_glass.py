from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certferry.core.x509.pem import parse_chain
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from tests.elb.support.server import Api, Elb, Reply, another, connected
from tests.support.certs import Pair, authority

SOURCE = {"cluster": "blue", "namespace": "shop", "secret": "shop-tls"}


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def shop(**fields: Any) -> Pair:
    return authority().issue("shop.example", **fields)


def owned(elb: Elb, pair: Pair) -> str:
    made = elb.controller.make(
        "certificate",
        name="k8s_plb_default_blue_shop_tls",
        description='{"cluster_id":"c1","secret_id":"3c1f"}',
        domain="shop.example",
        certferry={"source": SOURCE},
        **content(pair),
    )
    return str(made["id"])


def put(api: Api, identifier: str, pair: Pair, **fields: Any) -> Reply:
    return api("PUT", f"/certificates/{identifier}", {"certificate": {**content(pair), **fields}})


def opened(elb: Elb, identifier: str, hours: float = 2, reason: str = "the issuer is down") -> Reply:
    until = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    body = {"reason": reason, "until": until}
    return elb.admin.extension("POST", f"/certificates/{identifier}/break-glass", body)


def served(elb: Elb, identifier: str) -> str:
    return str(elb.admin.show("certificate", identifier)["certificate"])


def test_the_lock_names_the_secret_and_the_way_to_break_glass(elb: Elb) -> None:
    identifier = owned(elb, shop())
    reply = put(elb.admin, identifier, shop())
    assert (reply.status, reply.code) == (409, "ELB.8907")
    for part in ("cluster blue", "shop/shop-tls", "break-glass"):
        assert part in reply.sentence
    reply = elb.admin.extension("POST", f"/certificates/{identifier}/rollback", {})
    assert reply.status == 409
    assert "break-glass" in reply.sentence
    member = put(another(elb, "mary", "member"), identifier, shop())
    assert member.status == 409
    assert "break-glass" not in member.sentence, "it is not for members"


def test_an_admin_replaces_the_content_and_nothing_else(elb: Elb) -> None:
    old, new = shop(), shop()
    identifier = owned(elb, old)
    assert opened(elb, identifier).status == 201
    shown = elb.admin.show("certificate", identifier)["certferry"]
    assert (shown["break_glass"]["reason"], shown["break_glass"]["user"]) == ("the issuer is down", "admin")
    assert put(elb.admin, identifier, new, name="mine").status == 409
    assert elb.admin("DELETE", f"/certificates/{identifier}").status == 409
    assert put(another(elb, "mary", "member"), identifier, new).status == 409
    assert put(elb.admin, identifier, new).status == 200
    assert served(elb, identifier) == new.certificate
    shown = elb.admin.show("certificate", identifier)["certferry"]
    assert (shown["owner"], shown["emergency"]) == ("blue", True)
    version = elb.admin.extension("GET", f"/certificates/{identifier}/versions").body["versions"][0]
    assert (version["via"], version["user"]) == ("break-glass", "admin")


def test_the_owner_does_not_revert_it_until_the_end(elb: Elb) -> None:
    old, emergency = shop(), shop()
    identifier = owned(elb, old)
    opened(elb, identifier)
    assert put(elb.admin, identifier, emergency).status == 200
    reply = put(elb.controller, identifier, old)
    assert (reply.status, reply.code) == (409, "BreakGlassActive")
    assert "the issuer is down" in reply.sentence
    assert "UTC" in reply.sentence
    assert served(elb, identifier) == emergency.certificate
    path = f"/certificates/{identifier}/break-glass"
    assert elb.admin.extension("DELETE", path).status == 204
    assert elb.admin.extension("DELETE", path).status == 404
    assert elb.admin.show("certificate", identifier)["certferry"]["break_glass"] is None
    assert put(elb.admin, identifier, shop()).status == 409, "locked again"
    assert put(elb.controller, identifier, old).status == 200
    assert elb.admin.show("certificate", identifier)["certferry"]["emergency"] is False


def test_a_newer_secret_is_checked_by_the_invariant(elb: Elb) -> None:
    identifier = owned(elb, shop(days=-2))
    opened(elb, identifier)
    emergency = shop()
    put(elb.admin, identifier, emergency)
    reply = put(elb.controller, identifier, shop(days=-1))
    assert (reply.status, reply.code) == (409, "BreakGlassActive")
    assert "expired" in reply.sentence
    assert served(elb, identifier) == emergency.certificate
    newer = shop()
    assert put(elb.controller, identifier, newer).status == 200
    assert served(elb, identifier) == newer.certificate
    shown = elb.admin.show("certificate", identifier)["certferry"]
    assert (shown["break_glass"], shown["emergency"]) == (None, False), "and so the emergency is over"


def test_a_newer_secret_before_the_admin_acts_keeps_break_glass_open(elb: Elb) -> None:
    identifier = owned(elb, shop())
    opened(elb, identifier)
    newer = shop()
    assert put(elb.controller, identifier, newer).status == 200
    assert put(elb.admin, identifier, shop()).status == 200
    assert put(elb.controller, identifier, newer).code == "BreakGlassActive", "now that is what waits"


def test_break_glass_ends_by_itself(elb: Elb) -> None:
    identifier = owned(elb, shop())
    reply = opened(elb, identifier, hours=0.2 / 3600)
    assert reply.status == 201
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while elb.admin.show("certificate", identifier)["certferry"]["break_glass"] is not None:
        assert datetime.now(UTC) < deadline
    assert put(elb.admin, identifier, shop()).status == 409


def test_break_glass_requires_an_admin_a_reason_and_an_end(elb: Elb) -> None:
    identifier = owned(elb, shop())
    path = f"/certificates/{identifier}/break-glass"
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for body in (
        {"until": until},
        {"reason": " ", "until": until},
        {"reason": "x"},
        {"reason": "x", "until": "soon"},
        {"reason": "x", "until": "2020-01-01T00:00:00Z"},
        {"reason": "x", "until": "2099-01-01T00:00:00Z"},
        {"reason": "x", "until": "2099-01-01T00:00:00"},
        {"reason": "x", "until": "9999-12-31T23:59:59-12:00"},
    ):
        assert elb.admin.extension("POST", path, body).status == 400, body
    for user in (another(elb, "mary", "member"), elb.controller):
        assert user.extension("POST", path, {"reason": "x", "until": until}).status == 403
        assert user.extension("DELETE", path).status == 403
    free = elb.admin.make("certificate", **content(shop()))["id"]
    assert opened(elb, free).status == 409, "it has no owner, so there is nothing to break"


async def test_the_audit_log_records_every_step_of_break_glass(elb: Elb) -> None:
    old, emergency = shop(), shop()
    identifier = owned(elb, old)
    async with connected(elb.admin) as client:
        until = datetime.now(UTC) + timedelta(hours=1)
        found = await extensions.open_break_glass(client, identifier, "fire", until)
        assert (found.reason, found.user) == ("fire", "admin")
        put(elb.admin, identifier, emergency)
        await extensions.close_break_glass(client, identifier)
        with pytest.raises(ElbError):
            await extensions.close_break_glass(client, identifier)
        told = [r async for r in extensions.audit(client, certificate=identifier)]
    assert [r.verb for r in told] == ["create", "break-glass", "update", "break-glass-end"]
    assert "fire" in (told[1].reason or "")
    assert told[2].reason == "fire"
    assert told[2].previous_fingerprint == parse_chain(old.certificate).fingerprint
    assert told[2].fingerprint == parse_chain(emergency.certificate).fingerprint


def test_reopening_break_glass_moves_its_end_and_keeps_the_pending_content(elb: Elb) -> None:
    old, emergency = shop(), shop()
    identifier = owned(elb, old)
    opened(elb, identifier)
    put(elb.admin, identifier, emergency)
    assert opened(elb, identifier, hours=5, reason="still down").status == 201
    reply = put(elb.controller, identifier, old)
    assert (reply.status, "still down" in reply.sentence) == (409, True)


def test_a_release_takes_the_owner_away(elb: Elb) -> None:
    identifier = owned(elb, shop())
    path = f"/certificates/{identifier}/release"
    assert another(elb, "mary", "member").extension("POST", path, {}).status == 403
    assert another(elb, "controller-green", "controller", cluster="green").extension("POST", path, {}).status == 403
    reply = elb.admin.extension("POST", path, {"reason": "the cluster is gone"})
    assert reply.status == 200
    shown = reply.body["certificate"]
    assert (shown["certferry"]["owner"], shown["certferry"]["source"]) == (None, None)
    assert "secret_id" not in shown["description"]
    assert put(elb.admin, identifier, shop(), name=shown["name"]).status == 200, "it is anybody's now"
    assert put(elb.controller, identifier, shop()).status == 403


def test_a_pause_for_a_rollback_has_a_name_of_its_own(elb: Elb) -> None:
    first, second = shop(), shop()
    identifier = owned(elb, first)
    assert put(elb.controller, identifier, second).status == 200
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    path = f"/certificates/{identifier}/break-glass"
    body = {"kind": "rollback-pause", "reason": "game day", "until": until}
    assert elb.admin.extension("POST", path, body).body["break_glass"]["kind"] == "rollback-pause"
    assert elb.admin.extension("POST", f"/certificates/{identifier}/rollback", {}).status == 200
    reply = put(elb.controller, identifier, second)
    assert (reply.status, reply.code) == (409, "RollbackPauseActive")
    assert "a rollback pauses sync until" in reply.sentence
    assert elb.admin.extension("DELETE", path).status == 204
    records = elb.admin.extension("GET", "/audit", query=f"certificate_id={identifier}").body["records"]
    verbs = [r["verb"] for r in records]
    assert verbs[-3:] == ["rollback-pause", "rollback", "rollback-pause-end"]
    assert "break-glass" not in verbs
    assert elb.admin.extension("POST", path, {**body, "kind": "holiday"}).status == 400
