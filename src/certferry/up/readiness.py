"""Polls for readiness: programs that answer, files that exist, the demo page. The caller sets the deadline."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

import aiohttp

from certferry.demo.ca import HOST
from certferry.up.envoy_pid import envoy_pid

_POLL_INTERVAL: Final = 0.03
"""Seconds between two attempts."""
_ONE_REQUEST = aiohttp.ClientTimeout(total=2)


async def answers(url: str, tls: ssl.SSLContext | None = None) -> None:
    """Wait until `url` answers 200."""
    async with aiohttp.ClientSession(timeout=_ONE_REQUEST) as session:
        while not await _is_ok(session, url, tls):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(_POLL_INTERVAL)


async def exists(file: Path) -> None:
    """Wait until `file` exists."""
    while not file.exists():  # noqa: ASYNC110, ASYNC240 - another process's doing; a stat is quick
        await asyncio.sleep(_POLL_INTERVAL)


async def page_served(address: str, port: int, seconds: float) -> bool:
    """Return whether the demo page is served over HTTPS within `seconds`, with any certificate."""
    # A user may have replaced the demo's certificate.
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    deadline = asyncio.get_running_loop().time() + seconds
    async with aiohttp.ClientSession(timeout=_ONE_REQUEST, headers={"Host": HOST}) as session:
        while not await _is_ok(session, f"https://{address}:{port}/", tls, HOST):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_POLL_INTERVAL)
    return True


async def envoy_runs(file: Path) -> None:
    """Wait until the ELB has recorded its Envoy in `file`."""
    while not envoy_pid(file):  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(_POLL_INTERVAL)


async def _is_ok(session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | None, sni: str | None = None) -> bool:
    try:
        async with session.get(url, ssl=tls or True, server_hostname=sni) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
