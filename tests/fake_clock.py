"""A clock in a test's hand: time moves only when the test, or a sleep, moves it."""

import asyncio


class FakeClock:
    """Time that moves only when a test or a sleep moves it."""

    def __init__(self, start_us: int = 1_800_000_000_000_000) -> None:
        self._us = start_us
        self._bytes = 0

    def now_us(self) -> int:
        return self._us

    def monotonic_s(self) -> float:
        return self._us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self._us += int(seconds * 1_000_000)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._us += int(seconds * 1_000_000)

    def random_bytes(self, count: int) -> bytes:
        self._bytes += 1
        return self._bytes.to_bytes(8, "big").rjust(count, b"\0")[-count:]
