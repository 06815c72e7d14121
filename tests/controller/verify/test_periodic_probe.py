"""Periodic probes: changes outside the controller raise an alert, which ends once the certificate is served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.core.diagnosis.alert import Alert
from tests.controller.conftest import CREDENTIALS, System
from tests.controller.support.fake_kube import until
from tests.support.certs import Authority, Pair, authority

HOST = "shop.example.com"
OWN = "certferry.example.com"
ACCESS_KEY = {"access_key": CREDENTIALS.access_key, "secret_key": CREDENTIALS.secret_key}


def near_its_end() -> Pair:
    return authority().issue(OWN, days=1, started=89)


async def patrolled(system: System, pair: Pair, *own: tuple[str, str]) -> str:
    """A shop that is served well, and a patrol that hardly rests; the id of its certificate."""
    system.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0.02, own_endpoints=own))
    system.probe_deadline = 0.1
    system.shop(pair)
    await system.start()
    await system.in_step()
    await until(lambda: system.kube.events("Ingress", "CertificateServed"))
    return str(system.our_certificate()["id"])


def alerts(system: System) -> dict[str, Alert]:
    assert system.controller is not None
    return {a.name: a for a in system.controller.alert_evaluator.alerts.value}


async def test_a_foreign_certificate_is_reported_and_cleared(system: System) -> None:
    pair = authority().issue(HOST)
    ref = await patrolled(system, pair)
    system.elb.show(ref, authority().issue("somebody.example.net"))
    await until(lambda: list(alerts(system)) == ["CertificateNotServed"])
    alert = alerts(system)["CertificateNotServed"]
    assert alert.hosts == (HOST,)
    assert "another certificate" in alert.why
    assert alert.command == f"certferry why {HOST}:{system.elb.front_port}"
    system.elb.show(ref, pair)
    await until(lambda: not alerts(system))
    assert system.elb.count("PUT", "certificates") == 0  # looked at, and not meddled with


async def test_a_truncated_chain_is_reported_and_cleared(system: System) -> None:
    whole = Authority("Intermediate", by=authority()).issue(HOST, chain=True)
    ref = await patrolled(system, whole)
    leaf = whole.certificate.partition("-----END CERTIFICATE-----\n")
    system.elb.show(ref, Pair(leaf[0] + leaf[1], whole.key))
    await until(lambda: list(alerts(system)) == ["CertificateNotServed"])
    why = alerts(system)["CertificateNotServed"].why
    assert why.startswith("the leaf is right, but CN=Intermediate (")
    system.elb.show(ref, whole)
    await until(lambda: not alerts(system))


async def test_a_closed_port_is_reported_and_cleared(system: System) -> None:
    await patrolled(system, authority().issue(HOST))
    await system.elb.close_front()
    await until(lambda: list(alerts(system)) == ["CertificateUnreachable"])
    assert "the endpoint does not answer" in alerts(system)["CertificateUnreachable"].why
    await system.elb.open_front()
    await until(lambda: not alerts(system))


@pytest.mark.parametrize("guests_alone", [False, True], ids=["for anybody", "mutual TLS"])
async def test_own_certificates_are_probed(system: System, tmp_path: Path, guests_alone: bool) -> None:
    async with own_door(tmp_path, near_its_end(), guests_alone) as (where, show):
        await patrolled(system, authority().issue(HOST), ("xDS", where))
        await until(lambda: list(alerts(system)) == ["RenewalCritical"])
        alert = alerts(system)["RenewalCritical"]
        assert alert.subject == "xDS"
        assert alert.owner == "the administrator of this system"
        assert alert.command == f"certferry cert check {where}"
        assert system.controller is not None
        assert f'certificate_id="{where}",name="xDS",role="own"' in system.controller.metrics.text().decode()
        show(authority().issue(OWN))
        await until(lambda: not alerts(system))


async def test_an_expiring_own_certificate_is_reported_although_its_program_is_down(
    system: System, tmp_path: Path
) -> None:
    async with own_door(tmp_path, near_its_end()) as (where, _):
        ref = await patrolled(system, authority().issue(HOST), ("console", where))
        await until(lambda: list(alerts(system)) == ["RenewalCritical"])
    system.elb.show(ref, authority().issue("somebody.example.net"))
    await until(lambda: "CertificateNotServed" in alerts(system))
    assert alerts(system)["RenewalCritical"].subject == "console"


@pytest.mark.process
async def test_the_settings_know_where_the_certificates_of_other_programs_are(system: System, tmp_path: Path) -> None:
    pair = authority().issue(OWN)
    (tmp_path / "elb.json").write_text(json.dumps({"project_id": CREDENTIALS.project_id, **ACCESS_KEY}))
    (tmp_path / "elb.json").chmod(0o600)
    cluster = {"cluster": {"server": system.kube.url}, "name": "c"}
    user = {"user": {"token": system.kube.token}, "name": "u"}
    context = {"context": {"cluster": "c", "user": "u"}, "name": "x"}
    kubeconfig = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    async with own_door(tmp_path, pair) as (console, _), own_door(tmp_path, pair, True) as (xds, _):
        place = {"url": system.elb.url, "credentials_file": "elb.json"}
        settings = {
            "clusters": [{"name": "test", "kubeconfig": "kubeconfig", "elb": place}],
            "console": {"listen": console, "tls_certificate": "console.crt", "tls_key": "console.key"},
            "elb": {"remote_envoys": {"listen": xds.replace("127.0.0.1", "0.0.0.0")}},
        }
        (tmp_path / "certferry.yaml").write_text(yaml.safe_dump(settings))
        port = free_port()
        command = ("controller", "--config", str(tmp_path / "certferry.yaml"), "--listen", f"127.0.0.1:{port}")
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "certferry", *command)
        try:
            seen = await own_in_metrics(f"http://127.0.0.1:{port}/metrics", 2)
        finally:
            process.terminate()
            await process.wait()
    assert seen == {f'certificate_id="{console}",name="console"', f'certificate_id="{xds}",name="xDS"'}


async def own_in_metrics(url: str, least: int) -> set[str]:
    """The certificates of our own in the controller's metrics, once there are so many."""
    end = asyncio.get_running_loop().time() + 20
    async with aiohttp.ClientSession() as http:
        while True:
            assert asyncio.get_running_loop().time() < end
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(url) as answer:
                    found = set(re.findall(r'remaining_lifetime.*\{(.*),role="own"\}', await answer.text()))
                if len(found) >= least:
                    return found
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@asynccontextmanager
async def own_door(
    folder: Path, pair: Pair, guests_alone: bool = False
) -> AsyncIterator[tuple[str, Callable[[Pair], None]]]:
    """A part of this system that shows `pair`: where it is, and how to show another one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if guests_alone:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authority().certificate)

    def show(it: Pair) -> None:
        file = folder / "own.pem"
        file.write_text(it.certificate + it.key)
        context.load_cert_chain(file)

    show(pair)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", show
