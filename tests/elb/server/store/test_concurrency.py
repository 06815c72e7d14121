from __future__ import annotations

from pathlib import Path

import pytest

from certferry.elb.server.actor import Actor
from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.tables import Row
from certferry.elb.server.store.transaction import ConflictError, Transaction
from tests.elb.support.server import settings_in, stored


def test_a_row_changed_by_another_writer_is_not_overwritten(tmp_path: Path) -> None:
    """The revision is compared in the statement that writes: two programs cannot both win."""
    settings = settings_in(tmp_path)
    project = bootstrap(settings, cluster="blue").project_id
    actor = Actor(user_id="u", name="mary", role="admin", project_id=project)

    def make(transaction: Transaction) -> Row:
        return transaction.create("pool", "p1", {"loadbalancer_id": None, "name": "first"})

    def rename(store: Store, name: str) -> None:
        def decide(transaction: Transaction) -> None:
            row = transaction.snapshot.get("pool", "p1")
            assert row is not None
            transaction.update(row, {**row.data, "name": name})

        store.transact(actor, "r", decide)

    with stored(settings) as (first, _):
        first.transact(actor, "r", make)
        with stored(settings) as (second, _):
            rename(first, "the winner")
            with pytest.raises(ConflictError):
                rename(second, "the loser")
            kept = second.snapshot.get("pool", "p1")
            assert kept is not None
            assert kept.data["name"] == "first", "and it does not believe what was not stored"
    with stored(settings) as (after, _):
        row = after.snapshot.get("pool", "p1")
        assert row is not None
        assert (row.data["name"], row.revision) == ("the winner", 2)
