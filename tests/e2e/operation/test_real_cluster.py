"""Checks that need a real API server: the complete manifests, and the exact rights of each RBAC mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from certferry.controller.rbac import MODES
from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects
from tests.e2e.support.real_cluster import ACCOUNT, KUBECONFIG, RealSystem
from tests.e2e.support.site import Site
from tests.e2e.support.system import KUBECTL, System
from tests.repository.test_deploy import DEPLOY
from tests.support import golden
from tests.support.chart import pods, render
from tests.support.go_programs import HELM, REQUIRED


@pytest.mark.parametrize("mode", reversed(MODES))  # the widest last: others need it
def test_the_manifests_are_applied_as_they_are(system: System, mode: str) -> None:
    said = system.kubectl("apply", "-k", str(DEPLOY / mode), "--dry-run=server").stdout
    assert "deployment.apps/certferry-controller" in said
    system.kubectl("apply", "-k", str(DEPLOY / mode))
    assert KUBECTL


def test_the_service_account_has_only_the_permissions_it_needs(system: System) -> None:
    who = f"--as=system:serviceaccount:{':'.join(ACCOUNT)}"

    def may(*what: str) -> bool:
        return system.kubectl("auth", "can-i", *what, who, check=False).stdout.strip() == "yes"

    assert may("watch", "secrets", "-A")
    assert may("patch", "ingresses", "--subresource=status", "-A")
    assert may("update", "leases/certferry-controller", "-n", "certferry")
    for verb in ("create", "update", "patch", "delete"):
        assert not may(verb, "secrets", "-A")
    assert not may("delete", "ingresses", "-A")
    assert not may("update", "leases/another", "-n", "certferry")


def test_the_real_server_keeps_our_status(system: System, site: MakeSite) -> None:
    shop = site("real-status")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    assert shop.address.port == shop.port


class Named(RealSystem):
    """The controller may read one Secret, by its name."""

    rbac = ("--mode", "named", "--secret", "by-name/shop-tls")

    def environment(self) -> dict[str, str]:
        return super().environment() | {"CERTFERRY_CONTROLLER_SECRETS": "named"}


@pytest.fixture
def named(place: Path) -> Iterator[RealSystem]:
    running = Named(place / "named", Path(KUBECONFIG))
    # what an earlier mode granted would hide what this one lacks
    running.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/name=certferry")
    running.apply(objects.namespace("by-name"))
    running.start()
    yield running
    running.stop()


def test_secrets_by_name_are_enough_for_a_rotation(named: RealSystem, backend: int) -> None:
    shop = Site(named, "by-name", 12443, backend)
    shop.publish(shop.pair())
    new = shop.pair()
    shop.put_secret(new)
    shop.shows(new)
    who = f"--as=system:serviceaccount:{':'.join(ACCOUNT)}"
    refused = named.kubectl("get", "secrets", "-A", who, check=False)
    assert "forbidden" in refused.stderr


CHARTS = [*golden.cases("chart")] if HELM or REQUIRED else []


@pytest.mark.parametrize("path", CHARTS)
def test_the_server_accepts_the_objects_of_the_chart(system: System, path: Path) -> None:
    for namespace in ("trial", "shop", "office"):
        system.apply(objects.namespace(namespace))
    made = render(yaml.safe_load(path.read_text()), "trial")
    served = [o for o in made if not o["apiVersion"].startswith("monitoring.coreos.com/")]
    done = system.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", give=served)
    assert len(done.stdout.splitlines()) == len(served)
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("path", CHARTS)
def test_pods_of_the_chart_are_admitted_where_security_is_restricted(system: System, path: Path) -> None:
    restricted = objects.namespace("restricted")
    restricted["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    system.apply(restricted)
    for name, spec in pods(render(yaml.safe_load(path.read_text()))).items():
        spec["volumes"] = [*(v for v in spec["volumes"] if v["name"] != "state"), {"name": "state", "emptyDir": {}}]
        spec.pop("priorityClassName", None)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "restricted"}, "spec": spec}
        done = system.kubectl("create", "--dry-run=server", "-f", "-", give=[pod], check=False)
        admitted = done.returncode == 0
        assert admitted != bool(spec.get("hostNetwork")), done.stderr
