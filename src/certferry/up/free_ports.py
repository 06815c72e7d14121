"""Free ports and addresses on this machine's loopback, tested by binding them."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from certferry.settings import UserError

LOOPBACK: Final = "127.0.0.1"
SHARED: Final = "127.0.0.1/32"
"""The "subnet" of a machine with a single loopback address (macOS)."""

_BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Below the kernels' ports for clients, so that a port of ours is still free after a restart."""
_SHIFTS: Final = (0, 8_000, 18_000, 28_000)
_TRIES: Final = 20
_POLL_INTERVAL: Final = 0.03
"""Seconds between two attempts."""


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different free ports on 127.0.0.1."""
    candidates = iter(random.sample(_BELOW_EPHEMERAL, k=len(_BELOW_EPHEMERAL)))
    return tuple(itertools.islice((port for port in candidates if bindable(LOOPBACK, port)), count))


def free_subnet() -> str:
    """Return a loopback /24 whose web ports are free, or ``SHARED``."""
    if _error("127.0.0.2", 0) is not None:
        return SHARED
    subnet = ""
    for _ in range(_TRIES):
        # 127.0.x and 127.1.x are used by resolvers and old habits.
        subnet = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}.0/24"  # noqa: S311 - no secret
        ports = [port + shift for shift in _SHIFTS for port in (80, 443)]
        if not any(_listening(first_address(subnet), port) for port in ports):
            return subnet
    # Another program listens on a web port of every address: privileged_shift chooses other ports.
    return subnet


def privileged_shift(subnet: str) -> int:
    """Return the number to add to 80 and 443 so that they can be bound in `subnet`."""
    first = first_address(subnet)
    for shift in _SHIFTS:
        if all(bindable(first, port + shift) for port in (80, 443)):
            return shift
    return _SHIFTS[-1]


def first_address(subnet: str) -> str:
    """Return the first host address: ``127.44.5.1`` of ``127.44.5.0/24``."""
    return str(next(iter(ipaddress.ip_network(subnet).hosts())))


def bindable(address: str, port: int) -> bool:
    """Return whether a server can listen there now."""
    return _error(address, port) is None


async def wait_until_bindable(ports: Mapping[str, int], file: Path, seconds: float) -> None:
    """Wait until each of `ports` (by purpose) can be bound. Raises UserError after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    for purpose, port in ports.items():
        while not bindable(LOOPBACK, port):
            # The programs of an `up` that was killed need a moment to end.
            if asyncio.get_running_loop().time() > deadline:
                raise UserError(
                    f"Port {LOOPBACK}:{port} ({purpose}) is used by another program: "
                    f"end that program, or delete {file} so that new ports are chosen."
                )
            await asyncio.sleep(_POLL_INTERVAL)


def _error(address: str, port: int) -> int | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error.errno or errno.EIO
    return None


def _listening(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((address, port)) == 0
