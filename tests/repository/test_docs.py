"""What people are told is explained somewhere: every reason, metric, setting, command, annotation, alert."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from certferry.controller.report import event_recorder as event
from certferry.core.diagnosis import alert
from certferry.core.model import kubernetes as objects
from certferry.core.model import problems
from certferry.core.translate import ingress_annotations as known
from tests.support import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def headings(page: str) -> list[str]:
    return re.findall(r"^##+ (.+)$", (DOCS / page).read_text(), re.MULTILINE)


def test_every_reason_has_a_heading_and_every_heading_a_reason() -> None:
    assert sorted(headings("problems.md")) == sorted({*problems.REASONS, *event.REASONS})


@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("settings.md", reference.settings_page),
        ("metrics.md", reference.metrics_page),
        ("commands.md", reference.commands_page),
    ],
)
def test_every_setting_metric_and_command_has_a_heading(
    page: str, made: Callable[[], str], pytestconfig: pytest.Config
) -> None:
    if pytestconfig.getoption("golden"):
        (DOCS / page).write_text(made())
    assert (DOCS / page).read_text() == made(), (
        f"run pytest --golden tests/repository/test_docs.py and review {page}"
    )


def test_every_annotation_has_a_heading_and_every_heading_an_annotation() -> None:
    found = re.findall(r"^### `([^`]+)`$", (DOCS / "annotations.md").read_text(), re.MULTILINE)
    ours = [f"{known.PREFIX}{row.key}" for row in known.ANNOTATIONS]
    ours += [row.key for row in known.OWN]
    ours += [f"{known.PREFIX}{key}" for key in known.OF_SERVICES if key != "cert-id"]
    ours += [getattr(objects, name) for name in dir(objects) if name.endswith("_ANNOTATION")]
    ours += ["kubernetes.io/ingress.class"]
    assert sorted(found) == sorted(ours)


def test_every_alert_has_a_runbook_that_says_what_to_do() -> None:
    pages = {p.stem: p.read_text() for p in (DOCS / "runbooks").glob("*.md")}
    assert set(pages) == {*alert.NAMES, *rules()}
    for text in pages.values():
        found = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert found == ["What happened", "What clients see", "What to do"]
    assert [n for n in alert.NAMES if f"runbooks/{n}.md" not in (DOCS / "alerts.md").read_text()] == []


def rules() -> dict[str, Any]:
    groups = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_prometheus_rules_cover_every_alert_and_name_its_runbook() -> None:
    found = rules()
    assert {n for n in alert.NAMES if n != "Test"} <= set(found)
    for name, rule in found.items():
        assert rule["expr"]
        assert rule["annotations"]["runbook_url"].endswith(f"runbooks/{name}.md")
        urgency = {str(n): u for n, u in alert.URGENCIES.items()}.get(name, rule["labels"]["severity"])
        assert rule["labels"]["severity"] == urgency


def test_every_metric_in_rules_and_dashboard_exists() -> None:
    dashboard = json.loads((ROOT / "deploy/monitoring/dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules().values()]
    named = {m for expr in asked for m in re.findall(r"\bcertferry_\w+", expr)}
    known = {name for name, *_ in reference.metrics()}
    for name, kind, *_ in reference.metrics():
        known |= {f"{name}_{part}" for part in ("bucket", "sum", "count") if kind == "histogram"}
    assert named - known == set()
    assert len(named) > 10
