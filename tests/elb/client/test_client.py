from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from certferry.core.model.elb import ListenerDefaults, ListenerLimits
from certferry.core.x509.pem import parse_chain
from certferry.elb.client import extensions
from certferry.elb.client.client import LOADBALANCERS, ElbClient, ElbError, members_of
from certferry.elb.client.credentials import Credentials, CredentialsError, load
from certferry.elb.client.observe import observe
from tests.controller.support.fake_elb import FakeElb
from tests.support.certs import authority

CREDENTIALS = Credentials(project_id="p" * 32, access_key="AK", secret_key="not-to-be-seen")


@pytest.fixture
async def fake() -> AsyncIterator[FakeElb]:
    fake = FakeElb()
    await fake.start()
    yield fake
    await fake.close()


@pytest.fixture(params=["aiohttp", "short"])
async def client(fake: FakeElb, request: pytest.FixtureRequest) -> AsyncIterator[ElbClient]:
    async with ElbClient(fake.url, CREDENTIALS, short=request.param == "short") as client:
        yield client


async def test_the_state_is_read_with_and_without_bulk_lists(fake: FakeElb, client: ElbClient) -> None:
    balancer = fake.balancer()
    pair = authority().issue("a.example.com", chain=True)
    certificate = fake.certificate(pair.certificate, pair.key, "mine", "b.example.com,a.example.com")
    fake.objects["listeners"]["l"] = {
        "id": "l",
        "loadbalancers": [{"id": balancer}],
        "protocol": "HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": certificate,
        "sni_container_refs": [],
        "client_ca_tls_container_ref": None,
        "insert_headers": {"X-Forwarded-Port": True},
        "tags": [],
    }
    fake.objects["pools"]["p"] = {"id": "p", "name": "p", "listeners": [{"id": "l"}], "healthmonitor_id": "h"}
    fake.objects["healthmonitors"]["h"] = {"id": "h", "type": "HTTP", "delay": 7, "domain_name": None}
    fake.objects["members"]["m"] = {"id": "m", "owner": "p", "address": "10.0.0.1", "protocol_port": 80}
    fake.objects["l7policies"]["y"] = {
        "id": "y",
        "listener_id": "l",
        "action": "REDIRECT_TO_POOL",
        "redirect_pool_id": "p",
        "redirect_url_config": None,
        "rules": [{"id": "r"}],
    }
    fake.objects["rules"]["r"] = {"id": "r", "owner": "y", "type": "PATH", "compare_type": "STARTS_WITH", "value": "/"}
    state = await observe(client)
    assert state.listeners["l"].loadbalancer_id == balancer
    assert state.listeners["l"].sni_container_refs == ()
    assert state.certificates[certificate].domain == ("a.example.com", "b.example.com")
    assert state.certificates[certificate].chain == parse_chain(pair.certificate)
    assert state.pools["p"].loadbalancer_id == balancer
    assert [m.address for m in state.pools["p"].members] == ["10.0.0.1"]
    assert state.pools["p"].healthmonitor is not None
    assert state.pools["p"].healthmonitor.delay == 7
    assert [r.value for r in state.policies["y"].rules] == ["/"]
    fake.bulk = False
    async with ElbClient(fake.url, CREDENTIALS) as other:
        assert await observe(other) == state


async def test_the_limits_of_a_listener_are_those_of_the_elb(fake: FakeElb, client: ElbClient) -> None:
    assert (await observe(client)).limits == ListenerLimits()
    fake.limits = {"l7policies_per_listener": 300, "sni_certificates": -1}
    limits = (await observe(client)).limits
    assert (limits.policies, limits.sni_names) == (300, 200)
    assert limits.sni_certificates > 1_000_000


@pytest.mark.parametrize("said", [None, {}, {"listener_defaults": {"http2_enable": "yes"}}, {"listener_defaults": 7}])
async def test_the_defaults_of_a_listener_are_those_of_cce_unless_the_elb_tells(
    fake: FakeElb, client: ElbClient, said: object
) -> None:
    fake.limits = {"sni_names": 3, "certferry": said}
    assert (await observe(client)).listener_defaults == ListenerDefaults()
    told = ListenerDefaults(tls_ciphers_policy="tls-1-2-fs", http2_enable=True)
    fake.limits = {"certferry": {"listener_defaults": msgspec.to_builtins(told)}}
    assert (await observe(client)).listener_defaults == told


async def test_an_unparseable_certificate_is_kept_in_the_state(fake: FakeElb, client: ElbClient) -> None:
    fake.objects["certificates"]["c"] = {"id": "c", "certificate": "nonsense", "name": "n"}
    state = await observe(client)
    assert state.certificates["c"].chain is None


async def test_all_pages_are_read(fake: FakeElb, client: ElbClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certferry.elb.client.client.PAGE", 2)
    ids = {fake.balancer(f"lb{n}") for n in range(5)}
    assert {b["id"] for b in await client.find(LOADBALANCERS)} == ids


async def test_errors_say_whether_they_are_retryable(fake: FakeElb, client: ElbClient) -> None:
    fake.fail("GET", "loadbalancers", 503)
    with pytest.raises(ElbError) as passing:
        await observe(client)
    assert passing.value.retryable
    with pytest.raises(ElbError) as staying:
        await client.get(LOADBALANCERS, "none")
    assert (staying.value.status, staying.value.code, staying.value.retryable) == (404, "ELB.8904", False)
    await fake.stop()
    with pytest.raises(ElbError) as away:
        await client.find(LOADBALANCERS)
    assert away.value.retryable


async def test_deleting_a_missing_object_is_no_error(fake: FakeElb, client: ElbClient) -> None:
    await client.delete(members_of("p"), "m")


async def test_no_key_is_in_an_error_even_if_the_server_sends_it(fake: FakeElb, client: ElbClient) -> None:
    pair = authority().issue("a.example.com")
    fake.fail("POST", "certificates", 500)
    with pytest.raises(ElbError) as error:
        await client.create_certificate({"certificate": pair.certificate, "private_key": pair.key})
    assert pair.key.splitlines()[1] not in f"{error.value} {error.value!r} {error.value.message}"
    assert "[PEM]" in str(error.value)


async def test_a_key_that_the_server_echoes_is_not_decoded(fake: FakeElb, client: ElbClient) -> None:
    pair = authority().issue("a.example.com")
    made = await client.create_certificate({"certificate": pair.certificate, "private_key": pair.key})
    fake.objects["certificates"][made.id]["private_key"] = pair.key
    assert pair.key.splitlines()[1] not in repr(await client.certificates())


async def test_a_password_login_is_renewed_after_a_401() -> None:
    tokens: list[str] = []

    async def login(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        assert body["auth"]["identity"]["password"]["user"]["name"] == "admin"
        tokens.append(f"token-{len(tokens)}")
        return web.json_response({"token": {}}, status=201, headers={"X-Subject-Token": tokens[-1]})

    async def lists(request: web.Request) -> web.Response:
        if request.headers.get("X-Auth-Token") != tokens[-1] or len(tokens) == 1:
            return web.json_response({"error_code": "SYS.0401", "error_msg": "no"}, status=401)
        return web.json_response({"loadbalancers": [], "page_info": {}})

    app = web.Application()
    app.router.add_post("/v3/auth/tokens", login)
    app.router.add_get("/v3/{project}/elb/loadbalancers", lists)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    who = Credentials(project_id="p", username="admin", password="not-to-be-seen")
    async with ElbClient(f"http://127.0.0.1:{port}", who) as client:
        assert await client.find(LOADBALANCERS) == []
    assert tokens == ["token-0", "token-1"]
    await runner.cleanup()


def test_world_readable_credentials_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "elb.json"
    file.write_text(json.dumps({"project_id": "p", "access_key": "a", "secret_key": "s"}))
    file.chmod(0o644)
    with pytest.raises(CredentialsError, match="chmod 600"):
        load(file)
    file.chmod(0o600)
    assert load(file).access_key == "a"
    assert "not-to-be-seen" not in repr(CREDENTIALS)
    file.write_text("{}")
    with pytest.raises(CredentialsError, match="project_id"):
        load(file)


async def test_a_vendors_elb_has_no_extensions(fake: FakeElb, client: ElbClient) -> None:
    assert await extensions.available(client) == frozenset()
