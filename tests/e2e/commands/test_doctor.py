"""`certferry doctor` on a healthy system and on broken ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.cli.test_cli import certferry
from tests.e2e.conftest import MakeSite
from tests.e2e.support.system import System


def rows(printed: str) -> dict[tuple[str, str], str]:
    """Return ok, note or WRONG by (cluster, check)."""
    cluster, result = "", {}
    for line in printed.splitlines():
        if line.startswith("Cluster "):
            cluster = line.removeprefix("Cluster ")
        elif check := re.match(r"  (ok|note|WRONG)\s+(\S.*?)(?:  |$)", line):
            result[cluster, check[2]] = check[1]
    return result


def test_a_healthy_system_passes_every_check(system: System, site: MakeSite) -> None:
    shop = site("doctor")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    done = certferry("doctor", "--state", system.state)
    found = rows(done.stdout)
    assert done.returncode == 0, done.stdout
    assert set(found.values()) == {"ok"}
    assert {check for _, check in found} >= {"Permissions", "ELB rights", "Quota", "Probe", "Class", "Lock"}


def test_each_failure_comes_with_its_remedy_and_hides_no_other(system: System, tmp_path: Path) -> None:
    (own,) = yaml.safe_load((system.state / "certferry.yaml").read_text())["clusters"]
    elb = {**own["elb"], "credentials_file": str(system.state / "elb-admin.json")}
    wrong = json.loads((system.state / "elb-admin.json").read_text()) | {"secret_key": "not-the-one"}
    (tmp_path / "wrong.json").touch(0o600)
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    file = tmp_path / "settings.yaml"
    clusters = [
        {"name": "viewer", "kubeconfig": str(system.state / "kubeconfig-view"), "elb": elb},
        {"name": "stranger", "kubeconfig": "nowhere", "elb": {**elb, "credentials_file": "wrong.json"}},
    ]
    file.write_text(yaml.safe_dump({"clusters": clusters, "controller": {"class_name": "nginx"}}))
    system.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "nginx"},
            "spec": {"controller": "k8s.io/ingress-nginx"},
        }
    )
    done = certferry("doctor", "--config", file)
    found = rows(done.stdout)
    assert done.returncode == 1
    wrongs = {row for row, word in found.items() if word == "WRONG"}
    assert wrongs == {
        ("viewer", "Permissions"),
        ("viewer", "Class"),
        ("stranger", "Kubernetes API"),
        ("stranger", "ELB API"),
    }
    assert done.stdout.count("→") >= len(wrongs)
    assert "certferry rbac --mode cluster" in done.stdout
    assert "k8s.io/ingress-nginx" in done.stdout
