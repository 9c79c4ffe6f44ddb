"""Runs background work for as long as the process lives: a defect in it is logged and it is begun again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from paiid.core.clock import Clock

_log = structlog.get_logger("paiid.tasks")
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_CALM_S = 60.0


class Background:
    """The background tasks of one part. `failing` names one that keeps breaking, for the health page."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self.failing: dict[str, str] = {}

    def begin(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until `stop`; when it ends or breaks it is begun again after a growing pause."""
        self._tasks.append(asyncio.create_task(self._keep(name, work), name=f"paiid-{name}"))

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            began = self._clock.monotonic_s()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the background-task runner: nothing may end it silently
                self.failing[name] = type(error).__name__
                _log.error("background_broke", task=name, error=type(error).__name__, exc_info=error)
            if self._clock.monotonic_s() - began > _CALM_S:
                pause_s = _FIRST_PAUSE_S
                self.failing.pop(name, None)
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def stop(self) -> None:
        """Cancel all and wait a moment for them."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        self._tasks.clear()
