"""The repository as a newcomer finds it: make, the preflight, the wheel, the pages, and no secrets."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from certferry import preflight
from tools import reference

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=changes.get("cwd", str(ROOT)),
        stdin=subprocess.DEVNULL,
        check=False,
    )


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file that the repository holds, the Apache licence excepted."""
    pictures = {".png"}
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines():
        if name != "LICENSE" and Path(name).suffix not in pictures and (ROOT / name).is_file():
            yield ROOT / name, (ROOT / name).read_text()


def test_make_without_target_lists_the_targets() -> None:
    listed = run("make").stdout
    for target in ("help", "install", "up", "test", "check", "bench", "lock", "wheel", "clean"):
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE), target


@pytest.mark.parametrize(
    ("system", "machine", "libc", "release"),
    [
        ("Linux", "x86_64", "glibc 2.31", ""),
        ("Linux", "aarch64", "glibc 2.41", ""),
        ("Darwin", "arm64", "", "15.0"),
        ("Darwin", "arm64", "", "26.1"),
    ],
)
def test_supported_platforms_pass(system: str, machine: str, libc: str, release: str) -> None:
    assert preflight.objection(system, machine, libc, release) == ""


@pytest.mark.parametrize(
    ("system", "machine", "libc", "release", "named"),
    [
        ("Linux", "riscv64", "glibc 2.41", "", "riscv64"),
        ("Linux", "x86_64", "glibc 2.28", "", "glibc 2.28"),
        ("Linux", "x86_64", "", "", "glibc"),
        ("Darwin", "x86_64", "", "15.1", "x86_64"),
        ("Darwin", "arm64", "", "14.7", "14.7"),
        ("Windows", "AMD64", "", "", "Windows"),
    ],
)
def test_unsupported_platforms_get_one_sentence(system: str, machine: str, libc: str, release: str, named: str) -> None:
    sentence = preflight.objection(system, machine, libc, release)
    assert named in sentence
    assert "2.31" in sentence
    assert "\n" not in sentence


def test_an_unsuitable_python_is_reported_with_the_remedy() -> None:
    assert preflight.python_objection((3, 11), True) == ""
    assert "Python 3.11 or newer" in preflight.python_objection((3, 10), True)
    assert "python3-venv" in preflight.python_objection((3, 12), False)


def test_the_preflight_runs_by_itself_and_is_silent_on_success() -> None:
    done = run(sys.executable, "-I", "src/certferry/preflight.py")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_make_without_python_says_so_first(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    done = run("make", "up", "PYTHON=python-that-is-not-there", cwd=str(tmp_path))
    assert done.returncode != 0
    assert "install Python 3.11 or newer" in done.stdout + done.stderr


def test_a_wheel_contains_every_file_read_at_run_time(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ".")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    here = {
        str(path.relative_to(source))
        for path in (source / "certferry").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= packed
    assert any("migrations/versions" in name for name in packed)


def test_no_private_key_is_in_the_repository() -> None:
    begins = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")
    assert [str(path) for path, text in texts() if begins.search(text)] == []


def test_no_package_index_is_named() -> None:
    """Where packages come from is the business of pip's own configuration."""
    named = re.compile(r"--(extra-)?index-url|--find-links|files\.pythonhosted\.org|https?://[^\s/]*pypi")
    install = [(p, t) for p, t in texts() if p.suffix in {".lock", ".toml", ".cfg"} or p.name in {"Makefile", "run"}]
    assert len(install) > 3
    assert [str(path) for path, text in install if named.search(text)] == []


def commands() -> list[str]:
    """Return the words of every command that is not hidden."""
    return [path for path, _ in reference.commands()]


def test_every_command_is_documented() -> None:
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    words = commands()
    assert {"up", "version", "demo certificate"} <= set(words)
    assert [command for command in words if f"certferry {command}" not in pages] == []


def test_links_between_pages_are_valid() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, text in texts()
        if path.suffix == ".md" and "reference_texts" not in path.parts
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []
