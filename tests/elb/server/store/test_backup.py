from __future__ import annotations

import base64
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certferry.elb.server import backup as keeping
from certferry.elb.server.dataplane.remote.ca import Authority
from certferry.elb.server.dataplane.remote.registry import RemoteEnvoy, RemoteEnvoyRegistry
from certferry.elb.server.identity import admin
from certferry.elb.server.paths import encryption_key_file, store_file
from certferry.elb.server.rotate_key import rotate_encryption_key
from certferry.runtime.encryption import VARIABLE, EncryptionError
from certferry.runtime.private_ca import PrivateCa
from certferry.settings import ElbSettings, UserError
from tests.elb.support.server import Api, Elb, Reply, serving, settings_in, stored
from tests.support.certs import Pair, authority

NOWHERE: dict[str, str] = {}
"""An environment without a key."""


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def put(api: Api, identifier: str, pair: Pair) -> Reply:
    return api("PUT", f"/certificates/{identifier}", {"certificate": content(pair)})


def everything(api: Api) -> Any:
    return [api("GET", f"/{name}").body[name] for name in ("certificates", "listeners", "loadbalancers")]


def furnish(api: Api) -> str:
    made = api.make("certificate", domain="a.example", **content(authority().issue("a.example")))["id"]
    lb = api.make("loadbalancer")["id"]
    api.make("listener", loadbalancer_id=lb, protocol="HTTPS", protocol_port=443, default_tls_container_ref=made)
    return str(made)


def keys_in(state: Path) -> list[str]:
    return encryption_key_file(state).read_text().split()


def test_a_backup_of_a_running_elb_is_restored_elsewhere(own: Elb, tmp_path: Path) -> None:
    identifier = furnish(own.admin)
    before = everything(own.admin)
    (tmp_path / "safe").mkdir()
    saved, key = tmp_path / "saved.db", tmp_path / "safe" / "key"
    kept = keeping.backup(own.settings, saved, key, NOWHERE)
    assert (kept.certificates, kept.secrets) == (1, 3), "a key, and two secret keys"
    put(own.admin, identifier, authority().issue("a.example"))
    assert everything(own.admin) != before, "it goes on"

    other = settings_in(tmp_path / "other")
    restored = keeping.restore(other, saved, key, NOWHERE)
    assert restored == kept
    with serving(other) as elb:
        assert everything(elb.admin) == before
        assert put(elb.admin, identifier, authority().issue("a.example")).status == 200
    assert saved.stat().st_mode & 0o777 == key.stat().st_mode & 0o777 == 0o600
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"saved.db"}, "nothing is left over"


def test_remote_envoys_are_restored_with_the_store(tmp_path: Path) -> None:
    settings, other = settings_in(tmp_path / "one"), settings_in(tmp_path / "other")
    guest = RemoteEnvoy(name="edge-1", fingerprint="f", not_after=datetime.now(UTC), loadbalancers=("a",))
    with serving(settings), admin.opened(settings) as directory:
        made = Authority(directory.engine, directory.encryption)
        RemoteEnvoyRegistry(directory.engine).add(guest)
    saved, key = tmp_path / "saved.db", tmp_path / "safe" / "key"
    key.parent.mkdir()
    keeping.backup(settings, saved, key, NOWHERE)
    assert b"PRIVATE KEY" not in saved.read_bytes()
    keeping.restore(other, saved, key, NOWHERE)
    with serving(other) as elb, admin.opened(other) as directory:
        assert elb.admin("GET", "/certificates").status == 200
        assert RemoteEnvoyRegistry(directory.engine).read() == [guest]
        assert Authority(directory.engine, directory.encryption).pem == made.pem


def test_the_files_of_remote_envoys_of_version_0_1_are_moved_into_the_store(tmp_path: Path) -> None:
    settings, now = settings_in(tmp_path), datetime.now(UTC)
    ca = PrivateCa.create("Certferry Envoys", now)
    guest = RemoteEnvoy(name="edge-1", fingerprint="f", not_after=now, loadbalancers=("a",))
    contents = {"crt": ca.pem, "key": ca.key_pem, "json": msgspec.json.encode([guest])}
    settings.state.mkdir(parents=True)
    files = [settings.state / f"envoys{'' if end == 'json' else '-ca'}.{end}" for end in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    with serving(settings), admin.opened(settings) as directory:
        register = RemoteEnvoyRegistry(directory.engine)
        assert register.read() == [guest]
        assert Authority(directory.engine, directory.encryption).pem == ca.pem
        assert not any(file.exists() for file in files)
        register.remove("edge-1")
    files[-1].write_bytes(contents["json"])  # an old file that comes back adds nothing
    with serving(settings), admin.opened(settings) as directory:
        assert RemoteEnvoyRegistry(directory.engine).read() == []


def test_a_restore_keeps_the_replaced_files(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with serving(settings) as elb:
        identifier = furnish(elb.admin)
        before = everything(elb.admin)
        keeping.backup(settings, tmp_path / "saved.db", None, NOWHERE)
        put(elb.admin, identifier, authority().issue("a.example"))
        after = everything(elb.admin)
        with pytest.raises(UserError, match="end it first"):
            keeping.restore(settings, tmp_path / "saved.db", None, NOWHERE)
    keeping.restore(settings, tmp_path / "saved.db", None, NOWHERE)
    with serving(settings) as elb:
        assert everything(elb.admin) == before
    keeping.restore(settings, store_file(settings.state).with_name("elb.db.before-restore"), None, NOWHERE)
    with serving(settings) as elb:
        assert everything(elb.admin) == after


def test_a_backup_holds_no_plain_secret_and_needs_its_key(own: Elb, tmp_path: Path) -> None:
    pair = authority().issue("a.example")
    own.admin.make("certificate", **content(pair))
    saved = tmp_path / "saved.db"
    keeping.backup(own.settings, saved, None, NOWHERE)
    assert not [needle for needle in needles(pair, own) if needle in saved.read_bytes()]
    assert encryption_key_file(own.settings.state).read_bytes().strip() not in saved.read_bytes()
    stranger = tmp_path / "stranger.key"
    stranger.write_text(base64.b64encode(os.urandom(32)).decode())
    with pytest.raises(UserError, match="another key"):
        keeping.restore(ElbSettings(state=tmp_path / "new"), saved, stranger, NOWHERE)
    with pytest.raises(UserError, match="no encryption key"):
        keeping.restore(ElbSettings(state=tmp_path / "new"), saved, None, NOWHERE)
    assert not store_file(tmp_path / "new").exists(), "and nothing was touched"


def test_impossible_restores_are_rejected_before_any_change(own: Elb, tmp_path: Path) -> None:
    state, saved = own.settings.state, tmp_path / "saved.db"
    with pytest.raises(UserError, match="another directory"):
        keeping.backup(ElbSettings(state=state), saved, tmp_path / "key", NOWHERE)
    with pytest.raises(UserError, match="no ELB's store"):
        keeping.backup(ElbSettings(state=tmp_path / "nowhere"), saved, None, NOWHERE)
    with pytest.raises(UserError, match="cannot be read or written"):
        keeping.backup(ElbSettings(state=state), tmp_path / "no" / "such" / "place.db", None, NOWHERE)
    saved.write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match="replaces nothing"):
        keeping.backup(ElbSettings(state=state), saved, None, NOWHERE)
    with pytest.raises(UserError, match="cannot be opened"):
        keeping.restore(ElbSettings(state=tmp_path / "new"), saved, encryption_key_file(state), NOWHERE)
    assert not store_file(tmp_path / "new").exists()


def test_a_key_is_rotated_beside_a_running_elb(own: Elb) -> None:
    identifier = furnish(own.admin)
    old = keys_in(own.settings.state)
    stop, replies = threading.Event(), list[int]()

    def write() -> None:
        while not stop.is_set():
            replies.append(put(own.admin, identifier, authority().issue("a.example")).status)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        changed = [rotate_encryption_key(own.settings, NOWHERE) for _ in range(5)]
    finally:
        stop.set()
        writer.join(30)
    assert set(replies) == {200}, "nobody noticed"
    assert all(int(said.split()[1]) >= 3 for said in changed), "each time all of it"
    (new,) = keys_in(own.settings.state)
    assert new not in old
    with stored(own.settings) as (store, _):
        row = store.snapshot.get("certificate", identifier)
        assert row is not None
        assert row.content is not None
        assert row.content.key is not None, "what was written on the way opens under the new key alone"
    assert own.admin.extension("POST", f"/certificates/{identifier}/rollback", {}).status in (200, 409)


def test_a_key_in_the_environment_is_rotated_to_the_first(own: Elb) -> None:
    furnish(own.admin)
    (old,) = keys_in(own.settings.state)
    new = base64.b64encode(os.urandom(32)).decode()
    assert rotate_encryption_key(own.settings, {VARIABLE: f"{new} {old}"}).startswith("Encrypted 3 secrets")
    assert rotate_encryption_key(own.settings, {VARIABLE: f"{new} {old}"}).startswith("Encrypted 0 secrets")
    with pytest.raises(EncryptionError, match="another key"), stored(own.settings):
        pass


def test_a_key_rotation_that_cannot_decrypt_everything_changes_nothing(own: Elb) -> None:
    furnish(own.admin)
    path = encryption_key_file(own.settings.state)
    right = path.read_text()
    path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    wrong = path.read_text()
    with pytest.raises(UserError, match="another key"):
        rotate_encryption_key(own.settings, NOWHERE)
    assert path.read_text() == wrong
    path.write_text(right)
    with stored(own.settings):
        pass


def test_no_key_is_in_the_database_its_log_or_its_free_pages(own: Elb) -> None:
    pairs = [authority().issue("a.example") for _ in range(8)]
    identifier = own.admin.make("certificate", **content(pairs[0]))["id"]
    for pair in pairs[1:]:
        put(own.admin, identifier, pair)
    gone = own.admin.make("certificate", **content(authority().issue("b.example")))["id"]
    own.admin("DELETE", f"/certificates/{gone}")
    rotate_encryption_key(own.settings, NOWHERE)
    files = b"".join(file.read_bytes() for file in own.settings.state.glob("elb.db*"))
    assert pairs[-1].certificate.splitlines()[1].encode() in files, "we look at the right files"
    for pair in pairs:
        assert not [needle for needle in needles(pair, own) if needle in files]


def needles(pair: Pair, elb: Elb) -> list[bytes]:
    """A private key as text, as DER and as the bare number; and the secrets of the accounts."""
    key = load_pem_private_key(pair.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    lines = [line.encode() for line in pair.key.splitlines() if "-----" not in line]
    number = key.private_numbers().private_value.to_bytes(32, "big")
    accounts = elb.credentials.admin, elb.credentials.controller
    return [*lines, number, b"PRIVATE KEY", *(account.secret_key.encode() for account in accounts)]


def test_a_key_is_printed_by_a_command(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "elb")
    printed = tmp_path / "printed"
    printed.write_text(base64.b64encode(os.urandom(32)).decode())
    settings = msgspec.structs.replace(settings, encryption_key_command=("cat", str(printed)))
    with serving(settings) as elb:
        furnish(elb.admin)
    assert not encryption_key_file(settings.state).exists()
    kept = keeping.backup(settings, tmp_path / "saved.db", None, NOWHERE)
    assert kept.secrets == 3
    for command, why in [(("false",), "ended with code 1"), (("/nowhere",), "No such file"), (("echo", "x"), "no key")]:
        with pytest.raises(UserError, match=why):
            keeping.backup(msgspec.structs.replace(settings, encryption_key_command=command), tmp_path / "b", None, {})


def test_a_key_file_elsewhere_is_never_made(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings_in(tmp_path / "elb"), encryption_key_file=tmp_path / "mounted" / "key")
    with pytest.raises(EncryptionError, match="There is no encryption key"), serving(settings):
        pass
