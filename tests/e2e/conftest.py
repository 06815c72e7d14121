"""The running system and the sites on it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.backend import Backend
from tests.e2e.site import Site
from tests.e2e.system import System

MakeSite = Callable[[str], Site]

_ports = itertools.count(10443)


@pytest.fixture(scope="session")
def backend() -> Iterator[int]:
    with Backend() as running:
        yield running.port


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short directory that others may enter: what protects the state in it is the state's own doing."""
    made = Path(tempfile.mkdtemp(prefix="cf-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def system(place: Path) -> Iterator[System]:
    """One system for the tests of a module."""
    running = System(place / "s")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def site(system: System, backend: int) -> MakeSite:
    """Makes sites; the name must be new."""

    def make(name: str) -> Site:
        return Site(system, name, next(_ports), backend)

    return make
