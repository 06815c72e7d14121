"""The xDS server: sends every new state, with its keys, to Envoy.

It listens on a Unix socket in a private directory, because a stream carries private keys. It never waits for
Envoy: each stream computes by itself what to send.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc.aio
import structlog
from envoy.service.discovery.v3 import ads_pb2_grpc

from certferry.core.envoy import Options, Snapshot
from certferry.core.envoy.isolated_snapshot import isolated_snapshot
from certferry.elb.server.dataplane.envoy.run_directory import private_directory
from certferry.elb.server.dataplane.xds.acks import AckLog, SlotStatus
from certferry.elb.server.dataplane.xds.encode import Encoder
from certferry.elb.server.dataplane.xds.fallback import Fallbacks, RejectionFile
from certferry.elb.server.dataplane.xds.stream import Stream, StreamSnapshot
from certferry.elb.server.store.projection import Publication
from certferry.runtime.latest import Latest

_log = structlog.get_logger(__name__)
_GENERATIONS: Final = 61
LOCAL: Final = "local"
"""The name of our own Envoy."""
GRPC_OPTIONS: Final = (
    # A subscription names every slot of an Envoy.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class AdsServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves the newest of `publications` over incremental ADS: all of it to our own Envoy."""

    def __init__(
        self, publications: Latest[Publication], options: Options | None = None, rejections: RejectionFile | None = None
    ) -> None:
        self._rejections = rejections or RejectionFile()
        self._publications = publications
        self._options = options or Options()
        self._encoder = Encoder()
        self._acks: dict[str, AckLog] = {}
        self._connected: Counter[str] = Counter()
        self._server: Any = None
        self.skipped: Mapping[str, str] = {}
        """The type of the error for each listener or pool that cannot be built, by id."""
        self.snapshots = Latest(self._snapshot(publications.value, Snapshot({}, {})))
        """The resources of all load balancers."""
        self._following = contextlib.ExitStack()
        self._following.enter_context(publications.on_change(self._follow))

    async def start(self, socket: Path) -> None:
        """Listen on the Unix socket `socket`; makes its directory private (``NotPrivateError`` if it cannot)."""
        self._server = grpc.aio.server(options=GRPC_OPTIONS)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        private_directory(socket.parent)
        socket.unlink(missing_ok=True)  # noqa: ASYNC240 (as below)
        self._server.add_insecure_port(f"unix:{socket}")
        await self._server.start()
        os.chmod(socket, 0o600)  # noqa: PTH101 (one call to the kernel; the rule is about waiting)

    async def stop(self) -> None:
        """Close every stream. Envoy goes on with what it has."""
        self._following.close()
        if self._server is not None:
            await self._server.stop(grace=None)

    def acks(self, name: str = LOCAL) -> AckLog:
        """Return the acknowledgements of the Envoy `name`."""
        if name not in self._acks:
            fallbacks = Fallbacks(self._rejections, name)
            self._acks[name] = AckLog(generation=2 + os.getpid() % _GENERATIONS, fallbacks=fallbacks)
        return self._acks[name]

    def status(self) -> Mapping[str, SlotStatus]:
        """Return the status of each slot on our own Envoy."""
        return dict(self.acks().slots)

    def refusals(self) -> Mapping[tuple[str, str], str]:
        """Return our Envoy's reasons for rejected resources by (type URL, name), such as a port in use."""
        return dict(self.acks().refusals)

    def connected(self) -> tuple[str, ...]:
        """Names of the Envoys that have a stream now."""
        return tuple(sorted(name for name, count in self._connected.items() if count))

    def reporting(self) -> Mapping[str, AckLog]:
        """Return the acknowledgements of all connected Envoys; of ours if none is connected."""
        return {name: self.acks(name) for name in self.connected() or (LOCAL,)}

    async def DeltaAggregatedResources(  # noqa: N802 (the name in Envoy's service definition)
        self, requests: AsyncIterator[Any], _context: Any
    ) -> AsyncIterator[Any]:
        """Serve one stream until its Envoy ends it."""
        async for response in self.serve(LOCAL, self.snapshots, requests):
            yield response

    async def serve(
        self,
        name: str,
        snapshots: Latest[StreamSnapshot],
        requests: AsyncIterator[Any],
        leave: asyncio.Event | None = None,
    ) -> AsyncIterator[Any]:
        """Serve `snapshots` to the Envoy `name` until it ends the stream or `leave` is set."""
        stream = Stream(snapshots, self._encoder, self.acks(name))
        receiver = asyncio.create_task(stream.receive(requests))
        receiver.add_done_callback(stream.end)
        helpers = [receiver]
        if leave is not None:
            helpers.append(asyncio.create_task(_then(leave, stream.end)))
        self._connected[name] += 1
        try:
            async for response in stream.responses():
                yield response
            if receiver.done():
                await receiver
        finally:
            self._connected[name] -= 1
            for helper in helpers:
                helper.cancel()

    def _follow(self) -> None:
        try:
            self.snapshots.set(self._snapshot(self._publications.value, self.snapshots.value.resources))
        except Exception:  # noqa: BLE001 (the publisher must not fail: Envoy keeps the last good snapshot, and the log has the error)
            _log.exception("envoy_snapshot_failed")

    def _snapshot(self, publication: Publication, before: Snapshot) -> StreamSnapshot:
        made = isolated_snapshot(publication.state, self._options, before)
        if made.skipped and made.skipped != self.skipped:
            _log.error("listeners or pools cannot be built; Envoy keeps their last version", errors=made.skipped)
        self.skipped = made.skipped
        return StreamSnapshot(made.snapshot, publication.keys, publication.state)


async def _then(event: asyncio.Event, act: Callable[[], None]) -> None:
    await event.wait()
    act()
