"""The manifests in deploy/: they are what the code says, and a Kubernetes API takes them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from certferry.controller import rbac
from certferry.core.model.kubernetes import Name
from certferry.settings import ControllerSettings, read
from tests.cli.test_cli import certferry, refusal
from tests.e2e.support.system import KUBECTL

pytestmark = pytest.mark.process

DEPLOY = Path(__file__).parents[2] / "deploy" / "kustomize"
OVERLAYS = {
    "cluster": rbac.manifests("cluster", rbac.ServiceAccount()),
    "namespaces": rbac.manifests("namespaces", rbac.ServiceAccount(), ["default"]),
    "named": rbac.manifests("named", rbac.ServiceAccount(), (), [Name("default", "shop-tls")]),
}


def built(mode: str) -> list[dict[str, Any]]:
    done = subprocess.run([KUBECTL, "kustomize", DEPLOY / mode], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def one(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind and name in ("", o["metadata"]["name"])]
    return found


@pytest.mark.parametrize("mode", OVERLAYS)
def test_each_overlay_grants_the_permissions_that_the_code_needs(mode: str) -> None:
    granted = yaml.safe_load_all((DEPLOY / mode / "rbac.yaml").read_text())
    assert [o for o in granted if o] == OVERLAYS[mode]
    objects = built(mode)
    others = {"Namespace", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"}
    assert {o["kind"] for o in OVERLAYS[mode]} | others == {o["kind"] for o in objects}
    account = one(objects, "ServiceAccount")["metadata"]
    for binding in (o for o in objects if o["kind"].endswith("Binding")):
        assert [(s["name"], s["namespace"]) for s in binding["subjects"]] == [(account["name"], account["namespace"])]
    assert one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]


@pytest.mark.parametrize("mode", OVERLAYS)
def test_the_settings_of_each_overlay_are_valid(mode: str, tmp_path: Path) -> None:
    objects = built(mode)
    file = tmp_path / "certferry.yaml"
    file.write_text(one(objects, "ConfigMap")["data"]["certferry.yaml"])
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    environment = {e["name"]: e["value"] for e in container["env"]}
    settings = read(ControllerSettings, "controller", {}, environment, file)
    lease = one(objects, "Role", "certferry-controller-leader")
    assert settings.lease == f"{lease['metadata']['namespace']}/{lease['rules'][1]['resourceNames'][0]}"
    assert settings.secrets == ("named" if mode == "named" else "all")
    assert settings.namespaces == (("default",) if mode == "namespaces" else ())


def test_secrets_by_name_grant_access_to_no_other_secret() -> None:
    secrets = [
        rule
        for o in rbac.manifests("named", rbac.ServiceAccount(), (), [Name("a", "x"), Name("a", "y"), Name("b", "x")])
        for rule in o.get("rules", ())
        if "secrets" in rule["resources"]
    ]
    assert [rule["resourceNames"] for rule in secrets] == [["x", "y"], ["x"]]
    assert all(rule["verbs"] == ["get", "watch"] for rule in secrets)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--mode", "all"], "choose one of cluster, namespaces, named"),
        (["--mode", "namespaces"], "at least one --namespace"),
        (["--mode", "named", "--secret", "x"], "NAMESPACE/NAME"),
        (["--account", "x"], "NAMESPACE/NAME"),
    ],
)
def test_rbac_reports_invalid_flags(flags: list[str], says: str) -> None:
    assert says in refusal(certferry("rbac", *flags))


def test_the_printed_permissions_begin_with_their_namespace() -> None:
    first = next(yaml.safe_load_all(certferry("rbac").stdout))
    assert first == yaml.safe_load((DEPLOY / "base" / "namespace.yaml").read_text())
