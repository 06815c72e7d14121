"""Kills and restarts of the server, and starts that fail."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from certferry.kube.apiserver.storage import key_rotation, log
from certferry.settings import EXIT_NEWER_STATE, EXIT_UNUSABLE, UserError
from tests.kube.support.server_process import TIMEOUT, Process, client, secret, server

SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    result = Process(tmp_path)
    result.start()
    yield result
    result.end()


async def test_answered_writes_survive_a_kill(process: Process, tmp_path: Path) -> None:
    async with client(tmp_path) as api:
        start = (await api.get(SECRETS)).body["metadata"]["resourceVersion"]
        writes = [api.post(SECRETS, secret(f"s{n}", x=str(n))) for n in range(40)]
        made = [r.body for r in await asyncio.gather(*writes)]
        last = (await api.patch(f"{SECRETS}/s0", {"data": {"x": "OTk="}})).body
        await api.delete(f"{SECRETS}/s1")
    process.kill()
    process.start()
    async with client(tmp_path) as api:
        result = {i["metadata"]["name"]: i for i in (await api.get(SECRETS)).body["items"]}
        wanted = {m["metadata"]["name"]: m for m in made} | {"s0": last}
        del wanted["s1"]
        assert result == wanted
        newest = int((await api.get(SECRETS)).body["metadata"]["resourceVersion"])
        after = (await api.post(SECRETS, secret("later"))).body["metadata"]["resourceVersion"]
        assert int(after) > newest > int(last["metadata"]["resourceVersion"])
        async with api.watch(SECRETS, resourceVersion=start) as events:
            types = await events.types(43)
    assert types == ["ADDED"] * 40 + ["MODIFIED", "DELETED", "ADDED"]


async def test_namespace_termination_continues_after_a_restart(process: Process, tmp_path: Path) -> None:
    body = secret("held")
    body["metadata"]["finalizers"] = ["certferry.io/hold"]
    async with client(tmp_path) as api:
        await api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
        await api.post("/api/v1/namespaces/n/secrets", body)
        await api.delete("/api/v1/namespaces/n")
    process.kill()
    process.start()
    async with client(tmp_path) as api, api.watch("/api/v1/namespaces", fieldSelector="metadata.name=n") as events:
        assert (await events.next())["object"]["status"]["phase"] == "Terminating"
        await api.patch("/api/v1/namespaces/n/secrets/held", {"metadata": {"finalizers": None}})
        assert (await events.next())["type"] == "DELETED"


def test_a_second_instance_exits_with_one_sentence(process: Process, tmp_path: Path) -> None:
    refused = _start(tmp_path)
    assert refused.returncode == EXIT_UNUSABLE
    assert refused.stderr.startswith("certferry: Another Kubernetes API server uses ")
    assert refused.stderr.count("\n") == 1


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        refused = _start(tmp_path, "--listen", f"127.0.0.1:{port}")
    assert refused.returncode == EXIT_UNUSABLE
    assert refused.stderr.startswith(f"certferry: The Kubernetes API cannot listen on 127.0.0.1:{port}: ")
    assert refused.stderr.count("\n") == 1


async def test_a_newer_store_is_not_changed(tmp_path: Path) -> None:
    async with server(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "kube" / "store.db")) as database:
        database.execute(f"PRAGMA user_version = {len(log.SCHEMA) + 1}")
    refused = _start(tmp_path)
    assert refused.returncode == EXIT_NEWER_STATE
    assert "the newer Certferry that wrote it" in refused.stderr
    assert refused.stderr.count("\n") == 1


async def test_a_lost_encryption_key_is_one_sentence(tmp_path: Path) -> None:
    async with server(tmp_path) as api:
        await api.post(SECRETS, secret("a"))
    (tmp_path / "kube" / "seal.key").unlink()
    refused = _start(tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (EXIT_UNUSABLE, 1)
    assert "key" in refused.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"admin": 5}', "\ud800"])
def test_damaged_tokens_are_one_sentence_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "kube").mkdir()
    (tmp_path / "kube" / "tokens.json").write_text(text, errors="surrogatepass")
    refused = _start(tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (EXIT_UNUSABLE, 1)
    assert f"{tmp_path / 'kube' / 'tokens.json'} cannot be read" in refused.stderr
    assert "Restore the file from a backup, or delete it" in refused.stderr


async def test_key_rotation_beside_a_running_server(process: Process, tmp_path: Path) -> None:
    folder = key_rotation.store_in(tmp_path)
    assert folder is not None
    old = (folder / "seal.key").read_text()
    async with client(tmp_path) as api:
        await asyncio.gather(*(api.post(SECRETS, secret(f"s{n}", x=str(n))) for n in range(20)))
        before = (await api.get(SECRETS)).body["items"]
        assert await asyncio.to_thread(key_rotation.rotate, folder, {}) == 20
        await api.post(SECRETS, secret("later"))
    assert old.strip() not in (folder / "seal.key").read_text()
    assert await asyncio.to_thread(key_rotation.rotate, folder, {}) == 21, "what came later is under the new key"
    process.kill()
    process.start()
    async with client(tmp_path) as api:
        result = (await api.get(SECRETS)).body["items"]
    assert [i for i in result if i["metadata"]["name"] != "later"] == before


async def test_a_rotation_without_the_old_key_changes_nothing(tmp_path: Path) -> None:
    async with server(tmp_path) as api:
        await api.post(SECRETS, secret("a"))
    key = tmp_path / "kube" / "seal.key"
    kept = key.read_text()
    key.write_text("A" * 43 + "=\n")
    with pytest.raises(UserError, match="cannot be encrypted with a new key"):
        key_rotation.rotate(tmp_path / "kube", {})
    assert key.read_text() == "A" * 43 + "=\n"
    key.write_text(kept)
    async with server(tmp_path) as api:
        assert (await api.get(f"{SECRETS}/a")).code == 200


async def test_a_full_disk_fails_the_write_and_loses_nothing(tmp_path: Path) -> None:
    async with server(tmp_path) as api:
        made = (await api.post(SECRETS, secret("a", x="1"))).body
    database = tmp_path / "kube" / "store.db"
    pages = database.stat().st_size // 4096

    def cramped(self: log.Store) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log.Store, "_prepare", cramped)
        async with server(tmp_path) as api:
            refused = await api.post(SECRETS, secret("b", x="y" * 200_000))
            assert (refused.code, refused.body["reason"]) == (500, "InternalError")
            assert "the disk is full" in refused.body["message"]
            assert (await api.get(f"{SECRETS}/b")).code == 404
            assert (await api.get(f"{SECRETS}/a")).body == made
    async with server(tmp_path) as api:
        assert (await api.post(SECRETS, secret("b", x="y" * 200_000))).code == 201


def _start(state: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-m", "certferry", "kube", "--state", str(state), *flags],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
