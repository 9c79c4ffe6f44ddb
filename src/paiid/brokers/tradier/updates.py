"""Tradier's updates: there is no replay, so every beginning says that what was before must be fetched; from there on whatever
the order list shows is told when it changes (ADR 0023)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from paiid.brokers import BrokerError, BrokerOrderView, BrokerUpdate
from paiid.brokers.tradier.connection import TradierTimings
from paiid.brokers.tradier.listener import Listener, StreamState
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.session import Session
from paiid.brokers.tradier.watcher import Watcher
from paiid.core.clock import Clock

__all__ = ["StreamState", "UpdateStream"]

_QUEUE = 1_000
"""Updates that wait for a reader; a slow one makes the looks wait."""
_STOP_S = 0.7


@dataclass(slots=True)
class _Run:
    watcher: Watcher
    task: asyncio.Task[None]


class UpdateStream:
    """Looks while somebody reads `updates`, and not otherwise."""

    def __init__(self, clock: Clock, session: Session, day_list: DayList, timings: TradierTimings) -> None:
        self._clock = clock
        self._session = session
        self._day_list = day_list
        self._timings = timings
        self._listener = Listener(clock, session, timings, self._began, self._woken)
        self._runs: list[_Run] = []
        self._listening: asyncio.Task[None] | None = None
        self._last = 0

    @property
    def states(self) -> tuple[StreamState, ...]:
        """How the account's stream is."""
        return (replace(self._listener.state, account_number=self._session.number),)

    def nudge(self) -> None:
        """Something was just asked of an order: look soon."""
        for run in self._runs:
            run.watcher.nudge()

    def offer(self, view: BrokerOrderView) -> None:
        """An order was just read by itself."""
        for run in self._runs:
            run.watcher.offer(view)

    def _began(self) -> None:
        for run in self._runs:
            run.watcher.resync()

    def _woken(self) -> None:
        for run in self._runs:
            run.watcher.wake()

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        """Live updates until closed; those after the first `resync` tell each order that works, and what ended after `after`
        where that is the cursor of an earlier read. The cursor is an instant, in microseconds."""
        self._last = max(self._last, after)
        queue: asyncio.Queue[BrokerUpdate] = asyncio.Queue(_QUEUE)
        run = self._begin(queue, after)
        try:
            while True:
                update = await self._next(queue, run)
                # Made to grow even within a microsecond and when the clock goes back.
                self._last = max(self._last + 1, self._clock.now_us())
                yield replace(update, cursor=self._last)
        finally:
            self._runs.remove(run)
            await _end(run.task)
            if not self._runs:
                await _end(self._listening)

    def _begin(self, queue: "asyncio.Queue[BrokerUpdate]", after: int) -> _Run:
        watcher = Watcher(
            self._clock, self._session, self._day_list, self._timings, lambda: self._listener.state.connected
        )
        run = _Run(watcher, asyncio.create_task(watcher.run(queue, after), name="paiid-tradier-watch"))
        self._runs.append(run)
        if self._listening is None or self._listening.done():
            # One for all who read: there may be one session only.
            self._listening = asyncio.create_task(self._listener.run(), name="paiid-tradier-stream")
        return run

    async def _next(self, queue: "asyncio.Queue[BrokerUpdate]", run: _Run) -> BrokerUpdate:
        getter = asyncio.ensure_future(queue.get())
        tasks = [run.task] if self._listening is None else [run.task, self._listening]
        try:
            await asyncio.wait({getter, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                return getter.result()
            ended = next(task for task in tasks if task.done())
            error = None if ended.cancelled() else ended.exception()
            raise BrokerError(
                f"the updates ended ({type(error).__name__ if error else 'stopped'})"
            ) from error
        finally:
            getter.cancel()

    async def stop(self) -> None:
        """End every look and the connection; readers get BrokerError. Returns within a second."""
        await asyncio.gather(_end(self._listening), *(_end(run.task) for run in self._runs))


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=_STOP_S)
