from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from certferry.elb.server.paths import store_file
from certferry.elb.server.store.database import open_database
from tests.elb.server.store.program import elb_program
from tests.elb.support.server import serving, settings_in
from tests.support.certs import Pair, authority


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def test_answered_writes_survive_a_kill(tmp_path: Path) -> None:
    answered: dict[str, str] = {}
    with elb_program(tmp_path) as elb:
        for _ in range(3):
            pair = authority().issue("a.example")
            identifier = elb.api.make("certificate", **content(pair))["id"]
            renewed = authority().issue("a.example")
            reply = elb.api("PUT", f"/certificates/{identifier}", {"certificate": content(renewed)})
            if len(answered) == 2:
                elb.process.kill()
            assert reply.status == 200
            answered[identifier] = renewed.certificate
    with serving(settings_in(tmp_path)) as after:
        shown = after.admin("GET", "/certificates").body["certificates"]
        assert {one["id"]: one["certificate"] for one in shown} == answered
        records = after.admin.extension("GET", "/audit").body["records"]
        assert len(records) == 2 * len(answered), "and the log tells of each"


def test_a_commit_is_durable_before_its_response(tmp_path: Path) -> None:
    """FULL: the log is synced at each commit (https://sqlite.org/pragma.html#pragma_synchronous)."""
    settings = settings_in(tmp_path)
    with serving(settings):
        pass
    engine = open_database(store_file(settings.state))
    try:
        with engine.connect() as connection:
            asked = {p: connection.execute(text(f"PRAGMA {p}")).scalar() for p in ("synchronous", "journal_mode")}
    finally:
        engine.dispose()
    assert asked == {"synchronous": 2, "journal_mode": "wal"}


def test_the_write_ahead_log_survives_another_process(tmp_path: Path) -> None:
    """SQLite's locks are POSIX's: a file descriptor closed in the wrong place would drop them all."""
    with elb_program(tmp_path) as elb:
        identifier = elb.api.make("certificate", **content(authority().issue("a.example")))["id"]
        log = store_file(elb.state).with_name("elb.db-wal")
        before = log.stat().st_ino
        command = [sys.executable, "-m", "certferry", "rotate-encryption-key", "--state", str(elb.state)]
        subprocess.run(command, check=True, capture_output=True)
        renewed = authority().issue("a.example")
        assert elb.api("PUT", f"/certificates/{identifier}", {"certificate": content(renewed)}).status == 200
        assert log.stat().st_ino == before, "the log of a running ELB is not taken away from it"
        saved = tmp_path / "saved.db"
        command = [sys.executable, "-m", "certferry", "backup", str(saved), "--state", str(elb.state)]
        subprocess.run(command, check=True, capture_output=True)
        assert renewed.certificate.splitlines()[1].encode() in saved.read_bytes(), "and has the newest write"
