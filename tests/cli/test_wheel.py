"""The wheel without extras is the command line and the controller; other commands name the extra that they need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from certferry import __version__
from certferry.cli import COMMANDS
from tests.e2e.support.system import KUBECTL

pytestmark = pytest.mark.timeout(300)  # packages may come from a registry

ROOT = Path(__file__).parents[2]
OF_EXTRAS = (
    "certferry.elb.server",
    "certferry.console",
    "certferry.up",
    "certferry.runtime.http_deadline",
    "certferry.cli.cert.cyclonedx",
)
"""Modules that a bare installation cannot import, and nothing else of it needs."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment into which the wheel was installed without extras."""
    place = tmp_path_factory.mktemp("bare")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("certferry-*.whl")
    locked = re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / "run.lock").read_text(), re.MULTILINE)
    (place / "constraints.txt").write_text("\n".join(locked))
    assert run(sys.executable, "-m", "venv", "--without-pip", place / "venv").returncode == 0
    python = place / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    done = run(*pip, "install", "--quiet", "--no-input", "-c", place / "constraints.txt", wheel)
    assert done.returncode == 0, done.stderr
    return python.parent


def test_nothing_of_the_extras_is_installed(bare: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {re.split(r"[\[><=]", need)[0] for needs in project["optional-dependencies"].values() for need in needs}
    listed = run(bare / "python", "-c", "import importlib.metadata as m; print(*(d.name for d in m.distributions()))")
    assert set(listed.stdout.lower().split()) & extras == {"certferry"}


def test_version_and_help_work(bare: Path) -> None:
    assert run(bare / "certferry", "version").stdout.strip() == __version__
    assert "--default-loadbalancer" in run(bare / "certferry", "controller", "--help").stdout
    for command in COMMANDS:
        done = run(bare / "certferry", command, "--help")
        assert done.returncode == 0, done.stderr


def test_kubectl_has_the_plugin(bare: Path) -> None:
    environment = {**os.environ, "PATH": f"{bare}{os.pathsep}{os.environ['PATH']}"}
    command = [str(KUBECTL), "certferry", "version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert done.stdout.strip() == __version__


def test_every_module_outside_the_extras_can_be_imported(bare: Path) -> None:
    program = (
        "import importlib, pkgutil, certferry\n"
        f"of_extras = {OF_EXTRAS!r}\n"
        "for module in pkgutil.walk_packages(certferry.__path__, 'certferry.', onerror=lambda name: None):\n"
        "    if not module.name.startswith((*of_extras, 'certferry.__main__')):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n"
    )
    done = run(bare / "python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert "certferry.controller.main" in done.stdout.split()


def test_the_controller_starts_as_far_as_its_settings(bare: Path) -> None:
    done = run(bare / "certferry", "controller", "--elb-url", "https://elb.example.com", "--kubeconfig", "/missing")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("certferry: ")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["elb"], "elb"),
        (["elb", "migrate-store", "--to", "postgresql://x"], "elb"),
        (["user", "ls"], "elb"),
        (["envoy", "ls"], "elb"),
        (["backup", "file"], "elb"),
        (["restore", "file"], "elb"),
        (["rotate-encryption-key"], "elb"),
        (["console"], "console"),
        (["up"], "up"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(bare: Path, tmp_path: Path, words: list[str], extra: str) -> None:
    settings = tmp_path / "certferry.yaml"
    settings.write_text("clusters: [{name: a, elb: {url: 'http://127.0.0.1:1'}}]\n")
    flags = ["--state", str(tmp_path)] if words[0] != "console" else []
    done = run(bare / "certferry", *words, *flags, *(["--config", str(settings)] if words[0] == "console" else []))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"needs the extra “{extra}”" in done.stderr
    assert f"pip install 'certferry[{extra}]'" in done.stderr
