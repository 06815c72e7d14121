"""`certferry cert`, `why` and `audit` against a running system: commands of an on-call engineer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import certferry
from tests.e2e.conftest import MakeSite
from tests.e2e.support.site import Site
from tests.e2e.support.tls import fingerprint
from tests.support.certs import Pair


class CommandLine:
    """Run commands against the module's system."""

    def __init__(self, shop: Site, folder: Path) -> None:
        self.shop = shop
        self.folder = folder

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        state = str(self.shop.system.state)
        return certferry(*words, "--state", state, XDG_STATE_HOME=str(self.folder))

    def starts(self, *words: str) -> subprocess.Popen[str]:
        """Start the command without waiting for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "certferry", *words, "--state", str(self.shop.system.state)],
            env={**os.environ, "XDG_STATE_HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, *words: str, code: int = 0) -> Any:
        done = self.types(*words, "-o", "json")
        assert done.returncode == code, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def files(self, pair: Pair) -> tuple[str, ...]:
        cert, key = self.folder / "new.crt", self.folder / "new.key"
        cert.write_text(pair.certificate)
        key.write_text(pair.key)
        return ("--cert", str(cert), "--key", str(key))


@pytest.fixture
def shop(site: MakeSite, request: pytest.FixtureRequest) -> Site:
    made = site(request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-"))
    first = made.pair()
    made.publish(first)
    made.shows(first)
    return made


@pytest.fixture
def typist(shop: Site, tmp_path: Path) -> CommandLine:
    return CommandLine(shop, tmp_path)


def test_why_explains_a_host(shop: Site, typist: CommandLine) -> None:
    (story,) = typist.says("why", shop.host)
    assert story["well"]
    assert story["source"] == f"Secret {shop.name}/shop-tls"
    assert story["governing"] == f"Ingress {shop.name}/shop"
    (row,) = [r for r in typist.says("cert", "ls") if shop.host in r["hosts"]]
    assert (row["role"], row["state"]) == ("served", "good")
    (place,) = typist.says("cert", "where", shop.host)
    assert place["ingresses"] == [f"{shop.name}/shop"]
    (good,) = typist.says("cert", "check", f"ingress/{shop.name}/shop")
    assert good["fingerprint"] == story["served"][:16] + good["fingerprint"][16:]


def test_replace_writes_each_use_and_verifies_each_listener(shop: Site, typist: CommandLine) -> None:
    new = shop.pair()
    words = ("cert", "replace", shop.host, *typist.files(new))
    planned = typist.types(*words, "--plan")
    assert f"Secret {shop.name}/shop-tls: {shop.host}" in planned.stderr
    (result,) = typist.says(*words, "--yes")
    assert result["result"] == "served"
    assert result["host"] == shop.host
    shop.shows(new)
    assert not list(typist.folder.glob("certferry/replacements/*"))


def test_an_interrupted_replace_resumes(shop: Site, typist: CommandLine) -> None:
    old, new = shop.pair(), shop.pair()
    shop.put_secret(old)
    shop.shows(old)
    spare = shop.post_certificate(old)
    words = ("cert", "replace", shop.host, *typist.files(new), "--yes")
    envoy = shop.system.pid("envoy")
    os.kill(envoy, signal.SIGSTOP)  # nothing is served, so that the command cannot come to its end
    try:
        with typist.starts(*words) as command:
            assert command.stderr
            seen = next((line for line in command.stderr if line.startswith("[1/2]")), "")
            command.kill()
    finally:
        os.kill(envoy, signal.SIGCONT)
    assert seen
    assert list(typist.folder.glob("certferry/replacements/*"))

    done = typist.types(*words)
    assert done.returncode == 0, done.stderr
    assert "already there" in done.stderr
    shop.shows(new)
    path = shop.system.elb_path("certificates", spare)
    assert shop.elb.want(200, "GET", path)["certificate"]["certificate"].strip() == new.certificate.strip()
    assert not list(typist.folder.glob("certferry/replacements/*"))


def test_a_bad_certificate_is_rejected_before_any_write(shop: Site, typist: CommandLine) -> None:
    done = typist.types("cert", "replace", shop.host, *typist.files(shop.pair(days=-1)), "--yes")
    assert done.returncode == 1
    assert "CertificateExpired" in done.stderr
    assert "Nothing was changed" in done.stderr


def test_rollback_of_a_managed_certificate(shop: Site, typist: CommandLine) -> None:
    second = shop.pair()
    shop.put_secret(second)
    shop.shows(second)
    versions = typist.says("cert", "history", shop.host)
    assert [v["serves"] for v in versions] == [True, False]
    refused = typist.types("cert", "rollback", shop.host)
    assert refused.returncode == 1
    assert "follows Secret" in refused.stderr
    done = typist.types("cert", "rollback", shop.host, "--pause", "1h", "--reason", "game day")
    assert done.returncode == 0, done.stderr
    (story,) = typist.says("why", shop.host, code=1)
    assert story["served"].startswith(versions[1]["fingerprint"][:16])
    assert "RollbackPauseActive" in " ".join(story["problems"])
    assert typist.types("cert", "break-glass", shop.host, "--end").returncode == 0
    shop.shows(second)


def test_break_glass_records_its_admin(shop: Site, typist: CommandLine) -> None:
    emergency = shop.pair()
    words = ("cert", "break-glass", shop.host, *typist.files(emergency), "--reason", "issuer is down")
    done = typist.types(*words, "--for", "30m")
    assert done.returncode == 0, done.stderr
    shop.shows(emergency)
    records = typist.says("audit", "--host", shop.host)
    assert "issuer is down" in [r["reason"] for r in records]
    print_of_new = fingerprint(emergency.certificate)
    assert print_of_new in [r["fingerprint"] for r in records]
