"""Core dumps: a core of a program holds private keys, so none is written."""

from __future__ import annotations

import resource
from typing import Final

_LIMIT: Final = 1
"""Bytes. Linux treats 1 as “not to a pipe either”; 0 would still feed a core pattern that is a pipe (core(5))."""


def forbid() -> None:
    """Forbid core dumps of this process and of the processes that it starts, Envoy among them."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _LIMIT if hard == resource.RLIM_INFINITY else min(_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
