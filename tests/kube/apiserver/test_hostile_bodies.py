"""Request bodies that would cost far more than their length: each is answered with 4xx and changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kube.support.server_process import Client, secret, server

SECRETS = "/api/v1/namespaces/default/secrets"
MAPS = "/api/v1/namespaces/default/configmaps"
ONE = f"{MAPS}/one"
ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def deep(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    head = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"deep"},"x":'
    return (head + opening * levels + closing * levels + "}").encode()


def doubling(times: int) -> bytes:
    """A JSON patch whose every `copy` doubles what it copies."""
    copies = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(times)]
    return json.dumps(copies).encode()


HOSTILE = {
    "deep JSON": ("POST", MAPS, deep(50_000), "application/json", 400),
    "JSON deeper than a stack": ("POST", MAPS, deep(900_000), "application/json", 400),
    "deep JSON objects": ("POST", MAPS, deep(5_000, '{"a":', "}").replace(b":}", b":1}"), "application/json", 400),
    "deep YAML": ("POST", MAPS, b"kind: ConfigMap\nx: " + b"[" * 10_000, "application/yaml", 400),
    "YAML aliases": ("POST", MAPS, b"kind: ConfigMap\n" + ALIASES, "application/yaml", 400),
    "YAML aliases in an apply": ("PATCH", f"{ONE}?fieldManager=t", b"kind: ConfigMap\n" + ALIASES, APPLY, 400),
    "a JSON patch that doubles": ("PATCH", ONE, doubling(40), JSON_PATCH, 413),
    "too many operations": (
        "PATCH",
        ONE,
        json.dumps([{"op": "test", "path": "/x"}] * 10_001).encode(),
        JSON_PATCH,
        413,
    ),
    "a deep patch": ("PATCH", ONE, b'{"data":' * 3_000 + b"1" + b"}" * 3_000, STRATEGIC, 400),
    "a deep merge patch": (
        "PATCH",
        ONE,
        b'{"data":' * 3_000 + b"1" + b"}" * 3_000,
        "application/merge-patch+json",
        400,
    ),
    "a large review, which every user may send": (
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        b"spec: [" + b"1, " * 900_000 + b"]",
        "application/yaml",
        413,
    ),
    "large options of a delete": ("DELETE", ONE, b"x: " + b"59:" * 900_000 + b"59", "application/yaml", 413),
    "a number of base 60": ("POST", MAPS, b"kind: Pod\nx: " + b"59:" * 900_000 + b"59", "application/yaml", 400),
    "a resource version of 5,000 digits": ("GET", f"{MAPS}?resourceVersion={'9' * 5000}", b"", "application/json", 400),
    "deep options of a delete": ("DELETE", ONE, b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "application/json", 400),
}


async def one(api: Client) -> dict[str, Any]:
    body = {"metadata": {"name": "one"}, "data": {"k": "v"}}
    created: dict[str, Any] = (await api.call("POST", MAPS, body)).body
    return created


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_body_is_rejected_and_changes_nothing(tmp_path: Path, name: str) -> None:
    method, path, body, media, code = HOSTILE[name]
    async with server(tmp_path) as api:
        before = await one(api)
        reply = await api.call(method, path, body, media=media)
        assert (reply.code, reply.body["kind"]) == (code, "Status"), reply.body
        assert len(reply.body["message"]) < 500
        assert (await api.call("GET", ONE)).body == before
        assert [item["metadata"]["name"] for item in (await api.call("GET", MAPS)).body["items"]] == ["one"]


async def test_a_strategic_merge_of_many_values_is_linear(tmp_path: Path) -> None:
    """60,000 finalizers took minutes when each was compared with all others."""
    async with server(tmp_path) as api:
        await one(api)
        many = [f"example.com/f{n}" for n in range(60_000)]
        patch = {"metadata": {"finalizers": many, "$setElementOrder/finalizers": many}}
        reply = await api.call("PATCH", ONE, patch, media=STRATEGIC)
        assert reply.code == 200, reply.body
        assert reply.body["metadata"]["finalizers"] == many
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": many[1:], "finalizers": []}}
        reply = await api.call("PATCH", ONE, patch, media=STRATEGIC)
        assert reply.body["metadata"]["finalizers"] == many[:1]


async def test_a_large_plain_body_is_accepted(tmp_path: Path) -> None:
    async with server(tmp_path) as api:
        data = "".join(f"  k{n}: v{n}\n" for n in range(40_000))
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: large\ndata:\n{data}"
        reply = await api.call("POST", MAPS, text.encode(), media="application/yaml")
        assert reply.code == 201, reply.body
        assert len(reply.body["data"]) == 40_000
        assert (await api.call("POST", SECRETS, secret("s"))).code == 201


@pytest.mark.parametrize("media", ["POST", "merge", APPLY])
async def test_a_write_of_many_fields_delays_no_other_request(tmp_path: Path, media: str) -> None:
    """Field ownership of 60,000 labels takes a second."""
    many = {f"k{n}": "x" for n in range(60_000)}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "many", "labels": many}}
    async with server(tmp_path) as api:
        await one(api)
        if media == "POST":
            writing = api.call("POST", MAPS, body)
        elif media == APPLY:
            writing = api.call("PATCH", f"{MAPS}/many?fieldManager=t", body, media=APPLY)
        else:
            assert (await api.call("POST", MAPS, body)).code == 201
            small = {"metadata": {"labels": {"more": "x"}}}
            writing = api.call("PATCH", f"{MAPS}/many", small, media="application/merge-patch+json")
        begun = time.monotonic()
        task = asyncio.create_task(writing)
        longest = 0.0
        while not task.done():
            asked = time.monotonic()
            assert (await api.call("GET", ONE)).code == 200
            longest = max(longest, time.monotonic() - asked)
        assert task.result().code in (200, 201), task.result().body
        assert longest < (time.monotonic() - begun) / 3


async def test_a_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    """The loop once unpacked all 300 MB of a body, beyond the limit too."""
    bomb = gzip.compress(b" " * 300_000_000)
    async with server(tmp_path) as api:
        before = await one(api)
        begun = time.monotonic()
        reply = await api.call("POST", MAPS, bomb, headers={"Content-Encoding": "gzip"})
        assert reply.code == 400
        assert (await api.call("GET", ONE)).body == before
        assert time.monotonic() - begun < 1


async def test_concurrent_writes_of_a_large_object_are_one_after_another(tmp_path: Path) -> None:
    async with server(tmp_path) as api:
        body = {"metadata": {"name": "many"}, "data": {f"k{n}": "x" for n in range(5_000)}}
        assert (await api.call("POST", MAPS, body)).code == 201
        patches = [
            api.call("PATCH", f"{MAPS}/many", {"data": {f"new{n}": "y"}}, media="application/merge-patch+json")
            for n in range(12)
        ]
        assert {reply.code for reply in await asyncio.gather(*patches)} == {200}
        data = (await api.call("GET", f"{MAPS}/many")).body["data"]
        assert {f"new{n}" for n in range(12)} < data.keys()
        assert len(data) == 5_012
