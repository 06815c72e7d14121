"""`certferry rbac` and deploy/ against a running API."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from certferry.kube.apiserver.resources.builtin import KINDS
from tests.cli.test_cli import certferry
from tests.e2e.support import objects
from tests.e2e.support.system import System
from tests.repository.test_deploy import OVERLAYS, built
from tests.support.certs import authority

KEPT = {kind.name for kind in KINDS}


@pytest.mark.parametrize("mode", OVERLAYS)
def test_the_embedded_api_accepts_the_manifests_of_its_kinds(system: System, mode: str) -> None:
    known = [o for o in built(mode) if o["kind"] in KEPT]
    assert {"Namespace", "ConfigMap", "Service"} <= {o["kind"] for o in known}
    system.apply(*known)
    system.apply(*known)


def test_secrets_by_name_are_those_of_ingresses_of_our_class(system: System) -> None:
    pair = authority().issue("deploy.example.com")

    def ingress(name: str, secret: str, class_name: str) -> dict[str, Any]:
        made = objects.ingress("deploy", name, "web", ["deploy.example.com"], [{"secretName": secret}], {})
        made["spec"]["ingressClassName"] = class_name
        return made

    system.apply(
        objects.namespace("deploy"),
        *(objects.pair_secret("deploy", name, pair) for name in ("used", "others", "unused")),
        objects.service("deploy", "web"),
        ingress("ours", "used", "cce"),
        ingress("theirs", "others", "nginx"),
    )
    printed = certferry("rbac", "--mode", "named", "--state", system.state).stdout
    (role,) = [
        o for o in yaml.safe_load_all(printed) if o and o["kind"] == "Role" and o["metadata"]["namespace"] == "deploy"
    ]
    assert role["rules"][0]["resourceNames"] == ["used"]
