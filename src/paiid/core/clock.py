"""The one source of time, randomness and ids, so that a test can drive all three."""

import asyncio
import secrets
import time
from typing import Protocol

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]


class Clock(Protocol):
    """Wall time, monotonic time and waiting."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes for secrets and ids."""
        ...


class SystemClock:
    """The machine's own time and randomness."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)


def new_id(clock: Clock, prefix: str) -> str:
    """A sortable id: prefix, 48 bits of milliseconds, 80 random bits, in lower-case Crockford base 32.

    Ids made later sort later (to the millisecond), so a page of a list can continue behind an id.
    """
    number = ((clock.now_us() // 1000) << 80) | int.from_bytes(clock.random_bytes(10), "big")
    return prefix + "_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
