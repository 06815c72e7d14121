from __future__ import annotations

import asyncio
import sqlite3
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certferry.elb.client import extensions
from certferry.elb.client.extensions import Gap, Record
from certferry.elb.server.paths import store_file
from tests.elb.support.server import Elb, another, connected, send
from tests.support.certs import Pair, authority


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


async def told(elb: Elb, **filters: Any) -> list[Record]:
    async with connected(elb.admin) as client:
        return [record async for record in extensions.audit(client, **filters)]


async def test_the_log_is_filtered_by_certificate_host_and_time(own: Elb) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    wide = own.admin.make("certificate", name="wide", **content(authority().issue("*.a.example")))["id"]
    named = own.admin.make("certificate", domain="B.example", **content(authority().issue("x.example")))["id"]
    own.admin.make("loadbalancer", name="lb")
    assert [r.name for r in await told(own, host="shop.a.example")] == ["wide"]
    assert [r.resource_id for r in await told(own, host="b.example")] == [named]
    assert await told(own, host="deep.shop.a.example") == [], "a wildcard is one label"
    assert [r.resource_id for r in await told(own, certificate=wide)] == [wide]
    everything = await told(own, since=before)
    assert [r.kind for r in everything] == ["certificate", "certificate", "loadbalancer"]
    assert await told(own, since=everything[1].sequence) == everything[2:]
    assert await told(own, since=datetime.now(UTC) + timedelta(hours=1)) == []


def test_the_log_is_paged_and_rejects_invalid_queries(own: Elb) -> None:
    for _ in range(5):
        own.admin.make("loadbalancer")
    first = own.admin.extension("GET", "/audit", query="limit=2").body
    second = own.admin.extension("GET", "/audit", query=f"limit=2&marker={first['next']}").body
    last = own.admin.extension("GET", "/audit", query=f"limit=2&marker={second['next']}").body
    sequences = [r["sequence"] for page in (first, second, last) for r in page["records"]]
    assert sequences == sorted(set(sequences))
    assert len(sequences) == 5
    assert last["next"] is None
    for query in ("limit=x", "limit=1001", "since=yesterday", "marker=-1", "host=a&host=b"):
        assert own.admin.extension("GET", "/audit", query=query).status == 400, query


def test_a_deleted_certificate_is_in_the_audit_log(own: Elb) -> None:
    made = own.admin.make("certificate", **content(authority().issue("a.example")))["id"]
    own.admin("DELETE", f"/certificates/{made}")
    created, deleted = own.admin.extension("GET", "/audit", query="host=a.example").body["records"]
    assert (created["verb"], deleted["verb"]) == ("create", "delete")
    assert deleted["previous_fingerprint"] == created["fingerprint"]
    assert deleted["fingerprint"] is None
    assert (deleted["user"], deleted["role"]) == ("admin", "admin")


def test_the_log_cannot_be_changed_or_deleted(own: Elb) -> None:
    own.admin.make("certificate", **content(authority().issue("a.example")))
    with sqlite3.connect(store_file(own.settings.state)) as database:
        for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'", "DELETE FROM audit_names"):
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                database.execute(statement)


async def test_events_are_streamed_and_resume(own: Elb) -> None:
    first = own.admin.make("loadbalancer", name="first")["id"]
    async with connected(own.admin) as client, asyncio.timeout(20):
        async with aclosing(extensions.events(client, since=0)) as stream:
            record = await anext(stream)
            assert record
            assert (record.resource_id, record.verb) == (first, "create")
            await asyncio.to_thread(own.admin.make, "loadbalancer", name="second")
            second = await anext(stream)
            assert second
            assert second.name == "second"
        await asyncio.to_thread(own.admin.make, "loadbalancer", name="third")
        async with aclosing(extensions.events(client, since=second.sequence)) as stream:
            third = await anext(stream)
            assert third
            assert third.name == "third", "what happened in between is not lost"


async def test_a_new_event_stream_tells_its_client_to_read_once(own: Elb) -> None:
    async with connected(own.admin) as client, asyncio.timeout(20):
        own.admin.make("loadbalancer", name="before")
        async with aclosing(extensions.events(client)) as stream:
            assert await anext(stream) is None, "look now: what was before is not told"
            await asyncio.to_thread(own.admin.make, "loadbalancer", name="after")
            record = await anext(stream)
            assert record
            assert record.name == "after"


async def test_writes_of_another_process_are_streamed_in_order(own: Elb) -> None:
    async with (
        asyncio.timeout(20),
        connected(own.admin) as client,
        aclosing(extensions.events(client, since=0)) as stream,
    ):
        await asyncio.to_thread(own.admin.make, "loadbalancer", name="one")
        assert getattr(await anext(stream), "name", "") == "one"
        with sqlite3.connect(store_file(own.settings.state)) as database:
            database.execute(
                "INSERT INTO audit"
                " (at, actor, role, request_id, project_id, action, kind, object_id, fields, name)"
                " SELECT at, 'operator', role, request_id, project_id, action, kind, object_id, fields, 'two'"
                " FROM audit WHERE name = 'one'"
            )
        await asyncio.to_thread(own.admin.make, "loadbalancer", name="three")
        assert [getattr(await anext(stream), "name", "") for _ in range(2)] == ["two", "three"]


async def test_events_from_now_on_omit_the_past(own: Elb) -> None:
    own.admin.make("loadbalancer", name="past")
    async with connected(own.admin) as client, asyncio.timeout(20):
        lines = client.extension_lines("events", [])
        async with aclosing(lines):
            assert (await anext(lines)).startswith(b": connected")
            await asyncio.to_thread(own.admin.make, "loadbalancer", name="new")
            seen = b""
            while b"data:" not in seen:
                seen += await anext(lines)
    assert b'"new"' in seen
    assert b'"past"' not in seen


async def test_a_reader_with_an_unknown_sequence_is_told_of_the_gap(own: Elb) -> None:
    own.admin.make("loadbalancer")
    async with connected(own.admin) as client, asyncio.timeout(20):
        with pytest.raises(Gap) as gap:
            await anext(extensions.events(client, since=4711))
    assert gap.value.sequence == 1


def test_events_are_for_users_of_the_project(own: Elb) -> None:
    path = f"/v3/{own.admin.project_id}/certferry/events"
    assert send(own.origin, "GET", path).status == 401
    other = f"/v3/{'0' * 32}/certferry/events"
    assert send(own.origin, "GET", other, headers=own.admin.signed("GET", other)).status == 403
    assert own.admin.extension("GET", "/events", query="since=x").status == 400
    assert another(own, "eve", "reader").extension("GET", "/audit").status == 200
