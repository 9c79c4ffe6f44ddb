"""The lease that decides which replica listens to the market, and the epoch that goes with it (contract S6)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable
from paiid.core.leases import Held, Leases

LEASE = "market-data"
_FOR_EVER_S = 3600.0
_RELEASE_S = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what is done, in seconds; only tests use other values."""

    lease_s: float = 3.0
    renew_s: float = 1.0
    margin_s: float = 0.3
    """How much earlier than the lease ends its holder stops."""
    try_s: float = 0.25
    """How often the lease is tried while nobody leads."""
    beat_s: float = 1.0
    silent_s: float = 3.5
    """A leader that was not heard for so long is gone; longer than another needs to take the lease."""
    sweep_s: float = 1.0
    batch_s: float = 0.005
    look_s: float = 0.1
    """How often the modes are looked at without an occasion."""
    gather_s: float = 0.02
    """How long changes of demand are gathered."""


class Leadership:
    """Takes the lease and renews it. `epoch` is that of the lease in hand; another one each time that it is taken.

    `leases` None: this process is alone on its database, and simply leads. `newest_epoch` tells the newest that was heard of, `led`
    whether a leader is heard.
    """

    def __init__(
        self,
        leases: Leases | None,
        clock: Clock,
        pace: Pace,
        newest_epoch: Callable[[], int],
        led: Callable[[], bool],
    ) -> None:
        self.leases = leases
        self._clock = clock
        self._pace = pace
        self._newest_epoch = newest_epoch
        self._led = led
        self._held: Held | None = None
        self._until_s = 0.0
        self._try = asyncio.Event()
        self.epoch = 0
        self.database_away = False

    @property
    def stands(self) -> bool:
        """Whether no other replica can hold the lease."""
        return self._clock.monotonic_s() < self._until_s

    def next_epoch(self) -> None:
        """Begin another one with the same lease."""
        self.epoch += 1

    def try_soon(self) -> None:
        """The lease may be free."""
        self._try.set()

    async def keep(self, renewed: Callable[[], None]) -> None:
        """Take it, and renew it, whatever else is slow; `renewed` is called after each try."""
        while True:
            began_s = self._clock.monotonic_s()
            await self._renew(began_s)
            renewed()
            pause_s = self._pace.renew_s if self._is_calm() else self._pace.try_s
            self._try.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(began_s + pause_s - self._clock.monotonic_s(), 0.01)):
                    await self._try.wait()

    async def end(self) -> None:
        """Let another replica have it at once."""
        self._until_s = 0.0
        if self._held is not None and self.leases is not None:
            with suppress(DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(_RELEASE_S):
                    await self.leases.release(LEASE)

    def _is_calm(self) -> bool:
        """Somebody leads, as far as can be seen."""
        return self.leases is None or (self._held is not None and not self.database_away) or self._led()

    async def _renew(self, began_s: float) -> None:
        if self.leases is None:
            self.epoch = self.epoch or self._clock.now_us()
            self._until_s = began_s + _FOR_EVER_S
            return
        try:
            held = await self.leases.take(LEASE, self._pace.lease_s)
        except DatabaseUnavailable:
            self.database_away = True
            return
        self.database_away = False
        before, self._held = self._held, held
        if held is None:
            self._until_s = 0.0
            return
        stood = before is not None and before.token == held.token and self.stands
        newest = self._newest_epoch()
        if not stood or newest > self.epoch:
            # Somebody has heard of a newer leader than this one, although the lease is here: go beyond it.
            taken_us = held.expires_at_us - int(self._pace.lease_s * 1_000_000)
            self.epoch = max(taken_us, newest + 1, self.epoch + 1)
        # Counted from before the question: the database began to count later.
        self._until_s = began_s + self._pace.lease_s - self._pace.margin_s
