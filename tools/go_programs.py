"""Build Go programs that a go.mod of this folder names, once into a cache directory."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def versions(module: Path, names: Sequence[str]) -> dict[str, str]:
    """Return module → version of `names`, from the go.mod in the folder `module`."""
    found = dict(re.findall(r"^\s(\S+) (v\S+)", (module / "go.mod").read_text(), re.MULTILINE))
    return {name: found[name] for name in names}


def cache(name: str) -> Path:
    """Return the folder `name` below the user's cache directory; it may not exist."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return base / "certferry" / name


def built(module: Path, folder: Path, programs: Mapping[str, tuple[str, str]]) -> Path:
    """Return `folder`, in which each program is: name → its package and its linker flags.

    Builds those that are missing, one process at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, (package, flags) in programs.items():
            if not (folder / name).exists():
                print(f"Building {name}, once ...", flush=True)
                _build(module, folder / name, package, flags)
    return folder


def _build(module: Path, program: Path, package: str, flags: str) -> None:
    # at low priority: the machine may be in use
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly " + os.environ.get("GOFLAGS", "")}
    fresh = program.with_suffix(".new")
    command = ["nice", "-n", "19", "go", "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(fresh), package]
    began = time.monotonic()
    subprocess.run(command, cwd=module, env=environment, check=True)
    fresh.rename(program)
    print(f"  {program.name}: {time.monotonic() - began:.0f} s", flush=True)
