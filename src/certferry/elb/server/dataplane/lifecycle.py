"""The data plane as a whole: xDS servers, Envoy, and the status of both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sqlalchemy import Engine

from certferry.elb.server.background import in_background
from certferry.elb.server.dataplane.access_log.writer import AccessLog
from certferry.elb.server.dataplane.envoy.connection_limit import edge_options
from certferry.elb.server.dataplane.envoy.member_health import MemberHealth
from certferry.elb.server.dataplane.envoy.supervisor import EnvoySupervisor
from certferry.elb.server.dataplane.remote.ca import Authority
from certferry.elb.server.dataplane.remote.registry import RemoteEnvoyRegistry
from certferry.elb.server.dataplane.remote.server import RemoteServer
from certferry.elb.server.dataplane.shared_acks import SharedAcks
from certferry.elb.server.dataplane.status import (
    DataPlaneStatus,
    EnvoyStatus,
    MemberKey,
    Reporter,
    RouteStatuses,
    SecretStatuses,
    refusals,
)
from certferry.elb.server.dataplane.xds.fallback import RejectionFile
from certferry.elb.server.dataplane.xds.server import LOCAL, AdsServer
from certferry.elb.server.paths import rejections_file
from certferry.elb.server.store import versions
from certferry.elb.server.store.projection import Publication
from certferry.elb.server.store.shared.replicas import ReplicaRecord
from certferry.runtime.encryption import EncryptionKeys
from certferry.runtime.latest import Latest
from certferry.settings import ElbSettings, UserError

UNBUILT: Final = "Certferry cannot configure Envoy for it ({}): Envoy keeps its last configuration."


class LocalEnvoy:
    """Our own Envoy and its health results; empty without an Envoy."""

    def __init__(self) -> None:
        self.envoy: EnvoySupervisor | None = None
        self.health: MemberHealth | None = None

    def status(self) -> EnvoyStatus | None:
        """Return the status of our Envoy."""
        return self.envoy.status() if self.envoy else None

    def members(self) -> Mapping[MemberKey, bool]:
        """Return the health of the members."""
        return self.health.members if self.health else MappingProxyType({})


@asynccontextmanager
async def data_plane(
    state: Path,
    sockets: Path,
    publications: Latest[Publication],
    settings: ElbSettings,
    engine: Engine,
    encryption: EncryptionKeys,
    record: ReplicaRecord | None,
    leaves: Callable[[], bool],
) -> AsyncIterator[Reporter]:
    """Serve `publications` within the block, with files in `state` and sockets in `sockets`.

    `record` is this ELB's on a shared database.

    At its end, `leaves` decides if Envoy keeps serving. Raises ``UserError`` if it cannot listen for remote Envoys.
    """
    async with contextlib.AsyncExitStack() as stack:
        rejections = RejectionFile(rejections_file(state), partial(versions.content_of, engine, encryption))
        ads = AdsServer(publications, edge_options(settings.envoy_options), rejections)
        own = LocalEnvoy()
        await ads.start(sockets / "xds.sock")
        stack.push_async_callback(ads.stop)
        if settings.remote_envoys.listen:
            await _remote(ads, engine, encryption, settings.remote_envoys.listen, stack)
        if settings.envoy:
            await _own(own, ads, state, sockets, settings, stack, leaves)
            assert own.health is not None
            await stack.enter_async_context(in_background(own.health.follow(publications)))
        shared = SharedAcks(record, ads) if record else None
        if shared:
            await stack.enter_async_context(in_background(shared.publish()))
        yield lambda: _report(ads, own, shared)


async def _remote(
    ads: AdsServer, engine: Engine, encryption: EncryptionKeys, listen: str, stack: contextlib.AsyncExitStack
) -> None:
    try:
        remote = RemoteServer(ads, RemoteEnvoyRegistry(engine), Authority(engine, encryption))
        await remote.start(listen)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"Remote Envoys cannot be served on {listen}: {error}.") from None
    stack.push_async_callback(remote.stop)


async def _own(
    own: LocalEnvoy,
    ads: AdsServer,
    state: Path,
    sockets: Path,
    settings: ElbSettings,
    stack: contextlib.AsyncExitStack,
    leaves: Callable[[], bool],
) -> None:
    options = settings.envoy_options
    own.envoy = envoy = EnvoySupervisor(state, sockets, sockets / "xds.sock", options)
    own.health = MemberHealth(envoy.admin)
    stack.push_async_callback(_end, envoy, leaves)
    await envoy.start()
    if options.access_log:
        log = AccessLog(state, envoy.admin, lambda: ads.acks().intervals(), options.access_log_bytes)
        await stack.enter_async_context(in_background(log.follow()))


async def _end(envoy: EnvoySupervisor, leaves: Callable[[], bool]) -> None:
    if leaves():
        envoy.release()
    else:
        await envoy.stop()


def _elsewhere(shared: SharedAcks, envoys: tuple[str, ...], listener_id: str) -> Mapping[str, str]:
    """Return the versions of a route table on `envoys`. An ELB's own Envoy serves every listener, a remote one some."""
    awaited = {name: "" for name in envoys if name.endswith(f"/{LOCAL}")}
    return {**awaited, **shared.route_versions(listener_id)}


def _report(ads: AdsServer, own: LocalEnvoy, shared: SharedAcks | None) -> DataPlaneStatus:
    elsewhere = shared.connected() if shared else ()
    acks_by_envoy = {} if elsewhere and not ads.connected() else ads.reporting()
    current = ads.snapshots.value
    refused = {name: dict(acks.refusals) for name, acks in acks_by_envoy.items()}
    return DataPlaneStatus(
        envoy=own.status(),
        connected=(*ads.connected(), *elsewhere),
        secrets=SecretStatuses(
            current.resources, acks_by_envoy, shared.slots if shared and elsewhere else lambda _: {}
        ),
        routes=RouteStatuses(
            current.resources,
            current.state,
            acks_by_envoy,
            (lambda listener: _elsewhere(shared, elsewhere, listener)) if shared and elsewhere else None,
        ),
        refusals={
            **refusals({**refused, **(shared.refusals() if shared and elsewhere else {})}),
            **{ref: UNBUILT.format(error) for ref, error in ads.skipped.items()},
        },
        members=own.members(),
    )
