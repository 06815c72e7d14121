from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.elb.server.identity.users import Identity
from tests.elb.support.server import Api, Elb, Reply, another, send, serving, settings_in


def login(elb: Elb, password: str | None = None, forwarded: str = "", **scope: Any) -> Reply:
    account = elb.credentials.admin
    user = {"name": account.username, "password": password or account.password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = {"project": scope}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return send(elb.origin, "POST", "/v3/auth/tokens", json.dumps({"auth": auth}).encode(), headers)


def test_a_password_gets_a_token_with_a_catalog(elb: Elb) -> None:
    for scope in ({}, {"id": elb.credentials.project_id}, {"name": elb.credentials.project}):
        reply = login(elb, **scope)
        assert reply.status == 201
        token = reply.body["token"]
        assert token["project"]["id"] == elb.credentials.project_id
        urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in token["catalog"]}
        assert urls == {"identity": f"{elb.origin}/v3", "elbv3": f"{elb.origin}/v3/{elb.credentials.project_id}"}
        headers = {"X-Auth-Token": reply.headers["x-subject-token"]}
        path = f"/v3/{elb.credentials.project_id}/elb/certificates"
        assert send(elb.origin, "GET", path, headers=headers).status == 200
        shown = headers | {"X-Subject-Token": headers["X-Auth-Token"]}
        assert send(elb.origin, "GET", "/v3/auth/tokens", headers=shown).body["token"] == token
        catalog = send(elb.origin, "GET", "/v3/auth/catalog", headers=headers).body["catalog"]
        assert catalog == token["catalog"]


def test_invalid_credentials_get_no_token(elb: Elb) -> None:
    for reply in (login(elb, "wrong"), login(elb, name="elsewhere"), login(elb, id="0" * 32)):
        assert (reply.status, reply.body["error"]["code"]) == (401, 401)
        assert "x-subject-token" not in reply.headers
    for body in (b"", b"{}", b'{"auth":{"identity":{"methods":["token"]}}}'):
        assert send(elb.origin, "POST", "/v3/auth/tokens", body).status == 400


def test_a_request_without_credentials_is_rejected(elb: Elb) -> None:
    path = f"/v3/{elb.credentials.project_id}/elb/certificates"
    proofs: list[dict[str, str]] = [
        {},
        {"X-Auth-Token": "guess"},
        {"Authorization": "Bearer x"},
        {"Authorization": "SDK-HMAC-SHA256 Access=x, SignedHeaders=host;x-sdk-date, Signature=0"},
    ]
    for headers in proofs:
        reply = send(elb.origin, "GET", path, headers=headers)
        assert (reply.status, reply.code) == (401, "SYS.0401"), headers


def test_a_token_expires(tmp_path: Path) -> None:
    with serving(settings_in(tmp_path, token_hours=0)) as elb:
        headers = {"X-Auth-Token": login(elb).headers["x-subject-token"]}
        path = f"/v3/{elb.credentials.project_id}/elb/certificates"
        assert send(elb.origin, "GET", path, headers=headers).status == 401


def test_a_signature_covers_the_request(elb: Elb, api: Api) -> None:
    path, body = f"/v3/{api.project_id}/elb/loadbalancers", b'{"loadbalancer":{}}'
    signed = api.signed("POST", path, body=body)
    assert send(elb.origin, "POST", path, body, signed).status == 201
    assert send(elb.origin, "POST", path, body + b" ", signed).status == 401
    assert send(elb.origin, "GET", path, headers=signed).status == 401
    assert send(elb.origin, "POST", path, body, signed, query="a=b").status == 401
    forged = signed | {"x-sdk-content-sha256": "UNSIGNED-PAYLOAD"}
    assert send(elb.origin, "POST", path, body, forged).status == 401
    other = Api(elb.origin, api.project_id, msgspec.structs.replace(api.account, secret_key="guess"))
    assert other("GET", "/loadbalancers").status == 401


def test_a_signature_is_valid_for_15_minutes(elb: Elb, api: Api) -> None:
    path, now = f"/v3/{api.project_id}/elb/pools", datetime.now(UTC)
    for minutes, status in ((14, 200), (-14, 200), (16, 401), (-16, 401)):
        signed = api.signed("GET", path, at=now + timedelta(minutes=minutes))
        assert send(elb.origin, "GET", path, headers=signed).status == status


def test_another_project_is_forbidden(elb: Elb, api: Api) -> None:
    away = Api(elb.origin, "0" * 32, api.account)
    assert away("GET", "/certificates").code == "SYS.0403"


def test_too_many_wrong_passwords_lock_that_user(tmp_path: Path) -> None:
    with serving(settings_in(tmp_path, login_attempts=2)) as elb:
        assert [login(elb, "wrong").status for _ in range(3)] == [401, 401, 429]
        assert login(elb).status == 429
        assert login(elb, forwarded="192.0.2.7").status == 429, "whatever address it says it comes from"
        assert elb.admin("GET", "/pools").status == 200, "signed requests go on"


def attempt(elb: Elb, name: str, password: str = "wrong", forwarded: str = "") -> int:
    user = {"name": name, "password": password}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return send(elb.origin, "POST", "/v3/auth/tokens", json.dumps(body).encode(), headers).status


def test_wrong_logins_of_invented_users_do_not_lock_the_admin_out(own: Elb) -> None:
    assert {attempt(own, f"nobody {n}") for n in range(56)} == {401}
    assert attempt(own, "nobody 7") == 429, "the address is over its limit: each user once"
    assert login(own).status == 201


def test_a_trusted_proxy_names_the_client(tmp_path: Path) -> None:
    with serving(settings_in(tmp_path, login_attempts=2, trusted_proxies=("127.0.0.1", "10.0.0.0/8"))) as elb:
        name = elb.credentials.admin.username
        assert [attempt(elb, name, forwarded="192.0.2.1") for _ in range(3)] == [401, 401, 429]
        assert attempt(elb, name, forwarded="203.0.113.9, 192.0.2.1, 10.0.0.7") == 429, (
            "the first entry is the client's"
        )
        assert attempt(elb, name, forwarded="garbage, 192.0.2.1") == 429
        assert login(elb, forwarded="192.0.2.2").status == 201
        assert login(elb).status == 201


def test_a_login_is_bounded_before_it_is_read(own: Elb) -> None:
    assert attempt(own, "x" * (1 << 20)) == 413
    assert attempt(own, "x" * 256) == 400
    assert attempt(own, "ann", "p" * 1025) == 400


def test_many_logins_at_a_time_hash_few_passwords_at_a_time(own: Elb, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    check = Identity.by_password

    def counted(self: Identity, name: str, password: str) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return check(self, name, password)
        finally:
            running -= 1

    monkeypatch.setattr(Identity, "by_password", counted)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(attempt, own, f"nobody {n}") for n in range(40)]
        assert own.admin("GET", "/pools").status == 200, "no worker thread waits for a login"
        assert {answer.result() for answer in answers} == {401}
    assert most <= max(1, (os.cpu_count() or 1) // 2)


def test_projects_are_selected_by_region_or_name(elb: Elb, api: Api) -> None:
    signed = api.signed("GET", "/v3/projects", "name=local")
    found = send(elb.origin, "GET", "/v3/projects", headers=signed, query="name=local")
    assert [one["id"] for one in found.body["projects"]] == [api.project_id]
    signed = api.signed("GET", "/v3/projects", "name=other")
    assert send(elb.origin, "GET", "/v3/projects", headers=signed, query="name=other").body["projects"] == []


def test_accounts_are_created_once(own: Elb) -> None:
    again = bootstrap(own.settings, cluster="blue")
    assert again == own.credentials
    file = own.settings.state / "elb-credentials.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert own.settings.state.stat().st_mode & 0o777 == 0o700
    assert login(own).status == 201


def test_health_versions_and_extensions_need_no_credentials(elb: Elb) -> None:
    assert send(elb.origin, "GET", "/healthz").status == 200
    assert send(elb.origin, "GET", "/versions").body["versions"][0]["id"] == "v3"
    assert send(elb.origin, "GET", "/v3/certferry").body["certferry"]["version"]
    assert send(elb.origin, "GET", "/v3").body["version"]["id"] == "v3.14"


def test_no_secret_in_a_repr(elb: Elb) -> None:
    text = repr((elb.credentials, another(elb, "quiet", "member").account))
    for account in (elb.credentials.admin, elb.credentials.controller):
        assert account.secret_key not in text
    assert elb.credentials.admin.password not in text
