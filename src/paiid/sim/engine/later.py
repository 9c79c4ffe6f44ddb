"""Work that goes on behind an answer: counted, hurried by a stop, and never lost to the garbage collector."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from paiid.core.clock import Clock

__all__ = ["Later"]

_log = structlog.get_logger("paiid.sim")


class Later:
    """Tasks of one kind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it in the background."""
        task = asyncio.create_task(self._keep(work), name="paiid-sim-later")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def begin_in(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Run it after a while, or as soon as a stop is in a hurry."""

        async def wait_and_work() -> None:
            await self.pause(seconds)
            await work()

        self.begin(wait_and_work())

    async def pause(self, seconds: float) -> None:
        """Sleep, unless a stop is in a hurry."""
        tasks = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._hurry.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Do now what was to be done later; what takes longer than this is ended."""
        self._hurry.set()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - nobody waits for it: what went wrong must be seen somewhere
            _log.error("sim_later_broke", error=type(error).__name__, exc_info=error)
