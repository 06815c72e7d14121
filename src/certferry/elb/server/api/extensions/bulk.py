"""The bulk call: many writes of the vendor's API in one transaction, with an answer for each.

Each item goes through the handler of its own route, so that it is checked, authorised and recorded like a request of
its own. An item may refer to an object that an earlier item created. A repeated call with the same key is answered
from the store, and nothing is written again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from certferry.elb.server.api.extensions.bodies import plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Handler, Route
from certferry.elb.server.errors import ApiError, conflict, forbidden, unknown_path
from certferry.elb.server.store.transaction import BulkAnswer, Transaction

NAME: Final = "bulk"
_MOST: Final = 1000
_REFERENCES: Final = ("_id", "_ref", "_refs")
"""Endings of the fields in which ``@KEY`` stands for the id of an object that an earlier item created."""


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One write; `path` begins after ``/v3/{project_id}/elb``."""

    method: Literal["POST", "PUT", "DELETE"]
    path: Annotated[str, Meta(max_length=300)]
    body: dict[str, Any] | None = None
    key: Annotated[str, Meta(max_length=300)] = ""
    """The name by which later items refer to the object that this one creates."""


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """The writes, in order."""

    items: Annotated[list[BulkItem], Meta(max_length=_MOST)]
    atomic: bool = True
    """Reject all items if one is rejected. Otherwise only items that refer to the rejected one fail."""
    key: Annotated[str, Meta(max_length=64)] = ""
    """Names this call among the user's; empty: a repetition writes again."""


class _RejectedError(Exception):
    """An item of an atomic call was rejected."""


def bulk_route(routes: Sequence[Route]) -> Route:
    """Return the route of the bulk call for the writes among `routes`."""
    writes = [(route, _pattern(route.path)) for route in routes if route.method != "GET" and route.under == "/elb"]

    def handle(call: ApiRequest) -> ApiResponse:
        body = plain_body(call, Bulk)
        digest = hashlib.sha256(call.body).hexdigest()
        if body.key and (earlier := call.store.bulk_answer(call.actor, body.key)) is not None:
            if earlier.digest != digest:
                raise conflict(f"The key {body.key} was used for another bulk call: give each call a key of its own")
            return ApiResponse(200, {"committed": True, "repeated": True, "items": earlier.items})
        answers: list[dict[str, Any]] = []

        def decide(transaction: Transaction) -> None:
            inner = replace(call, query=(), transaction=transaction)
            ids: dict[str, str] = {}
            for item in body.items:
                answers.append(_answer(inner, item, ids, writes))
                if body.atomic and answers[-1]["status"] >= 400:
                    raise _RejectedError
            if body.key and transaction.changes:
                brief = [{name: value for name, value in one.items() if name != "body"} for one in answers]
                transaction.answer = BulkAnswer(key=body.key, digest=digest, items=brief)

        try:
            call.write(decide)
        except _RejectedError:
            undone = {"status": 424, "error_msg": "Not done, because another item of the call was rejected"}
            rest = len(body.items) - len(answers)
            answers = [undone] * (len(answers) - 1) + [answers[-1]] + [undone] * rest
            return ApiResponse(200, {"committed": False, "items": answers})
        return ApiResponse(200, {"committed": True, "items": answers})

    return Route("POST", f"/{NAME}", handle, "Write many objects in one transaction", ("", Bulk), under="/certferry")


def _answer(
    call: ApiRequest, item: BulkItem, ids: dict[str, str], writes: Iterable[tuple[Route, re.Pattern[str]]]
) -> dict[str, Any]:
    """Carry out one item; a rejected one leaves no change. Adds the id of a new object to `ids`."""
    assert call.transaction is not None
    try:
        path = "/".join(_reference(part, ids) for part in item.path.split("/"))
        route, variables = _match(item.method, path, writes)
        if call.actor.role not in route.roles:
            raise forbidden(f"The role {call.actor.role} may not do this; {' and '.join(route.roles)} may")
        content = msgspec.json.encode(_resolved(item.body, ids)) if item.body is not None else b""
        answer = call.transaction.attempt(_handling(route.handler, replace(call, path=variables, body=content)))
    except ApiError as error:
        return {"status": error.status, "error_code": error.code, "error_msg": error.sentence}
    body = next(iter((answer.body or {}).values()), None)
    if not isinstance(body, Mapping) or "id" not in body:
        return {"status": answer.status}
    if item.key:
        ids[f"@{item.key}"] = str(body["id"])
    return {"status": answer.status, "id": str(body["id"]), "body": answer.body}


def _handling(handler: Handler, call: ApiRequest) -> Callable[[], ApiResponse]:
    return lambda: handler(call)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


def _match(method: str, path: str, writes: Iterable[tuple[Route, re.Pattern[str]]]) -> tuple[Route, Mapping[str, str]]:
    for route, pattern in writes:
        if route.method == method and (match := pattern.fullmatch(path)):
            return route, match.groupdict()
    raise unknown_path(f"{method} {path}")


def _resolved(value: Any, ids: Mapping[str, str]) -> Any:
    """Return `value` with ids in place of references. Raises ApiError (400)."""
    match value:
        case dict():
            return {
                name: _referred(item, ids) if name.endswith(_REFERENCES) else _resolved(item, ids)
                for name, item in value.items()
            }
        case list():
            return [_resolved(item, ids) for item in value]
        case _:
            return value


def _referred(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_referred(item, ids) for item in value]
    return _reference(value, ids) if isinstance(value, str) else value


def _reference(text: str, ids: Mapping[str, str]) -> str:
    if not text.startswith("@"):
        return text
    if text not in ids:
        raise ApiError(424, "ELB.8904", f"{text[:100]} names no object that an earlier item created")
    return ids[text]
