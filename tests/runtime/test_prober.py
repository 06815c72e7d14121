from __future__ import annotations

import asyncio
import socket

from certferry.core.x509.pem import parse_chain
from certferry.runtime.prober import PARALLEL, Prober
from certferry.runtime.tls_probe import HandshakeFailed, ProbeResult, Target, Unreachable
from tests.support.certs import authority

CHAIN = parse_chain(authority().issue("a.example").certificate)


def target(port: int, host: str = "a.example") -> Target:
    return Target(address="127.0.0.1", port=port, host=host)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


async def test_a_listener_that_never_answers_delays_no_other_and_gets_few_handshakes() -> None:
    connected, all_used = 0, asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        if connected == PARALLEL:
            all_used.set()
        await reader.read(1 << 20)
        await reader.read(1 << 20)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    prober = Prober()
    dead = [
        asyncio.create_task(prober.probe(target(server.sockets[0].getsockname()[1], f"{n}.example"), CHAIN, 30))
        for n in range(50)
    ]
    async with asyncio.timeout(10):
        await all_used.wait()
        assert isinstance(await prober.probe(target(free_port()), CHAIN), Unreachable)
    assert connected == PARALLEL
    for task in dead:
        task.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    server.close()


async def test_a_closed_port_is_closed_for_its_other_names_too() -> None:
    prober, port = Prober(), free_port()
    first = await prober.probe(target(port), CHAIN)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    assert await prober.probe(target(port, "b.example"), CHAIN) == first
    results: list[ProbeResult] = []
    await prober.wait_until_served(
        target(port), CHAIN, 10, lambda: isinstance(results[-1], Unreachable), results.append
    )
    assert isinstance(results[-1], HandshakeFailed)
    server.close()
