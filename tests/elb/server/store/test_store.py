from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from certferry.core.x509.pem import parse_key
from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.elb.server.main import running
from certferry.elb.server.paths import encryption_key_file, store_file
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import HEAD, open_database
from certferry.settings import EXIT_NEWER_STATE, EXIT_UNUSABLE, ElbSettings, UserError
from tests.elb.support.server import Api, Elb, serving, settings_in, stored
from tests.support.certs import Pair, authority


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def everything(api: Api) -> dict[str, Any]:
    names = ("loadbalancers", "listeners", "certificates", "pools", "members", "healthmonitors", "l7policies")
    return {name: api("GET", f"/{name}").body[name] for name in names}


def furnish(api: Api) -> tuple[str, list[Pair]]:
    """One of everything; the certificate's id and what it ever held."""
    pairs = [authority().issue("a.example") for _ in range(8)]
    certificate = api.make("certificate", domain="a.example", **content(pairs[0]))["id"]
    for pair in pairs[1:]:
        assert api("PUT", f"/certificates/{certificate}", {"certificate": content(pair)}).status == 200
    lb = api.make("loadbalancer")["id"]
    listener = api.make(
        "listener",
        loadbalancer_id=lb,
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref=certificate,
        sni_container_refs=[certificate],
        enhance_l7policy_enable=True,
    )["id"]
    pool = api.make("pool", listener_id=listener, protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    api.make("member", f"/pools/{pool}/members", address="127.0.0.1", protocol_port=1)
    api.make("healthmonitor", pool_id=pool, type="TCP", delay=5, timeout=3, max_retries=3)
    rules = [{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": f"{n}.example"} for n in "a"]
    rules.append({"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"})
    fields = {"listener_id": listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool}
    api.make("l7policy", rules=rules, **fields)
    return certificate, pairs


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with serving(settings) as first:
        certificate, pairs = furnish(first.admin)
        before = everything(first.admin)
        with stored(settings) as (store, _):
            state = store.publication.state
    with serving(settings) as second:
        assert everything(second.admin) == before
    with stored(settings) as (store, _):
        assert store.publication.state == state, "and the data plane gets the very same"
        row = store.snapshot.get("certificate", certificate)
        assert row is not None
        assert row.content is not None
        assert row.content.key is not None
        assert row.content.key.reveal() == parse_key(pairs[-1].key).reveal()
        assert set(store.publication.keys) == {row.content.chain.digest}


def test_private_keys_are_stored_encrypted_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = settings_in(tmp_path)
    with serving(settings) as elb:
        certificate, pairs = furnish(elb.admin)
        echoed = str(everything(elb.admin))
        broken = pairs[0].key.replace("-----END", "!-----END")
        refusals = [
            elb.admin("PUT", f"/certificates/{certificate}", {"certificate": {"private_key": text}})
            for text in (broken, pairs[0].key[:150], authority().issue("b.example").key)
        ]
        assert {reply.status for reply in refusals} == {400}
        echoed += str([reply.body for reply in refusals])
        files = b"".join(file.read_bytes() for file in settings.state.glob("elb.db*"))
    files += b"".join(file.read_bytes() for file in settings.state.glob("elb.db*"))
    assert b"BEGIN CERTIFICATE" in files, "we look at the right files"
    said = "".join(capfd.readouterr())
    assert certificate in said, "and at the log"
    secrets = [line for pair in pairs for line in pair.key.splitlines() if "-----" not in line]
    secrets += [elb.credentials.admin.secret_key, elb.credentials.admin.password]
    for secret in secrets:
        assert secret not in echoed + said
        assert secret.encode() not in files
    assert b"PRIVATE KEY" not in files


def test_the_last_five_versions_are_kept_with_their_writers(own: Elb) -> None:
    certificate, _ = furnish(own.admin)
    with sqlite3.connect(store_file(own.settings.state)) as database:
        versions = database.execute("SELECT version, actor FROM certificate_versions").fetchall()
        assert versions == [(n, "admin") for n in range(4, 9)]
        found = database.execute(
            "SELECT action, actor, fields FROM audit WHERE object_id = ? ORDER BY id", (certificate,)
        ).fetchall()
    assert found[0] == ("create", "admin", "[]")
    assert found[1] == ("update", "admin", '["certificate","version"]')
    assert len(found) == 8


def test_parallel_writers_lose_nothing(own: Elb) -> None:
    certificate = own.admin.make("certificate", **content(authority().issue("a.example")))["id"]
    pairs = [authority().issue("a.example") for _ in range(8)]
    replies: list[int] = []

    def work(n: int) -> None:
        body = {"certificate": content(pairs[n])}
        replies.append(own.admin("PUT", f"/certificates/{certificate}", body).status)
        replies.append(own.admin("POST", "/loadbalancers", {"loadbalancer": {}}).status)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(replies) == [200] * 8 + [201] * 8
    addresses = [one["vip_address"] for one in own.admin("GET", "/loadbalancers").body["loadbalancers"]]
    assert len(set(addresses)) == 8
    served = own.admin.show("certificate", certificate)["certificate"]
    assert served in [pair.certificate for pair in pairs]
    with stored(own.settings) as (store, _):
        row = store.snapshot.get("certificate", certificate)
        assert row is not None
        assert (row.revision, row.content and row.content.version) == (9, 9)
        assert row.content is not None
        assert row.content.chain.pem == served


async def refusal(settings: ElbSettings) -> UserError:
    with pytest.raises(UserError) as caught:
        async with running(settings):
            pass
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_newer_store_is_rejected(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    bootstrap(settings, cluster="blue")
    with sqlite3.connect(store_file(settings.state)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    reason = asyncio.run(refusal(settings))
    assert reason.code == EXIT_NEWER_STATE
    assert "newer Certferry" in str(reason)


def test_a_second_instance_and_an_occupied_port_are_rejected(own: Elb, tmp_path: Path) -> None:
    assert "Another ELB" in str(asyncio.run(refusal(own.settings)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        reason = asyncio.run(refusal(settings_in(tmp_path / "other", listen=listen)))
    assert (reason.code, listen in str(reason)) == (EXIT_UNUSABLE, True)


def test_a_public_address_without_tls_is_rejected(tmp_path: Path) -> None:
    reason = asyncio.run(refusal(settings_in(tmp_path, listen="0.0.0.0:0")))
    assert "loopback" in str(reason)


def test_a_wrong_key_is_rejected(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with serving(settings) as elb:
        elb.admin.make("certificate", **content(authority().issue("a.example")))
    encryption_key_file(settings.state).unlink()
    assert "encrypted with another key" in str(asyncio.run(refusal(settings)))


def test_files_are_private_to_their_owner(own: Elb) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in own.settings.state.iterdir() if file.is_file()}
    assert modes["elb.db"] == modes["elb.db-wal"] == modes["elb-seal.key"] == 0o600
    assert set(modes.values()) == {0o600}


def test_migrations_create_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", "certferry.elb.server.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD

    path = tmp_path / "elb.db"
    engine = open_database(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()
