"""A real kubectl: exit codes and output of daily commands."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
from pathlib import Path

from tests.cli.test_cli import certferry
from tests.kube.support.kubectl import Session
from tests.kube.support.server_process import KUBECTL, TIMEOUT, Process
from tests.support.certs import authority

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: basket, namespace: shop, labels: {app: shop}}
type: Opaque
stringData: {color: red}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: cce
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        property: {ingress.beta.kubernetes.io/url-match-mode: STARTS_WITH}
        backend: {service: {name: web, port: {name: http}}}
"""


def test_apply_and_get_in_all_output_formats(kubectl: Session) -> None:
    created = kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    assert created.splitlines() == [
        "namespace/shop created",
        "secret/basket created",
        "service/web created",
        "endpointslice.discovery.k8s.io/web-1 created",
        "ingress.networking.k8s.io/web created",
    ]
    again = kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    # Not the Secret, whose stringData is not stored as such, nor the slice: its endpoints are atomic,
    # and the server adds `conditions: {}` to each.
    changed = ["secret/basket", "endpointslice.discovery.k8s.io/web-1"]
    assert [line.split()[0] for line in again.splitlines() if not line.endswith(" unchanged")] == changed
    table = kubectl.ok("get", "ingress", "-n", "shop").splitlines()
    assert table[0].split() == ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"]
    assert table[1].split()[:5] == ["web", "cce", "shop.example.com", "80,", "443"]
    assert "NAMESPACE" in kubectl.ok("get", "ing", "-A")
    assert kubectl.ok("get", "svc", "web", "-n", "shop", "-o", "wide").splitlines()[1].split()[-1] == "app=web"
    assert kubectl.ok("get", "secret", "basket", "-n", "shop", "-o", "jsonpath={.data.color}") == "cmVk"
    assert kubectl.ok("get", "ns,secrets", "-n", "shop", "-o", "name", "-l", "app=shop") == "secret/basket\n"
    obj = json.loads(kubectl.ok("get", "ingress", "web", "-n", "shop", "-o", "json"))
    assert obj["spec"]["rules"][0]["http"]["paths"][0]["property"]
    assert "kind: Ingress\n" in kubectl.ok("get", "ingress", "web", "-n", "shop", "-o", "yaml")
    assert "red" in kubectl.ok(
        "get", "secret", "-n", "shop", "-o", "go-template={{range .items}}{{.data.color | base64decode}}{{end}}"
    )
    columns = kubectl.ok("get", "endpointslices", "-n", "shop", "-o", "custom-columns=N:.metadata.name,T:.addressType")
    assert columns.splitlines()[1].split() == ["web-1", "IPv4"]
    assert kubectl.ok("get", "secrets", "-n", "shop", "--chunk-size=1", "-o", "name") == "secret/basket\n"


def test_apply_names_the_unknown_field(kubectl: Session) -> None:
    wrong = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringdata: {x: y}\n"
    refused = kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert refused == (
        'Error from server (BadRequest): error when creating "STDIN": Secret in version "v1" cannot be handled as a '
        'Secret: strict decoding error: unknown field "stringdata"\n'
    )
    kubectl.ok("create", "secret", "generic", "a")
    refused = kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert 'strict decoding error: unknown field "stringdata"' in refused


def test_create_and_renew_a_tls_secret_as_documented(kubectl: Session, tmp_path: Path) -> None:
    for number in (1, 2):
        pair = authority().issue("shop.example.com")
        (tmp_path / f"{number}.crt").write_text(pair.certificate)
        (tmp_path / f"{number}.key").write_text(pair.key)

    def files(number: int) -> tuple[str, str]:
        return f"--cert={tmp_path}/{number}.crt", f"--key={tmp_path}/{number}.key"

    assert kubectl.ok("create", "secret", "tls", "t", *files(1)) == "secret/t created\n"
    taken = kubectl.refused("create", "secret", "tls", "t", *files(2))
    assert taken == 'error: failed to create secret secrets "t" already exists\n'
    manifest = kubectl.ok("create", "secret", "tls", "t", *files(2), "--dry-run=client", "-o", "yaml")
    done = kubectl.run("apply", "-f", "-", stdin=manifest)
    assert (done.returncode, done.stdout) == (0, "secret/t configured\n")
    obj = json.loads(kubectl.ok("get", "secret", "t", "-o", "json"))
    assert obj["type"] == "kubernetes.io/tls"
    assert base64.b64decode(obj["data"]["tls.crt"]).decode() == (tmp_path / "2.crt").read_text()
    described = kubectl.ok("describe", "secret", "t")
    assert "Type:  kubernetes.io/tls" in described
    assert "BEGIN" not in described
    half = kubectl.refused("create", "secret", "generic", "h", "--type=kubernetes.io/tls", "--from-literal=tls.crt=x")
    assert 'Secret "h" is invalid: data[tls.key]: Required value' in half


def test_typed_commands(kubectl: Session) -> None:
    assert kubectl.ok("create", "namespace", "shop") == "namespace/shop created\n"
    kubectl.ok("create", "secret", "generic", "g", "--from-literal=a=b", "-n", "shop")
    kubectl.ok("create", "configmap", "c", "--from-literal=x=y", "-n", "shop")
    kubectl.ok("create", "service", "nodeport", "s", "--tcp=80:8080", "-n", "shop")
    rule = "shop.example.com/*=s:80,tls=t"
    kubectl.ok("create", "ingress", "i", "--class=cce", "--rule", rule, "--annotation", "a.io/b=c", "-n", "shop")
    assert kubectl.ok("get", "configmap", "c", "-n", "shop", "-o", "jsonpath={.data}") == '{"x":"y"}'
    service = json.loads(kubectl.ok("get", "service", "s", "-n", "shop", "-o", "json"))["spec"]
    assert (service["type"], service["ports"][0]["targetPort"]) == ("NodePort", 8080)
    obj = json.loads(kubectl.ok("get", "ingress", "i", "-n", "shop", "-o", "json"))
    assert obj["spec"]["tls"] == [{"hosts": ["shop.example.com"], "secretName": "t"}]
    assert obj["spec"]["rules"][0]["http"]["paths"][0]["backend"] == {"service": {"name": "s", "port": {"number": 80}}}
    assert obj["metadata"]["annotations"] == {"a.io/b": "c"}
    lost = kubectl.refused("create", "secret", "generic", "g", "-n", "nowhere")
    assert lost == 'error: failed to create secret namespaces "nowhere" not found\n'


def test_edit_patch_label_annotate_replace(kubectl: Session, tmp_path: Path) -> None:
    kubectl.ok("create", "configmap", "c", "--from-literal=x=1")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed "s/x: \\"1\\"/x: \\"2\\"/" "$1" > "$1.new" && mv "$1.new" "$1"\n')
    editor.chmod(0o700)

    def data() -> str:
        return kubectl.ok("get", "configmap", "c", "-o", "jsonpath={.data}")

    assert kubectl.ok("edit", "configmap", "c", KUBE_EDITOR=str(editor)) == "configmap/c edited\n"
    assert data() == '{"x":"2"}'
    kubectl.ok("patch", "configmap", "c", "-p", '{"data":{"y":"3"}}')
    kubectl.ok("patch", "configmap", "c", "--type=merge", "-p", '{"data":{"x":null}}')
    kubectl.ok("patch", "configmap", "c", "--type=json", "-p", '[{"op":"replace","path":"/data/y","value":"4"}]')
    assert data() == '{"y":"4"}'
    unchanged = kubectl.ok("patch", "configmap", "c", "--type=merge", "-p", '{"data":{"y":"4"}}')
    assert unchanged == "configmap/c patched (no change)\n"
    assert kubectl.ok("label", "configmap", "c", "a=b") == "configmap/c labeled\n"
    assert "already has a value" in kubectl.refused("label", "configmap", "c", "a=c")
    kubectl.ok("label", "configmap", "c", "a=c", "--overwrite")
    assert kubectl.ok("annotate", "configmap", "c", "n.io/x=y") == "configmap/c annotated\n"
    kubectl.ok("annotate", "configmap", "c", "n.io/x-")
    obj = json.loads(kubectl.ok("get", "configmap", "c", "-o", "json"))
    assert obj["metadata"]["labels"] == {"a": "c"}
    assert "annotations" not in obj["metadata"]
    stale = json.dumps(obj)
    kubectl.ok("patch", "configmap", "c", "-p", '{"data":{"z":"1"}}')
    refused = kubectl.refused("replace", "-f", "-", stdin=stale)
    assert "Error from server (Conflict)" in refused
    assert "the object has been modified; please apply your changes to the latest version" in refused
    del obj["metadata"]["resourceVersion"]
    assert kubectl.ok("replace", "-f", "-", stdin=json.dumps(obj)) == "configmap/c replaced\n"
    assert data() == '{"y":"4"}'


def test_diff_reports_changes_by_its_exit_code(kubectl: Session) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {x: '1'}\n"
    kubectl.ok("apply", "-f", "-", stdin=manifest)
    assert kubectl.run("diff", "-f", "-", stdin=manifest).returncode == 0
    changed = kubectl.run("diff", "-f", "-", stdin=manifest.replace("'1'", "'2'"))
    assert changed.returncode == 1
    assert '+  x: "2"' in changed.stdout
    assert kubectl.ok("get", "configmap", "c", "-o", "jsonpath={.data.x}") == "1"
    dry = kubectl.ok("apply", "--dry-run=server", "-f", "-", stdin=manifest.replace("'1'", "'2'"))
    assert dry == "configmap/c configured (server dry run)\n"


def test_describe_shows_events(kubectl: Session) -> None:
    kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    obj = json.loads(kubectl.ok("get", "ingress", "web", "-n", "shop", "-o", "json"))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "web-", "namespace": "shop"},
        "involvedObject": {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "name": "web",
            "namespace": "shop",
            "uid": obj["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "KeyMismatch",
        "message": "The key does not belong to the certificate.",
        "source": {"component": "certferry"},
        "firstTimestamp": obj["metadata"]["creationTimestamp"],
        "lastTimestamp": obj["metadata"]["creationTimestamp"],
        "count": 1,
    }
    kubectl.ok("create", "-f", "-", stdin=json.dumps(event))
    described = kubectl.ok("describe", "ingress", "web", "-n", "shop")
    assert "shop-tls terminates shop.example.com" in described
    assert "Warning  KeyMismatch" in described
    assert "web:http (127.0.0.1:8080)" in described
    listed = kubectl.ok("get", "events", "-n", "shop", "--field-selector", "type=Warning").splitlines()
    assert listed[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "ingress/web" in listed[1]
    assert "KeyMismatch" in kubectl.ok("events", "-n", "shop", "--for", "ingress/web")
    for kind, name in (("service", "web"), ("namespace", "shop"), ("endpointslice", "web-1")):
        assert "Name:" in kubectl.ok("describe", kind, name, "-n", "shop")


def test_get_watch_prints_each_change(kubectl: Session, process: Process) -> None:
    watching = subprocess.Popen(
        [KUBECTL, "get", "configmaps", "-w"], env=process.environment(), stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout
    timer = threading.Timer(TIMEOUT, watching.kill)
    timer.start()
    try:
        kubectl.ok("create", "configmap", "w", "--from-literal=x=1")
        assert watching.stdout.readline().split() == ["NAME", "DATA", "AGE"]
        assert watching.stdout.readline().split()[:2] == ["w", "1"]
        kubectl.ok("patch", "configmap", "w", "-p", '{"data":{"y":"2"}}')
        assert watching.stdout.readline().split()[:2] == ["w", "2"]
    finally:
        timer.cancel()
        watching.kill()
        watching.communicate()


def test_delete_and_wait(kubectl: Session) -> None:
    kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    assert kubectl.ok("delete", "secret", "basket", "-n", "shop") in (
        'secret "basket" deleted\n',
        'secret "basket" deleted from shop namespace\n',
    )
    missing = kubectl.refused("get", "secret", "basket", "-n", "shop")
    assert missing == 'Error from server (NotFound): secrets "basket" not found\n'
    assert "deleted" in kubectl.ok("delete", "namespace", "shop")
    assert kubectl.refused("get", "namespace", "shop") == 'Error from server (NotFound): namespaces "shop" not found\n'
    assert kubectl.run("delete", "namespace", "shop").returncode == 1
    kept = kubectl.refused("delete", "namespace", "default")
    assert 'namespaces "default" is forbidden: this namespace may not be deleted' in kept
    phase = "jsonpath={.status.phase}=Active"
    assert "condition met" in kubectl.ok("wait", "namespace/default", f"--for={phase}", "--timeout=5s")


def test_roles_and_reviews(kubectl: Session, process: Process) -> None:
    viewer = {"KUBECONFIG": str(process.state / "kubeconfig-view")}
    assert kubectl.run("get", "ingresses", **viewer).returncode == 0
    refused = kubectl.run("get", "secrets", **viewer)
    assert refused.returncode == 1
    assert refused.stderr == (
        'Error from server (Forbidden): secrets is forbidden: User "certferry:view" cannot list resource "secrets" '
        'in API group "" in the namespace "default"\n'
    )
    assert kubectl.ok("auth", "can-i", "delete", "secrets") == "yes\n"
    denied = kubectl.run("auth", "can-i", "get", "secrets", **viewer)
    assert (denied.returncode, denied.stdout.split()[0]) == (1, "no")
    assert "certferry:view" in kubectl.ok("auth", "whoami", **viewer)


def test_a_user_with_a_client_certificate(kubectl: Session, process: Process, tmp_path: Path) -> None:
    printed = certferry("kubeconfig", "--user", "anna", "--state", process.state)
    assert "token" not in printed.stdout
    (tmp_path / "anna").write_text(printed.stdout)
    anna = {"KUBECONFIG": str(tmp_path / "anna")}
    assert "anna" in kubectl.ok("auth", "whoami", **anna)
    assert kubectl.run("get", "ingresses", **anna).returncode == 0
    refused = kubectl.run("get", "secrets", **anna)
    assert 'User "anna" cannot list resource "secrets"' in refused.stderr
    nobody = certferry("kubeconfig", "--user", "x", "--role", "king", "--state", process.state)
    assert nobody.returncode == 2
    assert nobody.stderr.startswith("certferry: There is no --role king: choose one of admin, controller, ")
    empty = certferry("kubeconfig", "--user", "x", "--state", tmp_path)
    assert empty.returncode == 2
    assert f"There is no embedded Kubernetes API in {tmp_path}" in empty.stderr


def test_the_single_vm_example_is_accepted(kubectl: Session) -> None:
    page = (Path(__file__).parents[3] / "docs" / "single-vm.md").read_text()
    manifests = "---\n".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    kubectl.ok("create", "namespace", "sites")
    applied = kubectl.ok("apply", "-f", "-", stdin=manifests)
    assert [line.split("/")[0] for line in applied.splitlines()] == [
        "service",
        "endpointslice.discovery.k8s.io",
        "ingress.networking.k8s.io",
    ]
    assert "shop:http (127.0.0.1:3000)" in kubectl.ok("describe", "ingress", "shop", "-n", "sites")
    kubectl.ok("delete", "namespace", "sites")


def test_discovery_and_version(kubectl: Session) -> None:
    assert "Server Version: v1." in kubectl.ok("version")
    resources = kubectl.ok("api-resources")
    for row in ("ingresses", "endpointslices", "leases", "configmaps"):
        assert row in resources
    assert "networking.k8s.io/v1" in kubectl.ok("api-versions").splitlines()
    assert kubectl.ok("get", "--raw", "/livez") == "ok"
    assert "limitranges" in kubectl.refused("get", "limitranges")


def test_explain_describes_a_field(kubectl: Session) -> None:
    explained = kubectl.ok("explain", "ingress.spec.tls")
    assert "GROUP:      networking.k8s.io" in explained
    assert "FIELD: tls <[]IngressTLS>" in explained
    assert "secretName is the name of the secret used to terminate TLS traffic" in explained
    assert "property" in kubectl.ok("explain", "ingress.spec.rules.http.paths")
    assert "containerPort" in kubectl.ok("explain", "deployment.spec.template.spec", "--recursive")


def test_server_side_apply(kubectl: Session) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {x: '1'}\n"
    kubectl.ok("apply", "-f", "-", stdin=manifest)
    changed = manifest.replace("'1'", "'2'")
    # A field of client-side apply does not conflict with kubectl's own server-side apply.
    assert kubectl.ok("apply", "--server-side", "-f", "-", stdin=changed) == "configmap/c serverside-applied\n"
    kubectl.ok("patch", "configmap", "c", "-p", '{"data":{"x":"3"}}')
    refused = kubectl.refused("apply", "--server-side", "-f", "-", stdin=changed)
    assert 'Apply failed with 1 conflict: conflict with "kubectl-patch" using v1: .data.x' in refused
    kubectl.ok("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
    assert kubectl.ok("get", "configmap", "c", "-o", "jsonpath={.data}") == '{"x":"2"}'
    assert kubectl.run("diff", "--server-side", "-f", "-", stdin=changed).returncode == 0
    shown = json.loads(kubectl.ok("get", "configmap", "c", "-o", "json", "--show-managed-fields"))
    assert "kubectl" in [m["manager"] for m in shown["metadata"]["managedFields"]]
    assert "managedFields" not in kubectl.ok("get", "configmap", "c", "-o", "yaml")


def test_kubectl_never_reads_the_system_kubeconfig(process: Process) -> None:
    assert process.environment()["KUBECONFIG"].startswith(str(process.state))
    assert process.environment()["HOME"] != os.environ.get("HOME")


def test_a_time_that_does_not_exist_is_refused(kubectl: Session) -> None:
    for time in ("9999-12-31T23:59:59-10:00", "2026-99-99T99:99:99Z"):
        event = f"""
apiVersion: v1
kind: Event
metadata: {{name: odd, namespace: default}}
involvedObject: {{kind: Ingress, name: odd, namespace: default}}
lastTimestamp: "{time}"
"""
        assert "parsing time" in kubectl.refused("create", "-f", "-", stdin=event)
