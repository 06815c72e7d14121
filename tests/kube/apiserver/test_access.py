"""Authentication, roles, and the files in the state directory."""

from __future__ import annotations

import ssl
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from certferry.kube.apiserver.auth import certificates
from certferry.settings import UserError
from tests.kube.support.server_process import Client, Json, client, ingress, secret, server

SECRETS = "/api/v1/namespaces/default/secrets"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    async with server(tmp_path) as result:
        yield result


async def test_view_role_reads_everything_but_secrets(api: Client, tmp_path: Path) -> None:
    await api.post(SECRETS, secret("a"))
    await api.post(INGRESSES, ingress("i"))
    async with client(tmp_path, "kubeconfig-view") as viewer:
        assert (await viewer.get(INGRESSES)).body["items"]
        refused = await viewer.get(SECRETS)
        assert refused.code == 403
        assert refused.body["message"] == (
            'secrets is forbidden: User "certferry:view" cannot list resource "secrets" in API group "" '
            'in the namespace "default"'
        )
        refused = await viewer.get(f"{SECRETS}/a")
        assert refused.body["message"].startswith('secrets "a" is forbidden: User "certferry:view" cannot get')
        refused = await viewer.get("/api/v1/secrets?watch=true")
        assert refused.body["message"].endswith('cannot watch resource "secrets" in API group "" at the cluster scope')
        refused = await viewer.delete(f"{INGRESSES}/i")
        assert (refused.code, refused.body["details"]["group"]) == (403, "networking.k8s.io")


async def test_controller_role_reads_secrets_and_cannot_write_them(api: Client, tmp_path: Path) -> None:
    await api.post(SECRETS, secret("a"))
    await api.post(INGRESSES, ingress("i"))
    event = {
        "metadata": {"generateName": "e-"},
        "involvedObject": {"kind": "Secret", "name": "a", "namespace": "default"},
    }
    async with client(tmp_path, "kubeconfig-controller") as controller:
        assert (await controller.get(f"{SECRETS}/a")).code == 200
        assert (await controller.patch(f"{SECRETS}/a", {"data": {}})).code == 403
        assert (await controller.delete(f"{SECRETS}/a")).code == 403
        assert (await controller.patch(f"{INGRESSES}/i/status", {"status": {}})).code == 200
        assert (await controller.patch(f"{INGRESSES}/i", {"metadata": {"annotations": {"a": "b"}}})).code == 200
        spec = {"spec": {"defaultBackend": {"service": {"name": "mine", "port": {"number": 80}}}}}
        refused = await controller.patch(f"{INGRESSES}/i", spec)
        assert (refused.code, "only the metadata" in refused.body["message"]) == (403, True)
        body = (await controller.get(f"{INGRESSES}/i")).body
        assert (await controller.put(f"{INGRESSES}/i", body)).code == 403, "update is not granted"
        for name in ("i", "new"):
            whole = {**body, **spec, "metadata": {"name": name, "namespace": "default"}}
            path = f"{INGRESSES}/{name}?fieldManager=x&force=true"
            applied = await controller.call("PATCH", path, whole, media="application/apply-patch+yaml")
            assert applied.code == 403, name
        assert (await api.get(f"{INGRESSES}/i")).body["spec"] == body["spec"]
        services = "/api/v1/namespaces/default/services"
        await api.post(services, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
        held = {"metadata": {"finalizers": ["certferry.io/load-balancer-cleanup"]}}
        assert (await controller.patch(f"{services}/s", held)).code == 200
        assert (await controller.patch(f"{services}/s/status", {"status": {}})).code == 200
        assert (await controller.patch(f"{services}/s", {"spec": {"ports": [{"port": 81}]}})).code == 403
        assert (await controller.post("/api/v1/namespaces/default/events", event)).code == 201
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
        assert (await controller.post(leases, {"metadata": {"name": "l"}, "spec": {}})).code == 201


async def test_edit_role_writes_workload_objects_only(api: Client, tmp_path: Path) -> None:
    async with client(tmp_path, "kubeconfig-edit") as editor:
        assert (await editor.post(SECRETS, secret("mine"))).code == 201
        assert (await editor.post(INGRESSES, ingress("i"))).code == 201
        for path in ("/api/v1/namespaces", "/api/v1/namespaces/default/events", "/api/v1/nodes"):
            assert (await editor.post(path, {"metadata": {"name": "x"}})).code == 403, path
        roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        assert (await editor.post(roles, {"metadata": {"name": "x"}, "rules": []})).code == 403


async def test_requests_without_credentials_are_unauthorized(api: Client, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=str(tmp_path / "kube" / "ca.crt"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            async with session.get(api.url + SECRETS, headers=headers) as answer:
                assert answer.status == 401
                assert (await answer.json())["message"] == "Unauthorized"
        for open_path in ("/livez", "/readyz", "/healthz", "/version"):
            async with session.get(api.url + open_path) as answer:
                assert answer.status == 200


async def test_a_client_certificate_authenticates_like_a_token(api: Client, tmp_path: Path) -> None:
    files = certificates.Files(tmp_path / "kube")
    cert, key = tmp_path / "c.crt", tmp_path / "c.key"
    issued = certificates.issue_client(files, "alice", "view", datetime.now(UTC))
    cert.write_bytes(issued.certificate)
    key.write_bytes(issued.key)
    async with client(tmp_path, cert=cert, key=key) as alice:
        refused = await alice.get(SECRETS)
        assert 'User "alice" cannot list' in refused.body["message"]
        assert (await alice.get(INGRESSES)).code == 200


async def test_access_reviews_agree_with_requests(api: Client, tmp_path: Path) -> None:
    review: Json = {"spec": {"resourceAttributes": {"verb": "list", "resource": "secrets"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await api.post(path, review)).body["status"]["allowed"] is True
    async with client(tmp_path, "kubeconfig-view") as viewer:
        assert (await viewer.post(path, review)).body["status"]["allowed"] is False
        me = await viewer.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
        assert me.body["status"]["userInfo"]["username"] == "certferry:view"


async def test_credential_files_have_mode_0600(api: Client, tmp_path: Path) -> None:
    await api.post(SECRETS, secret("a"))
    folder = tmp_path / "kube"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = [*(tmp_path / f"kubeconfig{s}" for s in ("", "-controller", "-view"))]
    private += [folder / n for n in ("ca.key", "server.key", "tokens.json", "seal.key", "store.db", "store.db-wal")]
    assert [oct(stat.S_IMODE(p.stat().st_mode)) for p in private] == ["0o600"] * len(private)


async def test_credentials_and_address_survive_a_restart(tmp_path: Path) -> None:
    async with server(tmp_path):
        before = (tmp_path / "kubeconfig").read_bytes()
    async with server(tmp_path) as again:
        assert (tmp_path / "kubeconfig").read_bytes() == before
        assert (await again.get("/readyz")).body == "ok"


async def test_secrets_are_encrypted_on_disk(tmp_path: Path) -> None:
    async with server(tmp_path) as api:
        body = secret("a", x="a very private value")
        encoded = body["data"]["x"]
        body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": encoded}
        await api.post(SECRETS, body)
        await api.patch(f"{SECRETS}/a", {"metadata": {"labels": {"a": "b"}}})
        await api.delete(f"{SECRETS}/a")
        await api.post(SECRETS, body)
        on_disk = b"".join(p.read_bytes() for p in (tmp_path / "kube").iterdir())
    on_disk += b"".join(p.read_bytes() for p in (tmp_path / "kube").iterdir())
    assert encoded.encode() not in on_disk
    assert b"a very private value" not in on_disk


def test_the_serving_certificate_is_renewed_under_the_same_ca(tmp_path: Path) -> None:
    files, now = certificates.Files(tmp_path), datetime.now(UTC)
    hosts = ("localhost", "127.0.0.1")
    assert certificates.ensure(files, hosts, now)
    ca, first = files.ca.read_bytes(), files.certificate.read_bytes()
    assert not certificates.ensure(files, hosts, now + timedelta(days=50))
    assert certificates.ensure(files, hosts, now + timedelta(days=61))
    assert (files.ca.read_bytes(), files.certificate.read_bytes() != first) == (ca, True)
    assert certificates.ensure(files, (*hosts, "127.0.0.7"), now)
    names = x509.load_pem_x509_certificate(files.certificate.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert {str(a) for a in names.value.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "127.0.0.7"}


@pytest.mark.parametrize(
    ("name", "content"), [("ca.key", None), ("ca.key", "x"), ("ca.crt", "x"), ("tokens.json", "{")]
)
async def test_a_damaged_credential_file_stops_the_start_with_the_file_and_the_way_out(
    tmp_path: Path, name: str, content: str | None
) -> None:
    async with server(tmp_path):
        pass
    path = tmp_path / "kube" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"{name} .*[Dd]elete"):
        async with server(tmp_path):
            pass
    assert path.exists() is (content is not None)


@pytest.mark.parametrize(
    ("name", "content"),
    [("server.crt", None), ("server.crt", "x"), ("server.key", None), ("server.key", "x"), ("ca.crt", None)],
)
async def test_damaged_certificates_are_issued_anew_and_old_kubeconfigs_continue_to_work(
    tmp_path: Path, name: str, content: str | None
) -> None:
    async with server(tmp_path):
        pass
    kubeconfig = (tmp_path / "kubeconfig").read_bytes()
    path = tmp_path / "kube" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    async with server(tmp_path):
        (tmp_path / "kubeconfig").write_bytes(kubeconfig)
        async with client(tmp_path) as admin:
            assert (await admin.get(INGRESSES)).code == 200
