"""Logins at a console of its own, in front of an ELB: limits and bounds."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from certferry.up.free_ports import free_ports
from tests.e2e.support.waiting import until
from tests.elb.support.server import Elb, serving, settings_in

pytestmark = pytest.mark.process


class Site(NamedTuple):
    port: int
    elb: Elb

    def post(self, form: dict[str, str], headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        connection.request("POST", "/login", urlencode(form), headers)
        return connection.getresponse()

    def log_in(self, user: str, password: str, client: str = "192.0.2.1") -> int:
        """Return 303 after a login, else the status of the form."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/login")
        page = connection.getresponse()
        cookie = page.headers["set-cookie"].partition(";")[0]
        token = re.search(r'name="csrf" value="([^"]+)"', page.read().decode())
        assert token
        form = {"csrf": token[1], "user": user, "password": password}
        return self.post(form, {"Cookie": cookie, "X-Forwarded-For": client}).status


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("login")
    with serving(settings_in(folder, trusted_proxies=("127.0.0.1",))) as elb:
        file = folder / "certferry.yaml"
        project = elb.credentials.project
        place = f"url: '{elb.origin}', auth_url: '{elb.origin}/v3', project: {project}"
        file.write_text(
            f"console: {{trusted_proxies: [127.0.0.1]}}\nclusters: [{{name: far, kubeconfig: missing, elb: {{{place}}}}}]"
        )
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "certferry", "console", "--config", str(file), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ)
        try:
            until(lambda: Site(port, elb).post({}, {}).status == 403, "the console answers", seconds=60)
            yield Site(port, elb)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)


def test_wrong_logins_of_invented_users_do_not_lock_the_admin_out(site: Site) -> None:
    admin = site.elb.credentials.admin
    assert {site.log_in(f"nobody {n}", "wrong") for n in range(56)} == {401}
    assert site.log_in(admin.username, admin.password) == 303, "also from the same address"


def test_failed_logins_count_against_the_address_of_the_browser(site: Site) -> None:
    admin = site.elb.credentials.admin
    tries = [site.log_in(admin.username, "wrong", "192.0.2.66") for _ in range(11)]
    assert tries == [401] * 10 + [429]
    assert site.log_in(admin.username, admin.password, "192.0.2.66") == 429
    assert site.log_in(admin.username, admin.password, "192.0.2.7") == 303


def test_a_login_form_is_bounded_before_it_is_read(site: Site) -> None:
    assert site.post({"user": "x" * (1 << 20)}, {}).status == 413
