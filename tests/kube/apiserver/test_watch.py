"""Watches and lists: each change once, in order, to each watcher that selects it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.support.server_process import Client, secret, server

SECRETS = "/api/v1/namespaces/default/secrets"
EVENTS = "/api/v1/namespaces/default/events"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    async with server(tmp_path) as result:
        yield result


def labelled(name: str, **labels: str) -> Any:
    body = secret(name)
    body["metadata"]["labels"] = labels
    return body


async def test_a_watch_resumes_from_a_revision(api: Client) -> None:
    start = (await api.get(SECRETS)).body["metadata"]["resourceVersion"]
    await api.post(SECRETS, secret("a", x="1"))
    await api.patch(f"{SECRETS}/a", {"data": {"x": "Mg=="}})
    async with api.watch(SECRETS, resourceVersion=start) as events:
        first, second = await events.next(), await events.next()
        assert (first["type"], second["type"]) == ("ADDED", "MODIFIED")
        assert first["object"]["data"] == {"x": "MQ=="}
        await api.delete(f"{SECRETS}/a")
        last = await events.next()
    assert last["type"] == "DELETED"
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in (first, second, last)]
    assert versions == sorted(set(versions))


async def test_a_watch_without_a_revision_begins_with_present_objects(api: Client) -> None:
    await api.post(SECRETS, secret("b"))
    await api.post(SECRETS, secret("a"))
    for version in ("", "0"):
        async with api.watch(SECRETS, resourceVersion=version) as events:
            result = [await events.next() for _ in range(2)]
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in result] == [("ADDED", "a"), ("ADDED", "b")]


async def test_initial_events_end_with_a_bookmark(api: Client) -> None:
    await api.post(SECRETS, secret("a"))
    asked = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "resourceVersion": "",
    }
    async with api.watch(SECRETS, **asked) as events:
        assert (await events.next())["type"] == "ADDED"
        mark = await events.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(mark["object"]["metadata"]["resourceVersion"]) > 0
    bare = await api.get(f"{SECRETS}?watch=1&sendInitialEvents=true")
    assert bare.code == 422


async def test_selection_changes_appear_as_deleted_and_added(api: Client) -> None:
    start = (await api.get(SECRETS)).body["metadata"]["resourceVersion"]
    async with api.watch(SECRETS, labelSelector="app in (web, shop),!old", resourceVersion=start) as events:
        await api.post(SECRETS, labelled("a", app="other"))
        await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"app": "web"}}})
        await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"more": "x"}}})
        await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"old": "yes"}}})
        await api.delete(f"{SECRETS}/a")
        await api.post(SECRETS, labelled("b", app="shop"))
        result = [await events.next() for _ in range(4)]
    assert [e["type"] for e in result] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]


async def test_field_selectors(api: Client) -> None:
    await api.post(SECRETS, secret("a"))
    await api.post(SECRETS, secret("t", tls_crt="x", tls_key="y") | {"type": "kubernetes.io/tls"})

    async def names(selector: str) -> list[str]:
        result = await api.get("/api/v1/secrets", params={"fieldSelector": selector})
        return [i["metadata"]["name"] for i in result.body["items"]]

    assert await names("type=kubernetes.io/tls") == ["t"]
    assert await names("metadata.name=a,metadata.namespace=default") == ["a"]
    assert await names("type!=Opaque") == ["t"]
    refused = await api.get(f"{SECRETS}?fieldSelector=data.x=1")
    assert (refused.code, refused.body["message"]) == (400, "field label not supported: data.x")
    refused = await api.get(f"{SECRETS}?labelSelector=a(b")
    assert (refused.code, refused.body["reason"]) == (400, "BadRequest")


async def test_events_are_selected_by_involved_object(api: Client) -> None:
    about = {"kind": "Secret", "name": "a", "namespace": "default", "uid": "u1"}
    for name, uid in (("e1", "u1"), ("e2", "u2")):
        body = {"metadata": {"name": name}, "involvedObject": about | {"uid": uid}, "type": "Warning"}
        assert (await api.post(EVENTS, body)).code == 201
    query = "involvedObject.uid=u1,involvedObject.kind=Secret,involvedObject.name=a,type=Warning"
    result = await api.get(EVENTS, params={"fieldSelector": query})
    assert [i["metadata"]["name"] for i in result.body["items"]] == ["e1"]
    elsewhere = {"metadata": {"name": "e3"}, "involvedObject": about | {"namespace": "other"}}
    refused = await api.post(EVENTS, elsewhere)
    assert "does not match event.namespace" in refused.body["message"]


async def test_a_list_is_paged(api: Client) -> None:
    for number in range(5):
        await api.post(SECRETS, secret(f"s{number}"))
    names: list[str] = []
    token, remaining, versions = "", [], set()
    while True:
        page = (await api.get(SECRETS, params={"limit": "2", "continue": token})).body
        names += [i["metadata"]["name"] for i in page["items"]]
        remaining.append(page["metadata"].get("remainingItemCount"))
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        await api.post(SECRETS, {"metadata": {"generateName": "a-new-one-"}})
        if not token:
            break
    assert names == ["s0", "s1", "s2", "s3", "s4"]
    assert remaining == [3, 1, None]
    assert len(versions) == 1  # a watch from it shows the changes between the pages
    assert (await api.get(f"{SECRETS}?continue=nonsense")).code == 400


async def test_a_compacted_revision_is_410(tmp_path: Path) -> None:
    async with server(tmp_path, history_revisions=5, history_seconds=0) as api:
        start = (await api.post(SECRETS, secret("a", x="0"))).body["metadata"]["resourceVersion"]
        await api.post(SECRETS, secret("b"))
        # Memory still has these changes; only a restart makes the server read its store.
        for number in range(20):
            await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"n": str(number)}}})
    async with server(tmp_path, history_revisions=5, history_seconds=0) as api:
        async with api.watch(SECRETS, resourceVersion=start) as events:
            gone = await events.next()
            with pytest.raises(EOFError):
                await events.next()
        assert gone["type"] == "ERROR"
        assert (gone["object"]["code"], gone["object"]["reason"]) == (410, "Expired")
        assert gone["object"]["message"].startswith(f"too old resource version: {start} (")
        result = (await api.get(SECRETS)).body
        assert [i["metadata"]["name"] for i in result["items"]] == ["a", "b"]


async def test_a_future_revision_is_rejected(api: Client) -> None:
    refused = await api.get(f"{SECRETS}?resourceVersion=999999")
    assert (refused.code, refused.body["reason"]) == (504, "Timeout")
    assert "Too large resource version: 999999" in refused.body["message"]


async def test_a_watch_ends_at_its_timeout(api: Client) -> None:
    async with api.watch(SECRETS, timeoutSeconds="1") as events:
        with pytest.raises(EOFError):
            await events.next()


@pytest.mark.parametrize("spelling", ["True", "1", "true"])
async def test_query_booleans_in_go_and_python_notation(api: Client, spelling: str) -> None:
    await api.post(SECRETS, secret("a"))
    async with api.watch(SECRETS, watch=spelling) as events:
        assert (await events.next())["type"] == "ADDED"


async def test_watch_of_one_object_by_its_path(api: Client) -> None:
    await api.post(SECRETS, secret("a"))
    await api.post(SECRETS, secret("b"))
    async with api.watch(f"{SECRETS}/b") as events:
        assert (await events.next())["object"]["metadata"]["name"] == "b"


async def test_tables_and_partial_metadata_by_accept_header(api: Client) -> None:
    await api.post(SECRETS, secret("a", x="1"))
    table = (await api.get(SECRETS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).body
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Type", "Data", "Age"]
    assert table["rows"][0]["cells"][:3] == ["a", "Opaque", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert "data" not in table["rows"][0]["object"]
    form = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    partial = (await api.get(SECRETS, accept=form)).body
    assert partial["kind"] == "PartialObjectMetadataList"
    assert set(partial["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_a_slow_watcher_continues_from_the_store(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certferry.kube.apiserver.storage.watch_cache._MAX_RECENT", 3)
    start = (await api.post(SECRETS, secret("a"))).body["metadata"]["resourceVersion"]
    for number in range(12):
        await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"n": str(number)}}})
    async with api.watch(SECRETS, resourceVersion=start) as events:
        result = [(await events.next())["object"]["metadata"]["labels"]["n"] for _ in range(12)]
    assert result == [str(n) for n in range(12)]


async def test_all_pages_of_a_list_show_one_revision(api: Client) -> None:
    for name in "abcdef":
        await api.post(SECRETS, secret(name))
    page = (await api.get(f"{SECRETS}?limit=2")).body
    first = page["metadata"]["resourceVersion"]
    await api.delete(f"{SECRETS}/d")
    await api.patch(f"{SECRETS}/e", {"metadata": {"labels": {"new": "yes"}}})
    await api.post(SECRETS, secret("bb"))
    names = [i["metadata"]["name"] for i in page["items"]]
    while token := page["metadata"].get("continue"):
        page = (await api.get(f"{SECRETS}?limit=2&continue={token}")).body
        names += [i["metadata"]["name"] for i in page["items"]]
        assert page["metadata"]["resourceVersion"] == first
        assert all("labels" not in i["metadata"] for i in page["items"])
    assert names == list("abcdef")


async def test_the_page_of_an_expired_list_is_410(api: Client, tmp_path: Path) -> None:
    for name in "abc":
        await api.post(SECRETS, secret(name))
    token = (await api.get(f"{SECRETS}?limit=1")).body["metadata"]["continue"]
    revision = json.loads(base64.urlsafe_b64decode(token))[0]
    old = base64.urlsafe_b64encode(json.dumps([revision - 1, "default", "a"]).encode()).decode()
    gone = await api.get(f"{SECRETS}?limit=1&continue={old}")
    assert (gone.code, gone.body["reason"]) == (410, "Expired")
    assert gone.body["message"].startswith("The provided continue parameter is too old")
