"""The threads that price and encode: two of them, and a bound on what waits, so that chains never hold up the event loop or eat its memory."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from paiid.domain.errors import Code, Problem

THREADS = 2
MOST_WAITING = 64
"""Pieces of work under way and waiting; one more is refused."""

P = ParamSpec("P")
T = TypeVar("T")


class PricingPool:
    """Started and ended with the service. A caller who goes away does not end his piece of work."""

    def __init__(self, *, threads: int = THREADS, most_waiting: int = MOST_WAITING) -> None:
        # It begins its threads when there is something to do.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="paiid-pricing")
        self._most_waiting = most_waiting
        self._waiting = 0
        self.refused = 0
        """Pieces of work for which there was no place."""

    @property
    def under_way(self) -> int:
        """Pieces of work that run or wait."""
        return self._waiting

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the work gives. Raises Problem (503) where too much waits, and whatever the work raises."""
        if self._waiting >= self._most_waiting:
            self.refused += 1
            raise Problem(
                Code.OVERLOADED,
                "Too many options are being priced at once; try again in a second.",
                headers={"Retry-After": "1"},
            )
        try:
            future = asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        except RuntimeError:
            raise Problem(Code.SHUTTING_DOWN, "The service is shutting down.") from None
        self._waiting += 1
        future.add_done_callback(self._done)
        # A caller who is cancelled must not cancel what has not begun: the count would be wrong before the thread is free.
        return await asyncio.shield(future)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            # Somebody who went away does not hear of a failure.
            future.exception()

    async def start(self) -> None:
        """Nothing yet."""

    async def stop(self) -> None:
        """Drop what has not begun and wait for the rest."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._threads.shutdown, wait=True)
