"""Tags of load balancers and listeners, at the place of their own that the vendor gives them
(``/v3/{project_id}/{kind}/…``; elb-v3-api.md 1.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from certferry.elb.server.api.fields import Tag, one_of
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Handler, Route, body_of, path_object
from certferry.elb.server.errors import bad_request
from certferry.elb.server.store.tables import project
from certferry.elb.server.store.transaction import Transaction

MOST: Final = 20
"""Tags on one object."""


class TagsAction(Struct, frozen=True, kw_only=True):
    """Tags to set (a key has one value), or to take away."""

    action: Annotated[str, one_of("create", "delete")]
    tags: Annotated[list[Tag], Meta(max_length=100)]


class Tags(Struct, frozen=True, kw_only=True):
    """The tags of one object."""

    tags: list[Tag]


def _show(kind: str) -> Handler:
    def show(call: ApiRequest) -> ApiResponse:
        return ApiResponse(200, {"tags": list(path_object(call, call.snapshot, kind).data["tags"])})

    return show


def _act(kind: str) -> Handler:
    def act(call: ApiRequest) -> ApiResponse:
        value = body_of(call, "", TagsAction).value
        given = {tag.key: tag.value for tag in value.tags}

        def decide(transaction: Transaction) -> None:
            row = path_object(call, transaction.snapshot, kind)
            have = {tag["key"]: tag["value"] for tag in row.data["tags"]}
            after = have | given if value.action == "create" else {k: have[k] for k in have if k not in given}
            if len(after) > MOST:
                raise bad_request(f"A {kind} has at most {MOST} tags")
            tags = [{"key": key, "value": text} for key, text in after.items()]
            transaction.update(row, {**row.data, "tags": tags})

        call.write(decide)
        return ApiResponse(204)

    return act


def _index(kind: str) -> Handler:
    def index(call: ApiRequest) -> ApiResponse:
        values: dict[str, set[str]] = {}
        for row in call.snapshot.find(kind, project, call.actor.project_id):
            for tag in row.data["tags"]:
                values.setdefault(tag["key"], set()).add(tag["value"])
        return ApiResponse(200, {"tags": [{"key": k, "values": sorted(v)} for k, v in sorted(values.items())]})

    return index


def _routes() -> Iterator[Route]:
    for kind, name in (("loadbalancer", "load balancer"), ("listener", "listener")):
        shared: dict[str, Any] = {"under": ""}
        yield Route("GET", f"/{kind}s/tags", _index(kind), f"Show the tags of all {name}s", **shared)
        yield Route("GET", f"/{kind}s/{{id}}/tags", _show(kind), f"Show the tags of a {name}", gives=Tags, **shared)
        yield Route(
            "POST",
            f"/{kind}s/{{id}}/tags/action",
            _act(kind),
            f"Set or take away tags of a {name}",
            ("", TagsAction),
            204,
            **shared,
        )


ROUTES: Final = tuple(_routes())
