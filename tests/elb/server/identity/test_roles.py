"""Which role may do what, over every operation that there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from certferry.elb.server.actor import ROLES
from certferry.elb.server.api import extensions
from certferry.elb.server.api.app import ROUTES
from certferry.settings import ElbLimits
from tests.elb.support.server import Api, Elb, Reply, another, send

WRITES = [route for route in (*ROUTES, *extensions.ROUTES) if route.method != "GET"]
READS = [route for route in (*ROUTES, *extensions.ROUTES) if route.method == "GET"]


def ask(api: Api, method: str, place: str) -> Reply:
    path = f"/v3/{api.project_id}" + re.sub(r"{\w+}", "none", place)
    return send(api.origin, method, path, b"{}", api.signed(method, path, body=b"{}"))


def test_a_reader_writes_nothing(elb: Elb) -> None:
    reader = another(elb, "only reads", "reader")
    for route in WRITES:
        reply = ask(reader, route.method, route.under + route.path)
        assert (reply.status, reply.code) == (403, "SYS.0403"), route
    for route in READS:
        assert ask(reader, "GET", route.under + route.path).status in (200, 404), route


def test_writing_roles_are_allowed(elb: Elb) -> None:
    member = another(elb, "a member", "member")
    admins = {("POST", "/certificates/settings/private-key-echo")}
    for api in (elb.admin, member, elb.controller):
        for route in WRITES:
            status = ask(api, route.method, route.under + route.path).status
            if route.under == "/certferry":
                continue  # break-glass and release have rules and tests of their own
            forbidden = api is not elb.admin and (route.method, route.path) in admins
            assert (status == 403) == forbidden, (api.account.username, route)


def test_other_projects_are_neither_readable_nor_writable(elb: Elb) -> None:
    away = Api(elb.origin, "0" * 32, elb.admin.account)
    for route in (*READS, *WRITES):
        assert ask(away, route.method, route.under + route.path).status == 403, route


def test_limits_and_roles_are_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "elb-api.md").read_text()
    for field in msgspec.structs.fields(ElbLimits):
        assert f"`{field.name}`" in page, field.name
    assert all(f"| `{role}` |" in page for role in ROLES)
    for route in ROUTES:
        assert f"`{route.path.split('/')[1]}" in page, f"{route.path} is not in docs/elb-api.md"
