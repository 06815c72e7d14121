"""What the API tells of the data plane: a real ELB with a real Envoy."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.envoy.resource import ROUTES, XdsResource
from certferry.core.envoy.snapshot import Snapshot
from certferry.core.model.elb import HttpChallenge, State
from certferry.elb.server.dataplane.status import ACCEPTED, REJECTED, RouteStatuses, SecretStatuses, refusals
from certferry.elb.server.dataplane.xds.acks import AckLog
from certferry.settings import EnvoyOptions
from tests.elb.support.dataplane import DEADLINE, Plane, World, free_port, https, running, until
from tests.elb.support.server import Api, Elb, send, serving, settings_in

OPTIONS = EnvoyOptions(concurrency=1, drain_seconds=1)


@pytest.fixture(scope="module")
def elb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elb]:
    directory = tmp_path_factory.mktemp("elb")
    settings = settings_in(directory, envoy=True, envoy_options=OPTIONS, vip_shared_address="127.0.0.1")
    with serving(settings) as served:
        yield served


def test_a_member_that_fails_its_check_is_offline_in_the_status_tree_until_it_passes(elb: Elb) -> None:
    api, port = elb.admin, free_port()
    lb = api.make("loadbalancer")
    listener = api.make("listener", loadbalancer_id=lb["id"], protocol="HTTP", protocol_port=free_port())
    pool = api.make("pool", listener_id=listener["id"], protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    member = api.make("member", f"/pools/{pool['id']}/members", address="127.0.0.1", protocol_port=port)
    path = f"/pools/{pool['id']}/members/{member['id']}"
    assert api("GET", path).body["member"]["operating_status"] == "NO_MONITOR"
    check: dict[str, Any] = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    api.make("healthmonitor", pool_id=pool["id"], **check)

    def status() -> Any:
        return api("GET", path).body["member"]["operating_status"]

    _wait(lambda: status() == "OFFLINE")
    tree = _tree(api, lb["id"])
    assert tree["pools"][0]["members"][0]["operating_status"] == "OFFLINE"
    assert {tree["operating_status"], tree["listeners"][0]["operating_status"]} == {"DEGRADED"}
    with _answering(port):
        _wait(lambda: status() == "ONLINE")
        assert _tree(api, lb["id"])["operating_status"] == "ONLINE"


def test_a_challenge_is_answered_once_every_envoy_with_the_table_has_its_present_version() -> None:
    table = XdsResource({"name": "web"})
    challenge = HttpChallenge(host="a.example", token="t", answer="a", listener_ids=("web",))
    resources, state = Snapshot({ROUTES: {"web": table}}, {}), State(challenges={"order": (challenge,)})
    new, old, empty = AckLog(), AckLog(), AckLog()
    new.route_versions["web"], old.route_versions["web"] = table.version, "before"

    def answered(*acks: AckLog, elsewhere: dict[str, str] | None = None, order: str = "order") -> bool:
        logs = {str(number): log for number, log in enumerate(acks)}
        versions = None if elsewhere is None else (lambda _: elsewhere or {})
        return RouteStatuses(resources, state, logs, versions).answer(order, ("web",))

    assert answered(new)
    assert answered(new, empty)  # one of another load balancer
    assert not answered(new, old)
    assert not answered(empty)
    assert not answered()
    assert not answered(new, order="other")
    assert answered(new, elsewhere={"b/local": table.version})
    assert answered(elsewhere={"b/local": table.version})
    assert not answered(new, elsewhere={"b/local": ""})
    assert not answered(new, elsewhere={"b/local": "before"})


def test_an_occupied_listener_port_is_reported(elb: Elb) -> None:
    lb = elb.admin.make("loadbalancer")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] - lb["certferry"]["port_shift"]
        elb.admin.make("listener", loadbalancer_id=lb["id"], protocol="HTTP", protocol_port=port)
        _wait(lambda: "certferry" in _tree(elb.admin, lb["id"])["listeners"][0])
        tree = _tree(elb.admin, lb["id"])
    assert "in use" in tree["listeners"][0]["certferry"]["troubles"][0]
    assert tree["operating_status"] == "DEGRADED"


def test_an_ended_envoy_is_reported_and_the_api_continues(elb: Elb) -> None:
    def healthz() -> Any:
        reply = send(elb.origin, "GET", "/healthz")
        assert (reply.status, reply.body["status"]) == (200, "ok")
        return reply.body

    _wait(lambda: healthz()["connected"] == ["local"])
    before = healthz()["envoy"]["restarts"]
    (record,) = Path(elb.settings.state).rglob("envoy.json")
    os.kill(msgspec.json.decode(record.read_bytes())["process"]["pid"], signal.SIGKILL)
    _wait(lambda: healthz()["envoy"]["restarts"] > before)
    _wait(lambda: healthz()["envoy"]["state"] == "running" and healthz()["connected"] == ["local"])


def test_a_system_policy_lists_its_served_versions_and_suites(elb: Elb) -> None:
    policies = elb.admin("GET", "/system-security-policies").body["system_security_policies"]
    own = next(p["certferry"] for p in policies if p["name"] == "tls-1-2-fs-with-1-3")
    assert own["protocols"] == ["TLSv1.2", "TLSv1.3"]
    assert "ECDHE-RSA-AES256-SHA384" in own["missing_ciphers"]
    assert "TLS_AES_128_GCM_SHA256" in own["ciphers"]


def test_without_an_envoy_the_api_serves_and_the_status_tree_says_why(tmp_path: Path) -> None:
    options = EnvoyOptions(binary=str(tmp_path / "nowhere"))
    settings = settings_in(tmp_path, envoy=True, envoy_options=options, vip_shared_address="127.0.0.1")
    with serving(settings) as elb:
        lb = elb.admin.make("loadbalancer")
        tree = _tree(elb.admin, lb["id"])
        assert tree["operating_status"] == "DEGRADED"
        assert "no program" in tree["certferry"]["troubles"][0]
        assert send(elb.origin, "GET", "/healthz").body["envoy"]["state"] == "missing"


async def test_a_rejected_certificate_is_reported_with_its_slot_and_others_are_accepted() -> None:
    names = {name: {"domain": [f"{name}.example.com"]} for name in ("a", "b")}
    async with running(World(**https(free_port(), names, *names))) as plane:
        good = plane.world.pairs["a"]
        torn = msgspec.structs.replace(good.chain, pem="nonsense", digest="torn")
        plane.world.put("a", torn, good.key)
        plane.publish()
        await until(lambda: REJECTED in _states(plane).values())
        await until(lambda: _states(plane)["default"] == _states(plane)["b.example.com"] == ACCEPTED)
        (bad,) = [s for s in _seatings(plane) if s.state == REJECTED]
        assert (bad.place, bad.slot, bad.digest) == ("a.example.com", "sni", "torn")
        assert "certificate chain" in bad.message
        assert bad.since is not None
        plane.world.renew("a")
        plane.publish()
        await until(lambda: set(_states(plane).values()) == {ACCEPTED})
        assert refusals({name: acks.refusals for name, acks in plane.ads.reporting().items()}) == {}


def _seatings(plane: Plane) -> Any:
    return SecretStatuses(plane.ads.snapshots.value.resources, plane.ads.reporting()).of_listener("web")


def _states(plane: Plane) -> dict[str, str]:
    return {seating.place: seating.state for seating in _seatings(plane)}


def _tree(api: Api, loadbalancer_id: str) -> Any:
    reply = api("GET", f"/loadbalancers/{loadbalancer_id}/statuses")
    return reply.body["statuses"]["loadbalancer"]


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE} s"
        time.sleep(0.02)


@contextlib.contextmanager
def _answering(port: int) -> Iterator[None]:
    """An HTTP server that answers 200 to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
