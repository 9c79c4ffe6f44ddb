"""Calls to the feed that several callers want at once: one is made, and all of them get what comes of it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from paiid.feeds import FeedUnavailable

MOST_CALLS = 4
"""Calls of one kind that are under way at a time; more wait for their turn."""
CALL_S = 8.0
"""How long a call may take, its turn not counted."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K, T]):
    """Calls of one kind, by what they ask. A caller who goes away ends no call: another may wait for it."""

    def __init__(self, *, most: int = MOST_CALLS, call_s: float = CALL_S) -> None:
        self._turns = asyncio.Semaphore(most)
        self._call_s = call_s
        self._under_way: dict[K, asyncio.Task[T | FeedUnavailable]] = {}

    def is_under_way(self, key: K) -> bool:
        """Whether somebody asks this just now."""
        return key in self._under_way

    async def fly(self, key: K, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, or the one under way for the same key. Raises FeedUnavailable."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._made(call), name="paiid-market-call")
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await self._landed(task)

    async def wait(self, key: K) -> None:
        """Until the call under way for this key is over, if there is one. Raises FeedUnavailable."""
        task = self._under_way.get(key)
        if task is not None:
            await self._landed(task)

    async def _landed(self, task: "asyncio.Task[T | FeedUnavailable]") -> T:
        await asyncio.wait([task])
        outcome = task.result()
        if isinstance(outcome, FeedUnavailable):
            # One of each caller's own, for an exception remembers who has raised it.
            raise FeedUnavailable(str(outcome))
        return outcome

    async def _made(self, call: Callable[[], Awaitable[T]]) -> T | FeedUnavailable:
        """A failure is a value here: nobody may be left to hear of it."""
        async with self._turns:
            try:
                async with asyncio.timeout(self._call_s):
                    return await call()
            except FeedUnavailable as silent:
                return silent
            except TimeoutError:
                return FeedUnavailable("the source did not answer in time")
