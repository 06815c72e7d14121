"""Workload manifests: stored, validated and printed."""

from __future__ import annotations

from tests.kube.support.kubectl import Session

WORKLOADS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: runner}
spec:
  selector: {matchLabels: {app: runner}}
  template:
    metadata: {labels: {app: runner}}
    spec:
      serviceAccountName: runner
      containers:
      - name: runner
        image: registry.example/runner:1.2
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}}
        resources: {requests: {cpu: 50m, memory: 64Mi}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "certferry:runner"}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "certferry:runner"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "certferry:runner"}
subjects: [{kind: ServiceAccount, name: runner, namespace: default}]
---
apiVersion: v1
kind: Node
metadata: {name: one}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec: {containers: [{name: c, image: nginx}]}
"""


def test_workload_manifests_are_stored_with_defaults(kubectl: Session) -> None:
    kubectl.ok("apply", "-f", "-", stdin=WORKLOADS)
    again = kubectl.ok("apply", "-f", "-", stdin=WORKLOADS)
    assert [line.rpartition(" ")[2] for line in again.splitlines()] == ["unchanged"] * 6

    def cells(kind: str, *more: str) -> list[str]:
        return kubectl.ok("get", kind, "--no-headers", *more).split()

    assert cells("deployments")[:4] == ["runner", "0/1", "0", "0"]
    assert cells("deploy", "-o", "wide")[5:] == ["runner", "registry.example/runner:1.2", "app=runner"]
    assert cells("pods")[:4] == ["one", "0/1", "Pending", "0"]
    assert cells("nodes", "-o", "wide")[:3] + cells("nodes", "-o", "wide")[4:5] == [
        "one",
        "Unknown",
        "<none>",
        "192.0.2.1",
    ]
    old = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: old}\nsubsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 80}]}]"
    warned = kubectl.run("apply", "-f", "-", stdin=old)
    deprecated = "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\n"
    assert (warned.stdout, warned.stderr) == ("endpoints/old created\n", deprecated)
    assert kubectl.run("get", "ep", "--no-headers").stdout.split()[:2] == ["old", "192.0.2.7:80"]
    assert cells("clusterrolebindings")[:2] == ["certferry:runner", "ClusterRole/certferry:runner"]
    template = "jsonpath={.spec.template.spec['dnsPolicy','restartPolicy']} {..readinessProbe.periodSeconds}"
    assert kubectl.ok("get", "deployment", "runner", "-o", template) == "ClusterFirst Always 10"
    wrong = WORKLOADS.replace("labels: {app: runner}", "labels: {app: other}")
    refused = kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert "`selector` does not match template `labels`" in refused
    changed = WORKLOADS.replace("{name: c, image: nginx}", "{name: c, image: nginx, command: [x]}")
    assert "pod updates may not change fields other than" in kubectl.refused("apply", "-f", "-", stdin=changed)
    kubectl.ok("delete", "-f", "-", stdin=WORKLOADS)
