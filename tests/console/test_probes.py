"""What the console sees for itself: it looks again where it did not see what it should."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certferry.console.state.probes import ProbeCache
from certferry.core.x509.pem import parse_chain
from certferry.runtime.tls_probe import Target
from tests.support.certs import Authority, Pair, authority


def context(folder: Path, pair: Pair) -> ssl.SSLContext:
    file = folder / "pair.pem"
    file.write_text(pair.certificate + pair.key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    return made


def fingerprint(pair: Pair) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair.certificate)).hexdigest()


OLD, NEW = authority().issue("a.example"), authority().issue("a.example")


@pytest.fixture
async def late(tmp_path: Path) -> AsyncIterator[Target]:
    """A listener that shows NEW from its third handshake on."""
    first, then = context(tmp_path, OLD), context(tmp_path, NEW)
    seen = 0

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        nonlocal seen
        seen += 1
        if seen > 2:
            connection.context = then

    first.sni_callback = choose
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=first)
    yield Target(address="127.0.0.1", port=server.sockets[0].getsockname()[1], host="a.example")
    server.close()


async def test_a_listener_that_is_late_is_looked_at_until_it_shows_what_it_should(late: Target) -> None:
    probes, seconds = ProbeCache(), []
    probes.request([late], parse_chain(NEW.certificate))
    async with asyncio.timeout(10):
        async for _ in probes.changed.changes():
            if seen := probes.get(late):
                seconds.append(seen.fingerprint)
            if seconds and seconds[-1] == fingerprint(NEW):
                break
    assert seconds == [fingerprint(OLD), fingerprint(NEW)]
    await probes.close()


async def test_a_right_leaf_with_a_wrong_chain_is_not_what_it_should_be(tmp_path: Path) -> None:
    between = Authority("Between", by=authority())
    bare = between.issue("b.example")
    whole = bare.certificate + between.certificate
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context(tmp_path, bare)
    )
    where = Target(address="127.0.0.1", port=server.sockets[0].getsockname()[1], host="b.example")
    result = await ProbeCache().probe(where)
    server.close()
    assert result.objection(parse_chain(bare.certificate)) == ""
    assert "is not sent with it" in result.objection(parse_chain(whole))
    assert result.objection(parse_chain(OLD.certificate)) == "Another certificate is served."
