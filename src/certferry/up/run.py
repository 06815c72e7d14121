"""The run of `certferry up`: start all programs in order, watch them, and end them in order.

Order: lock the state directory; start Kubernetes API and ELB; create first objects; start the rest; publish
``endpoints.json``; watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from certferry.runtime import private_files
from certferry.runtime.process import ParentPipe
from certferry.settings import UpSettings, UserError
from certferry.up import endpoints_file, free_ports, programs
from certferry.up.envoy_pid import envoy_pid
from certferry.up.saved_state import SavedState, load, save
from certferry.up.state_directory import StateDirectory, open_state_directory
from certferry.up.supervisor import ProcessEnded, SupervisedProcess

_WATCH_INTERVAL: Final = 0.25
"""Seconds between two checks of the processes."""
_PORTS_FREE_WITHIN: Final = 3.0
"""Seconds within which the programs of a killed `up` must free their ports."""

Say = Callable[[str], None]


def run(settings: UpSettings, say: Say, show: Say, *, new: bool = False) -> None:
    """Run everything until SIGINT or SIGTERM. `say` prints a line, `show` the closing block. Raises UserError.

    `new` allows an empty store in place of a lost one.
    """
    directory = open_state_directory(settings.state)
    try:
        directory.endpoints.unlink(missing_ok=True)
        for store in directory.stores if new else ():
            private_files.forget_store(store)
        stored = load(directory.saved_state)
        saved = stored or _choose(existing_cluster=settings.kubeconfig is not None)
        if not saved.console_port:  # a state from before there was a console
            saved = msgspec.structs.replace(saved, console_port=free_ports.free_ports(1)[0])
        if saved != stored:
            save(directory.saved_state, saved)
    except OSError as error:
        raise UserError(f"The state directory {directory.root} cannot be written: {error.strerror}.") from None
    if saved.existing_cluster != (settings.kubeconfig is not None):
        kind = "an existing cluster: give its --kubeconfig" if saved.existing_cluster else "the embedded Kubernetes API"
        raise UserError(f"The state {directory.root} belongs to {kind}, or name another --state.")
    if settings.kubeconfig:
        directory.use_cluster(settings.kubeconfig.expanduser().absolute())
    asyncio.run(_System(directory, saved, settings, say, show).run())


def _choose(*, existing_cluster: bool) -> SavedState:
    kube, elb, metrics, backend, console = free_ports.free_ports(5)
    subnet = free_ports.free_subnet()
    return SavedState(
        kube_port=kube,
        elb_port=elb,
        metrics_port=metrics,
        backend_port=backend,
        console_port=console,
        subnet=subnet,
        privileged_shift=free_ports.privileged_shift(subnet),
        existing_cluster=existing_cluster,
    )


class _System:
    """All programs of one `up`, from start to end."""

    def __init__(self, directory: StateDirectory, saved: SavedState, settings: UpSettings, say: Say, show: Say) -> None:
        self._directory, self._saved, self._settings = directory, saved, settings
        self._say, self._show = _tolerant(say), _tolerant(show)
        self._demo = settings.demo and not saved.existing_cluster
        self._pipe = ParentPipe()
        self._programs: dict[str, SupervisedProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        self._endpoints: endpoints_file.Endpoints | None = None
        self._signal = 0
        """The first signal that asks for the end."""

    async def run(self) -> None:
        """Start, watch, and end everything at a signal or after a failed start. Raises UserError."""
        asked, former = asyncio.Event(), envoy_pid(self._directory.envoy)
        self._handle_signals(asked)
        try:
            await free_ports.wait_until_bindable(
                programs.ports(self._saved), self._directory.saved_state, _PORTS_FREE_WITHIN
            )
            await self._until(asked, self._task(self._start()))
            if not asked.is_set():
                self._task(self._watch())
                await self._until(asked)
        finally:
            # A start that failed must not end an Envoy that served before it.
            keep = self._settings.on_exit == "keep" and self._signal == signal.SIGTERM
            await self._end(keep_envoy=keep or (bool(former) and not asked.is_set()))

    async def _until(self, asked: asyncio.Event, goal: asyncio.Task[None] | None = None) -> None:
        """Wait until `goal` is done or a signal arrives; raise the error of a failed task."""
        stopping = asyncio.ensure_future(asked.wait())
        try:
            while not asked.is_set():
                finishing = asyncio.ensure_future(self._finished.get())
                await asyncio.wait({stopping, finishing}, return_when=asyncio.FIRST_COMPLETED)
                finishing.cancel()
                if finishing.done() and not finishing.cancelled():
                    task = finishing.result()
                    _raise(task, self._directory)
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
                f"see the logs in {self._directory.logs}.",
                code=1,
            ) from None

    async def _bring_up(self) -> None:
        if not self._saved.existing_cluster:
            self._launch("kube", programs.kube(self._directory, self._saved))
        self._launch("elb", programs.elb(self._directory, self._saved))
        if self._demo:
            self._launch("backend", programs.backend(self._saved))
        if self._saved.loadbalancer_id:
            self._launch("controller", programs.controller(self._directory, self._saved))
        # Start them before the slow imports below, because they need longer.
        await asyncio.sleep(0)
        from certferry.up import banner, startup

        result = await startup.create_missing_resources(self._directory, self._saved, self._use, demo=self._demo)
        self._launch("console", programs.console(self._directory, self._saved))
        await startup.all_ready(self._saved)
        for program in self._programs.values():
            program.ready.set()
        if self._demo and (trouble := await startup.page_trouble(self._directory, result)):
            self._say(trouble)
        self._endpoints = startup.endpoints_of(self._directory, self._saved, result)
        self._publish()
        self._show(banner.block(self._directory.root, self._endpoints, demo=self._demo))

    async def _use(self, loadbalancer_id: str) -> None:
        """Save the default load balancer, and start the controller with it."""
        if controller := self._programs.get("controller"):
            self._say(f"The load balancer {self._saved.loadbalancer_id} is gone; {loadbalancer_id} takes its place.")
            await controller.stop()
        self._saved = msgspec.structs.replace(self._saved, loadbalancer_id=loadbalancer_id)
        save(self._directory.saved_state, self._saved)
        self._launch("controller", programs.controller(self._directory, self._saved))

    async def _watch(self) -> None:
        """Keep ``endpoints.json`` and the log files up to date. It logs a failure once and tries again."""
        said = ""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            try:
                if self._endpoints and self._processes() != self._endpoints.processes:
                    self._publish()
                for program in self._programs.values():
                    program.trim()
            except OSError as error:
                problem = f"The state directory {self._directory.root} cannot be written ({error.strerror})."
                if problem != said:
                    self._say(f"{problem} Everything goes on; it is tried again.")
                said = problem
            else:
                said = ""

    def _publish(self) -> None:
        assert self._endpoints
        endpoints = msgspec.structs.replace(self._endpoints, processes=self._processes())
        endpoints_file.publish(self._directory.endpoints, endpoints)
        self._endpoints = endpoints

    def _processes(self) -> dict[str, int]:
        envoy = envoy_pid(self._directory.envoy)
        pids = {name: program.pid for name, program in self._programs.items()}
        return pids | ({"envoy": envoy} if envoy else {})

    def _launch(self, name: str, arguments: tuple[str, ...]) -> None:
        program = SupervisedProcess(name, arguments, self._directory.logs / f"{name}.log", self._say)
        self._programs[name] = program
        self._task(program.run(self._pipe, os.environ))

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished.put_nowait)
        return task

    async def _end(self, *, keep_envoy: bool) -> None:
        """End the controller first and the ELB late, because the ELB ends Envoy."""
        self._endpoints = None  # else the watch publishes it again while processes end
        self._directory.endpoints.unlink(missing_ok=True)
        for name in ("console", "controller", "kube", "elb", "backend"):
            # The ELB ends its Envoy at SIGINT, and leaves it at SIGTERM.
            number = signal.SIGTERM if name == "elb" and keep_envoy else signal.SIGINT
            program = self._programs.get(name)
            if program and not await program.stop(number) and name == "elb" and not keep_envoy:
                self._kill_envoy()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _handle_signals(self, asked: asyncio.Event) -> None:
        """Set `asked` at the first SIGINT or SIGTERM; kill everything at each later one."""

        def handle(number: int) -> None:
            if asked.is_set():
                self._kill()
            self._signal = self._signal or number
            asked.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, handle, number)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # not under nohup: the terminal was closed
            loop.add_signal_handler(signal.SIGHUP, handle, signal.SIGHUP)

    def _kill(self) -> None:
        self._say("Second signal: killing everything.")
        for program in self._programs.values():
            program.kill()
        self._kill_envoy()

    def _kill_envoy(self) -> None:
        if envoy := envoy_pid(self._directory.envoy):
            with contextlib.suppress(ProcessLookupError):
                os.kill(envoy, signal.SIGKILL)


def _tolerant(say: Say) -> Say:
    """Return `say` without its errors: standard output may be a file on a full disk, or a closed pipe."""

    def attempt(text: str) -> None:
        with contextlib.suppress(OSError):
            say(text)

    return attempt


def _raise(task: asyncio.Task[None], directory: StateDirectory) -> None:
    """Raise the error of a finished task as UserError."""
    try:
        task.result()
    except ProcessEnded as ended:
        raise UserError(f"{ended.name}: {ended}", code=ended.code if ended.code in (2, 3) else 1) from None
    except OSError as error:
        raise UserError(f"The state directory {directory.root} cannot be used: {error}.", code=1) from None
