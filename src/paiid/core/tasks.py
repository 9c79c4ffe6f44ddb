"""Runs background work for as long as the process lives: a defect in it is logged and it is begun again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from paiid.core.clock import Clock

_log = structlog.get_logger("paiid.tasks")
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_CALM_S = 60.0
_FAILING_S = 15.0
"""How long a break counts: longer than the longest pause, so that what keeps breaking is always failing, and what
broke once is not called broken for ever."""


class Background:
    """The background tasks of one part."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._broke: dict[str, tuple[str, float]] = {}

    @property
    def failing(self) -> dict[str, str]:
        """Those that have broken just now, and on what: for the health page."""
        since_s = self._clock.monotonic_s() - _FAILING_S
        return {name: what for name, (what, at_s) in self._broke.items() if at_s > since_s}

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
                self._broke[name] = (type(error).__name__, self._clock.monotonic_s())
                _log.error("background_broke", task=name, error=type(error).__name__, exc_info=error)
            if self._clock.monotonic_s() - began > _CALM_S:
                pause_s = _FIRST_PAUSE_S
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def stop(self) -> None:
        """Cancel all and wait a moment for them."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        self._tasks.clear()
