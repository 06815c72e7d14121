"""The xDS server for remote Envoys: TCP with mutual TLS.

The client's certificate decides which load balancers an Envoy gets; its node id decides nothing. An Envoy that is
removed from the register loses its stream at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from envoy.service.discovery.v3 import ads_pb2_grpc

from certferry.core.envoy.subset import scoped
from certferry.elb.server.dataplane.remote.ca import Authority
from certferry.elb.server.dataplane.remote.registry import RemoteEnvoy, RemoteEnvoyRegistry
from certferry.elb.server.dataplane.xds.server import GRPC_OPTIONS, AdsServer
from certferry.elb.server.dataplane.xds.stream import StreamSnapshot
from certferry.runtime.latest import Latest
from certferry.runtime.private_ca import Issued

_log = structlog.get_logger(__name__)
_RENEW: Final = timedelta(days=35)
"""Before the end of our own certificate: a third of its life is 30, and then it would count as late."""


class RemoteServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serve each registered Envoy its part of the resources of `ads`."""

    def __init__(self, ads: AdsServer, register: RemoteEnvoyRegistry, authority: Authority) -> None:
        self._ads, self._register, self._authority = ads, register, authority
        self._own = authority.server()
        self._server: Any = None
        self._streams: dict[asyncio.Event, RemoteEnvoy] = {}
        """Who has a stream, by the event that ends it."""
        self._followers: list[asyncio.Task[None]] = []

    async def start(self, listen: str) -> int:
        """Listen on `listen` (host and port) and return the port. Raises RuntimeError if that fails."""
        self._register.take()
        self._server = grpc.aio.server(options=(*GRPC_OPTIONS, ("grpc.so_reuseport", 0)))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._own, self._authority), self._fetch, require_client_authentication=True
        )
        port = int(self._server.add_secure_port(listen, credentials))
        await self._server.start()
        self._followers = [asyncio.create_task(self._register.follow()), asyncio.create_task(self._watch())]
        return port

    async def stop(self) -> None:
        """Close every stream."""
        for follower in self._followers:
            follower.cancel()
        if self._server is not None:
            await self._server.stop(grace=None)

    async def DeltaAggregatedResources(  # noqa: N802 (the name in Envoy's service definition)
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Serve one stream of a registered Envoy."""
        envoy = self._register.envoys.value.get(_fingerprint(context))
        if envoy is None:
            _log.warning("envoy_refused", peer=context.peer(), reason="its certificate is not registered")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "This certificate is not registered.")
            return
        leave = asyncio.Event()
        self._streams[leave] = envoy
        snapshots = Latest(_part(self._ads.snapshots.value, envoy))
        follower = asyncio.create_task(self._follow(envoy, snapshots))
        _log.info("envoy_connected", name=envoy.name, peer=context.peer())
        try:
            async for response in self._ads.serve(envoy.name, snapshots, requests, leave):
                yield response
        finally:
            follower.cancel()
            del self._streams[leave]
        if leave.is_set():
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "This certificate is registered otherwise now.")

    async def _follow(self, envoy: RemoteEnvoy, snapshots: Latest[StreamSnapshot]) -> None:
        async for snapshot in self._ads.snapshots.changes():
            snapshots.set(_part(snapshot, envoy))

    async def _watch(self) -> None:
        """End the streams of Envoys that were removed or got other load balancers."""
        async for envoys in self._register.envoys.changes():
            for leave, envoy in self._streams.items():
                if envoys.get(envoy.fingerprint) != envoy:
                    _log.info("envoy_let_go", name=envoy.name)
                    leave.set()

    def _fetch(self) -> Any:
        """Return a renewed certificate for gRPC, which calls this in a thread at every handshake; None: unchanged."""
        if self._own.not_after - datetime.now(UTC) > _RENEW:
            return None
        self._own = self._authority.server()
        return _configuration(self._own, self._authority)


def _configuration(own: Issued, authority: Authority) -> Any:
    return grpc.ssl_server_certificate_configuration([(own.key, own.certificate)], authority.pem)


def _fingerprint(context: Any) -> str:
    """Return the fingerprint of the client's certificate, which gRPC has verified."""
    with contextlib.suppress(LookupError, ValueError):
        (pem, *_) = context.auth_context()["x509_pem_cert"]
        return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()
    return ""


def _part(snapshot: StreamSnapshot, envoy: RemoteEnvoy) -> StreamSnapshot:
    resources = scoped(snapshot.resources, snapshot.state, envoy.loadbalancers, envoy.address)
    return StreamSnapshot(resources, snapshot.keys, snapshot.state)
