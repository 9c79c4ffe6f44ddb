"""Replicas that share throttles and a cache over a real server, each with its own connections."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import redis

from paiid.core.clock import Clock, SystemClock
from paiid.core.limits import RateLimiter
from paiid.core.redis_store import RedisStore
from paiid.core.shared import Link, SharedCache, SharedThrottle
from paiid.domain.errors import Code, Problem
from tests.bus_world import until


@dataclass
class Replica:
    """What one replica has."""

    store: RedisStore
    link: Link
    throttle: SharedThrottle
    cache: SharedCache

    async def takes(self, count: int, key: str = "somebody", per_minute: int = 6, burst: int = 5) -> int:
        """How many of so many tokens it gets."""
        got = 0
        for _ in range(count):
            try:
                await self.throttle.take("login_user", key, per_minute, burst)
                got += 1
            except Problem as problem:
                if problem.code is not Code.RATE_LIMITED:
                    raise
        return got


def raw(url: str) -> "redis.Redis":
    """A client of a stranger who has the server, but not the install's secret."""
    return redis.Redis.from_url(url)


def forget(url: str, link: Link) -> None:
    """All that an installation has in the server is gone, as when its time is over."""
    prefix = link.key("cache").split(":cache:")[0]
    with raw(url) as client:
        for key in client.scan_iter(f"{prefix}:*"):
            client.delete(key)


def a_secret() -> bytes:
    """Of an installation of a test's own."""
    return b"test-install-secret-" + secrets.token_bytes(8)


@contextlib.asynccontextmanager
async def replica(
    url: str,
    secret: bytes,
    clock: Clock | None = None,
    version: str = "test-build",
    wait: bool = True,
    deadline_s: float = 1.0,
) -> AsyncIterator[Replica]:
    """One that is connected. A busy machine must not upset a test: its deadline is longer than in life, unless it is about that."""
    clock = clock or SystemClock()
    # By the machine's own clock: one that a test puts forward would take an answer that is just on its way for a slow one.
    store = RedisStore(url, SystemClock(), deadline_s=deadline_s, break_s=0.05)
    link = Link(store, secret)
    await store.start()
    try:
        if wait:
            await until(lambda: store.up, "it never connected")
        yield Replica(
            store, link, SharedThrottle(RateLimiter(clock), link), SharedCache(link, clock, version)
        )
    finally:
        await store.stop()
