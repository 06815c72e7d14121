"""The state of a connection: one log line when it is lost and one when it is back."""

from __future__ import annotations

import time

import structlog

from certferry.runtime.metrics import Metrics

_log = structlog.get_logger()


class ConnectionState:
    """One remote."""

    def __init__(self, remote: str, metrics: Metrics) -> None:
        self._remote = remote
        self._gauge = metrics.connected.labels(remote)
        self._trouble: str | None = ""
        self.since = time.monotonic()
        """When it was lost, or came back."""
        self._gauge.set(0)

    @property
    def error(self) -> str | None:
        """The reason why it is lost; None while the remote answers."""
        return self._trouble

    def set(self, trouble: str | None) -> None:
        """Take the result of the last attempt."""
        if (trouble is None) == (self._trouble is None) and self._trouble != "":
            return
        self._trouble, self.since = trouble, time.monotonic()
        self._gauge.set(trouble is None)
        if trouble is None:
            _log.info("connected", remote=self._remote)
        else:
            _log.warning("not connected, trying on; nothing served changes", remote=self._remote, why=trouble)
