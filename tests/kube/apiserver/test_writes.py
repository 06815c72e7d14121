"""Writes through the API: defaults, server fields, and errors in upstream's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from certferry.kube.apiserver.storage import lifecycle
from tests.kube.support.server_process import Client, ingress, secret, server

SECRETS = "/api/v1/namespaces/default/secrets"
SERVICES = "/api/v1/namespaces/default/services"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    async with server(tmp_path) as result:
        yield result


async def test_a_new_object_gets_uid_version_and_timestamp(api: Client) -> None:
    made = await api.post(SECRETS, secret("a", x="1"))
    assert made.code == 201
    meta = made.body["metadata"]
    assert meta["namespace"] == "default"
    assert len(meta["uid"]) == 36
    assert meta["creationTimestamp"].endswith("Z")
    assert "." not in meta["creationTimestamp"]
    assert int(meta["resourceVersion"]) > 0
    assert made.body["type"] == "Opaque"
    assert (await api.get(f"{SECRETS}/a")).body == made.body


async def test_each_generated_name_is_new(api: Client) -> None:
    body = {"metadata": {"generateName": "web-"}, "data": {}}
    names = {(await api.post(SECRETS, body)).body["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(n.startswith("web-") and len(n) == 9 for n in names)


async def test_an_existing_name_is_rejected(api: Client) -> None:
    await api.post(SECRETS, secret("a"))
    again = await api.post(SECRETS, secret("a"))
    assert (again.code, again.body["reason"]) == (409, "AlreadyExists")
    assert again.body["message"] == 'secrets "a" already exists'
    assert again.body["details"] == {"name": "a", "kind": "secrets"}


async def test_a_missing_namespace_is_not_found(api: Client) -> None:
    lost = await api.post("/api/v1/namespaces/nowhere/secrets", secret("a"))
    assert (lost.code, lost.body["message"]) == (404, 'namespaces "nowhere" not found')


async def test_a_stale_resource_version_conflicts_and_a_fresh_one_does_not(api: Client) -> None:
    old = (await api.post(SECRETS, secret("a", x="1"))).body
    new = await api.put(f"{SECRETS}/a", old | {"data": {"x": "Mg=="}})
    assert new.code == 200
    assert int(new.body["metadata"]["resourceVersion"]) > int(old["metadata"]["resourceVersion"])
    stale = await api.put(f"{SECRETS}/a", old | {"data": {"x": "Mw=="}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert stale.body["message"] == (
        'Operation cannot be fulfilled on secrets "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_a_lease_update_needs_a_resource_version(api: Client) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}
    made = (await api.post(LEASES, lease)).body
    blind = await api.put(f"{LEASES}/l", lease)
    assert blind.code == 422
    assert "must be specified for an update" in blind.body["message"]
    taken = await api.put(f"{LEASES}/l", made | {"spec": {"holderIdentity": "you", "leaseDurationSeconds": 15}})
    assert taken.body["spec"]["holderIdentity"] == "you"


async def test_a_different_uid_conflicts(api: Client) -> None:
    made = (await api.post(SECRETS, secret("a"))).body
    other = made | {"metadata": made["metadata"] | {"uid": "11111111-1111-1111-1111-111111111111"}}
    refused = await api.put(f"{SECRETS}/a", other)
    assert refused.code == 409
    assert "Precondition failed: UID in precondition: 1111" in refused.body["message"]
    refused = await api.delete(f"{SECRETS}/a", {"preconditions": {"uid": "2"}})
    assert (refused.code, "UID in precondition: 2" in refused.body["message"]) == (409, True)
    gone = await api.delete(f"{SECRETS}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert gone.body["status"] == "Success"


async def test_an_identical_write_changes_nothing(api: Client) -> None:
    made = (await api.post(SECRETS, secret("a", x="1"))).body
    for body in (made, secret("a", x="1")):
        assert (await api.put(f"{SECRETS}/a", body)).body == made
    assert (await api.patch(f"{SECRETS}/a", {"data": {"x": "MQ=="}})).body == made
    assert (await api.get(SECRETS)).body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_clients_cannot_change_server_fields(api: Client) -> None:
    made = (await api.post(SECRETS, secret("a", x="1"))).body
    forged = {"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z", "generation": 99, "labels": {"a": "b"}}}
    patched = (await api.patch(f"{SECRETS}/a", forged)).body["metadata"]
    assert patched["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert "generation" not in patched
    assert patched["labels"] == {"a": "b"}


async def test_generation_counts_spec_changes_only(api: Client) -> None:
    made = (await api.post(INGRESSES, ingress("i"))).body
    assert made["metadata"]["generation"] == 1
    labelled = (await api.patch(f"{INGRESSES}/i", {"metadata": {"labels": {"a": "b"}}})).body
    assert labelled["metadata"]["generation"] == 1
    changed = (await api.patch(f"{INGRESSES}/i", {"spec": {"ingressClassName": "other"}})).body
    assert changed["metadata"]["generation"] == 2


async def test_status_is_written_through_its_subresource(api: Client) -> None:
    balancer = {"loadBalancer": {"ingress": [{"ip": "127.0.0.9", "ports": [{"port": 443, "protocol": "TCP"}]}]}}
    made = (await api.post(INGRESSES, ingress("i") | {"status": balancer})).body
    assert made["status"] == {"loadBalancer": {}}
    unmoved = (await api.patch(f"{INGRESSES}/i", {"status": balancer})).body
    assert unmoved == made
    told = (await api.patch(f"{INGRESSES}/i/status", {"status": balancer, "spec": {"ingressClassName": "x"}})).body
    assert told["status"] == balancer
    assert told["spec"] == made["spec"]
    assert told["metadata"]["generation"] == 1
    kept = (await api.put(f"{INGRESSES}/i", ingress("i", ingressClassName="y"))).body
    assert (kept["status"], kept["spec"]["ingressClassName"]) == (balancer, "y")


async def test_finalizers_delay_deletion(api: Client) -> None:
    body = secret("a")
    body["metadata"]["finalizers"] = ["certferry.io/hold"]
    await api.post(SECRETS, body)
    held = (await api.delete(f"{SECRETS}/a")).body
    assert held["metadata"]["deletionTimestamp"]
    more = await api.patch(f"{SECRETS}/a", {"metadata": {"finalizers": ["certferry.io/hold", "a.io/b"]}})
    assert more.code == 422
    assert "no new finalizers can be added if the object is being deleted" in more.body["message"]
    released = await api.patch(f"{SECRETS}/a", {"metadata": {"finalizers": None}})
    assert released.code == 200
    assert (await api.get(f"{SECRETS}/a")).code == 404


async def test_deleting_a_namespace_deletes_its_contents(api: Client) -> None:
    await api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    body = secret("held")
    body["metadata"]["finalizers"] = ["certferry.io/hold"]
    await api.post("/api/v1/namespaces/n/secrets", body)
    await api.post("/api/v1/namespaces/n/secrets", secret("free"))
    async with api.watch("/api/v1/namespaces", fieldSelector="metadata.name=n") as events:
        assert (await events.next())["type"] == "ADDED"
        async with api.watch("/api/v1/namespaces/n/secrets") as secrets:
            assert await secrets.types(2) == ["ADDED", "ADDED"]
            going = (await api.delete("/api/v1/namespaces/n")).body
            assert going["status"]["phase"] == "Terminating"
            late = await api.post("/api/v1/namespaces/n/secrets", secret("late"))
            assert late.code == 403
            assert "because it is being terminated" in late.body["message"]
            assert sorted(await secrets.types(2)) == ["DELETED", "MODIFIED"]
        assert (await events.next())["type"] == "MODIFIED"
        await api.patch("/api/v1/namespaces/n/secrets/held", {"metadata": {"finalizers": None}})
        assert (await events.next())["type"] == "DELETED"
    assert (await api.get("/api/v1/namespaces/n")).code == 404
    assert (await api.get("/api/v1/secrets")).body["items"] == []


async def test_system_namespaces_cannot_be_deleted(api: Client) -> None:
    refused = await api.delete("/api/v1/namespaces/default")
    assert refused.code == 403
    assert refused.body["message"] == 'namespaces "default" is forbidden: this namespace may not be deleted'


async def test_string_data_becomes_data(api: Client) -> None:
    body = secret("a", x="1") | {"stringData": {"y": "2"}}
    made = (await api.post(SECRETS, body)).body
    assert made["data"] == {"x": "MQ==", "y": "Mg=="}
    assert "stringData" not in made


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            secret("a", tls_crt="x") | {"type": "kubernetes.io/tls"},
            'Secret "a" is invalid: data[tls.key]: Required value',
        ),
        (
            secret("a") | {"type": "kubernetes.io/tls"},
            'Secret "a" is invalid: [data[tls.crt]: Required value, data[tls.key]: Required value]',
        ),
        (
            secret("A_b"),
            'Secret "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must '
            "consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
            "character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            {"metadata": {"name": "a"}, "data": {"x": "no base64!"}},
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 2',
        ),
        (
            {"metadata": {"name": "a"}, "type": 7},
            'Secret in version "v1" cannot be handled as a Secret: json: cannot unmarshal number into Go struct '
            "field Secret.type of type string",
        ),
        (
            {"apiVersion": "v2", "metadata": {"name": "a"}},
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            {"metadata": {"name": "a", "namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ],
)
async def test_an_invalid_secret_is_rejected(api: Client, body: Any, message: str) -> None:
    refused = await api.post(SECRETS, body)
    assert refused.body["message"] == message
    assert refused.code in (400, 422)


async def test_type_and_immutable_data_cannot_change(api: Client) -> None:
    await api.post(SECRETS, secret("a", x="1"))
    retyped = await api.patch(f"{SECRETS}/a", {"type": "example.com/x"})
    assert retyped.body["message"] == (
        'Secret "a" is invalid: type: Invalid value: "example.com/x": field is immutable'
    )
    await api.patch(f"{SECRETS}/a", {"immutable": True})
    refused = await api.patch(f"{SECRETS}/a", {"data": {"x": "Mg=="}})
    assert refused.body["message"] == (
        'Secret "a" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )
    assert (await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"a": "b"}}})).code == 200


async def test_unknown_fields_follow_field_validation(api: Client) -> None:
    body = secret("a") | {"stringdata": {"x": "1"}}
    strict = await api.post(f"{SECRETS}?fieldValidation=Strict", body)
    assert (strict.code, strict.body["message"]) == (
        400,
        'Secret in version "v1" cannot be handled as a Secret: strict decoding error: unknown field "stringdata"',
    )
    warned = await api.post(SECRETS, body)
    assert warned.code == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"stringdata\\""'
    assert "stringdata" not in warned.body
    silent = await api.put(f"{SECRETS}/a?fieldValidation=Ignore", body)
    assert "Warning" not in silent.headers
    deep = ingress("i")
    deep["spec"]["rules"][0]["http"]["paths"][0]["wrong"] = 1
    refused = await api.post(f"{INGRESSES}?fieldValidation=Strict", deep)
    assert refused.body["message"].endswith('unknown field "spec.rules[0].http.paths[0].wrong"')


async def test_a_dry_run_stores_nothing(api: Client) -> None:
    made = await api.post(f"{SECRETS}?dryRun=All", secret("a"))
    assert made.code == 201
    assert made.body["metadata"]["uid"]
    assert (await api.get(f"{SECRETS}/a")).code == 404
    await api.post(SECRETS, secret("a"))
    assert (await api.delete(f"{SECRETS}/a?dryRun=All")).body["status"] == "Success"
    assert (await api.get(f"{SECRETS}/a")).code == 200


async def test_the_vendor_match_mode_of_a_path_is_stored(api: Client) -> None:
    body = ingress("i")
    mode = {"ingress.beta.kubernetes.io/url-match-mode": "STARTS_WITH"}
    body["spec"]["rules"][0]["http"]["paths"][0]["property"] = mode
    made = await api.post(f"{INGRESSES}?fieldValidation=Strict", body)
    assert made.body["spec"]["rules"][0]["http"]["paths"][0]["property"] == mode


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rules": []}, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (
            {"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "a"}}}]}}]},
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            {"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact", "backend": {}}]}}]},
            '[spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path, '
            'spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required]',
        ),
        (
            {"rules": [{"host": "10.0.0.1"}]},
            'spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
        ),
    ],
)
async def test_an_invalid_ingress_is_rejected(api: Client, spec: Any, message: str) -> None:
    refused = await api.post(INGRESSES, ingress("i", **spec))
    assert (refused.code, refused.body["message"]) == (422, f'Ingress.networking.k8s.io "i" is invalid: {message}')


async def test_services_keep_their_allocated_addresses_and_ports(api: Client) -> None:
    def service(name: str, **spec: Any) -> Any:
        return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]} | spec}

    first = (await api.post(SERVICES, service("a"))).body["spec"]
    second = (await api.post(SERVICES, service("b", type="NodePort"))).body["spec"]
    assert first["clusterIP"] != second["clusterIP"]
    assert first["clusterIPs"] == [first["clusterIP"]]
    assert first["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert second["ports"][0]["nodePort"] >= 30000
    replaced = (await api.put(f"{SERVICES}/a", service("a", selector={"app": "x"}))).body["spec"]
    assert replaced["clusterIP"] == first["clusterIP"]
    moved = await api.patch(f"{SERVICES}/a", {"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}})
    assert "may not change once set" in moved.body["message"]
    taken = await api.post(SERVICES, service("c", clusterIP=first["clusterIP"]))
    assert "provided IP is already allocated" in taken.body["message"]
    headless = (await api.post(SERVICES, service("d", clusterIP="None"))).body["spec"]
    assert headless["clusterIPs"] == ["None"]
    back = (await api.patch(f"{SERVICES}/b", {"spec": {"type": "ClusterIP"}})).body["spec"]
    assert "nodePort" not in back["ports"][0]
    none = await api.post(SERVICES, {"metadata": {"name": "e"}, "spec": {}})
    assert none.body["message"] == 'Service "e" is invalid: spec.ports: Required value'


async def test_loopback_endpoints_are_rejected_by_default(api: Client) -> None:
    result = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}
    refused = await api.post(SLICES, result)
    assert refused.body["message"] == (
        'EndpointSlice.discovery.k8s.io "s" is invalid: endpoints[0].addresses[0]: Invalid value: "127.0.0.1": '
        "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    )


async def test_loopback_endpoints_are_accepted_by_setting(tmp_path: Path) -> None:
    result = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}
    async with server(tmp_path, loopback_endpoints=True) as api:
        assert (await api.post(SLICES, result)).code == 201


async def test_unknown_paths_and_methods_have_upstream_errors(api: Client) -> None:
    for path, code in ((f"{SECRETS}/a/status", 404), ("/api/v1/limitranges", 404), ("/apis/nothing", 404)):
        assert (await api.get(path)).code == code
    assert (await api.call("POST", f"{SECRETS}/a", {})).code == 405
    assert (await api.post(SECRETS, b"<xml/>", media="text/xml")).code == 415
    assert (await api.get(SECRETS, accept="application/xml")).code == 406
    assert (await api.get("/version/")).body["major"] == "1"


async def test_a_secret_is_at_most_one_mebibyte(api: Client) -> None:
    assert (await api.post(SECRETS, secret("a", x="y" * 1_000_000))).code == 201
    more = await api.post(SECRETS, secret("b", x="y" * 1_100_000))
    assert more.body["message"] == 'Secret "b" is invalid: data: Too long: may not be more than 1048576 bytes'
    flood = await api.post(SECRETS, secret("c", x="y" * 4_000_000))
    assert (flood.code, flood.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_deleting_a_collection_respects_its_selector(api: Client) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        body = secret(name)
        body["metadata"]["labels"] = {"l": label}
        await api.post(SECRETS, body)
    await api.delete(f"{SECRETS}?labelSelector=l=x")
    left = (await api.get(SECRETS)).body["items"]
    assert [i["metadata"]["name"] for i in left] == ["c"]


async def test_a_namespace_over_which_an_error_occurs_does_not_keep_others(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = lifecycle._finish_namespace

    async def failing(cache: Any, kinds: Any, namespace: Any, name: str, clock: Any) -> bool:
        if name == "odd":
            raise OverflowError("date value out of range")
        return await finish(cache, kinds, namespace, name, clock)

    monkeypatch.setattr(lifecycle, "_finish_namespace", failing)
    async with api.watch("/api/v1/namespaces", fieldSelector="metadata.name=other") as watching:
        for name in ("odd", "other"):
            await api.post("/api/v1/namespaces", {"metadata": {"name": name}})
            await api.delete(f"/api/v1/namespaces/{name}")
        while (await watching.next())["type"] != "DELETED":
            pass
    assert (await api.get("/api/v1/namespaces/odd")).code == 200
