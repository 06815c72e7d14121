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

from certferry.runtime.parent_watch import ParentPipe
from certferry.settings import UpSettings, UserError
from certferry.up import endpoints_file as endpoints
from certferry.up import free_ports as addresses
from certferry.up import programs as parts
from certferry.up.envoy_pid import envoy_pid
from certferry.up.saved_state import SavedState, load, save
from certferry.up.state_directory import StateDirectory, open_home
from certferry.up.supervisor import Ended, SupervisedProcess

_TICK: Final = 0.25
"""Seconds between two looks at which processes run."""
_HAND_OVER: Final = 3.0
"""Seconds that the children of a killed `up` may take to let go of their ports."""

Say = Callable[[str], None]


def run(settings: UpSettings, say: Say, show: Say) -> None:
    """Run everything until SIGINT or SIGTERM. `say` takes a line, `show` the closing block. Raises ``Refused``."""
    home = open_home(settings.state)
    try:
        home.endpoints.unlink(missing_ok=True)
        memory = load(home.memory) or _choose()
        if not memory.console_port:  # a state from before there was a console
            memory = msgspec.structs.replace(memory, console_port=addresses.free_ports(1)[0])
        save(home.memory, memory)
    except OSError as error:
        raise UserError(f"The state directory {home.root} cannot be written: {error.strerror}.") from None
    asyncio.run(_System(home, memory, settings, say, show).live())


def _choose() -> SavedState:
    kube, elb, metrics, backend, console = addresses.free_ports(5)
    subnet = addresses.free_subnet()
    return SavedState(
        kube_port=kube,
        elb_port=elb,
        metrics_port=metrics,
        backend_port=backend,
        console_port=console,
        subnet=subnet,
        privileged_shift=addresses.privileged_shift(subnet),
    )


class _System:
    """All children of one `up`, from their start to their end."""

    def __init__(
        self, home: StateDirectory, memory: SavedState, settings: UpSettings, say: Say, show: Say
    ) -> None:
        self._home, self._memory, self._settings = home, memory, settings
        self._say, self._show = say, show
        self._lifeline = ParentPipe()
        self._children: dict[str, SupervisedProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        self._endpoints: endpoints.Endpoints | None = None

    async def live(self) -> None:
        """Start, be ready, watch; end everything when told to, or when starting fails. Raises ``Refused``."""
        asked = _signals(self._kill)
        try:
            await addresses.all_let_go(parts.ports(self._memory), self._home.memory, _HAND_OVER)
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
            async with asyncio.timeout(self._settings.ready_timeout):
                await self._bring_up()
        except TimeoutError:
            raise UserError(
                f"Not everything was ready within {self._settings.ready_timeout:.0f} s: "
                f"the logs in {self._home.logs} say more.",
                code=1,
            ) from None

    async def _bring_up(self) -> None:
        self._launch("kube", parts.kube(self._home, self._memory))
        self._launch("elb", parts.elb(self._home, self._memory))
        if self._settings.demo:
            self._launch("backend", parts.backend(self._memory))
        if self._memory.loadbalancer_id:
            self._launch("controller", parts.controller(self._home, self._memory))
        # Let them be started first: what follows takes a while to import, and they need longer.
        await asyncio.sleep(0)
        from certferry.up import startup as starting

        found = await starting.create_missing_resources(
            self._home, self._memory, self._use, demo=self._settings.demo
        )
        self._launch("console", parts.console(self._home, self._memory))
        await starting.all_ready(self._memory)
        for child in self._children.values():
            child.settled.set()
        if self._settings.demo and (trouble := await starting.page_trouble(self._home, found)):
            self._say(trouble)
        self._endpoints = starting.endpoints_of(self._home, self._memory, found)
        self._publish()
        self._show(starting.block(self._home, self._endpoints, found, demo=self._settings.demo))

    async def _use(self, loadbalancer_id: str) -> None:
        """Tell the controller of another load balancer than the one that was remembered, if any."""
        if controller := self._children.get("controller"):
            self._say(
                f"The load balancer {self._memory.loadbalancer_id} is gone; {loadbalancer_id} takes its place."
            )
            await controller.stop()
        self._memory = msgspec.structs.replace(self._memory, loadbalancer_id=loadbalancer_id)
        save(self._home.memory, self._memory)
        self._launch("controller", parts.controller(self._home, self._memory))

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
        envoy = envoy_pid(self._home.envoy)
        pids = {name: child.pid for name, child in self._children.items()}
        return pids | ({"envoy": envoy} if envoy else {})

    def _launch(self, name: str, arguments: tuple[str, ...]) -> None:
        child = SupervisedProcess(name, arguments, self._home.logs / f"{name}.log", self._say)
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
        for name in ("console", "controller", "kube", "elb", "backend"):
            if name in self._children:
                await self._children[name].stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _kill(self) -> None:
        self._say("Asked twice: killing everything.")
        for child in self._children.values():
            child.kill()
        if envoy := envoy_pid(self._home.envoy):
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
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # not under nohup: the terminal was closed
        loop.add_signal_handler(signal.SIGHUP, heard)
    return asked


def _raise(task: asyncio.Task[None], home: StateDirectory) -> None:
    """What a finished task failed with, as a sentence for people."""
    try:
        task.result()
    except Ended as ended:
        raise UserError(f"{ended.name}: {ended}", code=ended.code if ended.code in (2, 3) else 1) from None
    except OSError as error:
        raise UserError(f"The state directory {home.root} cannot be used: {error}.", code=1) from None
