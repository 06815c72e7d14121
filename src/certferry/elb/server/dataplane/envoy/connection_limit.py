"""The number of connections that Envoy accepts, fitted to the number of files that it may open.

An Envoy that cannot open a socket ends, with all of its connections.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

import msgspec

from certferry.core.envoy import Options
from certferry.settings import EnvoyOptions

_RESERVE: Final = 256
"""Files for listeners, logs, xDS and the admin interface."""
_WANTED: Final = (131_072, 10_240)
"""Limits to ask for; some systems refuse the first."""
_LEAST: Final = 16


def fitted(options: EnvoyOptions) -> EnvoyOptions:
    """Return `options` with at most the connections that the file limit allows, raising the limit where possible.

    A connection takes two files: one to the client and one to the member.
    """
    limit = _raised_file_limit()
    fitting = max(_LEAST, (limit - min(_RESERVE, limit // 2)) // 2)
    return msgspec.structs.replace(options, max_connections=min(options.max_connections, fitting))


def edge_options(given: EnvoyOptions) -> Options:
    """Return the part of the options that listeners, routes and clusters have; limits are fitted."""
    connections = fitted(given).max_connections
    return Options(
        access_log=given.access_log,
        max_connections=connections,
        max_connections_per_host=given.max_connections_per_host or max(1, connections * 3 // 4),
        escaped_slashes=given.escaped_slashes,
        merge_slashes=given.merge_slashes,
        underscores=given.underscores,
        request_timeout=given.request_timeout,
        trusted_client_headers=given.trusted_client_headers,
    )


def _raised_file_limit() -> int:
    """Raise the soft file limit, which Envoy inherits, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in _WANTED:
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            break
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return _WANTED[0] if soft == resource.RLIM_INFINITY else soft
