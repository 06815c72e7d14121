"""Incidents, staged one by one: the alert, and one command, name the cause.

A controller runs between the fakes; its alerts are what the webhook would be sent, and the command is
typed like a person would, against the same cluster and load balancer.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from certferry.cli import app
from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.core.diagnosis.alert import Alert
from certferry.core.diagnosis.alert_rules import AlertRules
from certferry.core.x509.pem import parse_chain
from certferry.settings import UserError
from tests.controller.conftest import CREDENTIALS, System
from tests.controller.support.fake_kube import until
from tests.support.certs import Authority, Pair, authority, rsa_key


def shop(days: float = 90, **options: Any) -> Pair:
    return authority().issue("shop.example.com", days=days, **options)


class Desk:
    """An on-call engineer: the command line and the alerts."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        self.folder = folder
        credentials = folder / "elb.json"
        keys = {"access_key": CREDENTIALS.access_key, "secret_key": CREDENTIALS.secret_key}
        credentials.write_text(json.dumps({"project_id": CREDENTIALS.project_id, **keys}))
        credentials.chmod(0o600)
        self._kubeconfig(system.kube.url)
        place = {"url": system.elb.url, "credentials_file": str(credentials)}
        cluster = {"name": "test", "kubeconfig": str(folder / "kubeconfig"), "elb": place}
        self.settings = folder / "certferry.yaml"
        self.settings.write_text(yaml.safe_dump({"clusters": [cluster]}))

    def _kubeconfig(self, url: str) -> None:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": self.system.kube.token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))

    async def alert(self, name: str) -> Alert:
        """The one alert of that name, once it stands."""

        def found() -> list[Alert]:
            controller = self.system.controller
            return [a for a in controller.alert_evaluator.alerts.value if a.name == name] if controller else []

        await until(found)
        (alert,) = found()
        return alert

    async def types(self, *words: str) -> str:
        """What a command says, its refusal included."""
        done = await asyncio.to_thread(
            CliRunner().invoke, app, [*words, "--config", str(self.settings)], env={"COLUMNS": "200"}
        )
        if isinstance(done.exception, UserError):
            return str(done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.output


@pytest.fixture
def desk(system: System, tmp_path: Path) -> Desk:
    return Desk(system, tmp_path)


async def running(system: System, pair: Pair, **annotations: str) -> None:
    system.shop(pair, **annotations)
    await system.start()
    await system.in_step()
    fingerprint = parse_chain(pair.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))


async def test_a_class_of_the_settings_file_is_found_by_the_command_line(system: System, desk: Desk) -> None:
    """`certferry cert` and `why` looked for class cce, whatever controller.class_name said."""
    content = yaml.safe_load(desk.settings.read_text())
    controller = {"class_name": "acme", "default_loadbalancer": system.balancer}
    desk.settings.write_text(yaml.safe_dump({**content, "controller": controller}))
    system.shop(shop())
    ingress = system.kube.objects["ingresses", "demo", "shop"]
    spec = {**ingress["spec"], "ingressClassName": "acme"}
    system.kube.put("ingresses", "demo", "shop", {"spec": spec, "metadata": ingress["metadata"]})
    said = await desk.types("why", "shop.example.com")
    assert "Secret demo/shop-tls" in said
    assert "Ingress demo/shop" in said


async def test_expired(system: System, desk: Desk) -> None:
    await running(system, shop(days=-1))
    alert = await desk.alert("CertificateExpired")
    assert alert.hosts == ("shop.example.com",)
    assert "Secret demo/shop-tls has not been renewed" in alert.why
    said = await desk.types("why", "shop.example.com")
    assert "expired" in said
    assert "certferry cert replace demo/shop-tls" in said


async def test_wrong_host(system: System, desk: Desk) -> None:
    await running(system, shop())
    system.kube.secret("demo", "shop-tls", authority().issue("other.example.com"))
    alert = await desk.alert("CertificateRejected")
    assert "not for shop.example.com" in alert.why
    assert "HostNotCovered" in await desk.types("cert", "check", "secret/demo/shop-tls")


async def test_broken_chain(system: System, desk: Desk) -> None:
    await running(system, shop())
    new, stranger = shop(), Authority("Another CA")
    system.kube.secret("demo", "shop-tls", Pair(new.certificate + stranger.certificate, new.key))
    alert = await desk.alert("CertificateRejected")
    assert "CN=Test CA" in alert.why
    said = await desk.types("cert", "check", "secret/demo/shop-tls")
    assert "ChainBroken" in said
    assert "CN=Another CA" in said


async def test_secret_not_read(system: System, desk: Desk) -> None:
    await running(system, shop())
    system.kube.remove("secrets", "demo", "shop-tls")
    alert = await desk.alert("SecretUnreadable")
    assert alert.subject == "demo/shop-tls"
    assert "cannot be read" in alert.why
    assert "Secret demo/shop-tls does not exist" in await desk.types("why", "shop.example.com")


async def test_drift(system: System, desk: Desk) -> None:
    system.resync = 0.05
    await running(system, shop())
    theirs = shop()
    ref = system.elb.certificate(theirs.certificate, theirs.key, name="by-hand")
    (listener,) = system.elb.objects["listeners"].values()
    listener["default_tls_container_ref"] = ref
    alert = await desk.alert("LoadBalancerDrift")
    assert "listener k8s_HTTPS_443" in alert.why
    assert "default_tls_container_ref" in alert.why
    assert "shop.example.com" in await desk.types("cert", "where", "demo/shop-tls")


async def test_quarantined(system: System, desk: Desk) -> None:
    system.elb.extensions = ("versions", "rollback")
    await running(system, shop())
    bad = shop()
    system.elb.unusable.add(parse_chain(bad.certificate).fingerprint)
    system.kube.secret("demo", "shop-tls", bad)
    alert = await desk.alert("CertificateQuarantined")
    assert "certferry cert resume demo/shop-tls" in alert.command
    said = await desk.types("why", "shop.example.com")
    assert "CertificateQuarantined" in said
    assert "served (update rejected: CertificateQuarantined)" in await desk.types("cert", "ls")
    assert "tries its content" in await desk.types("cert", "resume", "demo/shop-tls")
    await until(lambda: "quarantined" not in system.our_certificate()["description"])


async def test_quota_full(system: System, desk: Desk) -> None:
    await running(system, shop())
    unused = shop()
    system.elb.certificate(unused.certificate, unused.key, name="left-over")
    system.elb.refusals.append(("POST", "certificates", 409, "ELB.8905", "certificate quota exceeded"))
    system.shop(authority().issue("new.example.com"), name="new")
    alert = await desk.alert("LoadBalancerRejected")
    assert "quota exceeded" in alert.why
    assert alert.command == "certferry cert ls --unused"
    assert "left-over" in await desk.types("cert", "ls", "--unused")


async def test_rejected_by_the_data_plane(system: System, desk: Desk) -> None:
    system.elb.extensions = ("status",)
    await running(system, shop())
    system.elb.stale_front = True
    system.elb.rejected = "Failed to load certificate chain: INVALID"
    system.kube.secret("demo", "shop-tls", shop())
    alert = await desk.alert("CertificateNotServed")
    assert alert.command == f"certferry why shop.example.com:{system.elb.front_port}"
    said = await desk.types("why", f"shop.example.com:{system.elb.front_port}")
    assert "rejected it: Failed to load certificate chain: INVALID" in said


async def test_the_right_leaf_without_its_intermediate(system: System, desk: Desk) -> None:
    system.probe_deadline = 0.3
    intermediate = Authority("Intermediate", by=authority())
    await running(system, intermediate.issue("shop.example.com", chain=True))
    end = "-----END CERTIFICATE-----\n"
    system.elb.sends = lambda chain: chain.partition(end)[0] + end
    system.kube.secret("demo", "shop-tls", intermediate.issue("shop.example.com", chain=True))
    alert = await desk.alert("CertificateNotServed")
    assert "the leaf is right, but CN=Intermediate (" in alert.why
    said = await desk.types("why", f"shop.example.com:{system.elb.front_port}")
    assert "the leaf is right, but CN=Intermediate (" in " ".join(said.split())
    assert "ChainIncomplete" in await desk.types("cert", "check", f"127.0.0.1:{system.elb.front_port}")


async def test_probe_blocked(system: System, desk: Desk) -> None:
    await running(system, shop())
    assert system.elb._front is not None
    system.elb._front.close()
    system.kube.secret("demo", "shop-tls", shop())
    alert = await desk.alert("CertificateUnreachable")
    assert "the endpoint does not answer" in alert.why
    said = await desk.types("why", "shop.example.com")
    assert "refuses connections: nothing listens there" in said
    assert "says nothing of the certificate" in said


async def test_clock_skew(system: System, desk: Desk) -> None:
    await running(system, shop())
    system.kube.secret("demo", "shop-tls", shop(started=-0.01))
    alert = await desk.alert("CertificateRejected")
    assert "not valid before" in alert.why
    assert "CertificateNotYetValid" in await desk.types("cert", "check", "secret/demo/shop-tls")


async def test_listener_owned_by_another_ingress(system: System, desk: Desk) -> None:
    await running(system, shop())
    other = authority().issue("shop.example.com")
    system.kube.secret("demo", "late-tls", other)
    system.kube.put("ingresses", "demo", "late", _same_host("late"))
    alert = await desk.alert("CertificateNotUsed")
    assert "demo/shop" in alert.why
    said = await desk.types("why", "shop.example.com")
    assert "listener owner: Ingress demo/shop" in said
    assert "SniConflict on Ingress demo/late: Host shop.example.com has" in " ".join(said.split())


async def test_source_managed_by_another_tool(system: System, desk: Desk) -> None:
    pair = shop(days=1, started=89)
    system.shop(pair)
    secret = system.kube.objects["secrets", "demo", "shop-tls"]
    secret["metadata"]["annotations"] = {"cert-manager.io/certificate-name": "shop"}
    system.kube.put("secrets", "demo", "shop-tls", secret)
    await system.start()
    await system.in_step()
    alert = await desk.alert("RenewalCritical")
    assert "cert-manager (Certificate demo/shop)" in alert.source
    assert alert.command == "kubectl describe certificate shop -n demo"
    new = desk.folder / "new.crt"
    good = shop()
    new.write_text(good.certificate)
    new.with_suffix(".key").write_text(good.key)
    said = await desk.types(
        "cert", "replace", "demo/shop-tls", "--cert", str(new), "--key", str(new.with_suffix(".key")), "-y"
    )
    assert "cert-manager renews this Secret" in said or "--force" in said
    data = system.kube.objects["secrets", "demo", "shop-tls"]["data"]
    assert data == secret["data"]
    assert "cert-manager" in await desk.types("cert", "expiring")


async def test_one_alert_for_a_certificate_of_many_ingresses_and_none_for_unused_ones(
    system: System, desk: Desk
) -> None:
    unused = shop(days=1, started=89)
    system.elb.certificate(unused.certificate, unused.key, name="left-over")
    for name in ("one", "two", "three"):
        system.kube.put("ingresses", "demo", name, _same_host(name, secret="shop-tls", path=f"/{name}"))
    system.shop(shop(days=20, started=70))
    await system.start()
    alert = await desk.alert("RenewalLate")
    assert alert.subject.startswith("k8s_plb_default")
    assert system.controller is not None
    assert [a.name for a in system.controller.alert_evaluator.alerts.value] == ["RenewalLate"]
    await until(lambda: system.kube.events("Secret", "RenewalLate"))


async def test_no_rotation_although_several_were_due(system: System, desk: Desk) -> None:
    monitoring = MonitoringOptions(probe_interval=0, rules=AlertRules(stalled_rotations=3, stalled_after=0))
    system.mode = ControllerMode(monitoring=monitoring)
    for name in ("one", "two", "shop"):
        system.shop(authority().issue(f"{name}.example.com", days=10, started=80), name=name)
    await system.start()
    await system.in_step()
    alert = await desk.alert("RotationStalled")
    assert "3 were due" in alert.summary
    assert (await desk.types("cert", "expiring")).count("urgent") == 3


async def test_a_check_agrees_with_the_controller(system: System, desk: Desk) -> None:
    key = rsa_key()
    await running(system, shop(key=key))
    system.kube.secret("demo", "shop-tls", shop(key=key, days=-1))  # refused: the one before stays
    await desk.alert("CertificateRejected")
    said = await desk.types("cert", "check", "secret/demo/shop-tls")
    assert "rejected: " in said
    assert "CertificateExpired: " in said
    assert re.search(r"warning: +KeyReused", said)
    desk.settings.write_text(desk.settings.read_text() + "controller: {checks: {KeyReused: refuse}}\n")
    said = await desk.types("cert", "check", "secret/demo/shop-tls")
    assert re.search(r"rejected: +KeyReused", said)
    renewed = shop(key=key)
    new = desk.folder / "new.crt"
    new.write_text(renewed.certificate)
    new.with_suffix(".key").write_text(renewed.key)
    files = ("--cert", str(new), "--key", str(new.with_suffix(".key")))
    assert "KeyReused" in await desk.types("cert", "replace", "demo/shop-tls", *files, "--plan")
    said = await desk.types("cert", "check", f"127.0.0.1:{system.elb.front_port}")
    assert "RSA-2048" in said


def _same_host(name: str, secret: str = "", path: str = "/") -> dict[str, Any]:
    backend = {"service": {"name": "shop", "port": {"number": 80}}}
    rule = {"path": path, "pathType": "Prefix", "backend": backend}
    host = "shop.example.com"
    tls = [{"secretName": secret or f"{name}-tls", "hosts": [host]}]
    return {"spec": {"ingressClassName": "cce", "tls": tls, "rules": [{"host": host, "http": {"paths": [rule]}}]}}


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "{}",
        '{"fingerprint": "\\u001b[2J", "changed": "now", "accepted": "", "served": null}',
        '{"fingerprint": 1, "changed": "2026-01-01T00:00:00", "accepted": "2026-01-01T00:00:00Z", "served": null}',
    ],
)
async def test_a_rotation_that_no_controller_wrote_is_not_told(system: System, desk: Desk, text: str) -> None:
    content = yaml.safe_load(desk.settings.read_text())
    desk.settings.write_text(yaml.safe_dump({**content, "controller": {"default_loadbalancer": system.balancer}}))
    system.shop(shop())
    ingress = system.kube.objects["ingresses", "demo", "shop"]
    meta = {**ingress["metadata"], "annotations": {"certferry.io/rotation": text}}
    system.kube.put("ingresses", "demo", "shop", {"spec": ingress["spec"], "metadata": meta})
    said = await desk.types("why", "shop.example.com")
    assert "last rotation:  none" in said
    assert "\x1b" not in said


async def test_the_last_rotation_is_told_with_its_durations(system: System, desk: Desk) -> None:
    await running(system, shop())
    said = await desk.types("why", "shop.example.com")
    assert re.search(r"changed \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, accepted after \d+ ms, served after \d+ ms", said)
