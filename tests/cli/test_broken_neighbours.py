"""Commands about hosts in a world with one good and several bad certificates: each says what a listener selects."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.testing
import yaml

from certferry.cli import app
from certferry.cli.cert.lookup import FleetSnapshot
from certferry.settings import UserError
from tests.cli.conftest import Clock, settled_fleet
from tests.core.support.fixtures import NOW
from tests.support.certs import authority

Command = Callable[..., typer.testing.Result]
DAY = timedelta(days=1)


@pytest.fixture
def world(fleet: FleetSnapshot) -> list[FleetSnapshot]:
    """Return the fleet that the commands read, to be replaced."""
    return [fleet]


@pytest.fixture
def cert(world: list[FleetSnapshot], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs `certferry cert …` over the world."""

    async def read_fleet(*_: Any, **__: Any) -> FleetSnapshot:
        return world[0]

    for module in ("show", "replace", "history"):
        monkeypatch.setattr(f"certferry.cli.cert.{module}.read_fleet", read_fleet)

    def run(*words: str) -> typer.testing.Result:
        return typer.testing.CliRunner().invoke(app, ["cert", *words])

    return run


def test_expiring_names_the_unusable_and_expired_first_and_fails(cert: Command) -> None:
    done = cert("expiring", "-o", "json")
    assert done.exit_code == 1
    rows = [row["secret"] for row in json.loads(done.stdout)]
    assert {"demo/old3-tls", "team/sso-tls", "team/live-tls"} <= set(rows[:3])
    assert "demo/hello-tls" not in rows


def test_ls_has_a_row_for_each_secret_that_an_ingress_wants(cert: Command) -> None:
    rows = {row["secret"]: row["status"] for row in json.loads(cert("ls", "-o", "json").stdout)}
    assert rows["team/live-tls"] == "missing (SecretNotFound)"
    assert rows["team/sso-tls"] == "unusable (CertificateUnusable)"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [("team/sso-tls", "does not belong"), ("team/live-tls", "does not exist"), ("demo/old3-tls", "expired")],
)
def test_show_says_why_a_secret_has_no_certificate_on_the_elb(cert: Command, secret: str, reason: str) -> None:
    done = cert("show", secret)
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert reason in text
    assert "cert show" not in text
    assert "hello" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"flaw": "The private key does not belong to the certificate."}, "does not belong"),
        ({"names": ["hello.example.test"], "not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, "expired"),
        ({"names": ["other.example.test"]}, "hello.example.test"),
    ],
)
def test_show_after_a_refusal_says_the_reason_and_not_itself(
    cert: Command, world: list[FleetSnapshot], content: dict[str, Any], reason: str
) -> None:
    world[0] = settled_fleet({"demo/hello-tls": content})
    (facts,) = json.loads(cert("show", "hello.example.test", "-o", "json").stdout)
    assert reason in facts["why_not_newer"]
    assert "has not written" not in facts["why_not_newer"]
    assert facts["next"]
    assert "cert show" not in facts["next"]


@pytest.mark.parametrize(
    "host", ["old3.example.test", "sso.example.test", "live.example.test", "a.b.apps.example.test"]
)
@pytest.mark.parametrize("command", ["replace", "where", "rollback", "break-glass"])
def test_a_host_without_a_certificate_of_its_own_means_none(
    cert: Command, tmp_path: Path, command: str, host: str
) -> None:
    done = cert(command, host, *_options(command, tmp_path, host))
    assert isinstance(done.exception, UserError)
    assert "No certificate is" in str(done.exception)


@pytest.mark.parametrize(
    ("host", "secret"),
    [
        ("hello.example.test", "demo/hello-tls"),
        ("shop.apps.example.test", "apps/shop-tls"),
        ("new.apps.example.test", "apps/wildcard-tls"),
    ],
)
def test_a_host_means_only_what_its_listener_selects(cert: Command, tmp_path: Path, host: str, secret: str) -> None:
    (place,) = json.loads(cert("where", host, "-o", "json").stdout)
    (shown,) = json.loads(cert("show", host, "-o", "json").stdout)
    assert shown["secret"] == secret
    assert place["id"] == shown["id"]


@pytest.mark.parametrize(
    ("host", "secret", "said"),
    [
        ("new.example.test", "new-tls", "SecretNotFound"),
        ("fresh.apps.example.test", "wildcard-tls", "create forwarding policy"),
    ],
)
def test_plan_shows_only_what_a_manifest_changes(
    fleet: FleetSnapshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, secret: str, said: str
) -> None:
    (snapshot,) = fleet.clusters
    monkeypatch.setattr("certferry.cli.cluster.plan.datetime", Clock)
    monkeypatch.setattr(
        "certferry.cli.cluster.plan._live", lambda *_: (snapshot.view, snapshot.observed, snapshot.options)
    )
    (tmp_path / "settings.yaml").write_text("controller: {}\n")
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "new", "namespace": "apps"},
        "spec": {
            "ingressClassName": "cce",
            "tls": [{"hosts": [host], "secretName": secret}],
            "rules": [{"host": host, "http": {"paths": [path]}}],
        },
    }
    both = [ingress, service | {"metadata": {"name": "web", "namespace": "apps"}}]
    (tmp_path / "new.yaml").write_text(yaml.safe_dump_all(both))
    options = ["--config", str(tmp_path / "settings.yaml"), "--cluster", "test"]
    done = typer.testing.CliRunner().invoke(app, ["plan", "-f", str(tmp_path / "new.yaml"), *options])
    assert done.exception is None, done.output
    text = " ".join(done.stdout.split())
    assert host in text
    assert said in text
    for other in ("hello.", "old3", "sso", "live", "shop.apps"):
        assert other not in text
    every = typer.testing.CliRunner().invoke(app, ["plan", "--all", "-f", str(tmp_path / "new.yaml"), *options])
    assert "hello.example.test" in every.stdout


def _options(command: str, folder: Path, host: str) -> list[str]:
    if command not in ("replace", "break-glass"):
        return []
    pair = authority().issue(host)
    (folder / "new.crt").write_text(pair.certificate)
    (folder / "new.key").write_text(pair.key)
    files = ["--cert", str(folder / "new.crt"), "--key", str(folder / "new.key")]
    return [*files, *(["--yes", "--force"] if command == "replace" else ["--reason", "test"])]


@pytest.mark.parametrize("words", [("why", "nobody.example.com"), ("cert", "check", "secret/demo/gone-tls")])
def test_an_absence_is_not_stated_while_a_cluster_cannot_be_read(
    world: list[FleetSnapshot], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    async def read_fleet(*_: Any, **__: Any) -> FleetSnapshot:
        return world[0]

    for module in ("certferry.cli.cluster.why", "certferry.cli.cert.check"):
        monkeypatch.setattr(f"{module}.read_fleet", read_fleet)
    messages = []
    for code in (0, 4):
        world[0] = partly_answered(world[0], code)
        with pytest.raises(UserError) as refused:
            typer.testing.CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
        messages.append((refused.value.code == 4, "not every cluster answered" in str(refused.value)))
    assert messages == [(False, False), (True, True)]


def partly_answered(fleet: FleetSnapshot, code: int) -> FleetSnapshot:
    return FleetSnapshot(fleet.clusters, code, fleet.limits, fleet.checks)
