"""One running system and one browser for all tests of the console.

Without Chromium the browser's tests are not collected on a laptop; in CI they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.user import User
from tests.e2e.support.backend import Backend
from tests.e2e.support.site import Site
from tests.e2e.support.system import System
from tests.support.chromium import CHROMIUM

collect_ignore_glob = [] if CHROMIUM or os.environ.get("CI") else ["test_browser_*.py"]

PASSWORD = "correct horse battery"  # of the users that the tests add
LogIn = Callable[..., User]


@pytest.fixture(scope="package")
def system() -> Iterator[System]:
    place = Path(tempfile.mkdtemp(prefix="cf-"))
    place.chmod(0o755)
    running = System(place / "s")
    running.start()
    for role in ("reader", "member"):
        add = [sys.executable, "-m", "certferry", "user", "add", role, "--role", role]
        state = ["--state", str(running.state)]
        subprocess.run([*add, *state], input=PASSWORD, text=True, check=True, timeout=60, capture_output=True)
    yield running
    running.stop()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="package")
def backend() -> Iterator[int]:
    with Backend() as running:
        yield running.port


@pytest.fixture(scope="package")
def make_site(system: System, backend: int) -> Callable[[str, int], Site]:
    """Makes a site of a name and port, served and seen."""

    def make(name: str, port: int) -> Site:
        site = Site(system, name, port, backend)
        pair = site.pair(days=60)
        site.publish(pair)
        site.shows(pair)
        return site

    return make


@pytest.fixture(scope="package")
def shop(make_site: Callable[[str, int], Site]) -> Site:
    """A site that tests look at and do not change."""
    return make_site("still", 11443)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI needs Chromium: .ci/run installs it"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@pytest.fixture(scope="package")
def windows(browser: Browser) -> Iterator[dict[tuple[str, str], User]]:
    """Return a page that is logged in, by role and theme; it is shared, because a login is slow."""
    opened: dict[tuple[str, str], User] = {}
    yield opened
    for user in opened.values():
        user.context.close()


@pytest.fixture
def log_in(system: System, browser: Browser, windows: dict[tuple[str, str], User]) -> Iterator[LogIn]:
    """Log in a user of some role; at the end, check what their browser did."""

    def enter(role: str = "admin", theme: str = "light") -> User:
        door = system.endpoints
        if (role, theme) not in windows:
            user = User(browser, door.console.url, theme)
            admin = (door.elb.username, door.elb.password)
            user.log_in(*(admin if role == "admin" else (role, PASSWORD)))
            windows[role, theme] = user
        windows[role, theme].page.goto("/clusters")
        return windows[role, theme]

    yield enter
    for user in windows.values():
        user.check()
