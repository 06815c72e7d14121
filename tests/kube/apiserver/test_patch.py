"""The three kinds of patches, on plain values and through the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certferry.kube.apiserver.schema.patch import BadPatch, PatchFailed, json_patch, merge_patch, strategic_merge
from tests.kube.support.server_process import secret, server


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3], "b~/c": {"d": 1}}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2], "b~/c": {"d": 1}}),
        ([{"op": "remove", "path": "/b~0~1c/d"}], {"a": [1, 2], "b~/c": {}}),
        ([{"op": "replace", "path": "/a/1", "value": 9}], {"a": [1, 9], "b~/c": {"d": 1}}),
        ([{"op": "move", "from": "/a/0", "path": "/e"}], {"a": [2], "b~/c": {"d": 1}, "e": 1}),
        ([{"op": "copy", "from": "/a", "path": "/e"}], {"a": [1, 2], "b~/c": {"d": 1}, "e": [1, 2]}),
        ([{"op": "test", "path": "/a/0", "value": 1}], {"a": [1, 2], "b~/c": {"d": 1}}),
    ],
)
def test_json_patch(patch: Any, result: Any) -> None:
    before = {"a": [1, 2], "b~/c": {"d": 1}}
    assert json_patch(before, patch) == result
    assert before == {"a": [1, 2], "b~/c": {"d": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/x/y", "value": 2},
    ],
)
def test_a_json_patch_that_does_not_apply_fails(operation: Any) -> None:
    with pytest.raises(PatchFailed):
        json_patch({"a": 1}, [operation])


def test_merge_patch() -> None:
    before = {"a": {"b": 1, "c": 2}, "l": [1, 2]}
    assert merge_patch(before, {"a": {"b": None, "d": 3}, "l": [9], "n": {"x": None, "y": 1}}) == {
        "a": {"c": 2, "d": 3},
        "l": [9],
        "n": {"y": 1},
    }


PORTS = {"spec": {"ports": [{"name": "a", "port": 80, "targetPort": 1}, {"name": "b", "port": 81}]}}


@pytest.mark.parametrize(
    ("patch", "ports"),
    [
        ([{"port": 80, "targetPort": 2}], [{"name": "a", "port": 80, "targetPort": 2}, {"name": "b", "port": 81}]),
        ([{"port": 82}], [{"port": 82}, *PORTS["spec"]["ports"]]),
        ([{"port": 80, "$patch": "delete"}], [{"name": "b", "port": 81}]),
        ([{"$patch": "replace"}, {"port": 9}], [{"port": 9}]),
    ],
)
def test_strategic_merge_of_a_list_with_a_key(patch: Any, ports: Any) -> None:
    assert strategic_merge(PORTS, {"spec": {"ports": patch}}, "Service") == {"spec": {"ports": ports}}


def test_strategic_merge_keeps_the_order_of_the_patch() -> None:
    patch = {"$setElementOrder/ports": [{"port": 81}, {"port": 80}], "ports": [{"port": 80, "targetPort": 5}]}
    merged = strategic_merge(PORTS, {"spec": patch}, "Service")
    assert [p["port"] for p in merged["spec"]["ports"]] == [81, 80]
    assert merged["spec"]["ports"][1]["targetPort"] == 5


def test_strategic_merge_of_plain_lists() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    added = strategic_merge(before, {"metadata": {"finalizers": ["c"]}}, "Secret")
    assert added == {"metadata": {"finalizers": ["c", "a", "b"]}}
    less = strategic_merge(before, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, "Secret")
    assert less == {"metadata": {"finalizers": ["b"]}}
    # A list without a merge key is replaced.
    hosts = {"spec": {"tls": [{"hosts": ["a"]}]}}
    assert strategic_merge(hosts, {"spec": {"tls": [{"hosts": ["b"]}]}}, "Ingress")["spec"]["tls"] == [{"hosts": ["b"]}]


def test_strategic_directives_for_objects() -> None:
    before = {"data": {"a": "1", "b": "2"}}
    assert strategic_merge(before, {"data": {"$patch": "replace", "c": "3"}}, "Secret") == {"data": {"c": "3"}}
    assert strategic_merge(before, {"data": {"$retainKeys": ["a"], "a": "9"}}, "Secret") == {"data": {"a": "9"}}
    with pytest.raises(BadPatch):
        strategic_merge(PORTS, {"spec": {"ports": [{"name": "no key"}]}}, "Service")


async def test_patches_through_the_api(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/default/secrets"
    async with server(tmp_path) as api:
        made = (await api.post(path, secret("a", x="1", y="2"))).body
        await api.patch(f"{path}/a", {"data": {"x": None}}, "strategic")
        await api.patch(f"{path}/a", {"metadata": {"labels": {"l": "v"}}}, "merge")
        last = await api.patch(f"{path}/a", [{"op": "add", "path": "/data/z", "value": "Mw=="}], "json")
        assert last.body["data"] == {"y": "Mg==", "z": "Mw=="}
        assert last.body["metadata"]["labels"] == {"l": "v"}
        stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        assert (await api.patch(f"{path}/a", stale)).code == 409
        failed = await api.patch(f"{path}/a", [{"op": "test", "path": "/type", "value": "x"}], "json")
        assert (failed.code, failed.body["reason"]) == (422, "Invalid")
        assert (await api.patch(f"{path}/nothing", {})).code == 404
        renamed = await api.patch(f"{path}/a", {"metadata": {"name": "b"}})
        assert "does not match the name on the URL" in renamed.body["message"]


async def test_a_rejected_patch_does_not_quote_the_secret(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/default/secrets"
    async with server(tmp_path) as api:
        await api.post(path, secret("a"))
        for patch in ({"data": {"x": "c2VjcmV0IHZhbHVl"}, "wrong": 1}, {"data": {"x": ["c2VjcmV0IHZhbHVl"]}}):
            refused = await api.patch(f"{path}/a?fieldValidation=Strict", patch, "strategic")
            assert refused.code == 422
            assert "c2VjcmV0" not in str(refused.body)
