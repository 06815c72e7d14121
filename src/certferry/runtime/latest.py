"""Publication of the newest value between tasks of one event loop.

Publishing an equal value wakes no reader. A slow reader skips to the newest value.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """A value and the number of its changes. Belongs to one event loop."""

    def __init__(self, value: T) -> None:
        self.value = value
        self.sequence = 0
        self._changed = asyncio.Event()
        self._called: set[Callable[[], object]] = set()

    def set(self, value: T) -> None:
        """Publish `value` unless it is equal: run the callbacks first, then wake the waiters."""
        if value == self.value:
            return
        self.value = value
        self.sequence += 1
        for act in tuple(self._called):
            act()
        # Waiters hold the old event, so that replacing it needs no lock.
        self._changed.set()
        self._changed = asyncio.Event()

    @contextmanager
    def on_change(self, act: Callable[[], object]) -> Iterator[None]:
        """Call `act` synchronously at each change within the block; `act` must not raise."""
        self._called.add(act)
        try:
            yield
        finally:
            self._called.discard(act)

    async def after(self, sequence: int) -> tuple[int, T]:
        """Return the newest (sequence, value) once it is newer than `sequence`."""
        while self.sequence <= sequence:
            await self._changed.wait()
        return self.sequence, self.value

    async def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until `condition` holds, checked after each change, but at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                sequence = self.sequence
                while not condition():
                    sequence, _ = await self.after(sequence)

    async def changes(self) -> AsyncIterator[T]:
        """Yield the present value, then the newest after each change."""
        sequence, value = self.sequence, self.value
        while True:
            yield value
            sequence, value = await self.after(sequence)
