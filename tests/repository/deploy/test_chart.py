"""The Helm chart: golden files for a matrix of values, and what holds for all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from certferry import __version__
from certferry.settings import AlertSettings, ConsoleSettings, ControllerSettings, ElbSettings, clusters, read
from tests.repository.test_deploy import OVERLAYS, built
from tests.support import golden
from tests.support.chart import CHART, Object, helm, pods, refusal, render

pytestmark = pytest.mark.process

CASES = golden.cases("chart")
MONITORING = CHART.parents[1] / "monitoring"
PROGRAMS: tuple[tuple[str, type[Any]], ...] = (
    ("controller", ControllerSettings),
    ("alerts", AlertSettings),
    ("elb", ElbSettings),
    ("console", ConsoleSettings),
)


def values(path: Path) -> Object:
    return dict(yaml.safe_load(path.read_text()))


def short(objects: list[Object]) -> list[Object]:
    """Leave out checksums, and contents that are files of their own."""
    for o in objects:
        if o["kind"] == "PrometheusRule":
            o["spec"] = "deploy/monitoring/rules.yaml"
        if o["metadata"]["name"].endswith("-dashboard"):
            o["data"] = "deploy/monitoring/dashboard.json"
        template = o.get("spec", {}).get("template", {}) if isinstance(o.get("spec"), dict) else {}
        template.get("metadata", {}).get("annotations", {}).pop("checksum/settings", None)
    return objects


@pytest.mark.parametrize("path", CASES)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    golden.check(path, lambda given: short(render(given)), rewrite=request.config.getoption("--golden"))


@pytest.mark.parametrize("path", CASES)
def test_lint_has_no_complaint(path: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", CASES)
def test_each_settings_file_is_valid(path: Path, tmp_path: Path) -> None:
    configs = [o for o in render(values(path)) if o["kind"] == "ConfigMap" and "certferry.yaml" in o["data"]]
    assert configs
    for number, config in enumerate(configs):
        file = tmp_path / f"{number}.yaml"
        file.write_text(config["data"]["certferry.yaml"])
        for program, kind in PROGRAMS:
            read(kind, program, {}, {}, file)
        clusters(file)


@pytest.mark.parametrize("path", CASES)
def test_pods_are_restricted(path: Path) -> None:
    for name, pod in pods(render(values(path))).items():
        containers = [*pod["containers"], *pod.get("initContainers", ())]
        for container in containers:
            security = container["securityContext"]
            assert not security["allowPrivilegeEscalation"]
            assert security["readOnlyRootFilesystem"]
            assert security["capabilities"]["drop"] == ["ALL"]
            assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in pod["volumes"]} | {"state"}
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"].get("runAsNonRoot") or pod["hostNetwork"], name
        assert pod["topologySpreadConstraints"]
        assert ("serviceAccountName" in pod) != (pod.get("automountServiceAccountToken") is False)


@pytest.mark.parametrize("path", CASES)
def test_selectors_select_the_pods_of_their_component(path: Path) -> None:
    objects = render(values(path))
    labels = [o["spec"]["template"]["metadata"]["labels"] for o in objects if pods([o])]
    for o in objects:
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(o["kind"])
        if selector:
            assert [all(own.get(k) == v for k, v in selector(o["spec"]).items()) for own in labels].count(True) == 1


def comparable(o: Object) -> Object:
    """Without what only one of chart and kustomize writes: labels of Helm, flow of settings, the API's defaults."""
    o = json.loads(json.dumps(o))
    if o["kind"] == "ConfigMap":
        o["data"] = yaml.safe_load(o["data"]["certferry.yaml"])
        for setting in ("secrets", "namespaces"):  # kustomize sets them in the environment
            o["data"]["controller"].pop(setting, None)
        o["metadata"].pop("labels", None)
    if o["kind"] == "Deployment":
        (container,) = o["spec"]["template"]["spec"]["containers"]
        container["env"] = [e for e in container["env"] if e["name"] == "CERTFERRY_CONFIG"]
        o["spec"]["template"]["metadata"].pop("annotations", None)

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            helms = ("app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by")
            return {k: plain(v) for k, v in value.items() if k not in (*helms, "helm.sh/chart")}
        return value

    return dict(plain(o))


@pytest.mark.parametrize(
    ("mode", "rbac"),
    [
        ("cluster", {"mode": "cluster"}),
        ("namespaces", {"mode": "namespaces", "namespaces": ["default"]}),
        ("named", {"mode": "named", "secrets": [{"namespace": "default", "name": "shop-tls"}]}),
    ],
)
def test_chart_and_kustomize_make_the_same_objects(mode: str, rbac: Object) -> None:
    assert mode in OVERLAYS
    by_kustomize = [comparable(o) for o in built(mode) if o["kind"] != "Namespace"]
    by_kustomize.sort(key=lambda o: (o["kind"], o["metadata"]["name"]))
    assert [comparable(o) for o in render({"controller": {"rbac": rbac}})] == by_kustomize


def test_rules_and_dashboard_are_those_of_the_monitoring_folder() -> None:
    on = {"enabled": True}
    objects = render({"monitoring": {"rules": on | {"runbookUrl": "https://d.example"}, "dashboard": on}})
    (rules,) = [o["spec"] for o in objects if o["kind"] == "PrometheusRule"]
    text = (MONITORING / "rules.yaml").read_text()
    assert rules == yaml.safe_load(text.replace("runbook_url: docs/", "runbook_url: https://d.example/"))
    (dashboard,) = [o["data"] for o in objects if o["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(dashboard["certferry.json"]) == json.loads((MONITORING / "dashboard.json").read_text())


def test_the_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


def test_a_change_of_settings_restarts_the_pods() -> None:
    def checksum(settings: Object) -> str:
        (pod,) = [o for o in render({"controller": {"settings": settings}}) if o["kind"] == "Deployment"]
        return str(pod["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum({"resync": 60}) != checksum({"resync": 61})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"controler": {}}, "additional properties 'controler'"),
        ({"controller": {"replicas": 0}}, "/controller/replicas"),
        ({"controller": {"replicas": "2"}}, "/controller/replicas"),
        ({"controller": {"rbac": {"mode": "all"}}}, "/controller/rbac/mode"),
        ({"controller": {"rbac": {"mode": "namespaces"}}}, "/controller/rbac/namespaces"),
        ({"controller": {"rbac": {"mode": "named"}}}, "/controller/rbac/secrets"),
        ({"controller": {"rbac": {"mode": "named", "secrets": ["shop/tls"]}}}, "/controller/rbac/secrets/0"),
        ({"controller": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "/controller/podDisruptionBudget"),
        ({"images": {"controller": {"digest": "sha256:12"}}}, "/images/controller/digest"),
        ({"images": {"certferry": {"repository": ""}}}, "/images/certferry/repository"),
        ({"images": {"pullPolicy": "Sometimes"}}, "/images/pullPolicy"),
        ({"cluster": {"elb": {"uri": "https://elb"}}}, "additional properties 'uri'"),
        ({"cluster": {"elb": {"url": "elb.example.com"}}}, "/cluster/elb/url"),
        ({"cluster": {"credentialsSecret": ""}}, "/cluster/credentialsSecret"),
        ({"cluster": {"credentialsSecret": "a b"}}, "/cluster/credentialsSecret"),
        ({"elb": {"enabled": True}}, "/elb/address"),
        ({"elb": {"enabled": True, "address": "elb.example.com"}}, "/elb/address"),
        ({"elb": {"enabled": True, "address": "192.0.2.1", "replicas": 2}}, "needs elb.databaseSecret"),
        (
            {"elb": {"enabled": True, "address": "192.0.2.1", "replicas": 2, "databaseSecret": "d"}},
            "needs elb.encryptionKeySecret",
        ),
        (
            {"elb": {"enabled": True, "address": "192.0.2.1", "persistence": {"enabled": False}}},
            "Without elb.persistence, elb.databaseSecret",
        ),
        ({"elb": {"persistence": {"size": "1"}}}, "/elb/persistence/size"),
        ({"envoy": {"kind": "ReplicaSet"}}, "/envoy/kind"),
        ({"envoy": {"ports": []}}, "/envoy/ports"),
        ({"envoy": {"ports": [443, 70000]}}, "/envoy/ports/1"),
        ({"console": {"service": {"type": "ExternalName"}}}, "/console/service/type"),
        ({"console": {"roles": {"root": {}}}}, "additional properties 'root'"),
        ({"topologySpread": {"whenUnsatisfiable": "Never"}}, "/topologySpread/whenUnsatisfiable"),
        ({"networkPolicy": {"metricsFrom": [{"pod": {}}]}}, "/networkPolicy/metricsFrom/0"),
        ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "/monitoring/serviceMonitor/interval"),
    ],
)
def test_wrong_values_are_refused_by_their_place(given: Object, says: str) -> None:
    assert says in refusal(given)
