"""What was read from the database a moment ago: believed briefly, read once for all who wait, dropped on change."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from paiid.core.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FreshCache(Generic[K, V]):
    """Values by key, at most `most`, each believed for `ttl_s` counted from before it was read."""

    def __init__(self, clock: Clock, ttl_s: float, most: int) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._most = most
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loading: dict[K, asyncio.Task[V]] = {}

    def find(self, key: K) -> V | None:
        """The value while it is fresh."""
        entry = self._entries.get(key)
        if entry is None or self._clock.monotonic_s() - entry[0] >= self._ttl_s:
            return None
        return entry[1]

    def find_last(self, key: K) -> V | None:
        """The value however old: for what must go on without a database."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    async def load(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        """The fresh value, read if need be. Raises what `read` raises; failures are not kept."""
        value = self.find(key)
        if value is not None:
            return value
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._read(key, read), name="paiid-fresh")
            self._loading[key] = task
        # Shielded: one caller who hangs up must not fail the others.
        return await asyncio.shield(task)

    async def _read(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        at_s = self._clock.monotonic_s()
        me = asyncio.current_task()
        try:
            value = await read()
            # A drop in the meantime has taken this read away: it may have seen the time before the change.
            if self._loading.get(key) is me:
                self._entries.pop(key, None)
                self._entries[key] = (at_s, value)
                if len(self._entries) > self._most:
                    self._entries.popitem(last=False)
            return value
        finally:
            if self._loading.get(key) is me:
                del self._loading[key]

    def drop(self, key: K) -> None:
        """Forget one value, and what is being read of it."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    def drop_where(self, matches: Callable[[V], bool]) -> None:
        """Forget all values that match, and everything that is being read."""
        for key in [key for key, (_, value) in self._entries.items() if matches(value)]:
            del self._entries[key]
        self._loading.clear()
