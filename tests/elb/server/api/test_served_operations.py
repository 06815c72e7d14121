"""Every operation of the vendor's SDK is served, or listed in docs/elb-api.md and answered with 404."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from huaweicloudsdkelb import v3

from certferry.elb.server.api.app import ROUTES
from tests.elb.support.server import Api, Elb, send
from tests.elb.support.server import another as another_user

DOCS = Path(__file__).parents[4] / "docs" / "elb-api.md"
OPERATION = re.compile(
    r'def _(\w+)_http_info\(cls, request\):.*?"method": "(\w+)",\s*"resource_path": "/v3/\{project_id\}([^"]+)"',
    re.DOTALL,
)
OPERATIONS = OPERATION.findall(inspect.getsource(v3.ElbClient))


def _variable(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


SERVED = {(route.method, _variable(route.under + route.path)) for route in ROUTES}


def _unserved() -> dict[str, tuple[str, str]]:
    return {name: (method, path) for name, method, path in OPERATIONS if (method, _variable(path)) not in SERVED}


def test_the_docs_list_the_operations_that_are_not_served() -> None:
    assert len(OPERATIONS) > 100
    section = DOCS.read_text().partition("Not served")[2].partition("\n## ")[0]
    assert sorted(_unserved()) == sorted(re.findall(r"`(\w+)`", section.partition("|---")[2]))


def test_an_operation_that_is_not_served_is_an_unknown_api(elb: Elb, api: Api) -> None:
    for name, (method, path) in _unserved().items():
        full = f"/v3/{api.project_id}{_variable(path).replace('{}', '0' * 32)}"
        reply = send(elb.origin, method, full, b"{}", api.signed(method, full, body=b"{}"))
        assert (reply.status, reply.code) == (404, "APIGW.0101"), name


def test_listeners_and_load_balancers_are_deleted_in_batches(elb: Elb, api: Api) -> None:
    lbs = [api.make("loadbalancer")["id"] for _ in range(2)]
    pool = api.make("pool", loadbalancer_id=lbs[0], protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    ids = [
        api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=port, default_pool_id=None)["id"]
        for lb in lbs
        for port in (80, 81)
    ]
    api.make("l7policy", listener_id=ids[0], action="REDIRECT_TO_POOL", redirect_pool_id=pool)
    refused = api("POST", "/listeners/batch-delete", {"listener_ids": [ids[0], "0" * 32]})
    assert (refused.status, refused.code) == (404, "ELB.8904")
    assert api.show("listener", ids[0])["id"] == ids[0], "all or nothing"
    done = api("POST", "/listeners/batch-delete", {"listener_ids": ids[:2] + ids[:1]})
    assert (done.status, done.body["listener_ids"]) == (200, ids[:2])
    reader = another_user(elb, "batch-reader", "reader")
    assert reader("POST", "/loadbalancers/batch-delete", {"loadbalancer_ids": lbs}).status == 403
    done = api("POST", "/loadbalancers/batch-delete", {"loadbalancer_ids": lbs, "unbounded_pool": False})
    assert (done.status, done.body["loadbalancer_ids"]) == (200, lbs)
    assert api.show("pool", pool)["loadbalancers"] == []
    assert api("GET", f"/listeners/{ids[2]}").status == 404
