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

from certferry.lifeline import Lifeline
from certferry.settings import UpSettings
from certferry.up import addresses, endpoints, first, parts, ready, showing
from certferry.up.children import Child, Ended
from certferry.up.home import Home, Refused, open_home
from certferry.up.memory import Memory, keep, recall

_TICK: Final = 0.25
"""Seconds between two looks at which processes run."""
_HAND_OVER: Final = 5.0
"""Seconds that the children of a killed `up` may take to let go of their ports."""

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
        self._published: dict[str, int] = {}

    async def live(self) -> None:
        """Start, be ready, watch; end everything when told to, or when starting fails."""
        asked = _signals(self._kill)
        try:
            async with asyncio.timeout(_HAND_OVER + 1):
                await ready.ports_free(self._memory, _HAND_OVER)
            starting = self._task(self._start())
            await self._until(asked, starting)
            if not asked.is_set():
                self._task(self._watch())
                await self._until(asked)
        finally:
            await self._end()

    async def _until(self, asked: asyncio.Event, goal: asyncio.Task[None] | None = None) -> None:
        """Until `goal` is done or the end was asked for; a failed task ends it all."""
        waiting = asyncio.ensure_future(asked.wait())
        try:
            while not asked.is_set() and not (goal and goal.done()):
                done, _ = await asyncio.wait({waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in done & self._tasks:
                    self._tasks.discard(task)
                    _raise(task, self._home)
        finally:
            waiting.cancel()

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
        await asyncio.gather(self._equip_elb(), first.equip_kube(home, memory, demo=self._settings.demo))
        await ready.all_answer(home, self._memory)
        for child in self._children.values():
            child.settled.set()
        if self._settings.demo:
            await ready.page_served(home, self._memory)
        self._publish()
        self._show(showing.block(home, self._memory, demo=self._settings.demo))

    async def _equip_elb(self) -> None:
        """The first load balancer, which the controller must know of before it starts."""
        if self._memory.loadbalancer_id:
            return
        identity = await first.load_balancer(self._home, self._memory)
        self._memory = msgspec.structs.replace(self._memory, loadbalancer_id=identity)
        keep(self._home.memory, self._memory)
        self._launch("controller", parts.controller(self._home, self._memory))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if self._processes() != self._published:
                self._publish()
            for child in self._children.values():
                child.trim()

    def _publish(self) -> None:
        self._published = self._processes()
        endpoints.publish(
            self._home.endpoints,
            parts.endpoints(self._home, self._memory, self._published),
        )

    def _processes(self) -> dict[str, int]:
        envoy = ready.envoy_pid(self._home)
        pids = {name: child.pid for name, child in self._children.items()}
        return pids | ({"envoy": envoy} if envoy else {})

    def _launch(self, name: str, arguments: tuple[str, ...]) -> None:
        child = Child(name, arguments, self._home.logs / f"{name}.log", self._say)
        self._children[name] = child
        self._task(child.run(self._lifeline, os.environ))

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        return task

    async def _end(self) -> None:
        """Controller first, the ELB last: it ends Envoy, so traffic flows as long as anything does."""
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
        if envoy := ready.envoy_pid(self._home):
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
