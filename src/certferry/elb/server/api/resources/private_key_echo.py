"""The project setting that lets answers carry private keys (elb-v3-api.md 2).

The vendor's default is yes; the operator's setting here is no. An admin may choose otherwise for a project.
A reader never gets a key.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, body_of
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

_KIND: Final = "project_setting"
_FIELD: Final = "private_key_echo"


class PrivateKeyEcho(Struct, frozen=True, kw_only=True):
    """The choice."""

    private_key_echo: bool


def echoes(call: ApiRequest, snapshot: StoreSnapshot) -> bool:
    """Return True if this answer may carry private keys."""
    return call.actor.role != "reader" and _chosen(call, snapshot)


def show(call: ApiRequest) -> ApiResponse:
    """GET …/settings/private-key-echo."""
    return ApiResponse(200, {_FIELD: _chosen(call, call.snapshot)})


def choose(call: ApiRequest) -> ApiResponse:
    """POST …/settings/private-key-echo."""
    wanted = body_of(call, "", PrivateKeyEcho).value.private_key_echo

    def decide(transaction: Transaction) -> Row:
        before = transaction.snapshot.get(_KIND, call.actor.project_id)
        if before is None:
            return transaction.create(_KIND, call.actor.project_id, {_FIELD: wanted})
        return transaction.update(before, {**before.data, _FIELD: wanted})

    _, snapshot = call.write(decide)
    return ApiResponse(201, {_FIELD: _chosen(call, snapshot)})


def _chosen(call: ApiRequest, snapshot: StoreSnapshot) -> bool:
    row = snapshot.get(_KIND, call.actor.project_id)
    return call.settings.private_key_echo if row is None else bool(row.data[_FIELD])


_PATH: Final = "/certificates/settings/private-key-echo"

ROUTES: Final = (
    Route("GET", _PATH, show, "Show whether answers carry private keys", gives=PrivateKeyEcho),
    Route(
        "POST",
        _PATH,
        choose,
        "Choose whether answers carry private keys",
        ("", PrivateKeyEcho),
        201,
        gives=PrivateKeyEcho,
        roles=("admin",),
    ),
)
