from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.elb.support.server import Api, Elb, serving, settings_in


@pytest.fixture(scope="session")
def elb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elb]:
    """One service for all tests that do not look at the whole of it."""
    with serving(settings_in(tmp_path_factory.mktemp("elb"))) as running:
        yield running


@pytest.fixture
def api(elb: Elb) -> Api:
    """An admin of `elb`."""
    return elb.admin


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Elb]:
    """A service of the test's own."""
    with serving(settings_in(tmp_path)) as running:
        yield running
