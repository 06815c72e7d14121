"""From a state directory to a system that is ready, and back.

`certferry up` calls ``run``. The order is: lock and recall; start the parts that need nobody; make
what they lack at first start; start the rest; when all answer, publish and say so; then watch. It
decides when what is started, and leaves every detail to the modules beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from certferry.core.model import LoadBalancer, bind_port
from certferry.kube import kubeconfig as kubeconfigs
from certferry.lifeline import Lifeline
from certferry.settings import Refused, UpSettings
from certferry.up import accounts, addresses, endpoints, first, parts, ready, showing
from certferry.up.children import Child, Ended
from certferry.up.home import Home, open_home
from certferry.up.memory import Memory, keep, recall

_TICK: Final = 0.25
"""Seconds between two looks at which processes run."""
_HAND_OVER: Final = 3.0
"""Seconds that the children of a killed `up` may take to let go of their ports."""

_PAGE: Final = 15.0
"""Seconds that the demo page may take to be served once all parts are ready."""

Say = Callable[[str], None]


def run(settings: UpSettings, say: Say, show: Say) -> None:
    """Run everything until SIGINT or SIGTERM. `say` takes a line, `show` the closing block. Raises ``Refused``."""
    home = open_home(settings.state)
    try:
        home.endpoints.unlink(missing_ok=True)
        memory = recall(home.memory) or _choose()
        keep(home.memory, memory)
    except OSError as error:
        raise Refused(f"The state directory {home.root} cannot be written: {error.strerror}.") from None
    asyncio.run(_System(home, memory, settings, say, show).live())


def _choose() -> Memory:
    kube, elb, metrics, backend = addresses.free_ports(4)
    subnet = addresses.free_subnet()
    return Memory(
        kube_port=kube,
        elb_port=elb,
        metrics_port=metrics,
        backend_port=backend,
        subnet=subnet,
        privileged_shift=addresses.privileged_shift(subnet),
    )


class _System:
    """All children of one `up`, from their start to their end."""

    def __init__(self, home: Home, memory: Memory, settings: UpSettings, say: Say, show: Say) -> None:
        self._home, self._memory, self._settings = home, memory, settings
        self._say, self._show = say, show
        self._lifeline = Lifeline()
        self._children: dict[str, Child] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        self._accounts: accounts.Accounts | None = None
        self._endpoints: endpoints.Endpoints | None = None

    async def live(self) -> None:
        """Start, be ready, watch; end everything when told to, or when starting fails. Raises ``Refused``."""
        asked = _signals(self._kill)
        try:
            await ready.ports_free(parts.ports(self._memory), self._home.memory, _HAND_OVER)
            await self._until(asked, self._task(self._start()))
            if not asked.is_set():
                self._task(self._watch())
                await self._until(asked)
        finally:
            await self._end()

    async def _until(self, asked: asyncio.Event, goal: asyncio.Task[None] | None = None) -> None:
        """Until `goal` is done or the end was asked for; a failed task ends it all."""
        stopping = asyncio.ensure_future(asked.wait())
        try:
            while not asked.is_set():
                finishing = asyncio.ensure_future(self._finished.get())
                await asyncio.wait({stopping, finishing}, return_when=asyncio.FIRST_COMPLETED)
                finishing.cancel()
                if finishing.done() and not finishing.cancelled():
                    task = finishing.result()
                    _raise(task, self._home)
                    if task is goal:
                        return
        finally:
            stopping.cancel()

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(self._settings.patience):
                await self._bring_up()
        except TimeoutError:
            raise Refused(
                f"Not everything was ready within {self._settings.patience:.0f} s: "
                f"the logs in {self._home.logs} say more.",
                code=1,
            ) from None

    async def _bring_up(self) -> None:
        home, memory = self._home, self._memory
        self._launch("kube", parts.kube(home, memory))
        self._launch("elb", parts.elb(home, memory))
        if self._settings.demo:
            self._launch("backend", parts.backend(memory))
        if memory.loadbalancer_id:
            self._launch("controller", parts.controller(home, memory))
        loadbalancer, _ = await asyncio.gather(self._equip_elb(), self._equip_kube())
        await ready.answers(f"{parts.controller_url(memory)}/readyz")
        for child in self._children.values():
            child.settled.set()
        if self._settings.demo:
            await self._see_page(loadbalancer)
        self._endpoints = self._describe(loadbalancer)
        self._publish()
        address = loadbalancer.vip_address or addresses.LOOPBACK
        self._show(showing.block(home.root, self._endpoints, address, demo=self._settings.demo))

    async def _equip_elb(self) -> LoadBalancer:
        """The first load balancer, which the controller must be told of when it starts."""
        url, known = parts.elb_url(self._memory), self._memory.loadbalancer_id
        await ready.answers(f"{url}/healthz")
        users = self._accounts = accounts.load(self._home.elb_accounts)
        accounts.hand_over(users, self._home.controller_credentials)
        loadbalancer = await first.load_balancer(url, users.of(users.admin), known)
        if loadbalancer.id != known:
            if known:
                self._say(f"The load balancer {known} is gone; {loadbalancer.id} takes its place.")
                await self._children["controller"].stop()
            self._memory = msgspec.structs.replace(self._memory, loadbalancer_id=loadbalancer.id)
            keep(self._home.memory, self._memory)
            self._launch("controller", parts.controller(self._home, self._memory))
        await ready.envoy_runs(self._home.envoy)
        return loadbalancer

    async def _equip_kube(self) -> None:
        kubeconfig = self._home.kubeconfig
        await ready.written(kubeconfig)
        access = kubeconfigs.load(kubeconfig)
        await ready.answers(f"{access.server}/readyz", access.tls)
        await first.classes(kubeconfig)
        if self._settings.demo:
            await first.demo(kubeconfig, self._home.demo, self._memory.backend_port)

    async def _see_page(self, loadbalancer: LoadBalancer) -> None:
        address = loadbalancer.vip_address or addresses.LOOPBACK
        if not await ready.page_served(address, bind_port(loadbalancer, 443), _PAGE):
            self._say(
                f"The demo page is not served: `kubectl get events -n demo` and {self._home.logs} say more."
            )

    def _describe(self, loadbalancer: LoadBalancer) -> endpoints.Endpoints:
        assert self._accounts
        admin = msgspec.structs.asdict(self._accounts.of(self._accounts.admin))
        elb = endpoints.Elb(url=parts.elb_url(self._memory), loadbalancer_id=loadbalancer.id, **admin)
        return endpoints.Endpoints(
            kubeconfig=str(self._home.kubeconfig),
            elb=elb,
            metrics=endpoints.Metrics(url=f"{parts.controller_url(self._memory)}/metrics"),
            port_map={str(port): bind_port(loadbalancer, port) for port in (80, 443)},
            pid=os.getpid(),
            processes={},
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if self._endpoints and self._processes() != self._endpoints.processes:
                self._publish()
            for child in self._children.values():
                child.trim()

    def _publish(self) -> None:
        assert self._endpoints
        self._endpoints = msgspec.structs.replace(self._endpoints, processes=self._processes())
        endpoints.publish(self._home.endpoints, self._endpoints)

    def _processes(self) -> dict[str, int]:
        envoy = ready.envoy_pid(self._home.envoy)
        pids = {name: child.pid for name, child in self._children.items()}
        return pids | ({"envoy": envoy} if envoy else {})

    def _launch(self, name: str, arguments: tuple[str, ...]) -> None:
        child = Child(name, arguments, self._home.logs / f"{name}.log", self._say)
        self._children[name] = child
        self._task(child.run(self._lifeline, os.environ))

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished.put_nowait)
        return task

    async def _end(self) -> None:
        """Controller first, the ELB last: it ends Envoy, so traffic flows as long as anything does."""
        self._endpoints = None  # else the watch would publish it again, with fewer and fewer processes
        self._home.endpoints.unlink(missing_ok=True)
        for name in ("controller", "kube", "elb", "backend"):
            if name in self._children:
                await self._children[name].stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _kill(self) -> None:
        self._say("Asked twice: killing everything.")
        for child in self._children.values():
            child.kill()
        if envoy := ready.envoy_pid(self._home.envoy):
            with contextlib.suppress(ProcessLookupError):
                os.kill(envoy, signal.SIGKILL)


def _signals(again: Callable[[], None]) -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; `again` is called by each one after it."""
    asked = asyncio.Event()

    def heard() -> None:
        if asked.is_set():
            again()
        asked.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard)
    return asked


def _raise(task: asyncio.Task[None], home: Home) -> None:
    """What a finished task failed with, as a sentence for people."""
    try:
        task.result()
    except Ended as ended:
        raise Refused(f"{ended.name}: {ended}", code=ended.code if ended.code in (2, 3) else 1) from None
    except OSError as error:
        raise Refused(f"The state directory {home.root} cannot be used: {error}.", code=1) from None
