"""What processes listen on, as the kernel knows it (Linux) or as their files show it (elsewhere)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

LISTEN_TCP = "0A"


def tcp_ports(pids: Iterable[int]) -> set[tuple[str, int]]:
    """The (address, port) pairs on which any of `pids` listens."""
    if not Path("/proc/net/tcp").exists():
        return _lsof(pids)
    inodes = _inodes(pids)
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[3] == LISTEN_TCP and columns[9] in inodes:
            address, port = columns[1].split(":")
            octets = bytes.fromhex(address) if sys.byteorder == "big" else bytes.fromhex(address)[::-1]
            found.add((".".join(map(str, octets)), int(port, 16)))
    return found


def unix_sockets(pids: Iterable[int], *places: Path) -> set[Path]:
    """The paths of Unix sockets that any of `pids` holds, and those below `places`."""
    found = {path for place in places for path in place.rglob("*") if path.is_socket()}
    table = Path("/proc/net/unix")
    if table.exists():
        inodes = _inodes(pids)
        for line in table.read_text().splitlines()[1:]:
            columns = line.split(maxsplit=7)
            if len(columns) == 8 and columns[6] in inodes:
                found.add(Path(columns[7]))
    return found


def _inodes(pids: Iterable[int]) -> set[str]:
    found = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def _lsof(pids: Iterable[int]) -> set[tuple[str, int]]:
    listed = ",".join(map(str, pids))
    command = ["lsof", "-nP", "-a", "-p", listed, "-iTCP", "-sTCP:LISTEN", "-Fn"]
    rows = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    names = [row[1:] for row in rows if row.startswith("n")]
    return {(host, int(port)) for host, _, port in (name.rpartition(":") for name in names)}


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still run (Linux)."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
