"""Entering clusters and ELBs as the settings say, against servers on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from certferry import clusters as fleet
from certferry.elb.client.client import ElbError
from certferry.elb.client.credentials import CredentialsError
from certferry.kube.client.client import SECRET

PROJECT = "0123456789abcdef0123456789abcdef"


class Cloud:
    """Keystone, an ELB without certificates and a Kubernetes API in one; `seen` are its requests."""

    def __init__(self) -> None:
        self.seen: list[web.BaseRequest] = []
        self.bodies: list[Any] = []
        self.url = ""
        self.refuse = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        if request.path == "/v3/auth/tokens":
            self.bodies.append(await request.json())
            endpoints = [
                {"interface": "public", "region": "elsewhere", "url": "http://127.0.0.1:9/v1.0/x"},
                {"interface": "public", "region": "here", "url": f"{self.url}/v1.0/{PROJECT}"},
            ]
            token = {"project": {"id": PROJECT, "name": "team"}, "catalog": [{"type": "elb", "endpoints": endpoints}]}
            return web.json_response({"token": token}, status=201, headers={"X-Subject-Token": "t"})
        if request.path == "/v3/projects":
            return web.json_response({"projects": [{"id": PROJECT, "name": request.query["name"]}]})
        if self.refuse:
            return web.json_response(
                {"error_code": "APIGW.0308", "error_msg": "too many"}, status=self.refuse, headers={"Retry-After": "7"}
            )
        return web.json_response({"certificates": [], "items": [], "metadata": {}})


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    cloud = Cloud()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cloud.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield cloud
    await runner.cleanup()


def settings(folder: Path, *clusters: dict[str, Any]) -> fleet.Fleet:
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"clusters": list(clusters)}))
    return fleet.read(file)


def secret(file: Path, **content: str) -> str:
    file.touch(mode=0o600)
    file.write_text(json.dumps(content))
    return file.name


def kubeconfig(file: Path, url: str, token: str) -> str:
    named = {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c"}
    named |= {"clusters": [{"name": "c", "cluster": {"server": url}}]}
    named |= {"users": [{"name": "u", "user": {"token": token}}]}
    file.write_text(yaml.safe_dump(named))
    return file.name


async def test_a_cloud_gives_the_elb_its_address_project_and_password(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"auth_url": f"{cloud.url}/v3", "username": "u", "project_name": "team", "user_domain_name": "D"}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"v": {"auth": auth, "region_name": "here"}}}))
    (tmp_path / "secure.yaml").write_text(yaml.safe_dump({"clouds": {"v": {"auth": {"password": "pw"}}}}))
    monkeypatch.chdir(tmp_path)
    async with settings(tmp_path, {"name": "a", "elb": {"cloud": "v"}}).cluster().elb() as elb:
        assert await elb.certificates() == {}
    assert [r.path for r in cloud.seen] == ["/v3/auth/tokens", f"/v3/{PROJECT}/elb/certificates"]
    (body,) = cloud.bodies
    assert body["auth"]["scope"] == {"project": {"name": "team", "domain": {"name": "D"}}}
    assert body["auth"]["identity"]["password"]["user"]["password"] == "pw"
    assert cloud.seen[-1].headers["X-Auth-Token"] == "t"


async def test_an_access_key_finds_its_project_by_name(cloud: Cloud, tmp_path: Path) -> None:
    file = secret(tmp_path / "e.json", access_key="AK", secret_key="SK")
    place = {"url": cloud.url, "project": "team", "credentials_file": file}
    async with settings(tmp_path, {"name": "a", "elb": place}).cluster().elb() as elb:
        await elb.certificates()
        await elb.certificates()
    paths = [r.path for r in cloud.seen]
    assert paths == ["/v3/projects", *[f"/v3/{PROJECT}/elb/certificates"] * 2]
    assert all("Access=AK" in r.headers["Authorization"] for r in cloud.seen)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"cloud": "none"}, "no cloud “none”"),
        ({"url": "http://x"}, "No access key"),
        ({"url": "http://x", "credentials_file": "gone.json"}, "cannot be read"),
        ({"credentials_file": "e.json"}, "No project"),
        ({"credentials_file": "e.json", "project": "p"}, "No url"),
    ],
)
async def test_missing_credentials_are_reported(tmp_path: Path, place: dict[str, str], says: str) -> None:
    secret(tmp_path / "e.json", access_key="AK", secret_key="SK")
    cluster = settings(tmp_path, {"name": "a", "elb": place}).cluster()
    with pytest.raises(CredentialsError, match=says):
        cluster.elb()


async def test_a_throttled_request_reports_retry_after(cloud: Cloud, tmp_path: Path) -> None:
    file = secret(tmp_path / "e.json", access_key="AK", secret_key="SK", project_id=PROJECT)
    place = {"url": cloud.url, "credentials_file": file}
    cloud.refuse = 429
    async with settings(tmp_path, {"name": "a", "elb": place}).cluster().elb() as elb:
        with pytest.raises(ElbError) as refused:
            await elb.certificates()
    assert (refused.value.retryable, refused.value.retry_after) == (True, 7)


async def test_a_role_has_its_own_credential_and_may_impersonate_a_user(cloud: Cloud, tmp_path: Path) -> None:
    roles = {
        "reader": {"kubeconfig": kubeconfig(tmp_path / "reader", cloud.url, "r"), "impersonate": True},
        "admin": {},
    }
    own = kubeconfig(tmp_path / "own", cloud.url, "own")
    cluster = settings(tmp_path, {"name": "a", "kubeconfig": own, "roles": roles}).cluster()
    for role in (None, "admin", "reader"):
        async with cluster.kube(role, impersonate="ada") as kube:
            await kube.listing(SECRET)
    said = [(r.headers["Authorization"], r.headers.get("Impersonate-User")) for r in cloud.seen]
    assert said == [("Bearer own", None), ("Bearer own", None), ("Bearer r", "ada")]


async def test_a_cluster_that_does_not_answer_delays_no_other(cloud: Cloud, tmp_path: Path) -> None:
    good = kubeconfig(tmp_path / "good", cloud.url, "t")
    found = settings(
        tmp_path,
        {"name": "hangs", "kubeconfig": good},
        {"name": "gone", "kubeconfig": "nowhere"},
        {"name": "refuses", "kubeconfig": kubeconfig(tmp_path / "shut", "http://127.0.0.1:9", "t")},
        {"name": "good", "kubeconfig": good},
    )

    async def ask(cluster: fleet.ClusterAccess) -> int:
        if cluster.name == "hangs":
            await asyncio.Event().wait()
        async with cluster.kube() as kube:
            return len((await kube.listing(SECRET)).items)

    hangs, gone, refuses, fine = await fleet.fan_out(found, ask, deadline=1.0)
    assert (fine.cluster, fine.value, fine.trouble) == ("good", 0, None)
    assert "within 1 s" in (hangs.trouble or "")
    assert "nowhere cannot be read" in (gone.trouble or "")
    assert "not reachable" in (refuses.trouble or "")
