"""A clock that is behind: what a sandbox, whose quotes are 15 minutes old, sees the market by (tradier.md, section 10)."""

from paiid.core.clock import Clock

__all__ = ["DELAY_S", "LateClock"]

DELAY_S = 900.0


class LateClock:
    """Another clock's time, less `late_s`. Waiting and randomness are the other's."""

    def __init__(self, clock: Clock, late_s: float = DELAY_S) -> None:
        self._clock = clock
        self._late_us = int(late_s * 1_000_000)

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC, `late_s` ago."""
        return self._clock.now_us() - self._late_us

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self._clock.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes."""
        return self._clock.random_bytes(count)
