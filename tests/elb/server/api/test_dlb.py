"""The ``openstack dlb`` commands, as installed, against a running service: each of the ten, and refusals.

Two of the ten (loadbalancer update and delete) cannot work with any service, as installed: they fail in
their own code. What they say then is here, so that a mended release is noticed.

All commands run in one process of their own: the shell takes seconds to start, and what other tests load of
the SDK into this process would change it.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.elb.support.resource_scenarios import content
from tests.elb.support.server import Elb, serving, settings_in

pytestmark = pytest.mark.process


def run(file: str, words: tuple[str, ...]) -> tuple[int, str, str]:
    """Run ``openstack --os-cloud ours WORDS`` in this process; return the exit code and the output."""
    from openstackclient.shell import main

    os.environ["OS_CLIENT_CONFIG_FILE"] = file
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(["--os-cloud", "ours", *words])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 2
    return int(code), out.getvalue(), err.getvalue()


class Shell:
    """Commands of ``openstack``, run in the process of `pool`."""

    def __init__(self, pool: Executor, file: Path) -> None:
        self._pool, self._file = pool, str(file)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        return self._pool.submit(run, self._file, words).result(timeout=60)

    def shown(self, *words: str) -> Any:
        code, out, err = self(*words, "-f", "json")
        assert code == 0, out + err
        return json.loads(out)

    def refused(self, *words: str) -> str:
        code, out, err = self(*words)
        assert code != 0, out
        return err


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elb]:
    """One for all tests here: the shell's client remembers where it was first."""
    with serving(settings_in(tmp_path_factory.mktemp("dlb"))) as running:
        yield running


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as running:
        yield running


@pytest.fixture
def dlb(own: Elb, pool: Executor, tmp_path: Path) -> Shell:
    cloud = {
        "auth": {
            "auth_url": f"{own.origin}/v3",
            "username": own.credentials.admin.username,
            "password": own.credentials.admin.password,
            "project_name": own.credentials.project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": "local",
        "interface": "public",
        "identity_api_version": "3",
    }
    file = tmp_path / "clouds.yaml"
    file.write_text(yaml.safe_dump({"clouds": {"ours": cloud}}))
    return Shell(pool, file)


def test_load_balancers(dlb: Shell, own: Elb) -> None:
    made = [
        dlb.shown(
            *("dlb", "loadbalancer", "create", "--name", f"lb{n}", "--vpc-id", "mine"),
            # without --network-type the command stumbles over an option that it does not have
            *("--availability-zone", "eu-de-01", "--description", "d", "--network-type", "5_bgp"),
        )
        for n in range(3)
    ]
    ids = [one["ID"] for one in made]
    assert [one["name"] for one in made] == ["lb0", "lb1", "lb2"]
    every = dlb.shown("dlb", "loadbalancer", "list", "--vpc-id", "mine")
    assert [one["ID"] for one in every] == ids
    found = dlb.shown("dlb", "loadbalancer", "list", "--name", "lb1")
    assert [one["ID"] for one in found] == ids[1:2]
    page = dlb.shown("dlb", "loadbalancer", "list", "--vpc-id", "mine", "--limit", "2")
    assert [one["ID"] for one in page][:2] == ids[:2]
    after = dlb.shown("dlb", "loadbalancer", "list", "--vpc-id", "mine", "--limit", "2", "--marker", ids[1])
    assert [one["ID"] for one in after] == ids[2:]
    assert dlb.shown("dlb", "loadbalancer", "show", "lb0")["description"] == "d"
    # this command finds the load balancer, and then calls its own SDK with a wrong argument
    stumbles = dlb.refused("dlb", "loadbalancer", "update", "lb0", "--description", "changed")
    assert "missing 1 required positional argument" in stumbles
    # this command asks the backup service (cbr) for load balancers, whatever cloud it is
    assert "cbr" in dlb.refused("dlb", "loadbalancer", "delete", ids[2])
    assert own.admin("DELETE", f"/loadbalancers/{ids[2]}").status == 204
    assert "No LoadBalancer found" in dlb.refused("dlb", "loadbalancer", "show", "f" * 32)
    assert [one["ID"] for one in dlb.shown("dlb", "loadbalancer", "list", "--vpc-id", "mine")] == ids[:2]


def test_listeners(dlb: Shell, own: Elb) -> None:
    certificate = own.admin.make("certificate", **content("a.example"))["id"]
    lb = own.admin.make("loadbalancer", name="lb")["id"]
    made = dlb.shown(
        *("dlb", "listener", "create", "--name", "secure", "--loadbalancer-id", lb),
        *("--protocol", "HTTPS", "--protocol-port", "443"),
        *("--default-tls-container-ref", certificate, "--tls-ciphers-policy", "tls-1-2-strict"),
    )
    assert (made["name"], made["protocol"], made["protocol_port"]) == ("secure", "HTTPS", 443)
    plain = dlb.shown(
        *("dlb", "listener", "create", "--loadbalancer-id", lb, "--protocol", "HTTP", "--protocol-port", "80")
    )
    listed = dlb.shown("dlb", "listener", "list", "--loadbalancer-id", lb)
    assert [one["ID"] for one in listed] == [made["ID"], plain["ID"]]
    assert [one["ID"] for one in dlb.shown("dlb", "listener", "list", "--protocol", "HTTP")] == [plain["ID"]]
    group = own.admin.make("ipgroup", ip_list=[])["id"]
    # without --ipgroup-id the command stumbles over an option that it does not have
    update = ("dlb", "listener", "update", "secure", "--description", "changed", "--ipgroup-id", group)
    assert dlb.shown(*update)["description"] == "changed"
    shown = own.admin.show("listener", made["ID"])
    assert shown["ipgroup"] == {"ipgroup_id": group, "enable_ipgroup": True, "type": "white"}
    assert dlb.shown("dlb", "listener", "show", made["ID"])["tls_ciphers_policy"] == "tls-1-2-strict"

    twice = ("dlb", "listener", "create", "--loadbalancer-id", lb, "--protocol", "HTTP", "--protocol-port", "80")
    assert "ELB.8907" in dlb.refused(*twice)
    bare = ("dlb", "listener", "create", "--loadbalancer-id", lb, "--protocol", "HTTPS", "--protocol-port", "1")
    assert "ELB.8902" in dlb.refused(*bare)
    assert dlb("dlb", "listener", "delete", made["ID"])[0] == 0
    assert dlb("dlb", "listener", "delete", plain["ID"])[0] == 0
    assert dlb.shown("dlb", "listener", "list", "--loadbalancer-id", lb) == []


def test_a_wrong_password_is_reported(dlb: Shell) -> None:
    assert "401" in dlb.refused("--os-password", "wrong", "dlb", "loadbalancer", "list")
