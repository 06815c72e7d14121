"""Real keys pass through every error path; no log, answer, Event or file may contain them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects
from tests.e2e.support.http import Answer
from tests.e2e.support.key_leak_scanner import find, needles
from tests.e2e.support.objects import CERTIFICATE_IDS
from tests.e2e.support.site import INGRESS, SECRET, Site
from tests.e2e.support.system import System
from tests.e2e.support.waiting import until
from tests.support.certs import Authority, Pair, key_pem, rsa_key

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Fed:
    """The keys that were sent, and everything that came back."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.pasted: list[str] = []
        """Keys that a user put where Kubernetes keeps things in clear: only we must not repeat them."""
        self.heard: list[str] = []

    def pair(self, shop: Site, **how: Any) -> Pair:
        made = shop.pair(**how)
        self.keys.append(made.key)
        return made

    def hear(self, answer: Answer) -> Answer:
        self.heard.append(f"{answer.headers} {json.dumps(answer.body)}")
        return answer


@pytest.fixture(scope="module")
def fed() -> Fed:
    return Fed()


@pytest.fixture(scope="module")
def shop_on(system: System, backend: int, fed: Fed) -> Site:
    shop = Site(system, "keys", 10401, backend)
    pair = fed.pair(shop)
    shop.publish(pair)
    shop.shows(pair)
    return shop


def test_the_search_detects_a_key(site: MakeSite) -> None:
    """Prove that the search can find a key."""
    for key in (Authority().issue("a.test.example").key, key_pem(rsa_key())):
        wanted = needles(key)
        assert find(json.dumps({"private_key": key}).encode(), wanted)
        assert find(json.dumps(objects.content("x", key)).encode(), wanted)
        assert find(base64.b64decode("".join(key.splitlines()[1:-1])), wanted)
        assert not find(json.dumps(objects.content("x", Authority().issue("b.test.example").key)).encode(), wanted)


def test_elb_answers(shop_on: Site, fed: Fed) -> None:
    shop = shop_on
    path = shop.system.elb_path("certificates")
    good, other = fed.pair(shop), fed.pair(shop)
    elsewhere = {"certificate": good.certificate, "private_key": good.key}
    made = fed.hear(shop.elb.call("POST", path, {"certificate": {**elsewhere, "name": "good"}}))
    assert made.status == 201
    own = shop.own_certificate()["id"]
    wrong: list[tuple[str, str, Any]] = [
        ("POST", path, {"certificate": {**elsewhere, "private_key": other.key}}),
        ("POST", path, {"certificate": {**elsewhere, "certificate": "garbage"}}),
        ("POST", path, {"certificate": {**elsewhere, "certificate": good.key}}),
        ("POST", path, {"certificate": {**elsewhere, "private_key": [good.key]}}),
        ("POST", path, {"certificate": {**elsewhere, "private_key": {"pem": good.key}}}),
        ("POST", path, {"certificate": {**elsewhere, "private_key": good.key[:150]}}),
        ("POST", path, {"certificate": {**elsewhere, "private_key": good.key * 60}}),
        ("POST", path, {"certificate": {**elsewhere, "type": good.key}}),
        ("POST", path, {"certificate": {**elsewhere, "domain": good.key}}),
        ("POST", path, {"certificate": {**elsewhere, "name": good.key * 2}}),
        ("POST", path, {"certificate": {**elsewhere, "admin_state_up": good.key}}),
        ("POST", path, {"certificate": {**elsewhere, "name": "k8s_plb_default_x"}}),
        ("POST", path, {"certificate": good.key}),
        ("POST", path, [good.key]),
        ("POST", path, json.dumps({"certificate": elsewhere}).encode()[:-5]),
        ("PUT", f"{path}/{own}", {"certificate": elsewhere}),
        ("PUT", f"{path}/{made.body['certificate']['id']}", {"certificate": {"private_key": other.key}}),
        ("PUT", f"{path}/{'0' * 32}", {"certificate": elsewhere}),
        ("PATCH", f"{path}/{own}", {"certificate": elsewhere}),
        ("POST", shop.system.elb_path("listeners"), {"listener": {"protocol_port": good.key}}),
        ("POST", "/v3/auth/tokens", {"auth": {"identity": good.key}}),
    ]
    for method, where, body in wrong:
        answer = fed.hear(shop.elb.call(method, where, body))
        assert 400 <= answer.status < 500, (method, where, answer)
    for where in (path, f"{path}/{own}"):
        fed.hear(shop.elb.call("GET", where))
    anonymous = dict(shop.elb.headers)
    shop.elb.headers = {"X-Auth-Token": "wrong"}
    assert fed.hear(shop.elb.call("POST", path, {"certificate": elsewhere})).status == 401
    shop.elb.headers = anonymous
    _nothing_in(fed.keys, "\n".join(fed.heard).encode(), "an ELB answer")


def test_kubernetes_refusals(shop_on: Site, fed: Fed) -> None:
    shop = shop_on
    pair = fed.pair(shop)
    good = objects.pair_secret(shop.name, "refused", pair)
    typed: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": shop.name}}
    wrong: list[dict[str, Any]] = [
        {**good, "data": {"tls.crt": pair.certificate, "tls.key": pair.key}},
        {**good, "data": {"tls.key": {"a": pair.key}}},
        {**good, "data": [pair.key]},
        {**good, "data": {"tls.key": good["data"]["tls.key"]}},
        {**good, "stringdata": {"tls.key": pair.key}},
        {**good, "metadata": {"name": pair.key, "namespace": shop.name}},
        {**good, "metadata": {"name": "x", "namespace": shop.name, "labels": {"key": pair.key}}},
        {**typed, "type": ["x"], "stringData": {"k": pair.key}},
        {**typed, "data": {"k": good["data"]["tls.key"] + "%"}},
    ]
    path = f"/api/v1/namespaces/{shop.name}/secrets"
    for body in wrong:
        answer = fed.hear(shop.kube.call("POST", f"{path}?fieldValidation=Strict", body))
        assert 400 <= answer.status < 500, answer.status
    fed.hear(shop.kube.call("POST", path, json.dumps(good).encode()[:-3]))
    merge = "application/merge-patch+json"
    fed.hear(shop.kube.call("PATCH", f"{path}/{SECRET}", json.dumps(good).encode()[:-3], kind=merge))
    fed.hear(shop.kube.call("PATCH", f"{path}/{SECRET}", {"type": "Opaque", "data": good["data"]}, kind=merge))
    fed.hear(shop.kube.call("PATCH", f"{path}/missing", {"data": good["data"]}, kind=merge))
    _nothing_in(fed.keys, "\n".join(fed.heard).encode(), "an API answer")


def test_controller_refusals(shop_on: Site, fed: Fed) -> None:
    shop = shop_on
    one, two = fed.pair(shop), fed.pair(shop)
    bad = {
        "does not belong": (one.certificate, two.key),
        "cannot be read": ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one.key),
        "not PEM": (one.certificate, one.key.replace("PRIVATE", "PUBLIC")),
        "private key cannot be read": (one.certificate, one.key[:130] + "\n-----END PRIVATE KEY-----\n"),
    }
    for words, (certificate, key) in bad.items():
        shop.apply_secret(certificate, key)
        until(
            lambda words=words: any(words in e["message"] for e in shop.warnings("Secret", SECRET)),  # type: ignore[misc]
            f"a Warning that says “{words}”",
        )
    # the two fields exchanged, and a key where an id belongs
    shop.apply_secret(one.key, one.certificate)
    pasted = shop.pair()
    fed.pasted.append(pasted.key)
    shop.annotate(**{CERTIFICATE_IDS: pasted.key})
    until(lambda: len(shop.warnings("Ingress", INGRESS)) > 1, "a Warning about the annotation")
    valid = fed.pair(shop)
    shop.apply_secret(*valid)
    shop.annotate(**{CERTIFICATE_IDS: None})
    shop.shows(valid)

    events = shop.kube.want(200, "GET", "/api/v1/events")
    _nothing_in(fed.keys + fed.pasted, json.dumps(events).encode(), "an Event")
    for ingress in shop.kube.want(200, "GET", "/apis/networking.k8s.io/v1/ingresses")["items"]:
        ingress["metadata"].get("annotations", {}).pop(LAST_APPLIED, None)
        _nothing_in(fed.keys, json.dumps(ingress).encode(), "an Ingress")


def test_logs_and_files_at_the_end(shop_on: Site, fed: Fed) -> None:
    """Search the files that the tests above left, with every part stopped and all buffers written."""
    system = shop_on.system
    assert len(fed.keys) > 5, "run the whole module: the tests above hand the keys in"
    _nothing_in(fed.keys, str(system.elb().call("GET", system.elb_path("certificates"))).encode(), "a list")
    system.stop()
    _nothing_in(fed.keys + fed.pasted, system.output.read_bytes(), "the output of `certferry up`")
    for path in (system.state / "logs").iterdir():
        _nothing_in(fed.keys + fed.pasted, path.read_bytes(), str(path))
    files = [path for path in system.state.rglob("*") if path.is_file()]
    assert any(path.suffix in (".db", ".sqlite") for path in files), files
    for path in files:
        _nothing_in(fed.keys, path.read_bytes(), str(path))


def _nothing_in(keys: list[str], haystack: bytes, where: str) -> None:
    for number, key in enumerate(keys):
        found = find(haystack, needles(key)) is not None
        # what was found is not said: this message lands in a log too
        assert not found, f"{where} holds private key {number}"
