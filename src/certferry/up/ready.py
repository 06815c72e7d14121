"""Waiting for what others do: ports let go of, programs that answer, the demo page served.

``run`` calls these. Each looks again until it sees what it waits for; the deadline is the
caller's. It changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from certferry.demo.ca import HOST
from certferry.elb.process import Identity
from certferry.settings import Refused
from certferry.up import addresses

_LOOK: Final = 0.03
"""Seconds between two looks."""
_ONE = aiohttp.ClientTimeout(total=2)


async def ports_free(ports: Mapping[str, int], file: Path, patience: float) -> None:
    """Until each of `ports` (by what it is for) can be listened on. Raises ``Refused`` after `patience`."""
    deadline = asyncio.get_running_loop().time() + patience
    for purpose, port in ports.items():
        while not addresses.bindable(addresses.LOOPBACK, port):
            # The children of an `up` that was killed need a moment to notice.
            if asyncio.get_running_loop().time() > deadline:
                raise Refused(
                    f"Port {addresses.LOOPBACK}:{port} ({purpose}) is taken by another program: "
                    f"end that program, or delete {file} so that new ports are chosen."
                )
            await asyncio.sleep(_LOOK)


async def answers(url: str, tls: ssl.SSLContext | None = None) -> None:
    """Until `url` answers 200."""
    async with aiohttp.ClientSession(timeout=_ONE) as session:
        while not await _is_ok(session, url, tls):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(_LOOK)


async def written(file: Path) -> None:
    """Until `file` is there."""
    while not file.exists():  # noqa: ASYNC110, ASYNC240 - another process's doing; a stat is quick
        await asyncio.sleep(_LOOK)


async def page_served(address: str, port: int, patience: float) -> bool:
    """Whether the demo page came over HTTPS within `patience` seconds, whatever its certificate."""
    # What a user made of the demo's certificate is shown by curl, not judged here.
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    deadline = asyncio.get_running_loop().time() + patience
    async with aiohttp.ClientSession(timeout=_ONE, headers={"Host": HOST}) as session:
        while not await _is_ok(session, f"https://{address}:{port}/", tls, HOST):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK)
    return True


async def envoy_runs(file: Path) -> None:
    """Until the ELB has noted its Envoy in `file`."""
    while not envoy_pid(file):  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(_LOOK)


class _Record(msgspec.Struct):
    process: Identity


def envoy_pid(file: Path) -> int:
    """The living process that the ELB noted in `file`; 0 when there is none."""
    try:
        envoy = msgspec.json.decode(file.read_bytes(), type=_Record).process
    except (OSError, msgspec.DecodeError):
        return 0
    return envoy.pid if envoy.alive() else 0


async def _is_ok(
    session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | None, sni: str | None = None
) -> bool:
    try:
        async with session.get(url, ssl=tls or True, server_hostname=sni) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
