"""A client process that sends a number of HTTPS requests a second, half of them on new connections.

Run as ``python -m bench.crowd PORT RATE NAME...``; it goes on until its input is closed, and then
writes one line: requests, failures, and what failed first.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import sys
from types import TracebackType

import aiohttp

_KEPT = 8
"""Connections that are kept."""


class Crowd:
    """The process, and what it says at its end."""

    def __init__(self, port: int, rate: int, names: list[str]) -> None:
        self._command = (sys.executable, "-m", "bench.crowd", str(port), str(rate), *names)
        self._process: asyncio.subprocess.Process | None = None
        self.requests = self.failures = 0
        self.first = ""

    async def __aenter__(self) -> Crowd:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        out, _ = await self._process.communicate()
        requests, failures, self.first = out.decode().strip().split(" ", 2)
        self.requests, self.failures = int(requests), int(failures)


async def _come(port: int, rate: int, names: list[str]) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # other tests check the issuer
    done, failed = 0, []
    patience = aiohttp.ClientTimeout(total=30)
    kept = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=_KEPT), timeout=patience)
    anew = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, force_close=True, limit=0), timeout=patience
    )

    async def ask(session: aiohttp.ClientSession, name: str) -> None:
        nonlocal done
        try:
            async with session.get(
                f"https://127.0.0.1:{port}/", headers={"Host": name}, server_hostname=name
            ) as answer:
                await answer.read()
                if answer.status != 200:
                    failed.append(f"status {answer.status}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            failed.append(repr(error))
        done += 1

    loop, tasks = asyncio.get_running_loop(), set()
    told = loop.run_in_executor(None, sys.stdin.read)
    begun = loop.time()
    for number in itertools.count():
        if told.done():
            break
        task = asyncio.create_task(ask((kept, anew)[number % 2], names[number * 7919 % len(names)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(max(0, begun + number / rate - loop.time()))
    await asyncio.gather(*tasks)
    await kept.close()
    await anew.close()
    print(done, len(failed), failed[0] if failed else "-")


if __name__ == "__main__":
    asyncio.run(_come(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
