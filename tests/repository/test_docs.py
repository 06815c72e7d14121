"""The docs explain every reason, metric, setting, command, annotation and alert."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from certferry.core.diagnosis import alert
from certferry.settings import renamed
from tools import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", sorted(reference.PAGES))
def test_reference_pages_match_the_code(page: str) -> None:
    assert (DOCS / page).read_text() == reference.PAGES[page](), "run `make reference` and review the diff"


def test_every_reason_is_explained() -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "problems.md").read_text(), re.MULTILINE)
    assert headings == reference.reasons()


def test_every_annotation_is_explained() -> None:
    headings = re.findall(r"^### `([^`]+)`$", (DOCS / "annotations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == reference.annotation_keys()


def test_files_that_pages_name_exist() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"`((?:src|tests|tools)/[\w./-]+)`", page.read_text())}
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
    assert len(named) > 20


def test_the_changelog_names_every_renamed_setting_and_reason() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    pairs = [
        (f"{section}.{old}", f"{section}.{new}")
        for section, names in renamed.RENAMED.items()
        for old, new in names.items()
    ]
    pairs += [
        (f"elb.envoy_options.{old}", f"elb.envoy_options.{new}") for old, new in renamed.RENAMED_ENVOY_OPTIONS.items()
    ]
    pairs += renamed.RENAMED_REASONS.items()
    assert [pair for pair in pairs if f"| `{pair[0]}` | `{pair[1]}` |" not in changelog] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [str(p) for p in DOCS.rglob("*.md") if str(p.relative_to(DOCS)) not in navigation] == []


def test_every_alert_has_a_runbook_with_actions() -> None:
    pages = {p.stem: p.read_text() for p in (DOCS / "runbooks").glob("*.md")}
    assert set(pages) == {*alert.NAMES, *rules()}
    for text in pages.values():
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["What happened", "What clients see", "What to do"]
    assert [n for n in alert.NAMES if f"runbooks/{n}.md" not in (DOCS / "alerts.md").read_text()] == []


def rules() -> dict[str, Any]:
    groups = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def recordings() -> dict[str, str]:
    groups = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text())["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def test_prometheus_rules_cover_every_alert_and_name_its_runbook() -> None:
    present = rules()
    assert {n for n in alert.NAMES if n != "Test"} <= set(present)
    for name, rule in present.items():
        assert rule["expr"]
        assert rule["annotations"]["runbook_url"].endswith(f"runbooks/{name}.md")
        urgency = {str(n): u for n, u in alert.URGENCIES.items()}.get(name, rule["labels"]["severity"])
        assert rule["labels"]["severity"] == urgency


def test_every_metric_in_rules_and_dashboard_exists() -> None:
    dashboard = json.loads((ROOT / "deploy/monitoring/dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [*(rule["expr"] for rule in rules().values()), *recordings().values()]
    recorded = {m for expr in expressions for m in re.findall(r"\bcertferry:[\w:]+", expr)}
    assert recorded == set(recordings())
    named = {m for expr in expressions for m in re.findall(r"\bcertferry_\w+", expr)}
    existing = {name for name, *_ in reference.metrics()}
    for name, kind, *_ in reference.metrics():
        existing |= {f"{name}_{part}" for part in ("bucket", "sum", "count") if kind == "histogram"}
    assert named - existing == set()
    assert len(named) > 10
