"""What one replica has asked of the source, for all of them: two that ask the same at once cost it one request (docs/shared-state.md)."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from paiid.core.clock import Clock
from paiid.core.figures import Tally
from paiid.core.shared import Cached, SharedCache
from paiid.feeds import Feed

CLAIM_S = 10.0
"""How long the others believe that a replica is asking the source; it says so itself when it could not."""
WAIT_S = 2.0
"""How long they wait for it before they ask for themselves."""
LOOK_S = 0.04
"""How often they look."""
_MOST_UNPACKED = 32 * 1_048_576
_INLINE = 16_384
# Bytes that are packed and unpacked without a thread.
_MADE_HERE = frozenset({"simulated", "replay"})
# Sources that are a function of time or a file: asking costs nothing.
_PACK = msgspec.msgpack.Encoder()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """What the source told; `age_s` ago at least, if it was told to another replica, or to this one before (`shared`)."""

    value: T
    age_s: float = 0.0
    shared: bool = False


class SharedReads:
    """Reads of one feed. Without a cache, and of a market that is made here, each is a call."""

    def __init__(self, feed: Feed, clock: Clock, cache: SharedCache | None) -> None:
        self._feed = feed
        self._clock = clock
        self._cache = cache
        self.counts = Tally("what", "outcome")
        """`found`, `asked`, or `unreadable`, of each kind of thing."""

    async def read(
        self,
        what: str,
        key: tuple[str, ...],
        form: type[T],
        keep_s: Callable[[T], float],
        call: Callable[[], Awaitable[T]],
    ) -> Read[T]:
        """What `call` gives, or has given to whoever asked the same of this source in the last `keep_s` (0: it is not kept). Raises what
        `call` raises."""
        source = self._feed.source
        cache = self._cache
        if cache is None or source in _MADE_HERE:
            return Read(await call())
        # What is late is not what is live, if the replicas' settings differ for a while.
        where = "\0".join((what, source, str(self._feed.delayed), *key))
        found = await self._found(cache, where)
        if found is not None:
            value = await _unpacked(found.body, form)
            self.counts.add(what, "unreadable" if value is None else "found")
            if value is not None:
                return Read(value, found.age_s, shared=True)
        began_us = self._clock.now_us()
        kept = False
        try:
            value = await call()
            self.counts.add(what, "asked")
            # Another may have taken over meanwhile (feeds/failover).
            for_s = keep_s(value) if self._feed.source == source else 0.0
            if for_s > 0:
                await cache.put(where, await _packed(value), for_s, began_us)
                kept = True
        finally:
            if not kept:
                await cache.release(where)
        return Read(value)

    async def _found(self, cache: SharedCache, where: str) -> Cached | None:
        """What is there, or comes while another asks for it; None: it is for us to ask."""
        until_s = self._clock.monotonic_s() + WAIT_S
        while True:
            found = await cache.find(where, CLAIM_S)
            if isinstance(found, Cached):
                return found
            if found.ours or self._clock.monotonic_s() >= until_s:
                return None
            await self._clock.sleep(LOOK_S)


async def _packed(value: object) -> bytes:
    # A whole chain at once would hold up everybody else.
    body = _PACK.encode(value)
    return zlib.compress(body, 1) if len(body) < _INLINE else await asyncio.to_thread(zlib.compress, body, 1)


async def _unpacked(body: bytes, form: type[T]) -> T | None:
    """None for what is not of this form."""
    if len(body) < _INLINE:
        return _unpack(body, form)
    return await asyncio.to_thread(_unpack, body, form)


def _unpack(body: bytes, form: type[T]) -> T | None:
    try:
        told = zlib.decompressobj().decompress(body, _MOST_UNPACKED)
        return msgspec.msgpack.decode(told, type=form)
    except (zlib.error, msgspec.MsgspecError, ValueError):
        return None
