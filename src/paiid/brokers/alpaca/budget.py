"""What is left of the requests that Alpaca takes from an account in a minute, so that orders always have some."""

from collections import deque
from collections.abc import Mapping

from paiid.brokers import BrokerError
from paiid.brokers.alpaca.values import decimal_of
from paiid.core.clock import Clock

DEFAULT_LIMIT = 200
"""A minute and account (section 2)."""
RESERVE = 30
"""What background reads leave to orders, cancels and look-ups."""
_WINDOW_S = 60.0
_MAX_LIMIT = 100_000
_STEP_S = 0.25


class Deadline:
    """One time limit over everything a call does."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._ends_s = clock.monotonic_s() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left; negative once it has passed."""
        return self._ends_s - self._clock.monotonic_s()


class Budget:
    """Counts our own requests and believes the broker's headers, whichever leaves less.

    Others may use the same account, so the headers can leave less; the headers may be missing, so we count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limit = DEFAULT_LIMIT
        self._sent: deque[float] = deque()
        self._told_left: int | None = None
        self._told_until_s = 0.0

    @property
    def left(self) -> int:
        """Requests that may still be made now, never below 0."""
        now_s = self._clock.monotonic_s()
        while self._sent and now_s - self._sent[0] >= _WINDOW_S:
            self._sent.popleft()
        left = self._limit - len(self._sent)
        if self._told_left is not None and now_s < self._told_until_s:
            left = min(left, self._told_left)
        return max(0, left)

    def spend(self) -> None:
        """A request goes out."""
        self._sent.append(self._clock.monotonic_s())
        if len(self._sent) > _MAX_LIMIT:
            self._sent.popleft()
        if self._told_left is not None:
            self._told_left = max(0, self._told_left - 1)

    def learn(self, headers: Mapping[str, str], status: int) -> None:
        """From `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds), where they are told."""
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
        """Never longer than the minute: the two clocks may differ."""
        reset = decimal_of(headers.get("x-ratelimit-reset"))
        if reset is None:
            return _WINDOW_S
        return min(_WINDOW_S, max(0.0, float(reset) - self._clock.now_us() / 1e6))

    async def admit(self, deadline: Deadline) -> None:
        """Wait until a background read leaves enough to orders. Raises BrokerError where the time is up first."""
        while self.left < RESERVE:
            if deadline.left_s <= _STEP_S:
                raise BrokerError(
                    f"the budget of {self._limit} requests a minute is nearly spent; the rest is kept for orders"
                )
            await self._clock.sleep(_STEP_S)


def _count(value: object) -> int | None:
    number = decimal_of(value)
    return int(number) if number is not None and 0 <= number <= _MAX_LIMIT else None
