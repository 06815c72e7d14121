"""`certferry plan` without a cluster: what is printed, and how it ends."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.cli.test_cli import certferry, refusal
from tests.support.certs import authority

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, annotations: {kubernetes.io/elb.id: lb-1, kubernetes.io/elb.htp2-enable: "true"}}
spec:
  ingressClassName: cce
  tls: [{secretName: shop}]
  rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
"""
SERVICE = """
apiVersion: v1
kind: List
items: [{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}]
"""


def test_plan_shows_changes_with_reasons_and_exits_2(tmp_path: Path) -> None:
    pair = authority().issue("shop.example.com")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "shop"},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key},
    }
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ingress.yaml").write_text(INGRESS)
    (tmp_path / "rest.yml").write_text(f"{SERVICE}---\n{yaml.safe_dump(secret)}")
    (tmp_path / "notes.txt").write_text("not a manifest: [")
    done = certferry("plan", "-f", tmp_path)
    assert done.returncode == 2, done.stderr
    out = done.stdout
    assert "+ create certificate k8s_plb_default_" in out
    assert "the Secret has no certificate on the load balancer yet" in out
    assert "+ create listener k8s_HTTPS_443: an Ingress asks for this port" in out
    assert "= shop.example.com on port 443 gets k8s_plb_default_" in out
    assert "Did you mean kubernetes.io/elb.http2-enable?" in out
    assert "5 to create, 0 to update, 0 to delete." in out
    assert "PRIVATE KEY" not in out + done.stderr
    assert pair.key.splitlines()[1] not in out + done.stderr


def test_plan_without_changes_exits_0(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(INGRESS.replace("cce", "nginx"))
    done = certferry("plan", "-f", file)
    assert done.returncode == 0, done.stderr
    assert "Nothing would change." in done.stdout


def test_an_unreadable_manifest_is_reported_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: [")
    assert "is not YAML" in refusal(certferry("plan", "-f", broken))
    assert "cannot be read" in refusal(certferry("plan", "-f", tmp_path / "nowhere.yaml"))
    broken.write_text("kind: ConfigMap\nmetadata: {name: x}\n")
    assert "There is no Ingress" in refusal(certferry("plan", "-f", broken))
    broken.write_text("kind: Service\nmetadata: {name: web}\nspec: {ports: [{}]}\n")
    assert "Service web is malformed" in refusal(certferry("plan", "-f", broken))


def test_explain_requires_a_namespace_and_a_cluster(tmp_path: Path) -> None:
    assert "NAMESPACE/NAME" in refusal(certferry("explain", "ingress", "shop", HOME=str(tmp_path)))
    nowhere = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    assert "No settings file names a cluster" in refusal(certferry("explain", "ingress", "shop/shop", **nowhere))


def test_a_problem_that_prevents_every_change_fails(tmp_path: Path) -> None:
    file = tmp_path / "ingress.yaml"
    file.write_text(INGRESS.replace("kubernetes.io/elb.id: lb-1, ", ""))
    done = certferry("plan", "--offline", "-f", file)
    assert done.returncode == 1, done.stderr
    assert "LoadBalancerNotFound" in done.stdout
    assert "Nothing would change, because of the problems above." in done.stdout
