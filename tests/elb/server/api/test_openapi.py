"""Every operation of the served description, with values made from it: answered as described, and never a 500.

The examples are the same in each run. Half of the ids are those of objects that are there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from certferry.elb.server.api.app import application
from certferry.settings import ElbLimits
from tests.elb.server.identity.test_auth import login
from tests.elb.support.server import Api, Elb, send, serving, settings_in
from tests.support.certs import authority

DOCUMENT = application(cast(Any, SimpleNamespace())).openapi()
STREAM = "GET /v3/{project_id}/certferry/events"
"""Never ends when it is answered; its refusals are tested below."""
OPERATIONS = {
    operation.label: operation
    for operation in (result.ok() for result in cast(Any, from_dict(DOCUMENT).get_all_operations()))
    if operation.label != STREAM
}
REFERENCES = {
    "loadbalancer_id": "loadbalancers",
    "listener_id": "listeners",
    "pool_id": "pools",
    "default_pool_id": "pools",
    "redirect_pool_id": "pools",
}
CHECKS: list[Any] = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class House:
    """Something of each kind, made anew when the examples have taken it away."""

    def __init__(self, api: Api, token: str) -> None:
        self.api = api
        self.ids: dict[str, str] = {}
        self.whole = False
        self.token = token
        pair = authority().issue("a.example")
        self._content = {"certificate": pair.certificate, "private_key": pair.key}

    def furnish(self) -> None:
        if self.whole:
            return
        self.whole, api, made = True, self.api, self.ids
        lb = made["loadbalancers"] = api.make("loadbalancer")["id"]
        made["certificates"] = api.make("certificate", **self._content)["id"]
        listener = made["listeners"] = api.make(
            "listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80, enhance_l7policy_enable=True
        )["id"]
        pool = made["pools"] = made["pool_id"] = api.make(
            "pool", loadbalancer_id=lb, protocol="HTTP", lb_algorithm="ROUND_ROBIN"
        )["id"]
        made["members"] = api.make("member", f"/pools/{pool}/members", address="127.0.0.1", protocol_port=1)["id"]
        made["healthmonitors"] = api.make("healthmonitor", pool_id=pool, type="TCP", delay=5, timeout=3, max_retries=3)[
            "id"
        ]
        policy = made["l7policies"] = made["l7policy_id"] = api.make(
            "l7policy", listener_id=listener, action="REDIRECT_TO_POOL", redirect_pool_id=pool
        )["id"]
        rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"}
        made["rules"] = api.make("rule", f"/l7policies/{policy}/rules", **rule)["id"]
        made["ipgroups"] = api.make("ipgroup", ip_list=[])["id"]
        suites = {"protocols": ["TLSv1.2"], "ciphers": ["AES128-SHA"]}
        made["security-policies"] = api.make("security_policy", "/security-policies", **suites)["id"]
        made["flavors"] = api("GET", "/flavors").body["flavors"][0]["id"]

    def path_values(self, path: str) -> dict[str, str]:
        collection = path.partition("/{id}")[0].rpartition("/")[2]
        known = {"project_id": self.api.project_id, "id": self.ids.get(collection, "")}
        return {name: value for name, value in (self.ids | known).items() if value and f"{{{name}}}" in path}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    unlimited = ElbLimits(**dict.fromkeys(ElbLimits.__struct_fields__, -1))
    chosen = settings_in(
        tmp_path_factory.mktemp("openapi"), limits=unlimited, vip_subnet="127.0.0.0/16", login_attempts=10_000
    )
    with serving(chosen) as elb:
        yield House(elb.admin, login(elb).headers["x-subject-token"])


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        yield one


@pytest.mark.parametrize("label", OPERATIONS)
def test_responses_match_the_openapi_description(label: str, house: House, session: requests.Session) -> None:
    operation = OPERATIONS[label]
    house.furnish()
    house.whole = operation.method.upper() in ("GET", "HEAD")
    turns = itertools.count()

    @settings(
        max_examples=6,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    def answered(case: schemathesis.Case[Any]) -> None:
        known = house.path_values(operation.path)
        if next(turns) % 4:
            case.path_parameters.update(known)
        elif "project_id" in known:
            case.path_parameters["project_id"] = known["project_id"]
        for part in case.body.values() if isinstance(case.body, dict) else ():
            if isinstance(part, dict):
                part.update({name: house.ids[kind] for name, kind in REFERENCES.items() if name in part})
        headers = {"X-Auth-Token": house.token}
        response = case.call(base_url=house.api.origin, session=session, headers=headers, timeout=30)
        case.validate_response(response, checks=CHECKS)

    answered()


def test_no_operation_is_left_out(own: Elb) -> None:
    served = send(own.origin, "GET", "/openapi.json").body
    methods = {"get", "put", "post", "delete", "head", "patch"}
    labels = {
        f"{method.upper()} {path}" for path, item in served["paths"].items() for method in item if method in methods
    }
    assert labels == {*OPERATIONS, STREAM}
    assert len(labels) > 100
    path = STREAM.removeprefix("GET ").format(project_id=own.credentials.project_id)
    assert send(own.origin, "GET", path).status == 401
    bad = own.admin.signed("GET", path, "since=x")
    assert send(own.origin, "GET", path, headers=bad, query="since=x").status == 400


def test_the_openapi_description_is_consistent() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    text = json.dumps(DOCUMENT)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in DOCUMENT["components"]["schemas"]
    names = [
        operation["operationId"]
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    assert len(set(names)) == len(names)
    certificate = DOCUMENT["paths"]["/v3/{project_id}/elb/certificates"]
    envelope = certificate["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert envelope["properties"]["certificate"]["$ref"] == "#/components/schemas/CertificateCreate"
    filters = {parameter["name"] for parameter in certificate["get"]["parameters"]}
    assert {"limit", "marker", "page_reverse", "id", "name", "domain", "type"} <= filters
