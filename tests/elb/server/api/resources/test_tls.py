"""The API over TLS: its own certificate is watched, and a worse one never takes the place of a good one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from certferry.core.x509.pem import parse_chain
from certferry.elb.client.client import ElbClient
from certferry.elb.client.credentials import Credentials
from certferry.elb.server.main import running
from certferry.runtime.reloading_tls import ReloadingTls
from certferry.settings import UserError
from tests.e2e.support.waiting import until
from tests.elb.support.server import Elb, serving, settings_in
from tests.support.certs import Pair, authority


class Files:
    """The two files that the service watches."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"

    def hold(self, pair: Pair) -> None:
        self.certificate.write_text(pair.certificate)
        self.key.write_text(pair.key)

    @property
    def settings(self) -> dict[str, Any]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}


def issue(**fields: Any) -> Pair:
    return authority().issue("localhost", **fields)


def fingerprint(pair: Pair) -> str:
    return parse_chain(pair.certificate).fingerprint


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.hold(issue())
    return made


@pytest.fixture
def secure(tmp_path: Path, files: Files) -> Iterator[Elb]:
    with serving(settings_in(tmp_path, **files.settings)) as running:
        yield running


def shown(elb: Elb) -> str:
    """The fingerprint in a handshake that trusts the test's authority."""
    context = ssl.create_default_context(cadata=authority().certificate)
    with (
        socket.create_connection((urlsplit(elb.origin).hostname or "", urlsplit(elb.origin).port or 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


def wait_for(elb: Elb, pair: Pair) -> None:
    until(lambda: shown(elb) == fingerprint(pair), "the new certificate is served", seconds=10)


async def test_a_client_that_trusts_the_authority_is_served(secure: Elb) -> None:
    assert secure.origin.startswith("https://")
    account = secure.credentials.controller
    credentials = Credentials(
        project_id=secure.credentials.project_id, access_key=account.access_key, secret_key=account.secret_key
    )
    tls = ssl.create_default_context(cadata=authority().certificate)
    port = urlsplit(secure.origin).port
    async with ElbClient(f"https://localhost:{port}", credentials, tls) as client:
        assert await client.certificates() == {}


def test_a_renewed_certificate_is_served_without_a_restart(secure: Elb, files: Files) -> None:
    first, renewed = shown(secure), issue()
    assert first != fingerprint(renewed)
    files.hold(renewed)
    wait_for(secure, renewed)


def served_by(own: ReloadingTls) -> str:
    """The fingerprint in a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cadata=authority().certificate)
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client = trusting.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = own.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return hashlib.sha256(client.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.mark.parametrize("bad", ["garbage", "mismatch", "expired", "gone"])
def test_a_worse_pair_does_not_replace_the_served_one(tmp_path: Path, files: Files, bad: str) -> None:
    own = ReloadingTls("API", files.certificate, files.key, tmp_path)
    good = served_by(own)
    match bad:
        case "garbage":
            files.certificate.write_text("garbage")
        case "mismatch":
            files.hold(Pair(issue().certificate, issue().key))
        case "expired":
            expired = issue(days=-2, started=30)
            assert fingerprint(expired) != good
            files.hold(expired)
        case "gone":
            files.key.unlink()
    own.look()
    assert served_by(own) == good
    again = issue()
    files.hold(again)
    own.look()
    assert served_by(own) == fingerprint(again)
    assert not list(tmp_path.glob(".tls-*")), "no copy of a key stays behind"


def test_unusable_files_are_reported_at_start(tmp_path: Path, files: Files) -> None:
    def refused(**fields: Any) -> str:
        async def start() -> None:
            async with running(settings_in(tmp_path, **fields)):
                pass

        with pytest.raises(UserError) as caught:
            asyncio.run(start())
        return str(caught.value)

    files.key.write_text("garbage")
    assert "not PEM" in refused(**files.settings)
    files.key.unlink()
    assert "tls.key" in refused(**files.settings)
    assert "both" in refused(tls_certificate=files.certificate)
    assert "tls_certificate" in refused(listen="0.0.0.0:0")
