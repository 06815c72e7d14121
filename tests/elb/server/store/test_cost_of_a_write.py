from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import msgspec

from certferry.elb.server.actor import Actor
from certferry.elb.server.store.transaction import Transaction
from tests.elb.server.store.test_store import content, furnish
from tests.elb.support.server import UNLIMITED, Api, serving, settings_in, stored
from tests.support.certs import authority

ACTOR = Actor(user_id="test", name="test", project_id="", role="admin")


class Operations:
    """Counts Python and C calls in the threads that start while it is set: the service's."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.number += 1


def fill(settings: Any, rows: int) -> None:
    """Add `rows` copies of the certificate, the policy and its rules, the pool and its member."""
    with stored(settings) as (store, _):
        snapshot = store.snapshot
        originals = {kind: next(iter(snapshot.rows(kind).values())) for kind in ("certificate", "l7policy", "pool")}
        rules = list(snapshot.rows("rule").values())
        actor = msgspec.structs.replace(ACTOR, project_id=originals["pool"].project_id)

        def decide(transaction: Transaction) -> None:
            for number in range(rows):
                for kind, row in originals.items():
                    identifier = str(uuid.uuid4())
                    data = dict(row.data)
                    if kind == "l7policy":
                        policy_id, data["priority"] = identifier, None
                    transaction.create(kind, identifier, data, row.content)
                for rule in rules:
                    value = f"{number}.example" if rule.data["type"] == "HOST_NAME" else "/"
                    transaction.create(
                        "rule", str(uuid.uuid4()), {**rule.data, "l7policy_id": policy_id, "value": value}
                    )

        store.transact(actor, "fill", decide)


def writes(api: Api, certificate: str, number: int) -> dict[str, Any]:
    """One write of each sort, each with its reply."""
    listener = api("GET", "/listeners").body["listeners"][0]
    pool, loadbalancer, listener = listener["default_pool_id"], listener["loadbalancers"][0]["id"], listener["id"]
    rules = [{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": f"new{number}.example"}]
    rules.append({"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"})
    fields = {"listener_id": listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool, "rules": rules}
    policy = api.make("l7policy", priority=9_000 - number, **fields)["id"]
    pair = authority().issue("a.example")
    return {
        "certificate": lambda: api("PUT", f"/certificates/{certificate}", {"certificate": content(pair)}),
        "policy": lambda: api(
            "POST",
            "/l7policies",
            {"l7policy": {**fields, "priority": 9_500 - number, "rules": [rules[0] | {"value": f"{number}.test"}]}},
        ),
        "change": lambda: api("PUT", f"/l7policies/{policy}", {"l7policy": {"name": "b"}}),
        "pool": lambda: api(
            "POST",
            "/pools",
            {"pool": {"loadbalancer_id": loadbalancer, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}},
        ),
        "deletion": lambda: api("DELETE", f"/l7policies/{policy}"),
    }


def counted(directory: Path, rows: int) -> dict[str, int]:
    limits = msgspec.structs.replace(UNLIMITED, l7policies_per_listener=-1)
    settings = settings_in(directory, limits=limits)
    with serving(settings) as elb:
        certificate, _ = furnish(elb.admin)
    fill(settings, rows)
    operations = Operations()
    before_serving = threading.getprofile()
    threading.setprofile(operations)
    result = {}
    try:
        with serving(settings) as elb:
            for attempt in range(2):  # the first builds the indexes
                for name, write in writes(elb.admin, certificate, attempt).items():
                    before = operations.number
                    reply = write()
                    result[name] = operations.number - before
                    assert reply.status in (200, 201, 204), reply.body
    finally:
        threading.setprofile(before_serving)
    return result


def test_a_write_costs_the_same_in_a_store_of_any_size(tmp_path: Path) -> None:
    few, many = counted(tmp_path / "few", 100), counted(tmp_path / "many", 10_000)
    assert not {name: (few[name], many[name]) for name in few if many[name] > 1.3 * few[name]}
