"""A really listening ELB in a thread of this process, without Envoy, and a small client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from certferry.elb.client.client import ElbClient
from certferry.elb.client.credentials import Credentials as ClientCredentials
from certferry.elb.server.identity.accounts import Account, Accounts
from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.elb.server.identity.users import Identity
from certferry.elb.server.main import running
from certferry.elb.server.paths import encryption_key_file, store_file
from certferry.elb.server.store.database import open_database
from certferry.elb.server.store.store import Store
from certferry.elb.signing import DATE_FORMAT, authorization, canonical_request
from certferry.runtime.encryption import EncryptionKeys
from certferry.settings import ElbLimits, ElbSettings

UNLIMITED = ElbLimits(certificate=-1, loadbalancer=-1, listener=-1, pool=-1, l7policy=-1)


class Reply(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.body.get("error_code"))

    @property
    def sentence(self) -> str:
        return str(self.body.get("error_msg"))


class Api:
    """Requests to one project, with an access key."""

    def __init__(self, origin: str, project_id: str, account: Account) -> None:
        self.origin, self.project_id, self.account = origin, project_id, account

    def __call__(self, method: str, path: str, body: Any = None, query: str = "") -> Reply:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        full = f"/v3/{self.project_id}/elb{path}"
        return send(self.origin, method, full, data, self.signed(method, full, query, data), query)

    def extension(self, method: str, path: str, body: Any = None, query: str = "") -> Reply:
        """A request to one of our own extensions."""
        data = b"" if body is None else json.dumps(body).encode()
        full = f"/v3/{self.project_id}/certferry{path}"
        return send(self.origin, method, full, data, self.signed(method, full, query, data), query)

    def signed(
        self, method: str, path: str, query: str = "", body: bytes = b"", at: datetime | None = None
    ) -> dict[str, str]:
        at = at or datetime.now(UTC)
        headers = {"host": urlsplit(self.origin).netloc, "x-sdk-date": at.strftime(DATE_FORMAT)}
        pairs = parse_qsl(query, keep_blank_values=True)
        canonical = canonical_request(method, path, pairs, headers, body)
        secret = self.account.secret_key
        return headers | {"authorization": authorization(self.account.access_key, secret, canonical, headers, at)}

    def make(self, kind: str, path: str | None = None, **fields: Any) -> dict[str, Any]:
        """A new object; the test fails if it is refused."""
        plural = "l7policies" if kind == "l7policy" else kind + "s"
        reply = self("POST", path or "/" + plural, {kind: fields})
        assert reply.status == 201, reply.body
        made: dict[str, Any] = reply.body[kind]
        return made

    def show(self, kind: str, identifier: str) -> dict[str, Any]:
        plural = "l7policies" if kind == "l7policy" else kind + "s"
        reply = self("GET", f"/{plural}/{identifier}")
        assert reply.status == 200, reply.body
        shown: dict[str, Any] = reply.body[kind]
        return shown


def send(
    origin: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, query: str = ""
) -> Reply:
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=30)
    try:
        connection.request(method, path + (f"?{query}" if query else ""), body, dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, json.loads(text) if text else {}, named)
    finally:
        connection.close()


class Elb(NamedTuple):
    """A running service, and its accounts."""

    origin: str
    settings: ElbSettings
    credentials: Accounts
    admin: Api
    controller: Api


def settings_in(directory: Path, **fields: Any) -> ElbSettings:
    chosen: dict[str, Any] = {"envoy": False, "limits": UNLIMITED}
    return ElbSettings(state=directory / "elb", **(chosen | fields))


@contextmanager
def serving(settings: ElbSettings, cluster: str = "blue") -> Iterator[Elb]:
    credentials = bootstrap(settings, cluster=cluster)
    ready, origin, end = threading.Event(), [""], asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        async with running(settings) as at:
            origin[0] = at
            loops.append(asyncio.get_running_loop())
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(20), "the service did not start"
    project = credentials.project_id
    try:
        yield Elb(
            origin[0],
            settings,
            credentials,
            Api(origin[0], project, credentials.admin),
            Api(origin[0], project, credentials.controller),
        )
    finally:
        loops[0].call_soon_threadsafe(end.set)
        thread.join(20)


@contextmanager
def stored(settings: ElbSettings) -> Iterator[tuple[Store, Identity]]:
    """What a service that starts now would find."""
    engine = open_database(store_file(settings.state))
    try:
        encryption = EncryptionKeys.open_or_create(encryption_key_file(settings.state))
        yield Store(engine, encryption), Identity(engine, encryption)
    finally:
        engine.dispose()


def another(elb: Elb, name: str, role: str, **fields: Any) -> Api:
    """A further user of the project."""
    with stored(elb.settings) as (_, identity):
        project = identity.ensure_project(elb.credentials.project)
        user_id = identity.ensure_user(name, role=role, project=project, **fields)
        keys = identity.ensure_access_key(user_id)
    account = Account(username=name, password="", access_key=keys.access_key, secret_key=keys.secret_key)
    return Api(elb.origin, project.id, account)


def connected(api: Api) -> ElbClient:
    """The product's own client, as this user."""
    account = api.account
    return ElbClient(
        api.origin,
        ClientCredentials(project_id=api.project_id, access_key=account.access_key, secret_key=account.secret_key),
    )
