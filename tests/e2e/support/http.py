"""A JSON client over one kept connection; it never retries."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """Status and decoded body (None when empty) of one request; header names in lower case."""

    status: int
    body: Any
    headers: dict[str, str]


IDLE = 15.0
"""Seconds after which a kept connection is not used again, because the server may close it at that time."""


class JsonApi:
    """An origin and the headers that each request carries. Safe to share between threads."""

    def __init__(self, origin: str, headers: dict[str, str], trust: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
        self._connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(host, port, timeout=20, context=trust)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=20)
        )
        self.headers = headers
        self._turn = threading.Lock()
        self._used = 0.0

    def send(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> None:
        """Only send; `receive` must follow."""
        headers = self.headers | ({"Content-Type": kind} if body is not None else {})
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, body=data, headers=headers)

    def receive(self) -> Answer:
        """The answer to what was sent."""
        answer = self._connection.getresponse()
        data = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, _decoded(data), headers)

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer:
        """One request; an `OSError` when there is no answer (the next call connects anew)."""
        with self._turn:
            if time.monotonic() - self._used > IDLE:
                self._connection.close()
            self._used = time.monotonic()
            try:
                self.send(method, path, body, kind)
                return self.receive()
            except (OSError, http.client.HTTPException) as broken:
                self._connection.close()
                raise ConnectionError(f"{method} {path}: {broken!r}") from broken

    def want(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The body of an answer that must have `status`."""
        answer = self.call(method, path, body, **more)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body


def _decoded(data: bytes) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
