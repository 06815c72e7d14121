"""The Helm chart, rendered."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.go_programs import HELM

CHART: Final = Path(__file__).parents[2] / "deploy" / "helm" / "certferry"
WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
Object = dict[str, Any]


def helm(*arguments: str, give: str = "") -> subprocess.CompletedProcess[str]:
    assert HELM, "helm is missing: make deploy-tools"
    return subprocess.run([HELM, *arguments], input=give, capture_output=True, text=True, timeout=60, check=False)


def render(values: Object | None = None, release: str = "certferry") -> list[Object]:
    """The objects of the chart with these values, in a namespace that has the release's name."""
    command = ("template", release, str(CHART), "--namespace", release, "--values", "-")
    done = helm(*command, give=yaml.safe_dump(values or {}))
    assert done.returncode == 0, done.stderr
    return sorted((o for o in yaml.safe_load_all(done.stdout) if o), key=lambda o: (o["kind"], o["metadata"]["name"]))


def refusal(values: Object) -> str:
    """Return the error of helm for values that it does not accept."""
    done = helm("template", "certferry", str(CHART), "--values", "-", give=yaml.safe_dump(values))
    assert done.returncode != 0, "the values were accepted"
    return done.stderr


def pods(objects: list[Object]) -> dict[str, Object]:
    """Name of the workload → its Pod spec."""
    return {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects if o["kind"] in WORKLOADS}
