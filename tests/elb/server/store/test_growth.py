"""Nothing grows without bound: audit log, tokens and the history of served certificates over a simulated year."""

from __future__ import annotations

import sqlite3
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certferry.elb.client import extensions
from certferry.elb.server.actor import Actor
from certferry.elb.server.dataplane.access_log.secret_history import SecretHistory, SecretInterval
from certferry.elb.server.paths import encryption_key_file, store_file
from certferry.elb.server.store import audit
from certferry.elb.server.store.database import open_database
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.transaction import Transaction
from certferry.runtime.encryption import EncryptionKeys
from tests.elb.support.server import Elb, connected, stored


def test_the_audit_log_of_a_year_is_bounded_by_age_and_number(own: Elb) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    engine = open_database(store_file(own.settings.state))
    store = Store(engine, EncryptionKeys.open_or_create(encryption_key_file(own.settings.state)), clock=lambda: now)
    actor = Actor(user_id="u", name="admin", role="admin", project_id=own.credentials.project_id)

    def write(transaction: Transaction) -> None:
        row = transaction.create("security_policy", f"p{now:%j%H}", {"name": "", "description": ""})
        transaction.delete(row)

    for _ in range(365 * 4):
        now += timedelta(hours=6)
        store.transact(actor, "r", write)
        if now.hour == 0:
            store.prune_audit(now - timedelta(days=30), 200)
    records = audit.search(engine, audit.Search(project_id=actor.project_id, limit=10_000))
    assert 200 <= len(records) <= 210
    assert min(record.at for record in records) >= now - timedelta(days=31)
    assert records[-1].sequence == 2 * 365 * 4, "sequences go on"

    while store.prune_audit(now + timedelta(days=1), 0):
        pass
    (last,) = audit.search(engine, audit.Search(project_id=actor.project_id, limit=10))
    store.transact(actor, "r", write)
    assert store.newest_event() == last.sequence + 2
    with sqlite3.connect(store_file(own.settings.state)) as database:
        assert database.execute("SELECT count(*) FROM audit_names").fetchone() == (0,)
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            database.execute("DELETE FROM audit")
    engine.dispose()


async def test_a_reader_whose_records_were_pruned_is_told_of_the_gap(own: Elb) -> None:
    for n in range(5):
        own.admin.make("ipgroup", ip_list=[], name=str(n))
    with stored(own.settings) as (store, _):
        store.prune_audit(datetime.now(UTC) + timedelta(days=1), 2)
    async with connected(own.admin) as client, aclosing(extensions.events(client, since=1)) as stream:
        with pytest.raises(extensions.Gap) as gap:
            await anext(stream)
    assert gap.value.sequence == 5


def test_tokens_of_one_user_are_bounded(own: Elb) -> None:
    with stored(own.settings) as (_, identity):
        actor = identity.by_password(own.credentials.admin.username, own.credentials.admin.password)
        assert actor is not None
        tokens = [identity.issue(actor, timedelta(hours=1))[0] for _ in range(1005)]
        valid = [token for token in tokens if identity.by_token(token) is not None]
    assert valid == tokens[-1000:]


def test_the_history_of_served_certificates_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "access.seats"
    history = SecretHistory(file)
    for day in range(366):
        at = day * 86400.0
        history.add(SecretInterval(f"gone {day} {n}", "f", at, at) for n in range(200))
        history.add([SecretInterval("site", f"{day:064x}", at, at)])
    assert file.read_bytes().count(b"\n") < 10_000 * 20 + 50_000
    assert file.stat().st_size < 8 << 20
    for present in (history, SecretHistory(file)):
        assert present.shown("site", 365 * 86400.0 + 1) == (f"{365:064x}",)
