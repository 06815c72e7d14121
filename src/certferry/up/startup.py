"""Start-up after the first programs run: credentials, first objects, readiness, and ``endpoints.json``.

``run`` imports it after it has started the programs, because the import is slow.
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
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.runtime.private_ca import PrivateCaError
from certferry.settings import UserError
from certferry.up import accounts, bootstrap, endpoints_file, free_ports, programs, readiness, settings_file
from certferry.up.saved_state import SavedState
from certferry.up.state_directory import StateDirectory

T = TypeVar("T")

_RETRY_INTERVAL: Final = 0.1
"""Seconds before a request is repeated."""
_PAGE_TIMEOUT: Final = 15.0
"""Seconds within which the demo page is served once all programs are ready."""


class StartupResult(NamedTuple):
    """The default load balancer and the ELB's users."""

    loadbalancer: LoadBalancer
    accounts: Accounts

    @property
    def address(self) -> str:
        """Address of the load balancer."""
        return self.loadbalancer.vip_address or free_ports.LOOPBACK


async def create_missing_resources(
    directory: StateDirectory, saved: SavedState, use: Callable[[str], Awaitable[None]], *, demo: bool
) -> StartupResult:
    """Create absent objects; call `use` with a load balancer that `saved` does not have.

    Raises UserError, OSError.
    """
    result, _ = await asyncio.gather(_prepare_elb(directory, saved, use), _prepare_kube(directory, saved, demo=demo))
    return result


async def _prepare_elb(
    directory: StateDirectory, saved: SavedState, use: Callable[[str], Awaitable[None]]
) -> StartupResult:
    url = programs.elb_url(saved)
    await readiness.answers(f"{url}/healthz")
    users = accounts.load(directory.elb_accounts)
    accounts.write_credentials(accounts.credentials(users, users.controller), directory.controller_credentials)
    accounts.write_credentials(accounts.credentials(users, users.admin), directory.admin_credentials)
    admin, identity = accounts.credentials(users, users.admin), saved.loadbalancer_id
    loadbalancer = await _retried(lambda: bootstrap.load_balancer(url, admin, identity))
    settings_file.write(directory, url, loadbalancer.id)
    if loadbalancer.id != saved.loadbalancer_id:
        await use(loadbalancer.id)
    await readiness.envoy_runs(directory.envoy)
    return StartupResult(loadbalancer, users)


async def _prepare_kube(directory: StateDirectory, saved: SavedState, *, demo: bool) -> None:
    if saved.existing_cluster:
        await _retried(lambda: bootstrap.ingress_class(directory.kubeconfig))
        return
    await readiness.exists(directory.kubeconfig)
    access = kubeconfigs.load(directory.kubeconfig)
    await readiness.answers(f"{access.server}/readyz", access.tls)
    await _retried(lambda: bootstrap.classes(directory.kubeconfig))
    if demo:
        await _retried(lambda: bootstrap.demo(directory.kubeconfig, directory.demo, saved.backend_port))


async def _retried(act: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `act`, repeated while it fails with a retryable error."""
    while True:
        try:
            return await act()
        except (ElbError, KubeError) as error:
            if not error.retryable:
                raise UserError(str(error), code=1) from None
        except (PrivateCaError, KubeconfigError) as error:
            raise UserError(str(error)) from None
        await asyncio.sleep(_RETRY_INTERVAL)


async def all_ready(saved: SavedState) -> None:
    """Wait until the controller, which needs the others, and the console are ready."""
    await readiness.answers(f"{programs.controller_url(saved)}/readyz")
    await readiness.answers(f"{programs.console_url(saved)}/healthz")


async def page_trouble(directory: StateDirectory, result: StartupResult) -> str:
    """Return "" if the demo page is served over HTTPS in time, else a sentence."""
    if await readiness.page_served(result.address, bind_port(result.loadbalancer, 443), _PAGE_TIMEOUT):
        return ""
    return f"The demo page is not served: see `kubectl get events -n demo` and {directory.logs}."


def endpoints_of(directory: StateDirectory, saved: SavedState, result: StartupResult) -> endpoints_file.Endpoints:
    """Return the content of ``endpoints.json`` without the processes."""
    admin, users = msgspec.structs.asdict(result.accounts.admin), result.accounts
    return endpoints_file.Endpoints(
        kubeconfig=str(directory.kubeconfig),
        elb=endpoints_file.Elb(
            url=programs.elb_url(saved),
            loadbalancer_id=result.loadbalancer.id,
            project_id=users.project_id,
            domain=users.domain,
            **admin,
        ),
        console=endpoints_file.Console(url=programs.console_url(saved)),
        metrics=endpoints_file.Metrics(url=f"{programs.controller_url(saved)}/metrics"),
        port_map={str(port): bind_port(result.loadbalancer, port) for port in (80, 443)},
        pid=os.getpid(),
        processes={},
    )
