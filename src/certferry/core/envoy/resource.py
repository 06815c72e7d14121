"""xDS resources as plain data with a version, and a cache of unchanged ones.

Field names are those of Envoy's API, values are JSON.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from certferry.core.x509.pem import Chain

P = ParamSpec("P")
T = TypeVar("T")

TYPE: Final = "type.googleapis.com/"
CLUSTERS: Final = f"{TYPE}envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS: Final = f"{TYPE}envoy.config.listener.v3.Listener"
ROUTES: Final = f"{TYPE}envoy.config.route.v3.RouteConfiguration"
SECRETS: Final = f"{TYPE}envoy.extensions.transport_sockets.tls.v3.Secret"
ADS: Final = {"ads": {}, "resource_api_version": "V3"}
"""The config source of resources: the ADS stream."""
_REMEMBERED: Final = 65_536
"""Results that each builder caches: more than the slots of any load balancer that Envoy can serve."""


class XdsResource:
    """A message in JSON shape. A field may hold a tuple of messages, which other messages may share.

    Equal only to itself: a cache by message compares nothing.
    """

    __slots__ = ("__weakref__", "body", "version")

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.version = hashlib.blake2b(_CANONICAL.encode(body), digest_size=12).hexdigest()
        """Hash of the content: equal content has an equal version in every process."""


def _version(part: XdsResource) -> str:
    return part.version


_CANONICAL = msgspec.json.Encoder(enc_hook=_version, order="sorted")


class TlsSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate of a slot. The encoder adds the private key by the chain's digest; it is never here."""

    name: str
    chain: Chain
    trust: bool = False
    """True if it is the authority for client certificates."""

    @property
    def version(self) -> str:
        """Return the chain's digest."""
        return self.chain.digest


def plain(value: Any) -> Any:
    """Return `value` with its messages expanded, for golden files."""
    match value:
        case XdsResource():
            return plain(value.body)
        case TlsSecret():
            kind = "validation_context" if value.trust else "tls_certificate"
            return {"name": value.name, kind: {"digest": value.chain.digest}}
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _:
            return value


def remembered(build: Callable[P, T]) -> Callable[P, T]:
    """Cache the last result of `build` for each first argument, while all arguments stay equal.

    Unchanged objects of a state are the same objects, and comparing those costs nothing; hashing
    them, as ``functools.lru_cache`` would, costs more than building again.
    """
    slots: dict[Any, tuple[tuple[Any, ...], T]] = {}

    @functools.wraps(build)
    def recall(*args: P.args, **kwargs: P.kwargs) -> T:
        key = args[0]
        slot = slots.get(key)
        if slot is not None and slot[0] == args:
            return slot[1]
        value = build(*args, **kwargs)
        slots.pop(key, None)  # what is used moves to the young end
        if len(slots) >= _REMEMBERED:
            del slots[next(iter(slots))]
        slots[key] = (args, value)
        return value

    return recall
