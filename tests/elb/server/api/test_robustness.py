"""Whatever comes in, the answer is the vendor's error body and never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certferry.elb.server.api.app import ROUTES
from tests.elb.support.server import Api, Elb, send

WRITES = [route for route in ROUTES if route.takes is not None]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("route", WRITES, ids=lambda route: f"{route.method} {route.path}")
def test_any_value_in_any_field_is_answered(api: Api, route: Any) -> None:
    assert route.takes is not None
    envelope, kind = route.takes
    path = route.path.replace("{id}", "none").replace("{pool_id}", "none").replace("{l7policy_id}", "none")

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(st.sampled_from(kind.__struct_fields__), ANYTHING, max_size=6))
    def answered(fields: dict[str, Any]) -> None:
        reply = api(route.method, path, {envelope: fields})
        assert reply.status in (201, 400, 404, 409), reply.body

    answered()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"pool":[]}', b'{"pool":null}', b"[" * 5000, b'{"pool":"\\ud800"}'],
)
def test_malformed_bodies_are_rejected(api: Api, body: bytes) -> None:
    reply = api("POST", "/pools", body)
    assert (reply.status, reply.code) == (400, "ELB.8902")


def test_an_oversized_body_is_rejected(api: Api) -> None:
    reply = api("POST", "/pools", b" " * (1 << 20) + b"{}")
    assert reply.status == 413


def test_unknown_paths_have_the_vendors_error(elb: Elb) -> None:
    for method, path, status, allowed in (
        ("GET", "/nowhere", 404, None),
        ("GET", "/v3/p/elb/nothing", 404, None),
        ("DELETE", "/v3/p/elb/certificates", 405, "GET, POST"),
        ("PATCH", "/v3/p/elb/pools/x", 405, "DELETE, GET, PUT"),
        ("POST", "/v3/certferry", 405, "GET"),
        ("PUT", "/v3/auth/tokens", 405, "DELETE, GET, HEAD, POST"),
    ):
        reply = send(elb.origin, method, path)
        assert (reply.status, reply.code) == (status, "APIGW.0101")
        assert reply.headers.get("allow") == allowed
        assert len(reply.body["request_id"]) == 32


def test_each_response_has_its_request_id(api: Api) -> None:
    good, bad = api("GET", "/pools"), api("GET", "/pools/none")
    assert good.headers["x-request-id"] == good.body["request_id"].replace("-", "")
    assert bad.headers["x-request-id"] == bad.body["request_id"]


def test_the_api_describes_itself(elb: Elb) -> None:
    document = send(elb.origin, "GET", "/openapi.json").body
    assert document["openapi"].startswith("3.1")
    described = document["paths"]["/v3/{project_id}/elb/certificates"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["certificate"]["$ref"] == "#/components/schemas/CertificateCreate"
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
