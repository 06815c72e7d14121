"""Users, from the command line to the service that runs meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certferry.cli.programs import user as command
from certferry.elb.server.errors import ApiError
from certferry.elb.server.identity.auth import Logins
from certferry.settings import UserError as NotPossible
from tests.elb.support.server import Api, Elb, Reply, send


class Operator:
    """Commands on the state of a running service, in this process."""

    def __init__(self, elb: Elb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.elb, self._monkeypatch, self._capsys = elb, monkeypatch, capsys

    def __call__(self, name: str, *arguments: Any, typed: str = "", **options: Any) -> str:
        import io

        self._monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        self._capsys.readouterr()
        getattr(command, name)(*arguments, state=self.elb.settings.state, **options)
        return self._capsys.readouterr().out


@pytest.fixture
def operator(own: Elb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(own, monkeypatch, capsys)


def login(elb: Elb, name: str, password: str) -> Reply:
    user = {"name": name, "password": password, "domain": {"name": "Default"}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}}
    return send(elb.origin, "POST", "/v3/auth/tokens", json.dumps({"auth": auth}).encode())


def asking(elb: Elb, token: str, method: str = "GET", body: bytes = b"") -> int:
    path = f"/v3/{elb.credentials.project_id}/elb/pools"
    return send(elb.origin, method, path, body, {"X-Auth-Token": token}).status


POOL = b'{"pool":{"type":"ip","protocol":"HTTP","lb_algorithm":"ROUND_ROBIN"}}'


def test_a_running_service_notices_each_change(own: Elb, operator: Operator) -> None:
    operator("add", "ann", role="reader", typed="correct horse\n")
    token = login(own, "ann", "correct horse").headers["x-subject-token"]
    assert (asking(own, token), asking(own, token, "POST", POOL)) == (200, 403)
    operator("role", "ann", "member")
    assert asking(own, token, "POST", POOL) == 201
    operator("passwd", "ann", typed="battery staple\n")
    assert asking(own, token) == 401, "tokens from before are void"
    assert login(own, "ann", "correct horse").status == 401
    token = login(own, "ann", "battery staple").headers["x-subject-token"]
    operator("remove", "ann")
    assert asking(own, token) == 401
    assert login(own, "ann", "battery staple").status == 401


def test_access_keys_are_created_and_revoked(own: Elb, operator: Operator, tmp_path: Path) -> None:
    operator("add", "bot", role="controller", cluster="green", password=False)
    file = tmp_path / "elb.json"
    said = operator("keys", "bot", new=True, out=file)
    content = json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    assert content["secret_key"] not in said
    assert content["access_key"] in operator("keys", "bot")
    assert content["username"] == "bot"

    class Account:
        access_key, secret_key = content["access_key"], content["secret_key"]

    api = Api(own.origin, content["project_id"], Account())  # type: ignore[arg-type]
    assert api("GET", "/pools").status == 200
    assert login(own, "bot", "anything at all").status == 401, "it only signs"
    operator("keys", "bot", revoke=content["access_key"])
    assert api("GET", "/pools").status == 401
    shown = operator("keys", "bot", new=True)
    assert shown.split()[0::2] == ["access_key", "secret_key", "project_id"]


def test_impossible_changes_are_one_sentence(operator: Operator, own: Elb) -> None:
    long = "long enough\n"
    cases: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
        ("add", ("admin",), {"typed": long}, "already"),
        ("add", ("a b",), {"typed": long}, "no user name"),
        ("add", ("eve",), {"typed": "short\n"}, "8 characters"),
        ("add", ("eve",), {"typed": long, "role": "king"}, "no role king"),
        ("add", ("eve",), {"typed": long, "role": "controller"}, "--cluster"),
        ("add", ("eve",), {"typed": long, "role": "controller", "cluster": "blue"}, "controller already"),
        ("add", ("eve",), {"typed": long, "role": "member", "cluster": "blue"}, "not for member"),
        ("passwd", ("nobody",), {"typed": long}, "no user nobody"),
        ("role", ("nobody", "member"), {}, "no user nobody"),
        ("keys", ("admin",), {"revoke": "AK"}, "no access key"),
        ("keys", ("admin",), {"out": Path("x")}, "--new"),
        ("remove", ("nobody",), {}, "no user nobody"),
    ]
    for name, arguments, options, words in cases:
        with pytest.raises(NotPossible, match=words):
            operator(name, *arguments, **options)
    assert "eve" not in operator("ls")


def test_the_list_has_no_secrets(operator: Operator, own: Elb) -> None:
    listed = operator("ls")
    admin, controller = own.credentials.admin, own.credentials.controller
    assert f"{admin.username}  admin" in listed
    assert f"{controller.username}  controller of blue" in listed
    assert admin.access_key in listed
    for secret in (admin.password, admin.secret_key, controller.secret_key):
        assert secret not in listed


def test_the_audit_log_records_users(operator: Operator, own: Elb) -> None:
    import sqlite3

    from certferry.elb.server.paths import store_file

    operator("add", "ann", role="reader", typed="correct horse\n")
    operator("role", "ann", "member")
    operator("remove", "ann")
    with sqlite3.connect(store_file(own.settings.state)) as database:
        query = "SELECT action, actor, fields FROM audit WHERE kind = 'user' ORDER BY id"
        told = database.execute(query).fetchall()
    assert [(action, actor) for action, actor, _ in told] == [
        ("create", "operator"),
        ("update", "operator"),
        ("delete", "operator"),
    ]
    assert "correct horse" not in str(told)


@pytest.mark.process
def test_the_users_command(own: Elb, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "certferry", "user", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(
            words, input="correct horse\n", capture_output=True, text=True, timeout=60, env=environment, check=False
        )

    done = run("add", "ann", "--role", "reader", "--state", own.settings.state)
    assert (done.returncode, "ann" in done.stdout) == (0, True), done.stderr
    assert login(own, "ann", "correct horse").status == 201
    nowhere = run("ls", "--state", tmp_path / "nowhere")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "nowhere").exists()


def test_keystone_shows_users_and_revokes_tokens(own: Elb, operator: Operator) -> None:
    operator("add", "ann", role="reader", typed="correct horse\n")
    admin = own.credentials.admin
    tokens = {
        "admin": login(own, admin.username, admin.password).headers["x-subject-token"],
        "ann": login(own, "ann", "correct horse").headers["x-subject-token"],
    }

    def ask(who: str, path: str, method: str = "GET", **more: str) -> Reply:
        return send(own.origin, method, path, headers={"X-Auth-Token": tokens[who], **more})

    names = [user["name"] for user in ask("admin", "/v3/users").body["users"]]
    assert names == ["admin", "ann", "controller-blue"]
    (me,) = ask("ann", "/v3/users").body["users"]
    assert me["name"] == "ann"
    assert ask("ann", f"/v3/users/{me['id']}").body["user"] == me
    assert ask("ann", "/v3/users/somebody").status == 404
    assert ask("ann", f"/v3/projects/{own.credentials.project_id}").body["project"]["name"] == "certferry"
    assert ask("ann", "/v3/projects/other").status == 404
    assert len(ask("ann", "/v3/roles").body["roles"]) == 4
    mine = {"X-Subject-Token": tokens["ann"]}
    assert ask("ann", "/v3/auth/tokens", "HEAD", **mine).status == 200
    assert ask("ann", "/v3/auth/tokens", "DELETE", **{"X-Subject-Token": tokens["admin"]}).status == 404
    assert ask("ann", "/v3/auth/tokens", "DELETE", **mine).status == 204
    assert ask("ann", "/v3/users").status == 401


def test_remembered_attempts_are_bounded_by_age_and_number() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    logins = Logins(2, lambda: now[0])
    for n in range(6_000):
        logins.attempt(f"{'x' * 1000}{n}", f"2001:db8:{n:x}::1")
    assert len(logins) <= 10_003
    now[0] += timedelta(seconds=61)
    logins.attempt("ann", "a")
    assert len(logins) == 3


def test_attempts_are_limited_per_user_and_per_address() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    logins = Logins(2, lambda: now[0])

    def refused(user: str, address: str = "a") -> bool:
        try:
            logins.attempt(user, address)
        except ApiError as refusal:
            return refusal.status == 429
        return False

    assert [refused("ann") for _ in range(3)] == [False, False, True]
    assert not refused("ann", "b"), "another address is another visitor"
    assert not any(refused(f"user {n}") for n in range(10)), "each name once"
    assert [refused(f"user {n}") for n in (3, 9, 10)] == [True, True, False], "an address over its limit: no name twice"
    assert not any(refused("bob", f"192.0.2.{n}") for n in range(12)), "one address each"
    assert [refused("bob", f"192.0.2.{n}") for n in (11, 12)] == [True, False], (
        "a user over the limit: no address twice"
    )
    assert [refused("eve", f"2001:db8::{n}") for n in range(3)] == [False, False, True], "a /64 is one client"
    now[0] += timedelta(seconds=61)
    for _ in range(5):
        assert not refused("ann")
        logins.succeeded("ann", "a")
