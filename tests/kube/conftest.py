"""A server for a module's kubectl, with a new namespace for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kube.support.kubectl import Session
from tests.kube.support.server_process import Process


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    found = Process(tmp_path_factory.mktemp("state"), "--loopback-endpoints")
    found.start()
    yield found
    found.end()


@pytest.fixture
def kubectl(process: Process) -> Iterator[Session]:
    session = Session(process)
    yield session
    session.run("delete", "secrets,configmaps,services,ingresses", "--all", "-n", "default")
    session.run("delete", "namespace", "shop", "--ignore-not-found")
