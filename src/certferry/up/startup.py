"""From started programs to a system that is ready: what they lack at first, and when they answer.

``run`` imports this only when the programs are started, for it takes a while to load and they
need longer. It starts and ends nothing itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

import msgspec

from certferry.core.model.elb import LoadBalancer, bind_port
from certferry.elb.client.client import ElbError
from certferry.elb.server.identity.accounts import Accounts
from certferry.kube.client import kubeconfig as kubeconfigs
from certferry.kube.client.client import KubeError
from certferry.settings import UserError
from certferry.up import accounts, bootstrap, endpoints_file, free_ports, programs, readiness, settings_file
from certferry.up.saved_state import SavedState
from certferry.up.state_directory import StateDirectory

T = TypeVar("T")

_RETRY_INTERVAL: Final = 0.1
"""Seconds before a request is repeated."""
_PAGE_TIMEOUT: Final = 15.0
"""Seconds that the demo page may take to be served once all parts are ready."""


class StartupResult(NamedTuple):
    """What became known while everything started."""

    loadbalancer: LoadBalancer
    accounts: Accounts

    @property
    def address(self) -> str:
        """Where the load balancer listens."""
        return self.loadbalancer.vip_address or free_ports.LOOPBACK


async def create_missing_resources(
    directory: StateDirectory, saved: SavedState, use: Callable[[str], Awaitable[None]], *, demo: bool
) -> StartupResult:
    """Make what is absent; `use` is told of a load balancer that `memory` does not have.

    Raises ``Refused``, OSError.
    """
    found, _ = await asyncio.gather(
        _prepare_elb(directory, saved, use), _prepare_kube(directory, saved, demo=demo)
    )
    return found


async def _prepare_elb(
    directory: StateDirectory, saved: SavedState, use: Callable[[str], Awaitable[None]]
) -> StartupResult:
    url = programs.elb_url(saved)
    await readiness.answers(f"{url}/healthz")
    users = accounts.load(directory.elb_accounts)
    accounts.write_credentials(
        accounts.credentials(users, users.controller), directory.controller_credentials
    )
    accounts.write_credentials(accounts.credentials(users, users.admin), directory.admin_credentials)
    admin, known = accounts.credentials(users, users.admin), saved.loadbalancer_id
    loadbalancer = await _retried(lambda: bootstrap.load_balancer(url, admin, known))
    settings_file.write(directory, url, loadbalancer.id)
    if loadbalancer.id != saved.loadbalancer_id:
        await use(loadbalancer.id)
    await readiness.envoy_runs(directory.envoy)
    return StartupResult(loadbalancer, users)


async def _prepare_kube(directory: StateDirectory, saved: SavedState, *, demo: bool) -> None:
    await readiness.exists(directory.kubeconfig)
    access = kubeconfigs.load(directory.kubeconfig)
    await readiness.answers(f"{access.server}/readyz", access.tls)
    await _retried(lambda: bootstrap.classes(directory.kubeconfig))
    if demo:
        await _retried(lambda: bootstrap.demo(directory.kubeconfig, directory.demo, saved.backend_port))


async def _retried(act: Callable[[], Awaitable[T]]) -> T:
    """The outcome of `act`, which may be repeated while it fails for a reason that may pass."""
    while True:
        try:
            return await act()
        except (ElbError, KubeError) as error:
            if not error.retryable:
                raise UserError(str(error), code=1) from None
        await asyncio.sleep(_RETRY_INTERVAL)


async def all_ready(saved: SavedState) -> None:
    """Until the controller is, which needs the others, and the console."""
    await readiness.answers(f"{programs.controller_url(saved)}/readyz")
    await readiness.answers(f"{programs.console_url(saved)}/healthz")


async def page_trouble(directory: StateDirectory, found: StartupResult) -> str:
    """Empty once the demo page came over HTTPS; else, after a while, where to look."""
    if await readiness.page_served(found.address, bind_port(found.loadbalancer, 443), _PAGE_TIMEOUT):
        return ""
    return f"The demo page is not served: `kubectl get events -n demo` and {directory.logs} say more."


def endpoints_of(
    directory: StateDirectory, saved: SavedState, found: StartupResult
) -> endpoints_file.Endpoints:
    """What scripts are told, without the processes."""
    admin, users = msgspec.structs.asdict(found.accounts.admin), found.accounts
    return endpoints_file.Endpoints(
        kubeconfig=str(directory.kubeconfig),
        elb=endpoints_file.Elb(
            url=programs.elb_url(saved),
            loadbalancer_id=found.loadbalancer.id,
            project_id=users.project_id,
            domain=users.domain,
            **admin,
        ),
        console=endpoints_file.Console(url=programs.console_url(saved)),
        metrics=endpoints_file.Metrics(url=f"{programs.controller_url(saved)}/metrics"),
        port_map={str(port): bind_port(found.loadbalancer, port) for port in (80, 443)},
        pid=os.getpid(),
        processes={},
    )
