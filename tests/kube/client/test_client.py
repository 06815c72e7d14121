from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from certferry.core.model.kubernetes import ClusterView, Name
from certferry.kube.client import informer, kubeconfig
from certferry.kube.client.cache import Cache, SecretUpdate
from certferry.kube.client.client import INGRESS, SECRET, KubeClient, KubeError
from certferry.kube.client.kubeconfig import Access, FileToken, FixedToken, KubeconfigError
from tests.controller.support.fake_kube import FakeKube, until
from tests.support.certs import authority


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    fake = FakeKube()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def client(fake: FakeKube) -> AsyncIterator[KubeClient]:
    async with KubeClient(Access(fake.url, None, FixedToken(fake.token))) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["aiohttp", "short"])
async def either_client(fake: FakeKube, request: pytest.FixtureRequest) -> AsyncIterator[KubeClient]:
    async with KubeClient(Access(fake.url, None, FixedToken(fake.token)), short=request.param) as client:
        yield client


async def test_a_list_is_read_page_by_page(fake: FakeKube, either_client: KubeClient) -> None:
    fake.pages = 2
    for number in range(5):
        fake.secret("demo", f"s{number}", authority().issue("a.example.com"))
    listing = await either_client.listing(SECRET)
    assert [i["metadata"]["name"] for i in listing.items] == ["s0", "s1", "s2", "s3", "s4"]
    assert listing.version == str(fake.version)
    assert fake.count("GET", "secrets") == 3


async def test_a_watch_reads_lines_longer_than_the_buffer(fake: FakeKube, client: KubeClient) -> None:
    big = "x" * 300_000
    fake.put("secrets", "demo", "big", {"type": "Opaque", "data": {"a": big}})
    async for event in client.watch(SECRET, "0", 300):
        assert event.object["data"]["a"] == big
        break


async def test_410_as_status_and_as_event_raise_the_same_error(fake: FakeKube, client: KubeClient) -> None:
    fake.version += 5
    fake.compact()
    with pytest.raises(KubeError) as status:
        await anext(client.watch(SECRET, "1", 300))
    assert status.value.gone
    waiting = asyncio.create_task(_next(client, str(fake.version)))
    await until(lambda: fake.count("GET", "secrets") == 2)
    fake.error_event()
    with pytest.raises(KubeError) as event:
        await waiting
    assert event.value.gone
    assert not event.value.retryable


async def _next(client: KubeClient, version: str) -> None:
    async for _ in client.watch(SECRET, version, 300):
        return


async def test_an_unreachable_server_is_retryable(fake: FakeKube, either_client: KubeClient) -> None:
    await fake.stop()
    with pytest.raises(KubeError) as error:
        await either_client.get(INGRESS, "a", "b")
    assert error.value.retryable
    assert "not reachable" in str(error.value)


@pytest.mark.parametrize("short", [False, True])
async def test_a_renewed_token_is_read_after_a_401(fake: FakeKube, tmp_path: Path, short: bool) -> None:
    file = tmp_path / "token"
    file.write_text("token-1\n")
    async with KubeClient(Access(fake.url, None, FileToken(file)), short=short) as client:
        await client.listing(SECRET)
        fake.token = "token-2"
        file.write_text("token-2\n")
        await client.listing(SECRET)
        file.write_text("wrong")
        fake.token = "token-3"
        with pytest.raises(KubeError) as error:
            await client.listing(SECRET)
    assert error.value.status == 401


def test_a_kubeconfig_is_read_with_its_certificates(tmp_path: Path) -> None:
    pair = authority().issue("admin")
    (tmp_path / "ca.crt").write_text(authority().certificate)
    (tmp_path / "user.crt").write_text(pair.certificate)
    (tmp_path / "user.key").write_text(pair.key)
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(_config("https://127.0.0.1:6443", tmp_path)))
    access = kubeconfig.load(path)
    assert access.server == "https://127.0.0.1:6443"
    assert access.tls is not None
    assert access.tls.verify_mode == ssl.CERT_REQUIRED
    assert "127.0.0.1" in repr(access)


@pytest.mark.parametrize(
    ("change", "says"), [({"current-context": "other"}, "no context “other”"), ({"users": []}, "no user “u”")]
)
def test_an_unusable_kubeconfig_names_the_reason(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(_config("https://127.0.0.1:6443", tmp_path) | change))
    with pytest.raises(KubeconfigError) as error:
        kubeconfig.load(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.process
async def test_an_exec_program_provides_the_token(fake: FakeKube, tmp_path: Path) -> None:
    script = tmp_path / "login"
    script.write_text('#!/bin/sh\necho \'{"status": {"token": "token-1"}}\'\n')
    script.chmod(0o700)
    path = tmp_path / "config"
    config = _config(fake.url, tmp_path) | {"users": [{"name": "u", "user": {"exec": {"command": str(script)}}}]}
    path.write_text(yaml.safe_dump(config))
    async with KubeClient(kubeconfig.load(path)) as client:
        assert (await client.listing(SECRET)).items == []


def _config(server: str, directory: Path) -> dict[str, object]:
    user = {"client-certificate": "user.crt", "client-key": "user.key"}
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": "u", "user": user}],
    }


class Watched:
    """A running cache, and the updates that its subscriber received."""

    def __init__(self, client: KubeClient) -> None:
        self.arrivals: list[SecretUpdate] = []
        self.cache = Cache(client, self.arrivals.append)

    def names(self) -> set[str]:
        view = self.cache.view.value
        return {n.name for n in view.secrets} if view else set()

    async def settled(self, fake: FakeKube, *names: str) -> None:
        """Wait until these Secrets are known and every kind is watched."""
        await until(lambda: self.names() == set(names) and len(fake.watching) == 5)


@pytest.fixture
async def watched(fake: FakeKube, client: KubeClient) -> AsyncIterator[Watched]:
    watched = Watched(client)
    task = asyncio.create_task(watched.cache.run())
    yield watched
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_deletions_during_a_disconnection_are_seen(fake: FakeKube, watched: Watched) -> None:
    for name in ("kept", "gone"):
        fake.secret("demo", name, authority().issue("a.example.com"))
    await watched.settled(fake, "kept", "gone")
    await fake.stop()
    fake.remove("secrets", "demo", "gone")
    fake.secret("demo", "new", authority().issue("a.example.com"))
    fake.compact()
    fake.version += 1
    await fake.start()
    await until(lambda: watched.names() == {"kept", "new"})
    # an unchanged Secret was not published again
    assert [a.secret.meta.name for a in watched.arrivals] == ["gone", "kept", "new"]


async def test_an_error_removes_nothing(fake: FakeKube, watched: Watched) -> None:
    fake.secret("demo", "kept", authority().issue("a.example.com"))
    await watched.settled(fake, "kept")
    for _ in range(3):
        fake.fail("GET", "secrets", 500)
    fake.error_event()
    await until(lambda: not fake.failures)
    assert watched.names() == {"kept"}
    fake.secret("demo", "next", authority().issue("a.example.com"))
    await until(lambda: watched.names() == {"kept", "next"})
    await until(lambda: watched.cache.trouble.value is None)


async def test_an_empty_list_is_believed_after_the_grace_time(
    fake: FakeKube, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.secret("demo", "last", authority().issue("a.example.com"))
    await watched.settled(fake, "last")
    fake.empty_lists = True
    fake.error_event()
    await until(lambda: "they are kept" in (watched.cache.trouble.value or ""))
    assert watched.names() == {"last"}
    monkeypatch.setattr(informer, "EMPTY_GRACE", 0.0)
    await until(lambda: watched.names() == set())


async def test_our_own_writes_publish_no_new_view(
    fake: FakeKube, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put("ingresses", "demo", "i", {"spec": {"ingressClassName": "cce"}})
    await until(lambda: watched.cache.view.value and watched.cache.view.value.ingresses)
    view = watched.cache.view.value
    assert view is not None
    built: list[ClusterView] = []

    def build(**fields: Any) -> ClusterView:
        built.append(ClusterView(**fields))
        return built[-1]

    monkeypatch.setattr("certferry.kube.client.cache.ClusterView", build)
    annotated = {"metadata": {"annotations": {"certferry.io/rotation": "{}"}}}
    fake.put("ingresses", "demo", "i", {**annotated, "spec": {"ingressClassName": "cce"}})
    name = Name("demo", "i")
    await until(lambda: (r := watched.cache.reported(name)) and r.rotation == "{}")
    watched.cache._publish()  # what the event scheduled, at once
    assert watched.cache.view.value is view
    assert built == []
    fake.put("ingresses", "demo", "other", {"spec": {"ingressClassName": "cce"}})
    await until(lambda: (v := watched.cache.view.value) and len(v.ingresses) == 2)
    # the Ingress is still the same object, so that a comparison of two views costs nothing for it
    assert built[-1].ingresses[name] is view.ingresses[name]


async def test_a_malformed_object_affects_only_itself(fake: FakeKube, watched: Watched) -> None:
    fake.put("services", "demo", "odd", {"spec": {"ports": [{"name": "no number"}]}})
    fake.put("services", "demo", "good", {"spec": {"ports": [{"port": 80}]}})
    await until(lambda: watched.cache.view.value)
    view = watched.cache.view.value
    assert view is not None
    assert set(view.services) == {Name("demo", "good")}


async def test_the_cache_keeps_no_private_key(fake: FakeKube, watched: Watched) -> None:
    pair = authority().issue("a.example.com")
    fake.secret("demo", "s", pair)
    await until(lambda: watched.names() == {"s"})
    assert "PRIVATE" not in repr(watched.cache.view.value)
    assert pair.key.splitlines()[1] not in repr(watched.arrivals)
