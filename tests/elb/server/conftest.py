from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from certferry.elb.server.identity import users
from tests.elb.support.server import Api, Elb, serving, settings_in


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords in a tenth of a millisecond; the real parameters take 50 ms of two cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1))
        yield


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
