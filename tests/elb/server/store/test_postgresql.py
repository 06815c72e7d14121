"""Several ELBs on one PostgreSQL database."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError

from certferry.elb.server.acme.model import ChallengeAnswer, Issuer, Order, data_of
from certferry.elb.server.actor import Actor
from certferry.elb.server.errors import ApiError
from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.elb.server.identity.shared_logins import SharedLogins
from certferry.elb.server.paths import encryption_key_file
from certferry.elb.server.store import audit, schema
from certferry.elb.server.store.database import open_database
from certferry.elb.server.store.shared import postgresql
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.transaction import Transaction
from certferry.runtime.encryption import EncryptionError, EncryptionKeys
from certferry.settings import ElbSettings
from certferry.up.envoy_pid import envoy_pid
from tests.cli.test_cli import certferry
from tests.e2e.support.waiting import until
from tests.elb.server.store.test_store import content, furnish
from tests.elb.support.dataplane import OPTIONS, free_port
from tests.elb.support.postgres import Postgres, postgres
from tests.elb.support.server import Api, Elb, serving, settings_in
from tests.support.certs import authority


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def database(server: Postgres) -> str:
    return server.database()


class Replicas:
    """Stores of several processes on one database."""

    def __init__(self, directory: Path, database: str, number: int) -> None:
        settings = settings_in(directory, database=database)
        accounts = bootstrap(settings, cluster="blue")
        self.actor = Actor(user_id="u", name="u", role="admin", project_id=accounts.project_id)
        keys = EncryptionKeys.open_or_create(encryption_key_file(settings.state))
        self.engines = [open_database(database) for _ in range(number)]
        self.stores = [Store(engine, keys) for engine in self.engines]

    def close(self) -> None:
        for engine in self.engines:
            engine.dispose()

    def write(self, store: Store, decide: Callable[[Transaction], Any]) -> None:
        store.transact(self.actor, "r", decide)


@pytest.fixture
def replicas(tmp_path: Path, database: str) -> Iterator[Replicas]:
    result = Replicas(tmp_path, database, 2)
    yield result
    result.close()


def everything(store: Store) -> dict[str, Any]:
    return {kind: dict(store.snapshot.rows(kind)) for kind in schema.RESOURCES}


def group(name: str) -> Callable[[Transaction], Any]:
    data = {"name": name, "description": "", "ip_list": [], "enterprise_project_id": "0"}
    return lambda transaction: transaction.create("ipgroup", f"id-{name}", data)


def renamed(identifier: str, name: str) -> Callable[[Transaction], Any]:
    def decide(transaction: Transaction) -> None:
        row = transaction.snapshot.get("ipgroup", identifier)
        assert row is not None
        transaction.update(row, {**row.data, "name": name})

    return decide


def test_a_writer_that_is_behind_decides_on_what_others_committed(replicas: Replicas) -> None:
    first, second = replicas.stores
    replicas.write(first, group("a"))
    replicas.write(second, renamed("id-a", "b"))
    replicas.write(first, renamed("id-a", "c"))
    second.catch_up()
    assert everything(first) == everything(second)
    assert first.snapshot.rows("ipgroup")["id-a"].data["name"] == "c"


def test_a_follower_publishes_each_commit_once(replicas: Replicas) -> None:
    first, second = replicas.stores
    published: list[object] = []
    second.on_commit(published.append)
    replicas.write(first, group("a"))
    for _ in range(3):
        second.catch_up()
    assert len(published) == 2  # the present state, then the commit
    assert set(second.publication.state.ipgroups) == set(first.publication.state.ipgroups) == {"id-a"}
    replicas.write(first, lambda transaction: transaction.delete(transaction.snapshot.rows("ipgroup")["id-a"]))
    second.catch_up()
    assert not second.publication.state.ipgroups


def test_audit_ids_are_in_the_order_of_commits(replicas: Replicas) -> None:
    replicas.write(replicas.stores[0], group("x"))
    together(
        *(
            [lambda store=store, name=f"{number}-{k}": replicas.write(store, group(name)) for k in range(20)]
            for number, store in enumerate(replicas.stores)
        )
    )
    for store in replicas.stores:
        store.catch_up()
    assert everything(replicas.stores[0]) == everything(replicas.stores[1])
    assert len(replicas.stores[0].snapshot.rows("ipgroup")) == 41
    entries = replicas.stores[0].audited(audit.Search(project_id=replicas.actor.project_id, limit=500))
    created = [
        row.id for row in sorted(replicas.stores[0].snapshot.rows("ipgroup").values(), key=lambda r: r.created_at)
    ]
    assert [entry.resource_id for entry in entries if entry.kind == "ipgroup"] == created


def test_a_database_that_fell_back_is_followed_and_reported(
    replicas: Replicas, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = replicas.stores
    replicas.write(first, group("kept"))
    second.catch_up()
    before = everything(second)
    newest = second.newest_event()
    replicas.write(first, group("lost"))
    second.catch_up()
    # A standby that lost the last commit is promoted.
    with replicas.engines[0].begin() as connection:
        connection.execute(schema.ipgroups.delete().where(schema.ipgroups.c.id == "id-lost"))
        connection.execute(update(schema.head).values(sequence=newest))
    second.catch_up()
    assert everything(second) == before
    assert "lost committed changes" in capsys.readouterr().out


def test_changes_that_others_made_after_a_fallback_are_followed(
    replicas: Replicas, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = replicas.stores
    replicas.write(first, group("kept"))
    newest = first.newest_event()
    replicas.write(first, group("lost"))
    second.catch_up()
    # A standby without the last commit is promoted, and commits more before this replica looks again.
    with replicas.engines[0].begin() as connection:
        connection.execute(schema.ipgroups.delete().where(schema.ipgroups.c.id == "id-lost"))
        postgresql.allow_deletion(connection)
        connection.execute(schema.audit.delete().where(schema.audit.c.id > newest))
        connection.execute(text("SELECT setval(pg_get_serial_sequence('audit', 'id'), :last)"), {"last": newest})
        connection.execute(update(schema.head).values(sequence=newest))
    first.catch_up()
    replicas.write(first, group("new"))
    replicas.write(first, group("newer"))
    capsys.readouterr()
    second.catch_up()
    assert everything(second) == everything(first)
    assert set(second.publication.state.ipgroups) == {"id-kept", "id-new", "id-newer"}
    assert "lost committed changes" in capsys.readouterr().out


def test_a_replica_that_is_behind_the_pruned_audit_log_reads_everything(
    replicas: Replicas, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = replicas.stores
    replicas.write(first, group("kept"))
    replicas.write(first, group("gone"))
    second.catch_up()
    published: list[object] = []
    second.on_commit(published.append)
    replicas.write(first, group("missed"))
    replicas.write(first, renamed("id-kept", "other"))
    replicas.write(first, lambda transaction: transaction.delete(transaction.snapshot.rows("ipgroup")["id-gone"]))
    replicas.write(first, group("last"))
    assert first.prune_audit(datetime.now(UTC), 0)
    second.catch_up()
    assert everything(second) == everything(first)
    assert set(second.publication.state.ipgroups) == {"id-kept", "id-missed", "id-last"}
    assert len(published) == 2
    assert "lost" not in capsys.readouterr().out


def test_a_writer_that_is_behind_the_pruned_audit_log_decides_on_the_present(replicas: Replicas) -> None:
    first, second = replicas.stores
    replicas.write(first, group("a"))
    second.catch_up()
    replicas.write(first, renamed("id-a", "b"))
    replicas.write(first, group("last"))
    assert first.prune_audit(datetime.now(UTC), 0)
    seen: list[Any] = []
    replicas.write(second, lambda transaction: seen.append(transaction.snapshot.rows("ipgroup")["id-a"].data["name"]))
    assert seen == ["b"]


@pytest.mark.parametrize("error", [OperationalError("SELECT", {}, Exception("closed")), EncryptionError("no such key")])
def test_a_follower_outlives_a_failed_read(database: str, error: Exception) -> None:
    calls: list[bool] = []

    async def followed() -> None:
        again = asyncio.Event()
        loop = asyncio.get_running_loop()

        def catch_up() -> None:
            calls.append(True)
            if len(calls) == 1:
                raise error
            loop.call_soon_threadsafe(again.set)

        task = asyncio.create_task(postgresql.follow(database, catch_up))
        async with asyncio.timeout(20):
            await again.wait()
        task.cancel()

    asyncio.run(followed())
    assert len(calls) > 1


def test_one_replica_at_a_time_prunes(replicas: Replicas) -> None:
    first, second = replicas.stores
    for name in "abcd":
        replicas.write(first, group(name))
    with replicas.engines[0].begin() as connection:
        assert audit.prune(connection, datetime.min.replace(tzinfo=UTC), 3) > 0
        assert second.prune_audit(datetime.now(UTC), 0) == 0  # at once, without waiting
    assert second.prune_audit(datetime.now(UTC), 0) > 0


def test_the_audit_log_is_append_only(replicas: Replicas) -> None:
    replicas.write(replicas.stores[0], group("a"))
    for statement in (update(schema.audit).values(name="x"), schema.audit.delete()):
        with pytest.raises(DBAPIError, match="append-only"), replicas.engines[0].begin() as connection:
            connection.execute(statement)


def test_two_elbs_answer_alike_and_lose_nothing(tmp_path: Path, database: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(serving(settings_in(tmp_path / "a", database=database)))
        other = settings_in(tmp_path / "b", database=database)
        other.state.mkdir(parents=True, mode=0o700)
        shutil.copy(encryption_key_file(first.settings.state), encryption_key_file(other.state))
        shutil.copy(first.settings.state / "elb-credentials.json", other.state)
        second = stack.enter_context(serving(other))
        certificate, _ = furnish(first.admin)
        until(lambda: second.admin("GET", f"/certificates/{certificate}").status == 200, "the other ELB has it")
        pairs = [authority().issue("a.example") for _ in range(10)]
        halves = ((first.admin, pairs[:5]), (second.admin, pairs[5:]))
        together(*([lambda api=api, pair=pair: put(api, certificate, pair) for pair in part] for api, part in halves))
        records = first.admin.extension("GET", "/audit", query=f"certificate_id={certificate}").body["records"]
        assert len(records) == 1 + 7 + 10  # made, furnished, and nothing of the ten lost
        last = records[-1]["fingerprint"]
        for api in (first.admin, second.admin):
            until(partial(shows, api, certificate, last), "each ELB has the last one")
        assert versions(first.admin, certificate) == versions(second.admin, certificate)


def together(*works: Sequence[Callable[[], None]]) -> None:
    """Do each of `works` in a thread of its own, its parts in order."""

    def run(parts: Sequence[Callable[[], None]]) -> None:
        for part in parts:
            part()

    threads = [threading.Thread(target=run, args=(parts,)) for parts in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def put(api: Api, certificate: str, pair: Any) -> None:
    assert api("PUT", f"/certificates/{certificate}", {"certificate": content(pair)}).status == 200


def shows(api: Api, certificate: str, fingerprint: str) -> bool:
    return bool(api.show("certificate", certificate)["fingerprint"] == fingerprint)


def versions(api: Api, certificate: str) -> list[int]:
    listed = api.extension("GET", f"/certificates/{certificate}/versions").body["versions"]
    return [one["number"] for one in listed]


def test_a_restart_of_the_database_is_survived(tmp_path: Path, server: Postgres, database: str) -> None:
    with serving(settings_in(tmp_path, database=database)) as elb:
        certificate, _ = furnish(elb.admin)
        server.restart()
        put(elb.admin, certificate, authority().issue("a.example"))
        assert elb.admin.show("certificate", certificate)["certferry"]["versions"] == 5


def test_a_store_moves_from_sqlite_with_ids_and_keys(tmp_path: Path, database: str) -> None:
    settings = settings_in(tmp_path)
    with serving(settings) as elb:
        certificate, pairs = furnish(elb.admin)
        before = {kind: elb.admin("GET", f"/{kind}").body[kind] for kind in ("certificates", "l7policies", "listeners")}
        records = elb.admin.extension("GET", "/audit").body["records"]
    moved = certferry("elb", "migrate-store", "--state", str(settings.state), "--to", database)
    assert "Copied 1 certificate" in moved.stdout, moved.stderr
    again = certferry("elb", "migrate-store", "--state", str(settings.state), "--to", database)
    assert "name an empty one" in again.stderr
    with serving(settings_in(tmp_path, database=database)) as elb:
        assert {kind: elb.admin("GET", f"/{kind}").body[kind] for kind in before} == before
        assert elb.admin.extension("GET", "/audit").body["records"] == records
        rolled = elb.admin.extension("POST", f"/certificates/{certificate}/rollback", {})
        assert rolled.status == 200, rolled.body  # its key was decrypted
        assert rolled.body["certificate"]["certificate"] == pairs[-2].certificate


def test_a_backup_is_restored_into_either_database(tmp_path: Path, server: Postgres) -> None:
    settings = settings_in(tmp_path / "one", database=server.database())
    saved = tmp_path / "saved.db"
    with serving(settings) as elb:
        certificate, pairs = furnish(elb.admin)
        kept = certferry("backup", str(saved), *places(settings))
        assert "1 certificate" in kept.stdout, kept.stderr
        put(elb.admin, certificate, authority().issue("a.example"))
        elsewhere = msgspec.structs.replace(settings, state=tmp_path / "elsewhere")
        key = str(encryption_key_file(settings.state))
        running = certferry("restore", str(saved), *places(elsewhere), "--key", key)
        assert "An ELB runs on the database" in running.stderr
    file = settings_in(tmp_path / "file")
    for there in (settings, settings_in(tmp_path / "other", database=server.database()), file):
        there.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        restored = certferry("restore", str(saved), *places(there), *([] if there is settings else ["--key", key]))
        assert "Restored 1 certificate" in restored.stdout, restored.stderr
        with serving(there) as elb:
            assert elb.admin.show("certificate", certificate)["certferry"]["versions"] == 5
            put(elb.admin, certificate, authority().issue("a.example"))
            rolled = elb.admin.extension("POST", f"/certificates/{certificate}/rollback", {})
            assert rolled.body["certificate"]["certificate"] == pairs[-1].certificate
    before = settings.state / "elb.db.before-restore"
    assert before.stat().st_mode & 0o777 == 0o600
    with serving(settings):
        pass


def test_a_key_is_rotated_while_several_elbs_run(tmp_path: Path, database: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(serving(settings_in(tmp_path / "a", database=database)))
        other = settings_in(tmp_path / "b", database=database)
        other.state.mkdir(parents=True, mode=0o700)
        key, copy = encryption_key_file(first.settings.state), encryption_key_file(other.state)
        shutil.copy(key, copy)
        shutil.copy(first.settings.state / "elb-credentials.json", other.state)
        second = stack.enter_context(serving(other))
        certificate, _ = furnish(first.admin)
        (old,) = key.read_text().split()

        def step(expected: str) -> None:
            until(lambda: expected in certferry("rotate-encryption-key", *places(first.settings)).stdout, expected)

        step("Added a new key")
        assert key.read_text().split()[0] == old
        lacking = certferry("rotate-encryption-key", *places(first.settings))
        assert "lack the new key" in lacking.stderr
        put(second.admin, certificate, authority().issue("a.example"))
        shutil.copy(key, copy)
        step("under a new key")  # as soon as both ELBs are known to have it
        put(second.admin, certificate, authority().issue("a.example"))
        late = certferry("rotate-encryption-key", *places(first.settings))
        assert "encrypt with the old key" in late.stderr
        shutil.copy(key, copy)
        step("The old key is removed")
        shutil.copy(key, copy)
        (new,) = key.read_text().split()
        assert new != old
        put(first.admin, certificate, authority().issue("a.example"))
        rolled = second.admin.extension("POST", f"/certificates/{certificate}/rollback", {})
        assert rolled.status == 200, rolled.body


def test_failed_logins_count_at_all_elbs_together(tmp_path: Path, database: str) -> None:
    engines = [open_database(database) for _ in range(2)]
    try:
        logins = [SharedLogins(4, engine) for engine in engines]
        for number in range(4):
            logins[number % 2].attempt("ann", "192.0.2.1")
        for one in logins:
            with pytest.raises(ApiError, match="Too many failed logins"):
                one.attempt("ann", "192.0.2.1")
            one.attempt("ann", "192.0.2.2")  # another address
            one.succeeded("ann", "192.0.2.2")
        with engines[0].begin() as connection:
            table = schema.failed_logins
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 12
            connection.execute(update(table).values(at=datetime.now(UTC) - timedelta(minutes=2)))
        logins[1].attempt("ann", "192.0.2.1")
    finally:
        for engine in engines:
            engine.dispose()


def places(settings: ElbSettings) -> list[str]:
    """Return the flags of a command for these settings."""
    config = settings.state.with_suffix(".yaml")
    elb = {"state": str(settings.state), "database": settings.database}
    config.write_text(json.dumps({"elb": elb}))
    return ["--config", str(config), "--state", str(settings.state)]


def test_a_status_knows_the_envoys_of_all_elbs(tmp_path: Path, database: str) -> None:
    envoy = {"envoy": True, "envoy_options": OPTIONS, "vip_shared_address": "127.0.0.1"}
    with ExitStack() as stack:
        first = stack.enter_context(serving(settings_in(tmp_path / "a", database=database, **envoy)))
        other = settings_in(tmp_path / "b", database=database, **envoy)
        other.state.mkdir(parents=True, mode=0o700)
        shutil.copy(encryption_key_file(first.settings.state), encryption_key_file(other.state))
        shutil.copy(first.settings.state / "elb-credentials.json", other.state)
        certificate = first.admin.make("certificate", **content(authority().issue("a.example")))["id"]
        balancer = first.admin.make("loadbalancer")["id"]
        fields = {"loadbalancer_id": balancer, "protocol": "HTTPS", "default_tls_container_ref": certificate}
        first.admin.make("listener", protocol_port=free_port(), **fields)

        def state(api: Api) -> str:
            body = api.extension("GET", f"/certificates/{certificate}/status").body
            return str([one["state"] for one in body["status"]["listeners"]])

        until(lambda: state(first.admin) == "['accepted']", "our Envoy has it")
        second = stack.enter_context(serving(other))
        until(lambda: state(second.admin) == "['accepted']", "the other Envoy has it")
        mine = {"envoy": f"{socket.gethostname()}/local"}
        until(lambda: mine["envoy"] in healthz(first)["connected"], "the first ELB knows the other's Envoy")
        pid = envoy_pid(other.state / "envoy.json")
        os.kill(pid, signal.SIGSTOP)
        try:
            put(first.admin, certificate, authority().issue("a.example"))
            until(
                lambda: state(first.admin) == state(second.admin) == "['pending']", "the other Envoy has not answered"
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: state(first.admin) == state(second.admin) == "['accepted']", "both have it")


def test_every_elb_writes_which_route_tables_with_challenges_its_envoy_has(tmp_path: Path, database: str) -> None:
    envoy = {"envoy": True, "envoy_options": OPTIONS, "vip_shared_address": "127.0.0.1"}
    with ExitStack() as stack:
        first = stack.enter_context(serving(settings_in(tmp_path / "a", database=database, **envoy)))
        other = settings_in(tmp_path / "b", database=database, **envoy)
        other.state.mkdir(parents=True, mode=0o700)
        shutil.copy(encryption_key_file(first.settings.state), encryption_key_file(other.state))
        shutil.copy(first.settings.state / "elb-credentials.json", other.state)
        fields = {"loadbalancer_id": first.admin.make("loadbalancer")["id"], "protocol": "HTTP"}
        listener = first.admin.make("listener", protocol_port=free_port(), **fields)["id"]
        stack.enter_context(serving(other))
        engine = open_database(database)
        stack.callback(engine.dispose)
        store = Store(engine, EncryptionKeys.open_or_create(encryption_key_file(other.state)))

        def challenged(transaction: Transaction) -> None:
            issuer = transaction.create("issuer", "i" * 32, data_of(Issuer(name="ca", directory="https://127.0.0.1:1")))
            answer = ChallengeAnswer(host="a.example", token="t" * 16, answer="a", authorization="", url="")
            order = Order(
                name="a.example",
                names=("a.example",),
                names_key="k",
                issuer_id=issuer.id,
                state="presented",
                next_at=store.now() + timedelta(hours=1),
                challenges=(answer,),
                listener_ids=(listener,),
            )
            transaction.create("order", "o" * 32, data_of(order))

        actor = Actor(user_id="", name="test", role="admin", project_id=first.admin.project_id)
        store.transact(actor, "r", challenged)

        def written() -> list[str]:
            with engine.connect() as connection:
                table = schema.envoy_answers
                rows = connection.execute(select(table).where(table.c.kind == "route-table"))
                return [row.digest for row in rows if row.name == listener]

        until(lambda: len(written()) == 2 and len(set(written())) == 1, "both Envoys have the same route table")


async def test_one_elb_works_on_orders_and_another_takes_over(database: str) -> None:
    began: asyncio.Queue[str] = asyncio.Queue()

    async def work(name: str) -> None:
        began.put_nowait(name)
        await asyncio.Event().wait()

    open_database(database).dispose()
    first = asyncio.create_task(postgresql.leading(database, lambda: work("first")))
    async with asyncio.timeout(30):
        assert await began.get() == "first"
        engine = open_database(database)
        with engine.connect() as connection:
            lock = select(func.pg_try_advisory_lock(postgresql.ORDER_LOCK))
            assert connection.execute(lock).scalar() is False
        engine.dispose()
        second = asyncio.create_task(postgresql.leading(database, lambda: work("second")))
        first.cancel()
        assert await began.get() == "second"
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


def healthz(elb: Elb) -> Any:
    with urllib.request.urlopen(f"{elb.origin}/healthz", timeout=10) as answer:
        return json.load(answer)
