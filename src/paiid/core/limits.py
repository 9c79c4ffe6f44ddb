"""Every limit of the HTTP edge by name, and the rate limiter that tells its own in headers (contracts A5, A9).

docs/limits.md is the table for users; a test reads it and meets each row from both sides.
"""

import math
from collections import OrderedDict

from paiid.core.clock import Clock
from paiid.domain.errors import Code, Problem

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""
MAX_BODY_ON_WIRE = 8 * MAX_BODY
"""Bytes of a body as sent, with the marks of its chunks and its trailers; past it the connection is closed."""
BODY_TIMEOUT_S = 10.0
"""From the headers' end to the body's, however slowly it drips."""
MAX_DEPTH = 16
"""Arrays and objects inside each other in a body."""
MAX_DIGITS = 40
"""Characters of a number in a body."""
MAX_PATH = 1024
"""Bytes of the path as sent."""
MAX_QUERY = 4096
"""Bytes of the query as sent."""
MAX_HEADERS = 64
"""Header lines of a request."""
MAX_HEADER_BYTES = 16 * 1024
"""Bytes of all names and values together."""
MAX_HEAD_BYTES = 32 * 1024
"""Bytes on the wire until the headers must have ended; past it the connection is closed."""
HEAD_TIMEOUT_S = 10.0
"""From a connection's first byte of a request, or its opening, to the end of the headers."""
MAX_CONNECTIONS = 4096
"""Open connections of a process; more are told so and closed at once."""
MAX_PIPELINED = 16
"""Requests a connection may send ahead of the answer to the first; past it the connection is closed."""
MAX_IN_FLIGHT = 1024
"""Requests under way in a process."""
MAX_IN_FLIGHT_PER_ADDRESS = 512
"""Of these, requests of one client address."""
MAX_WEBHOOK_BODY = 25 * 1024 * 1024
"""Bytes of what GitHub sends: its own bound of a payload."""
WEBHOOK_PATHS = frozenset({"/api/github/webhook", "/api/monitor/webhook"})
"""Where alone a body may be that long. The route reads more than `MAX_BODY` of it only for a few at once."""
MAX_BUCKETS = 20_000
"""Keys a rate limiter remembers."""


def max_body(method: str, path: str) -> int:
    """Bytes that the body of such a request may have."""
    return MAX_WEBHOOK_BODY if path in WEBHOOK_PATHS and method == "POST" else MAX_BODY


def too_many(wait_s: float, burst: int) -> Problem:
    """The refusal of a bucket of that size, which has a token again in `wait_s`."""
    whole_s = max(1, math.ceil(wait_s))
    return Problem(
        Code.RATE_LIMITED,
        f"Too many requests of this kind; try again in {whole_s} s.",
        headers={
            "Retry-After": str(whole_s),
            "RateLimit-Limit": str(burst),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(whole_s),
        },
    )


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
            raise too_many((1 - level) / rate, burst)

    def give_back(self, name: str, key: str, burst: int) -> None:
        """Return a token that was taken before it was known to be harmless."""
        found = self._buckets.get((name, key))
        if found is not None:
            self._buckets[(name, key)] = (min(float(burst), found[0] + 1), found[1])
