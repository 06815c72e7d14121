"""Answers of a raw server, because a real one sends well-formed HTTP only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from certferry.runtime.http_session import BrokenAnswerError, ShortSession, unanswered


class RawServer:
    """Answers each request with the bytes of `answer`, and counts connections."""

    def __init__(self) -> None:
        self.answer, self.ends, self.connections = b"", False, 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answer)
                if self.ends:
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[RawServer, str]]:
    raw = RawServer()
    listening = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    yield raw, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/a?b=c%2Fd"
    listening.close()


@pytest.fixture
async def session() -> AsyncIterator[ShortSession]:
    session = ShortSession(None, 2.0)
    yield session
    await session.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_one_connection_serves_several_requests(
    server: tuple[RawServer, str], session: ShortSession, answer: bytes, body: bytes
) -> None:
    raw, url = server
    raw.answer = answer
    for _ in range(3):
        response = await session.request("GET", url, headers={"X-Auth-Token": "t"})
        assert await response.read() == body
    assert raw.connections == 1
    assert raw.requests[0].startswith(b"GET /a?b=c%2Fd HTTP/1.1\r\n")
    assert b"x-auth-token: t\r\n" in raw.requests[0]


async def test_an_answer_without_a_length_ends_with_the_connection(
    server: tuple[RawServer, str], session: ShortSession
) -> None:
    raw, url = server
    raw.answer, raw.ends = b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\nhello", True
    for _ in range(2):
        response = await session.request("GET", url, headers={})
        assert await response.read() == b"hello"
        assert response.headers["DATE"] == "now"
    assert raw.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_cut_or_malformed_answer_is_reported_as_cut(
    server: tuple[RawServer, str], session: ShortSession, answer: bytes
) -> None:
    raw, url = server
    raw.answer, raw.ends = answer, True
    with pytest.raises(BrokenAnswerError) as error:
        await session.request("GET", url, headers={})
    assert unanswered(error.value)[0] == "Cut"


async def test_an_absent_answer_times_out(server: tuple[RawServer, str]) -> None:
    session = ShortSession(None, 0.05)
    with pytest.raises(TimeoutError) as error:
        await session.request("GET", server[1], headers={})
    assert unanswered(error.value)[0] == "Timeout"


async def test_a_header_cannot_add_another(server: tuple[RawServer, str], session: ShortSession) -> None:
    with pytest.raises(ValueError, match="line break"):
        await session.request("GET", server[1], headers={"X-Auth-Token": "t\r\nX-Other: 1"})
    assert server[0].requests == []
