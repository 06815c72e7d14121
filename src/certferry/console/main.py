"""``certferry console``: serve the application with uvicorn.

Plain HTTP is accepted on loopback addresses only, because session cookies and private keys are sent here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

import structlog
import uvicorn

from certferry.clusters import Fleet
from certferry.console.app import application
from certferry.console.state.console import Console
from certferry.runtime.http_deadline import http_protocol
from certferry.runtime.reloading_tls import ReloadingTls, UnusableTlsFiles
from certferry.settings import ConsoleSettings, UserError, host_port, networks

GRACE: Final = 2
"""Seconds for open requests at shutdown; event streams would never end otherwise."""
_log = structlog.get_logger()


async def serve(fleet: Fleet, settings: ConsoleSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``UserError`` and ``OSError``."""
    check(settings)
    tls = _tls(settings)
    with _listen(settings.listen) as listening:
        port = listening.getsockname()[1]
        console = Console(fleet, settings, f"certferry-{port}")
        config = uvicorn.Config(
            application(console),
            http=http_protocol(settings.read_timeout),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
            ssl_context_factory=(lambda _config, _default: tls.context) if tls else None,
        )
        scheme = "https" if console.tls else "http"
        _log.info("console listening", url=f"{scheme}://{settings.listen.rpartition(':')[0]}:{port}/")
        watching = asyncio.create_task(tls.watch()) if tls else None
        try:
            await uvicorn.Server(config).serve(sockets=[listening])
        finally:
            if watching:
                watching.cancel()


def check(settings: ConsoleSettings) -> None:
    """Raise ``UserError`` for settings that cannot be used, such as plain HTTP on other than loopback."""
    host, _ = host_port(settings.listen)
    networks(settings.trusted_proxies)
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise UserError("The console needs both tls_certificate and tls_key, or neither.")
    if settings.tls_certificate is None and not _loopback(host):
        raise UserError(
            f"The console does not listen on {host} without TLS, because passwords and keys are sent to it. "
            "Set console.tls_certificate and console.tls_key, or listen on 127.0.0.1."
        )


def _tls(settings: ConsoleSettings) -> ReloadingTls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return ReloadingTls("console", settings.tls_certificate.expanduser(), settings.tls_key.expanduser())
    except UnusableTlsFiles as error:
        raise UserError(str(error)) from None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(listen: str) -> socket.socket:
    host, port = host_port(listen)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening
