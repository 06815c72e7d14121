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
from certferry.up import accounts, settings_file
from certferry.up import banner as showing
from certferry.up import bootstrap as first
from certferry.up import endpoints_file as endpoints
from certferry.up import free_ports as addresses
from certferry.up import programs as parts
from certferry.up import readiness as ready
from certferry.up.saved_state import SavedState
from certferry.up.state_directory import StateDirectory

T = TypeVar("T")

_PAUSE: Final = 0.1
"""Seconds before a request is repeated."""
_PAGE: Final = 15.0
"""Seconds that the demo page may take to be served once all parts are ready."""


class StartupResult(NamedTuple):
    """What became known while everything started."""

    loadbalancer: LoadBalancer
    accounts: Accounts

    @property
    def address(self) -> str:
        """Where the load balancer listens."""
        return self.loadbalancer.vip_address or addresses.LOOPBACK


async def create_missing_resources(
    home: StateDirectory, memory: SavedState, use: Callable[[str], Awaitable[None]], *, demo: bool
) -> StartupResult:
    """Make what is absent; `use` is told of a load balancer that `memory` does not have.

    Raises ``Refused``, OSError.
    """
    found, _ = await asyncio.gather(_equip_elb(home, memory, use), _equip_kube(home, memory, demo=demo))
    return found


async def _equip_elb(
    home: StateDirectory, memory: SavedState, use: Callable[[str], Awaitable[None]]
) -> StartupResult:
    url = parts.elb_url(memory)
    await ready.answers(f"{url}/healthz")
    users = accounts.load(home.elb_accounts)
    accounts.hand_over(accounts.credentials(users, users.controller), home.controller_credentials)
    accounts.hand_over(accounts.credentials(users, users.admin), home.admin_credentials)
    admin, known = accounts.credentials(users, users.admin), memory.loadbalancer_id
    loadbalancer = await _through(lambda: first.load_balancer(url, admin, known))
    settings_file.keep(home, url, loadbalancer.id)
    if loadbalancer.id != memory.loadbalancer_id:
        await use(loadbalancer.id)
    await ready.envoy_runs(home.envoy)
    return StartupResult(loadbalancer, users)


async def _equip_kube(home: StateDirectory, memory: SavedState, *, demo: bool) -> None:
    await ready.written(home.kubeconfig)
    access = kubeconfigs.load(home.kubeconfig)
    await ready.answers(f"{access.server}/readyz", access.tls)
    await _through(lambda: first.classes(home.kubeconfig))
    if demo:
        await _through(lambda: first.demo(home.kubeconfig, home.demo, memory.backend_port))


async def _through(act: Callable[[], Awaitable[T]]) -> T:
    """The outcome of `act`, which may be repeated while it fails for a reason that may pass."""
    while True:
        try:
            return await act()
        except (ElbError, KubeError) as error:
            if not error.retryable:
                raise UserError(str(error), code=1) from None
        await asyncio.sleep(_PAUSE)


async def all_ready(memory: SavedState) -> None:
    """Until the controller is, which needs the others, and the console."""
    await ready.answers(f"{parts.controller_url(memory)}/readyz")
    await ready.answers(f"{parts.console_url(memory)}/healthz")


async def page_trouble(home: StateDirectory, found: StartupResult) -> str:
    """Empty once the demo page came over HTTPS; else, after a while, where to look."""
    if await ready.page_served(found.address, bind_port(found.loadbalancer, 443), _PAGE):
        return ""
    return f"The demo page is not served: `kubectl get events -n demo` and {home.logs} say more."


def endpoints_of(home: StateDirectory, memory: SavedState, found: StartupResult) -> endpoints.Endpoints:
    """What scripts are told, without the processes."""
    admin, users = msgspec.structs.asdict(found.accounts.admin), found.accounts
    return endpoints.Endpoints(
        kubeconfig=str(home.kubeconfig),
        elb=endpoints.Elb(
            url=parts.elb_url(memory),
            loadbalancer_id=found.loadbalancer.id,
            project_id=users.project_id,
            domain=users.domain,
            **admin,
        ),
        console=endpoints.Console(url=parts.console_url(memory)),
        metrics=endpoints.Metrics(url=f"{parts.controller_url(memory)}/metrics"),
        port_map={str(port): bind_port(found.loadbalancer, port) for port in (80, 443)},
        pid=os.getpid(),
        processes={},
    )


def block(home: StateDirectory, told: endpoints.Endpoints, found: StartupResult, *, demo: bool) -> str:
    """What people are told."""
    return showing.block(home.root, told, found.address, demo=demo)
