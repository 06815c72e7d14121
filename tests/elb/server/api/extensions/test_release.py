from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from certferry.cli import app
from certferry.core.model import naming as names
from certferry.settings import UserError
from tests.elb.support.server import Elb, another
from tests.support.certs import Pair, authority

GONE = "7b1e12a0-0000-4000-8000-000000000001"
"""The id of a cluster that no longer exists."""


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def furnish(elb: Elb, api: Any, cluster_id: str, port: int, lb: str) -> dict[str, str]:
    """What a controller makes for one Ingress; ids by kind."""
    mark = names.describe(cluster_id)
    certificate = api.make(
        "certificate",
        name=f"k8s_plb_default_{cluster_id[:8]}_shop_tls_1",
        description=names.describe(cluster_id, secret_id="3c1f"),
        **content(authority().issue("shop.example")),
    )["id"]
    pool = api.make(
        "pool", loadbalancer_id=lb, name=f"k8s_{port}", protocol="HTTP", lb_algorithm="ROUND_ROBIN", description=mark
    )["id"]
    member = api.make("member", f"/pools/{pool}/members", address="127.0.0.1", protocol_port=1)["id"]
    listener = api.make(
        "listener",
        loadbalancer_id=lb,
        protocol="HTTPS",
        protocol_port=port,
        default_tls_container_ref=certificate,
        default_pool_id=pool,
        description=mark,
    )["id"]
    rules = [{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "shop.example"}]
    policy = api.make(
        "l7policy",
        listener_id=listener,
        action="REDIRECT_TO_POOL",
        redirect_pool_id=pool,
        description=mark,
        rules=rules,
    )["id"]
    return {"certificate": certificate, "pool": pool, "member": member, "listener": listener, "l7policy": policy}


def release(elb: Elb, directory: Path, *arguments: str, answer: str = "") -> Result:
    account = elb.credentials.admin
    file = directory / "admin.json"
    file.write_text(
        json.dumps(
            {
                "project_id": elb.credentials.project_id,
                "access_key": account.access_key,
                "secret_key": account.secret_key,
            }
        )
    )
    file.chmod(0o600)
    flags = ["--elb-url", elb.origin, "--elb-credentials", str(file)]
    return CliRunner().invoke(app, ["controller", "release", *flags, *arguments], input=answer)


def everything(elb: Elb) -> dict[str, Any]:
    kinds = ("certificates", "listeners", "pools", "members", "l7policies", "loadbalancers")
    return {kind: elb.admin("GET", f"/{kind}").body[kind] for kind in kinds}


def test_objects_of_a_removed_cluster_lose_their_owner_and_keep_serving(own: Elb, tmp_path: Path) -> None:
    lb = own.admin.make("loadbalancer")["id"]
    made = furnish(own, own.controller, GONE, 443, lb)
    green = another(own, "controller-green", "controller", cluster="green")
    theirs = furnish(own, green, "another", 444, lb)
    before = everything(own)

    asked = release(own, tmp_path, "--cluster", GONE, answer="n\n")
    assert made["certificate"] in asked.output
    assert everything(own) == before, "who says no changes nothing"

    done = release(own, tmp_path, "--cluster", GONE, "--yes")
    assert done.exit_code == 0, done.output
    after = everything(own)
    for kind, many in after.items():
        assert [one["id"] for one in many] == [one["id"] for one in before[kind]], "nothing is gone"
    assert f'"cluster_id":"{GONE}"' in str(before)
    assert f'"cluster_id":"{GONE}"' not in str(after)
    (listener,) = [one for one in after["listeners"] if one["id"] == made["listener"]]
    (earlier,) = [one for one in before["listeners"] if one["id"] == made["listener"]]
    changed = {field for field, value in listener.items() if earlier[field] != value}
    assert changed <= {"description", "updated_at"}, "it serves as before"
    renewed = {"certificate": content(authority().issue("shop.example"))}
    assert own.admin("PUT", f"/certificates/{made['certificate']}", renewed).status == 200
    assert own.admin("PUT", f"/certificates/{theirs['certificate']}", renewed).status == 409, "not ours to give"


def test_only_objects_of_a_removed_cluster_are_deleted(own: Elb, tmp_path: Path) -> None:
    lb = own.admin.make("loadbalancer")["id"]
    made = furnish(own, own.controller, GONE, 443, lb)
    theirs = furnish(own, another(own, "controller-green", "controller", cluster="green"), "another", 444, lb)
    borrowed = furnish(own, own.controller, GONE, 445, lb)["certificate"]
    own.admin("PUT", f"/listeners/{theirs['listener']}", {"listener": {"sni_container_refs": []}})
    by_hand = own.admin.make(
        "listener", loadbalancer_id=lb, protocol="HTTPS", protocol_port=446, default_tls_container_ref=borrowed
    )["id"]
    # by the owner's name: the id in descriptions is found through what it owns
    done = release(own, tmp_path, "--cluster", "blue", "--delete", "--yes")
    assert done.exit_code == 0, done.output
    left = everything(own)
    assert {one["id"] for one in left["listeners"]} == {theirs["listener"], by_hand}
    assert {one["id"] for one in left["certificates"]} == {theirs["certificate"], borrowed}
    assert own.admin.show("certificate", borrowed)["certferry"]["owner"] is None, "in use elsewhere: un-owned"
    for kind, plural in (("pool", "pools"), ("member", "members"), ("l7policy", "l7policies")):
        assert [one["id"] for one in left[plural]] == [theirs[kind]]
    assert [one["id"] for one in left["loadbalancers"]] == [lb], "it was made by hand"
    assert made["certificate"] not in str(left)


def test_with_several_clusters_the_id_is_required(own: Elb, tmp_path: Path) -> None:
    lb = own.admin.make("loadbalancer")["id"]
    assert isinstance(release(own, tmp_path, "--yes").exception, UserError)
    furnish(own, own.controller, GONE, 443, lb)
    unknown = release(own, tmp_path, "--cluster", "nobody", "--yes").exception
    assert isinstance(unknown, UserError)
    assert GONE in str(unknown), "it says who is here"
    furnish(own, another(own, "controller-green", "controller", cluster="green"), "another", 444, lb)
    several = release(own, tmp_path, "--yes").exception
    assert isinstance(several, UserError)
    assert "--cluster" in str(several)


def test_members_cannot_release_a_cluster(own: Elb, tmp_path: Path) -> None:
    lb = own.admin.make("loadbalancer")["id"]
    made = furnish(own, own.controller, GONE, 443, lb)["certificate"]
    path = f"/certificates/{made}/release"
    assert another(own, "mary", "member").extension("POST", path, {}).status == 403


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CERTFERRY_CONFIG", raising=False)
