"""Life of the server process: state directory, lock, keys, store, socket, shutdown.

A start that fails for a reason the user can change raises ``UserError`` with the next action.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from certferry.kube.apiserver.apply.managed_fields import Writer
from certferry.kube.apiserver.auth import certificates, kubeconfigs
from certferry.kube.apiserver.auth.auth import Tokens
from certferry.kube.apiserver.http.handlers import Api
from certferry.kube.apiserver.http.server import HttpServer
from certferry.kube.apiserver.resources.builtin import KINDS, ResourceDefinition, with_loopback_endpoints
from certferry.kube.apiserver.schema.decode import canonical
from certferry.kube.apiserver.storage import mutations
from certferry.kube.apiserver.storage.ip_allocator import ServiceAllocator
from certferry.kube.apiserver.storage.lifecycle import run_lifecycle
from certferry.kube.apiserver.storage.log import STORE_FILE, Retention, Store, StoreTooNew
from certferry.kube.apiserver.storage.watch_cache import WatchCache
from certferry.runtime import private_files
from certferry.runtime.encryption import EncryptionError, EncryptionKeys
from certferry.runtime.private_ca import PrivateCaError
from certferry.settings import EXIT_NEWER_STATE, KubeServerSettings, UserError, host_port

_FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_DAY = 86_400.0
_GRACE = 5.0


async def serve(settings: KubeServerSettings, *, new: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; `new` allows an empty store in place of a lost one. Raises ``UserError``."""
    if new:
        private_files.forget_store(_folder(settings.state) / STORE_FILE)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings):
        await stopped.wait()


@asynccontextmanager
async def running(settings: KubeServerSettings) -> AsyncIterator[str]:
    """Run a server within the block and yield its URL. Raises ``UserError`` if the start fails."""
    folder = _folder(settings.state)
    with _only_instance(folder):
        listener = _listen(settings.listen, folder)
        host, port = listener.getsockname()[:2]
        files, now = certificates.Files(folder), datetime.now(UTC)
        hosts = tuple(dict.fromkeys(("localhost", "127.0.0.1", host)))
        try:
            certificates.ensure(files, hosts, now)
        except PrivateCaError as error:
            raise UserError(str(error)) from None
        tokens_by_role = kubeconfigs.tokens(folder / "tokens.json")
        kinds = with_loopback_endpoints(KINDS) if settings.loopback_endpoints else KINDS
        store, cache = _open(folder, kinds, Retention(settings.history_revisions, settings.history_seconds))
        cache.start()
        await _first_objects(cache, kinds)
        api = Api(cache, kinds, ServiceAllocator(settings.service_cidr), _now)
        http_server = HttpServer(
            api,
            Tokens({t: kubeconfigs.user(r) for r, t in tokens_by_role.items()}),
            lambda: True,
            settings.read_timeout,
        )
        context = _context(files)
        tasks = [
            asyncio.create_task(run_lifecycle(cache, kinds, _now)),
            asyncio.create_task(_renew(files, hosts, context)),
        ]
        runner = web.ServerRunner(http_server.server(), shutdown_timeout=_GRACE)
        try:
            await runner.setup()
            await web.SockSite(runner, listener, ssl_context=context).start()
            url = f"https://{_bracketed(host)}:{port}"
            kubeconfigs.write_kubeconfigs(settings.state, url, files, tokens_by_role)
            yield url
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            http_server.end_streams()
            await runner.cleanup()
            listener.close()
            await store.close()


def _folder(state: Path) -> Path:
    folder = state / "kube"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"The state directory {folder} cannot be created: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"The state directory {folder} is not writable: change its owner to this user, or choose another with --state."
        )
    return folder


@contextmanager
def _only_instance(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another Kubernetes API server uses {folder}: stop it first, or choose another state directory with --state."
            ) from None
        yield


def _listen(listen: str, folder: Path) -> socket.socket:
    """Open the listening socket. Port 0 means the port of the last run, so that kubeconfigs stay valid."""
    host, port = host_port(listen)
    port_file = folder / "port"
    stored = port_file.read_text(errors="replace").strip() if port_file.exists() else ""
    if port == 0 and stored.isdigit():
        port = int(stored)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise UserError(
            f"The Kubernetes API cannot listen on {_bracketed(host)}:{port}: {os.strerror(error.errno or 0)}. "
            "Stop the process that uses the port, or choose another with --listen."
        ) from None
    chosen = str(listener.getsockname()[1])
    if chosen != stored:
        private_files.write(port_file, chosen)
    return listener


def _open(folder: Path, kinds: tuple[ResourceDefinition, ...], retention: Retention) -> tuple[Store, WatchCache]:
    path = folder / STORE_FILE
    if trouble := private_files.lost_store(path):
        raise UserError(
            f"{trouble}: put a copy of it back (`certferry restore` brings back the ELB's store only), or give --new to "
            "start with an empty one. The controller removes from the ELB what no Ingress asks for."
        )
    encrypted_kinds = frozenset(k.plural for k in kinds if k.encrypted)
    try:
        path.touch(mode=0o600)
        store = Store(path, EncryptionKeys.open_or_create(folder / "seal.key"), encrypted_kinds, retention)
        private_files.mark_store(path)
        return store, WatchCache(store, kinds)
    except StoreTooNew as error:
        raise UserError(f"The store {path} {error}.", EXIT_NEWER_STATE) from None
    except EncryptionError as error:
        raise UserError(str(error)) from None
    except sqlite3.Error as error:
        raise UserError(f"The store {path} cannot be opened: {error}. Put a copy of it back.") from None


async def _first_objects(cache: WatchCache, kinds: tuple[ResourceDefinition, ...]) -> None:
    kind = next(k for k in kinds if k.name == "Namespace")
    writer = Writer("certferry", mutations.stamp(_now()))
    for name in _FIRST_NAMESPACES:
        if cache.get(kind, "", name) is None:
            prepared = mutations.prepare(kind, canonical(kind.name, {"metadata": {"name": name}})[0], "", writer)
            await cache.write(kind, "", name, mutations.create(kind, prepared, mutations.no_finish))


def _context(files: certificates.Files) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _renew(files: certificates.Files, hosts: tuple[str, ...], context: ssl.SSLContext) -> None:
    while True:
        await asyncio.sleep(_DAY)
        with suppress(OSError, PrivateCaError):  # a full disk, for example; thirty days are left for another attempt
            if certificates.ensure(files, hosts, _now()):
                context.load_cert_chain(files.certificate, files.key)


def _now() -> datetime:
    return datetime.now(UTC)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
