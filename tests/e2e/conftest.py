"""The running system and the sites on it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.support.backend import Backend
from tests.e2e.support.real_cluster import KUBECONFIG, RealSystem
from tests.e2e.support.site import Site
from tests.e2e.support.system import System
from tests.support.go_programs import HELM, REQUIRED

OF_UP = (
    *("commands/test_doctor.py", "operation/test_deploy.py", "operation/test_kills.py"),
    *("operation/test_settings_file.py", "operation/test_start_stop.py"),
    *("security/test_no_key_leaves.py", "security/test_unauthorised_access.py"),
)
"""Tests of `certferry up` itself or of the embedded API."""
collect_ignore = [*OF_UP] if KUBECONFIG else ["operation/test_real_cluster.py"]
if not (HELM or REQUIRED):
    collect_ignore += ["operation/test_chart_settings.py"]
if "CERTFERRY_TEST_IMAGES" not in os.environ:
    collect_ignore += ["image"]  # building them takes minutes: `make test-image`

MakeSite = Callable[[str], Site]

_ports = itertools.count(10443)


@pytest.fixture(scope="session")
def backend() -> Iterator[int]:
    with Backend() as running:
        yield running.port


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Make a short directory that other users may enter, so that only the state's own modes protect it."""
    made = Path(tempfile.mkdtemp(prefix="cf-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def system(place: Path) -> Iterator[System]:
    """Run one system for the tests of a module."""
    running = RealSystem(place / "s", Path(KUBECONFIG)) if KUBECONFIG else System(place / "s")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def site(system: System, backend: int) -> MakeSite:
    """Return a function that makes a site of a new name."""

    def make(name: str) -> Site:
        return Site(system, name, next(_ports), backend)

    return make
