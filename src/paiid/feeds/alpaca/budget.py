"""What is left of the requests that Alpaca takes from a pair of keys in a minute."""

from collections import deque
from collections.abc import Mapping

from paiid.core.clock import Clock
from paiid.feeds.alpaca.values import count_of

DEFAULT_LIMIT = 200
"""A minute, on the free plan, until the headers say otherwise (alpaca.md, section 2)."""
_WINDOW_S = 60.0
_MAX_LIMIT = 20_000


class Budget:
    """Counts our own requests and believes the headers, whichever leaves less: others may use the same keys, and the headers may be
    missing. `reserve` is what is left to others; on the trading host these are orders."""

    def __init__(self, clock: Clock, reserve: int = 0) -> None:
        self._clock = clock
        self._reserve = reserve
        self._limit = DEFAULT_LIMIT
        self._sent: deque[float] = deque()
        self._told_left: int | None = None
        self._told_until_s = 0.0

    @property
    def limit(self) -> int:
        """Requests a minute."""
        return self._limit

    @property
    def left(self) -> int:
        """Requests that may still be made now, never below 0."""
        now_s = self._clock.monotonic_s()
        while self._sent and now_s - self._sent[0] >= _WINDOW_S:
            self._sent.popleft()
        left = self._limit - len(self._sent)
        if self._told_left is not None and now_s < self._told_until_s:
            left = min(left, self._told_left)
        return max(0, left - self._reserve)

    def spend(self) -> None:
        """A request goes out."""
        self._sent.append(self._clock.monotonic_s())
        if len(self._sent) > _MAX_LIMIT:
            self._sent.popleft()
        if self._told_left is not None:
            self._told_left = max(0, self._told_left - 1)

    def learn(self, headers: Mapping[str, str], status: int) -> None:
        """From `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds), where they are told; a 429 leaves nothing."""
        limit = _count(headers.get("x-ratelimit-limit"))
        if limit:
            self._limit = limit
        remaining = 0 if status == 429 else _count(headers.get("x-ratelimit-remaining"))
        if remaining is None:
            return
        now_s = self._clock.monotonic_s()
        if self._told_left is None or now_s >= self._told_until_s or remaining < self._told_left:
            # Answers may overtake each other: within a minute only less is news.
            self._told_left = remaining
            self._told_until_s = now_s + self._until_reset_s(headers)

    def _until_reset_s(self, headers: Mapping[str, str]) -> float:
        """Between a second and the minute: the two clocks may differ."""
        reset = _seconds(headers.get("x-ratelimit-reset"))
        if reset is None:
            return _WINDOW_S
        return min(_WINDOW_S, max(1.0, reset - self._clock.now_us() / 1e6))


def _count(text: str | None) -> int | None:
    number = count_of(text)
    return number if number is not None and number <= _MAX_LIMIT else None


def _seconds(text: str | None) -> float | None:
    number = count_of(text)
    return None if number is None else float(number)
