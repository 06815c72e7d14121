"""Server-side apply: owners, conflicts, and removal of fields that are no longer applied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.support.server_process import Client, Json, Reply, ingress, server

MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    async with server(tmp_path) as result:
        yield result


def config(name: str = "c", **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def apply(api: Client, path: str, body: Json, manager: str = "me", **params: str) -> Reply:
    """Send an apply patch to the object at `path`."""
    media = "application/apply-patch+yaml"
    return await api.call("PATCH", path, body, media=media, params={"fieldManager": manager} | params)


def owners(reply: Reply) -> dict[tuple[str, str], Any]:
    """Return the managed fields of a response, by manager and operation."""
    entries = reply.body["metadata"].get("managedFields", [])
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in entries}


async def test_apply_creates_the_object_and_records_field_owners(api: Client) -> None:
    made = await apply(api, f"{MAPS}/c", config(a="1") | {"metadata": {"name": "c", "labels": {"x": "y"}}})
    assert made.code == 201
    assert owners(made) == {("me", "Apply"): {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}}}
    entry = made.body["metadata"]["managedFields"][0]
    assert (entry["apiVersion"], entry["fieldsType"]) == ("v1", "FieldsV1")
    assert entry["time"] == made.body["metadata"]["creationTimestamp"]
    again = await apply(api, f"{MAPS}/c", config(a="1") | {"metadata": {"name": "c", "labels": {"x": "y"}}})
    assert (again.code, again.body) == (200, made.body)


async def test_each_writer_owns_the_fields_it_changed(api: Client) -> None:
    await api.post(f"{MAPS}?fieldManager=maker", config(a="1", b="2"))
    patched = await api.patch(f"{MAPS}/c?fieldManager=patcher", {"data": {"b": "3", "c": "4"}})
    assert owners(patched) == {
        ("maker", "Update"): {"f:data": {".": {}, "f:a": {}}},
        ("patcher", "Update"): {"f:data": {"f:b": {}, "f:c": {}}},
    }
    patched = await api.patch(f"{MAPS}/c?fieldManager=patcher", {"data": {"a": None}})
    assert owners(patched)["maker", "Update"] == {"f:data": {}}


async def test_the_user_agent_names_a_writer_without_field_manager(api: Client) -> None:
    made = await api.post(MAPS, config(a="1"), agent="tool/1.2 (linux) x")
    assert [who for who, _ in owners(made)] == ["tool"]


async def test_changing_a_field_of_another_manager_conflicts(api: Client) -> None:
    await apply(api, f"{MAPS}/c", config(a="1", b="2"), "first")
    refused = await apply(api, f"{MAPS}/c", config(a="9"), "second")
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "first": .data.a'
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.a"}
    ]
    forced = await apply(api, f"{MAPS}/c", config(a="9"), "second", force="true")
    assert forced.body["data"] == {"a": "9", "b": "2"}
    assert owners(forced) == {("first", "Apply"): {"f:data": {"f:b": {}}}, ("second", "Apply"): {"f:data": {"f:a": {}}}}


async def test_apply_conflicts_with_a_plain_update(api: Client) -> None:
    await api.post(f"{MAPS}?fieldManager=editor", config(a="1", b="2"))
    refused = await apply(api, f"{MAPS}/c", config(a="9", b="9"))
    assert refused.body["message"] == (
        'Apply failed with 2 conflicts: conflicts with "editor" using v1:\n- .data.a\n- .data.b'
    )
    await apply(api, f"{MAPS}/c", config(a="9"), force="true")
    put = await api.put(f"{MAPS}/c?fieldManager=editor", config(a="7", b="2"))
    assert owners(put) == {("editor", "Update"): {"f:data": {".": {}, "f:a": {}, "f:b": {}}}}


async def test_a_shared_field_is_removed_with_its_last_owner(api: Client) -> None:
    await apply(api, f"{MAPS}/c", config(a="1", b="2"), "first")
    shared = await apply(api, f"{MAPS}/c", config(a="1"), "second")
    assert owners(shared).keys() == {("first", "Apply"), ("second", "Apply")}
    less = await apply(api, f"{MAPS}/c", config(b="2"), "first")
    assert less.body["data"] == {"a": "1", "b": "2"}
    none = await apply(api, f"{MAPS}/c", config(), "second")
    assert none.body["data"] == {"b": "2"}
    assert owners(none).keys() == {("first", "Apply")}


async def test_apply_removes_dropped_fields_but_none_of_other_managers(api: Client) -> None:
    await apply(api, f"{MAPS}/c", config(a="1", b="2"))
    await api.patch(f"{MAPS}/c?fieldManager=other", {"data": {"x": "1"}, "metadata": {"labels": {"l": "v"}}})
    less = await apply(api, f"{MAPS}/c", config(b="2"))
    assert less.body["data"] == {"b": "2", "x": "1"}
    assert less.body["metadata"]["labels"] == {"l": "v"}


async def test_list_items_have_owners(api: Client) -> None:
    def service(*ports: Json) -> Json:
        spec = {"ports": list(ports), "selector": {"a": "b"}}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}

    await apply(api, f"{SERVICES}/s", service({"name": "a", "port": 80}, {"name": "b", "port": 81}), "one")
    made = await apply(api, f"{SERVICES}/s", service({"name": "c", "port": 82}), "two")
    assert [p["name"] for p in made.body["spec"]["ports"]] == ["a", "b", "c"]
    key = 'k:{"port":82,"protocol":"TCP"}'
    ports: Json = {key: {".": {}, "f:name": {}, "f:port": {}}}
    assert owners(made)["two", "Apply"] == {"f:spec": {"f:ports": ports, "f:selector": {}}}
    refused = await apply(api, f"{SERVICES}/s", service({"name": "z", "port": 80}), "two")
    assert refused.body["message"] == (
        'Apply failed with 1 conflict: conflict with "one": .spec.ports[port=80,protocol="TCP"].name'
    )
    less = await apply(api, f"{SERVICES}/s", service({"name": "a", "port": 80}), "one")
    assert [p["name"] for p in less.body["spec"]["ports"]] == ["a", "c"]
    assert less.body["spec"]["clusterIP"] == made.body["spec"]["clusterIP"]


async def test_a_list_without_keys_is_atomic(api: Client) -> None:
    made = await apply(api, f"{INGRESSES}/i", ingress("i"), "one")
    assert owners(made)["one", "Apply"] == {"f:spec": {"f:ingressClassName": {}, "f:rules": {}}}
    other = ingress("i", rules=[{"host": "b.example.com"}])
    refused = await apply(api, f"{INGRESSES}/i", other, "two")
    assert refused.body["message"].endswith('conflict with "one": .spec.rules')


async def test_the_status_subresource_has_its_own_managers(api: Client) -> None:
    await apply(api, f"{INGRESSES}/i", ingress("i"), "one")
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}}
    done = await apply(api, f"{INGRESSES}/i/status", head | {"status": status}, "one")
    assert done.body["status"] == status
    entries = {e.get("subresource", ""): e["fieldsV1"] for e in done.body["metadata"]["managedFields"]}
    assert entries["status"] == {"f:status": {"f:loadBalancer": {"f:ingress": {}}}}
    assert entries[""].keys() == {"f:spec"}
    again = await apply(api, f"{INGRESSES}/i", ingress("i"), "one")
    assert again.body["status"] == status


async def test_a_client_may_reset_managed_fields(api: Client) -> None:
    await apply(api, f"{MAPS}/c", config(a="1"), "one")
    reset = await api.patch(f"{MAPS}/c", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in reset.body["metadata"]
    refused = await apply(api, f"{MAPS}/c", config(a="2"), "two")
    assert refused.body["message"] == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a'
    )


async def test_invalid_apply_requests_name_the_reason(api: Client) -> None:
    nameless = await apply(api, f"{MAPS}/c", config(), "")
    assert nameless.code == 422
    assert nameless.body["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )
    unknown = await apply(api, f"{MAPS}/c", config() | {"dota": {}})
    assert (unknown.code, unknown.body["message"]) == (
        500,
        "failed to create typed patch object (default/c; /v1, Kind=ConfigMap): .dota: field not declared in schema",
    )
    version = await apply(api, f"{MAPS}/c", config() | {"apiVersion": "v2"})
    assert version.body["message"].endswith("Specified patch version: v2, expected: v1")
    other = await apply(api, f"{MAPS}/c", config("d"))
    assert other.body["message"] == "the name of the object (d) does not match the name on the URL (c)"
    forced = await api.patch(f"{MAPS}/c?force=true", {})
    assert "force: Forbidden: may not be specified for non-apply patch" in forced.body["message"]
    lost = await apply(api, "/api/v1/namespaces/nowhere/configmaps/c", config())
    assert (lost.code, lost.body["message"]) == (404, 'namespaces "nowhere" not found')


async def test_a_dry_run_applies_nothing(api: Client) -> None:
    dry = await apply(api, f"{MAPS}/c", config(a="1"), dryRun="All")
    assert (dry.code, dry.body["data"]) == (201, {"a": "1"})
    assert (await api.get(f"{MAPS}/c")).code == 404


async def test_the_number_of_managers_is_bounded(api: Client) -> None:
    await api.post(f"{MAPS}?fieldManager=w0", config(a="1"))
    for number in range(1, 14):
        result = await api.patch(f"{MAPS}/c?fieldManager=w{number}", {"data": {f"k{number}": "1"}})
    assert len(owners(result)) == 10
    assert "ancient-changes" in {who for who, _ in owners(result)}
