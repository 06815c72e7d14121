"""The ELB as one process: store, REST API, xDS and Envoy, started and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.acme.attempt import Attempts
from certferry.elb.server.acme.dns_hook import DnsHook
from certferry.elb.server.acme.worker import OrderWorker
from certferry.elb.server.api.app import application
from certferry.elb.server.api.dependencies import ApiDependencies
from certferry.elb.server.api.extensions import events
from certferry.elb.server.api.extensions import orders as orders_api
from certferry.elb.server.background import in_background
from certferry.elb.server.dataplane.envoy.run_directory import run_directory
from certferry.elb.server.dataplane.lifecycle import data_plane
from certferry.elb.server.dataplane.remote import old_files
from certferry.elb.server.dataplane.status import Reporter, no_data_plane
from certferry.elb.server.identity.auth import HashingTurns, Logins
from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.elb.server.identity.shared_logins import SharedLogins
from certferry.elb.server.identity.users import Identity
from certferry.elb.server.keys import encryption_keys
from certferry.elb.server.paths import database, lock_file, prepared, store_file
from certferry.elb.server.store.database import SchemaTooNew, StoreUnusable, checkpoint, open_database
from certferry.elb.server.store.projection import Publication
from certferry.elb.server.store.shared import postgresql
from certferry.elb.server.store.shared.replicas import ReplicaRecord
from certferry.elb.server.store.store import Store
from certferry.runtime import private_files
from certferry.runtime.encryption import EncryptionError, EncryptionKeys
from certferry.runtime.http_deadline import http_protocol
from certferry.runtime.latest import Latest
from certferry.runtime.reloading_tls import ReloadingTls, UnusableTlsFiles
from certferry.settings import EXIT_NEWER_STATE, ElbSettings, UserError, host_port, networks

_log = structlog.get_logger("certferry.elb")
_GRACE = 5
"""Seconds for requests under way when the service ends."""
_GIVE_WAY = 0.0001
"""Seconds until a running thread yields to another."""
_CHECKPOINT = 2.0
"""Seconds between two checkpoints of the write-ahead log."""
_PRUNE = 3600.0
"""Seconds between prunings of the audit log."""
_BREATHER = 1.0
"""Seconds for writers between two transactions of a pruning."""


async def serve(settings: ElbSettings, accounts_for: str | None = None, *, new: bool = False) -> None:
    """Run until SIGTERM or SIGINT. `accounts_for`: the cluster whose accounts are created first.

    `new` allows an empty store in place of a lost one. Raises ``UserError`` if the start fails.
    """
    # The loop and the API's threads alternate several times per rotation: with Python's default switch interval of
    # 5 ms, clients would mostly wait for that.
    sys.setswitchinterval(_GIVE_WAY)
    if new and not settings.database:
        private_files.forget_store(store_file(_state(settings)))
    leaves = settings.envoy_options.on_exit == "keep"
    async with running(settings, accounts_for, lambda: leaves):
        gc.collect()
        gc.freeze()  # a collection of the loaded objects would take 10 ms each time
        if await _told_to_end() == signal.SIGINT:
            leaves = False


@asynccontextmanager
async def running(
    settings: ElbSettings, accounts_for: str | None = None, leaves: Callable[[], bool] = lambda: False
) -> AsyncIterator[str]:
    """Run the service within the block and yield its origin. Raises ``UserError``.

    At its end, `leaves` decides if Envoy keeps serving.
    """
    async with contextlib.AsyncExitStack() as stack:
        networks(settings.trusted_proxies)
        _check_subnet(settings.vip_subnet)
        state = _state(settings)
        stack.enter_context(_only_instance(state))
        tls = _own_tls(settings, state)
        listening = stack.enter_context(_listening(settings.listen, tls=tls is not None))
        engine, store, identity, encryption = _opened(settings, state, accounts_for, stack)
        latest = Latest(store.publication)
        loop = asyncio.get_running_loop()
        changes = Latest(0)
        store.on_commit(lambda publication: _hand_over(loop, latest, changes, publication))
        host, port = listening.getsockname()[:2]
        origin = settings.origin or f"{'https' if tls else 'http'}://{_in_url(host)}:{port}"
        await stack.enter_async_context(in_background(_checkpoints(engine, latest)))
        record = ReplicaRecord(engine, encryption) if settings.database else None
        if record:
            await stack.enter_async_context(in_background(record.run()))
            await stack.enter_async_context(in_background(postgresql.follow(settings.database, store.catch_up)))
        await stack.enter_async_context(in_background(_prunings(store, settings)))
        reporter = await stack.enter_async_context(
            _data_plane(settings, state, latest, engine, encryption, record, leaves)
        )
        elb = ApiDependencies(
            settings, store, identity, _logins(settings, engine), HashingTurns(), origin, changes, reporter
        )
        hook = DnsHook(settings.dns_hook, settings.dns_hook_timeout) if settings.dns_hook else None
        orders = OrderWorker(store, Attempts(store, reporter, orders_api.delivery(store, settings), hook), changes)
        await stack.enter_async_context(in_background(_leading(settings, orders.run)))
        await stack.enter_async_context(_answering(elb, listening, tls))
        yield origin


def _check_subnet(subnet: str) -> None:
    try:
        ipaddress.ip_network(subnet)
    except ValueError as error:
        raise UserError(f"elb.vip_subnet: {error}. Give a network, like 127.83.41.0/24.") from None


def _logins(settings: ElbSettings, engine: Engine) -> Logins | SharedLogins:
    return SharedLogins(settings.login_attempts, engine) if settings.database else Logins(settings.login_attempts)


def _hand_over(
    loop: asyncio.AbstractEventLoop, latest: Latest[Publication], changes: Latest[int], publication: Publication
) -> None:
    def tell() -> None:
        latest.set(publication)
        if changes.value != events.ENDED:
            changes.set(changes.value + 1)

    with contextlib.suppress(RuntimeError):  # The loop has ended, so there are no readers left to notify.
        loop.call_soon_threadsafe(tell)


def _state(settings: ElbSettings) -> Path:
    try:
        return prepared(settings)
    except StoreUnusable as reason:
        raise UserError(str(reason)) from None


def _opened(
    settings: ElbSettings, state: Path, accounts_for: str | None, stack: contextlib.AsyncExitStack
) -> tuple[Engine, Store, Identity, EncryptionKeys]:
    try:
        if accounts_for:
            bootstrap(settings, cluster=accounts_for)
        encryption = encryption_keys(settings, create=True)
        engine = open_database(database(settings, state))
        if not settings.database:
            private_files.mark_store(store_file(state))
        stack.callback(engine.dispose)
        old_files.move_files(state, engine, encryption)
        identity = Identity(engine, encryption)
        stack.callback(identity.close)
        store = Store(engine, encryption, versions=settings.certificate_versions)
        return engine, store, identity, encryption
    except SchemaTooNew as reason:
        raise UserError(str(reason), EXIT_NEWER_STATE) from None
    except (StoreUnusable, EncryptionError) as reason:
        raise UserError(str(reason)) from None
    except SQLAlchemyError as error:
        raise UserError(f"The store cannot be used: {getattr(error, 'orig', error)}.") from None


@contextmanager
def _only_instance(state: Path) -> Iterator[None]:
    try:
        descriptor = os.open(lock_file(state), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(f"The state directory {state} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"Another ELB runs on the state {state}: end it first, or use another --state.") from None
    finally:
        os.close(descriptor)


@contextmanager
def _listening(listen: str, *, tls: bool) -> Iterator[socket.socket]:
    host, number = host_port(listen)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UserError(f"“{host}” is no IP address to listen on.") from None
    if not (address.is_loopback or tls):
        raise UserError(
            f"Without TLS the ELB API listens on loopback addresses alone, not on {host}: "
            "set tls_certificate and tls_key."
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # asyncio disables Nagle only if the protocol is named; otherwise each response takes 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((str(address), number))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise UserError(f"The ELB API cannot listen on {listen}: {error.strerror}.") from None
    try:
        yield listening
    finally:
        listening.close()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@asynccontextmanager
async def _data_plane(
    settings: ElbSettings,
    state: Path,
    latest: Latest[Publication],
    engine: Engine,
    encryption: EncryptionKeys,
    record: ReplicaRecord | None,
    leaves: Callable[[], bool],
) -> AsyncIterator[Reporter]:
    if not settings.envoy and not settings.remote_envoys.listen:
        yield no_data_plane
        return
    try:
        directory = run_directory(state)
    except OSError as error:
        raise UserError(f"The directory for the ELB's sockets cannot be used: {error}.") from None
    async with data_plane(state, directory, latest, settings, engine, encryption, record, leaves) as reporter:
        yield reporter


async def _checkpoints(engine: Engine, latest: Latest[Publication]) -> None:
    sequence = 0
    while True:
        sequence, _ = await latest.after(sequence)
        await asyncio.sleep(_CHECKPOINT)
        try:
            await asyncio.to_thread(checkpoint, engine)
        except SQLAlchemyError as error:
            _log.error("checkpoint failed", reason=str(getattr(error, "orig", error)))


async def _prunings(store: Store, settings: ElbSettings) -> None:
    while True:
        before, pruned = store.now() - timedelta(days=settings.audit_days), 0
        try:
            pruned = await asyncio.to_thread(store.prune_audit, before, settings.audit_records)
        except SQLAlchemyError as error:
            _log.error("audit log not pruned", reason=str(getattr(error, "orig", error)))
        await asyncio.sleep(_BREATHER if pruned else _PRUNE)


class _Server(uvicorn.Server):
    """uvicorn, without signal handlers of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _own_tls(settings: ElbSettings, state: Path) -> ReloadingTls | None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UserError("TLS of the API needs both tls_certificate and tls_key.")
    try:
        return ReloadingTls("API", certificate.expanduser(), key.expanduser(), state)
    except UnusableTlsFiles as error:
        raise UserError(str(error)) from None


@asynccontextmanager
async def _answering(elb: ApiDependencies, listening: socket.socket, tls: ReloadingTls | None) -> AsyncIterator[None]:
    config = uvicorn.Config(
        application(elb),
        http=http_protocol(
            elb.settings.read_timeout
        ),  # httptools: a PUT of a certificate costs a twentieth of a rotation less than with h11
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # A header must not choose the address that failed logins count against.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE,
        ssl_context_factory=(lambda _config, _default: tls.context) if tls else None,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    watching = asyncio.create_task(tls.watch()) if tls else None
    try:
        yield
    finally:
        if watching:
            watching.cancel()
        elb.changes.set(events.ENDED)
        server.should_exit = True
        await task


async def _leading(settings: ElbSettings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` in one of the processes that share a store."""
    if settings.database:
        await postgresql.leading(settings.database, work)
    else:
        await work()


async def _told_to_end() -> int:
    """Return the first signal that asks this process to end."""
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.put_nowait, number)
    return await told.get()
