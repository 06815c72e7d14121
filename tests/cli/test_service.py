"""`certferry service`: units that systemd accepts, and what install and uninstall write."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from certferry.cli.programs.service import Program, unit, unit_name
from tests.cli.test_cli import certferry, refusal

ANALYZE = shutil.which("systemd-analyze")
EXPOSURE = 20
"""Highest accepted result of `systemd-analyze security`, times 10; an ordinary service has 96."""


def analyze(*arguments: str | Path) -> str:
    """Return the complaints of systemd-analyze; "" where there is no systemd."""
    if not ANALYZE:
        return ""
    done = subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.stderr if done.returncode == 0 else f"{done.stdout}{done.stderr}failed"


def key(tmp_path: Path) -> Path:
    file = tmp_path / "elb-seal.key"
    file.touch()
    return file


@pytest.mark.parametrize("program", Program)
def test_systemd_accepts_the_unit_and_finds_it_hardened(program: Program, tmp_path: Path) -> None:
    executable = tmp_path / "certferry"
    executable.touch(0o755)
    config = tmp_path / "certferry.yaml"
    encryption_key = key(tmp_path) if program in (Program.UP, Program.ELB) else None
    file = tmp_path / unit_name(program)
    file.write_text(unit(program, executable, config, encryption_key))
    assert analyze("verify", file) == ""
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", file) == ""


def test_install_and_uninstall_write_below_a_root(tmp_path: Path) -> None:
    done = certferry("service", "install", "elb", "--root", tmp_path, "--encryption-key", key(tmp_path))
    written = tmp_path / "etc/systemd/system/certferry-elb.service"
    assert str(written) in done.stdout
    text = written.read_text()
    assert re.search(r"^ExecStart=/\S+/certferry elb --state /var/lib/certferry$", text, re.MULTILINE)
    assert "KillMode=process" in text
    assert f"LoadCredential=seal-key:{tmp_path}/elb-seal.key" in text
    assert (tmp_path / "etc/sysusers.d/certferry.conf").read_text().startswith("u certferry ")

    assert "Envoy keeps serving" in certferry("service", "uninstall", "elb", "--root", tmp_path).stdout
    assert not written.exists()


def test_a_program_without_envoy_has_no_capability() -> None:
    text = unit(Program.CONTROLLER, Path("/opt/certferry/bin/certferry"))
    assert "\nCapabilityBoundingSet=\n" in text
    assert "KillMode" not in text


def test_service_reports_what_cannot_be_installed(tmp_path: Path) -> None:
    assert "There is no file" in refusal(certferry("service", "install", "--config", "/missing", "--root", tmp_path))
    assert "nothing is installed" in refusal(certferry("service", "uninstall", "console", "--root", tmp_path))
    said = refusal(certferry("service", "install", "console", "--encryption-key", key(tmp_path), "--root", tmp_path))
    assert "Only up and elb have an encryption key" in said
