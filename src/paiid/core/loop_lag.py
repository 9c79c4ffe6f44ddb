"""How late the event loop runs what is due: the one figure that tells that something in this process blocks all of it."""

import asyncio
from collections import deque

from paiid.core.figures import Histogram

__all__ = ["LoopLag"]

EVERY_S = 0.1
"""How often it is measured."""
_REMEMBERED = 100
"""Measurements that `worst_s` looks at: those of the last 10 s, or of longer where the loop stood still."""
_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """A timer that notes how late it is. It goes by the loop's own clock, for it is the loop that is measured."""

    def __init__(self, *, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._lags_s: deque[float] = deque(maxlen=_REMEMBERED)
        self.seconds = Histogram(bounds=_BOUNDS_S)
        """Every measurement since the start."""

    @property
    def worst_s(self) -> float:
        """The worst of the last 10 s, what is overdue just now included; 0.0 before the first."""
        overdue_s = 0.0 if self._loop is None else max(0.0, self._loop.time() - self._due_s)
        return max(overdue_s, max(self._lags_s, default=0.0))

    async def start(self) -> None:
        """Begin to measure."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    async def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None

    def _arm(self) -> None:
        if self._loop is not None:
            self._due_s = self._loop.time() + self._every_s
            self._timer = self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        if self._loop is not None:
            lag_s = max(0.0, self._loop.time() - self._due_s)
            self._lags_s.append(lag_s)
            self.seconds.observe(lag_s)
            self._arm()
