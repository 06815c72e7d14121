"""``certferry controller``: puts the parts together and runs them until SIGTERM.

It survives that the Kubernetes API or the ELB is down at start or later; only settings that can
never work end it, with a sentence (``KubeconfigError``, ``CredentialsError``, ``OSError`` of a taken port).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from certferry.clusters import ClusterAccess
from certferry.clusters.translate_options import options_of
from certferry.controller.controller import Controller
from certferry.controller.http import application
from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.controller.sync.apply import apply
from certferry.controller.sync.debounce import Timing
from certferry.controller.watch_scope import scope
from certferry.core.diagnosis.alert_rules import AlertRules
from certferry.core.model.kubernetes import Name
from certferry.kube.client.client import KubeClient
from certferry.kube.client.leader_election import LeaderElector, lease_timings
from certferry.settings import ControllerSettings, UserError

THREAD_SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread keeps the interpreter while another one waits."""


BackgroundTask = Callable[[Controller], Coroutine[Any, Any, None]]
"""Something that runs as long as the controller does, and reads what it publishes."""


async def serve(
    settings: ControllerSettings,
    cluster: ClusterAccess,
    rules: AlertRules,
    own: tuple[tuple[str, str], ...] = (),
    background: BackgroundTask | None = None,
) -> None:
    """Run the controller of `cluster` until SIGTERM or SIGINT.

    `own`: (what it is, host:port) of certificates of other parts of this system that it watches too.
    """
    # a rotation takes its turns between those of a long translation (see ``loop``)
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with cluster.kube() as kube, cluster.kube() as voting, cluster.elb() as elb:
        options = options_of(settings, cluster)
        leader = _leader(settings, voting)
        act = None if settings.observe else apply
        kube.may_write = elb.may_write = _may_write(settings, leader)
        vigil = _monitoring_options(settings, rules, own, elb=elb.url, kubernetes=kube.url)
        conduct = ControllerMode(scope(settings, options), leader, act, vigil, settings.drift)
        controller = Controller(kube, elb, options, _waits(settings), conduct)
        runner = web.AppRunner(application(controller), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.listen_host, settings.listen_port).start()
            await _until(stop, controller, background)
        finally:
            await runner.cleanup()


def _leader(settings: ControllerSettings, voting: KubeClient) -> LeaderElector | None:
    """Return the leader elector; it has a connection of its own, so that no write delays a renewal of the lease."""
    if not settings.lease or settings.observe:
        return None
    namespace, slash, name = settings.lease.partition("/")
    if not (namespace and slash and name):
        raise UserError(f"controller.lease is “{settings.lease}”: it must be NAMESPACE/NAME.")
    identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4()}"
    return LeaderElector(voting, Name(namespace, name), identity, lease_timings(settings.lease_seconds))


def _may_write(settings: ControllerSettings, leader: LeaderElector | None) -> Callable[[], bool]:
    """Return the fence: the check before each write."""
    if settings.observe:
        return lambda: False
    return (lambda: leader.leading) if leader else (lambda: True)


async def _until(stop: asyncio.Event, controller: Controller, background: BackgroundTask | None) -> None:
    running = asyncio.create_task(controller.run())
    accompanying = asyncio.create_task(background(controller)) if background else None
    settling = asyncio.create_task(_freeze_garbage(controller))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    settling.cancel()
    if accompanying:
        accompanying.cancel()
        await asyncio.gather(accompanying, return_exceptions=True)
    if running.done():
        running.result()  # a defect: let it be seen
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _freeze_garbage(controller: Controller) -> None:
    """Exempt what was read at start from garbage collection, because a collection would delay a rotation."""
    await controller.in_step.wait()
    gc.collect()
    gc.freeze()


def _waits(settings: ControllerSettings) -> Timing:
    return Timing(
        debounce=settings.debounce,
        debounce_max=settings.debounce_max,
        resync=settings.resync,
        deletion_delay=settings.deletion_delay,
        probe_deadline=settings.probe_deadline,
    )


def _monitoring_options(
    settings: ControllerSettings, rules: AlertRules, own: tuple[tuple[str, str], ...], **apis: str
) -> MonitoringOptions:
    mine = {where: where for where in settings.own_certificates}
    mine |= {where: what for what, where in own}
    for what, url in apis.items():
        parts = urlsplit(url)
        if parts.scheme == "https":
            mine[f"{parts.hostname}:{parts.port or 443}"] = f"{what} API"
    return MonitoringOptions(
        rules=rules,
        rollback_within=settings.rollback_within,
        probe_interval=settings.probe_interval,
        own_endpoints=tuple((what, where) for where, what in mine.items()),
    )
