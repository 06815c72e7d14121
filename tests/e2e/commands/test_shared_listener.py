"""Commands for several Ingresses on one listener, of which one has no good certificate (part D of the defects)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.commands.test_cert_commands import CommandLine
from tests.e2e.support import objects
from tests.e2e.support.site import Site
from tests.e2e.support.tls import fingerprint
from tests.e2e.support.waiting import until
from tests.support.certs import authority

BROKEN = {"old3": "CertificateExpired", "sso": "CertificateUnusable", "live": "SecretNotFound"}
"""The reason for each Ingress without a good certificate."""


class Shared:
    """The site `hello`, and further Ingresses on its port."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.hello = site.pair()
        site.publish(self.hello)
        site.shows(self.hello)
        self.expired = authority().issue(self.host("old3"), days=-1)
        self.exact, self.wildcard = authority().issue(self.host("api")), authority().issue(self.host("*"))
        other = authority().issue(self.host("sso"))
        self.add("old3", objects.pair_secret(site.name, "old3-tls", self.expired))
        self.add("sso", objects.secret(site.name, "sso-tls", other.certificate, self.hello.key))
        self.add("live")
        self.add("api", objects.pair_secret(site.name, "api-tls", self.exact))
        self.add("star", objects.pair_secret(site.name, "star-tls", self.wildcard), host=self.host("*"))
        site.shows(self.exact, self.host("api"))
        site.shows(self.wildcard, self.host("any"))

    def host(self, label: str) -> str:
        return f"{label}.{self.site.name}.test.example"

    def add(self, name: str, *secrets: objects.Object, host: str = "") -> None:
        self.site.system.apply(*secrets, self.ingress(name, host or self.host(name)))

    def ingress(self, name: str, host: str) -> objects.Object:
        entry = [{"hosts": [host], "secretName": f"{name}-tls"}]
        port = {objects.PORT: str(self.site.port)}
        return objects.ingress(self.site.name, name, "web", [host], entry, port)


@pytest.fixture(scope="module")
def shared(system: Any, backend: int) -> Shared:
    return Shared(Site(system, "shared", 10_840, backend))


@pytest.fixture
def typist(shared: Shared, tmp_path: Path) -> CommandLine:
    return CommandLine(shared.site, tmp_path)


def test_unusable_certificates_that_hosts_want_come_first(shared: Shared, typist: CommandLine) -> None:
    rows = typist.says("cert", "expiring", code=1)
    assert {host for row in rows[:3] for host in row["hosts"]} == {shared.host(label) for label in BROKEN}


def test_every_wanted_certificate_has_a_row(shared: Shared, typist: CommandLine) -> None:
    rows = {row["secret"]: row["status"] for row in typist.says("cert", "ls")}
    name = shared.site.name
    assert "SecretNotFound" in rows[f"{name}/live-tls"]
    assert "CertificateUnusable" in rows[f"{name}/sso-tls"]
    assert "CertificateExpired" in rows[f"{name}/old3-tls"]
    assert rows[f"{name}/api-tls"] == "served"


@pytest.mark.parametrize("label", BROKEN)
def test_why_names_the_own_secret_of_the_host(shared: Shared, typist: CommandLine, label: str) -> None:
    done = typist.types("why", shared.host(label))
    assert done.returncode == 1
    assert BROKEN[label] in done.stdout
    assert f"{shared.site.name}/{label}-tls" in done.stdout
    assert f"{shared.site.name}/shop-tls" not in done.stdout.split("Next", 1)[-1]
    assert shared.site.shown(shared.host(label))[:16] in done.stdout.replace(":", "").lower(), "the wildcard"


@pytest.mark.parametrize("command", ["where", "replace"])
def test_a_host_is_the_certificate_that_the_listener_selects(shared: Shared, typist: CommandLine, command: str) -> None:
    if command == "where":
        places = typist.says("cert", "where", shared.host("api"))
        assert {tuple(place["ingresses"]) for place in places} == {(f"{shared.site.name}/api",)}
        return
    new = authority().issue(shared.host("api"))
    planned = typist.types("cert", "replace", shared.host("api"), *typist.files(new), "--plan")
    assert f"{shared.site.name}/api-tls" in planned.stderr, planned.stderr
    assert "star-tls" not in planned.stderr


@pytest.mark.parametrize("words", [("rollback", "--pause", "1h"), ("break-glass",)])
def test_an_emergency_by_host_leaves_the_wildcard_alone(
    shared: Shared, typist: CommandLine, words: tuple[str, ...]
) -> None:
    new = authority().issue(shared.host("api"))
    shared.site.system.apply(objects.pair_secret(shared.site.name, "api-tls", new))
    shared.site.shows(new, shared.host("api"))
    emergency = authority().issue(shared.host("api"))
    more = typist.files(emergency) if words[0] == "break-glass" else ()
    done = typist.types("cert", words[0], shared.host("api"), *words[1:], *more, "--reason", "drill")
    assert done.returncode == 0, done.stderr
    until(lambda: shared.site.shown(shared.host("api")) != fingerprint(new.certificate), "another one is served")
    assert shared.site.shown(shared.host("any")) == shared.site.shown(shared.host("other"))
    assert typist.types("cert", "break-glass", shared.host("api"), "--end").returncode == 0
    shared.site.shows(new, shared.host("api"))
    reasons = {event["reason"] for kind in ("Secret", "Ingress") for event in shared.site.warnings(kind, "api")}
    reasons |= {event["reason"] for event in shared.site.warnings("Secret", "api-tls")}
    assert "DriftDetected" not in reasons


def test_show_says_why_a_content_was_rejected_and_what_to_do(shared: Shared, typist: CommandLine) -> None:
    bad = authority().issue(shared.host("api"), days=-1)
    good = authority().issue(shared.host("api"))
    shared.site.system.apply(objects.pair_secret(shared.site.name, "api-tls", good))
    shared.site.shows(good, shared.host("api"))
    shared.site.system.apply(objects.pair_secret(shared.site.name, "api-tls", bad))
    text = until(lambda: rejection(typist, f"{shared.site.name}/api-tls"), "the rejection is reported")
    assert "CertificateExpired" in text
    assert "on its way" not in text
    assert "certferry cert show" not in text
    assert shared.site.shown(shared.host("api")) == fingerprint(good.certificate)


def test_a_secret_that_is_not_on_the_load_balancer_is_explained(shared: Shared, typist: CommandLine) -> None:
    for label, word in (("sso", "key"), ("live", "does not exist")):
        done = typist.types("cert", "show", f"{shared.site.name}/{label}-tls")
        assert word in done.stdout + done.stderr


def test_a_rotation_is_reported_on_the_ingress_that_names_the_certificate(shared: Shared) -> None:
    new = authority().issue(shared.host("*"))
    shared.site.system.apply(objects.pair_secret(shared.site.name, "star-tls", new))
    shared.site.shows(new, shared.host("live"))
    until(lambda: fingerprint(new.certificate)[:16] in rotated(shared, "star"), "the rotation is reported")
    for label in ("live", "old3", "sso"):
        assert fingerprint(new.certificate)[:16] not in rotated(shared, label)


def rotated(shared: Shared, ingress: str) -> str:
    annotations = shared.site.get("apis/networking.k8s.io/v1", "ingresses", ingress)["metadata"]["annotations"]
    return str(annotations.get("certferry.io/rotation", ""))


def rejection(typist: CommandLine, secret: str) -> str:
    text = typist.types("cert", "show", secret).stdout
    return text if "expired" in text else ""


def test_plan_of_a_file_shows_what_changes_alone(shared: Shared, typist: CommandLine, tmp_path: Path) -> None:
    manifest = tmp_path / "api.yaml"
    changed = shared.ingress("api", shared.host("api"))
    changed["metadata"]["annotations"]["kubernetes.io/elb.port"] = "10841"
    manifest.write_text(yaml.safe_dump(json.loads(json.dumps(changed))))
    planned = typist.types("plan", "-f", str(manifest))
    assert planned.returncode == 2, planned.stdout + planned.stderr
    assert "10841" in planned.stdout
    assert shared.host("old3") not in planned.stdout
    assert "live-tls" not in planned.stdout
