"""The update stream of all accounts as one: it has no replay, so every new beginning says what must be fetched."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import structlog

from paiid.brokers import BrokerError, BrokerUpdate
from paiid.brokers.alpaca.books import Books
from paiid.brokers.alpaca.connection import StreamTimings
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.listener import Listener, StreamState
from paiid.brokers.alpaca.sessions import Sessions
from paiid.core.clock import Clock

__all__ = ["StreamState", "StreamTimings", "UpdateStream"]

_QUEUE = 1_000
"""Updates that wait for a reader; a slow one makes the connections wait, which makes the server wait."""
_STOP_S = 0.7
_log = structlog.get_logger("paiid.alpaca")


@dataclass(slots=True)
class _Run:
    tasks: list[asyncio.Task[None]]


class UpdateStream:
    """Opens one connection for each account while somebody reads `updates`, and none otherwise."""

    def __init__(
        self, clock: Clock, sessions: Sessions, books: Books, families: Families, timings: StreamTimings
    ) -> None:
        self._clock = clock
        self._make: Callable[[], tuple[Listener, ...]] = lambda: tuple(
            Listener(clock, session, books, families, timings) for session in sessions.all
        )
        self._listeners = self._make()
        self._runs: list[_Run] = []
        self._last = 0

    @property
    def states(self) -> tuple[StreamState, ...]:
        """How each account's connection is, in the order of the keys."""
        return tuple(one.state for one in self._listeners)

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        """Live updates until closed. `after` is only where the cursors go on: what was before a `resync` is not told."""
        self._last = max(self._last, after)
        queue: asyncio.Queue[BrokerUpdate] = asyncio.Queue(_QUEUE)
        # One reader at a time has the listeners that remember; another one beside it must not share what is to be read
        # again.
        listeners = self._make() if self._runs else self._listeners
        run = _Run([asyncio.create_task(one.run(queue), name="paiid-alpaca") for one in listeners])
        self._runs.append(run)
        try:
            while True:
                update = await self._next(queue, run)
                # Microseconds, made to grow even within one and when the clock goes back.
                self._last = max(self._last + 1, self._clock.now_us())
                yield replace(update, cursor=self._last)
        finally:
            await _end(run)
            self._runs.remove(run)

    async def _next(self, queue: "asyncio.Queue[BrokerUpdate]", run: _Run) -> BrokerUpdate:
        getter = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait({getter, *run.tasks}, return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                return getter.result()
            ended = next(task for task in run.tasks if task.done())
            error = None if ended.cancelled() else ended.exception()
            raise BrokerError(
                f"the update stream ended ({type(error).__name__ if error else 'stopped'})"
            ) from error
        finally:
            getter.cancel()

    async def stop(self) -> None:
        """Close every connection; readers get BrokerError. Returns within a second."""
        await asyncio.gather(*(_end(run) for run in self._runs))


async def _end(run: _Run) -> None:
    for task in run.tasks:
        task.cancel()
    if run.tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(run.tasks, timeout=_STOP_S)
