"""The rate limiter: token buckets in bounded memory, told in the headers of the answer (contracts A5, A9)."""

import math
from collections import OrderedDict

from paiid.core.clock import Clock
from paiid.domain.errors import Code, Problem

MAX_BUCKETS = 20_000


class RateLimiter:
    """Buckets by (name, key). The least recently used go first when there are too many: a flood of keys may
    shorten the memory of old ones, but never grows without bound."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, name: str, key: str, per_minute: int, burst: int) -> None:
        """Use one token; `burst` is the size of the bucket. Raises Problem (429) when it is empty."""
        now = self._clock.monotonic_s()
        level, at = self._buckets.pop((name, key), (float(burst), now))
        rate = per_minute / 60
        level = min(float(burst), level + (now - at) * rate)
        allowed = level >= 1
        self._buckets[(name, key)] = (level - 1 if allowed else level, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait_s = max(1, math.ceil((1 - level) / rate))
            raise Problem(
                Code.RATE_LIMITED,
                f"Too many requests of this kind; try again in {wait_s} s.",
                headers={
                    "Retry-After": str(wait_s),
                    "RateLimit-Limit": str(burst),
                    "RateLimit-Remaining": "0",
                    "RateLimit-Reset": str(wait_s),
                },
            )

    def give_back(self, name: str, key: str, burst: int) -> None:
        """Return a token that was taken before it was known to be harmless."""
        found = self._buckets.get((name, key))
        if found is not None:
            self._buckets[(name, key)] = (min(float(burst), found[0] + 1), found[1])
