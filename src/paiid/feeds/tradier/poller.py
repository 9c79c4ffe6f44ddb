"""Asks for everything that is followed, again and again: where there is no stream, or none just now."""

import asyncio
import contextlib

from paiid.core.clock import Clock
from paiid.feeds import FeedUnavailable
from paiid.feeds.outbox import Outbox
from paiid.feeds.tradier.asking import Asking
from paiid.feeds.tradier.quotes import SYMBOLS_A_CALL, Quotes
from paiid.feeds.tradier.timings import StreamTimings
from paiid.feeds.tradier.wanted import Wanted
from paiid.wires.governor import Priority

_LEAST_S = 0.5
"""Between two rounds, however often what is followed changes."""


class Poller:
    """All symbols in one call (of 256 at most), so that a round costs one request of the budget."""

    def __init__(
        self, clock: Clock, asking: Asking, quotes: Quotes, wanted: Wanted, timings: StreamTimings
    ) -> None:
        self._clock = clock
        self._asking = asking
        self._quotes = quotes
        self._wanted = wanted
        self._timings = timings
        self.answered = False
        """Whether the last round was answered."""

    async def run(self, outbox: Outbox, seconds: float | None = None) -> None:
        """Tell every quote as it is now known, as a sign of life too; for so long, or until cancelled."""
        ends_s = None if seconds is None else self._clock.monotonic_s() + seconds
        while True:
            began_s = self._clock.monotonic_s()
            self._wanted.ask_wake.clear()
            try:
                await self.round(outbox)
                self._heard(outbox)
            except FeedUnavailable as problem:
                self._lost(outbox, str(problem))
            rounds = max(1, -(-len(self._wanted.symbols) // SYMBOLS_A_CALL))
            pause_s = self._timings.poll_s * rounds - (self._clock.monotonic_s() - began_s)
            if ends_s is not None:
                pause_s = min(pause_s, ends_s - self._clock.monotonic_s())
                if pause_s <= 0:
                    return
            await self._rest(max(pause_s, min(_LEAST_S, self._timings.poll_s)))
            if ends_s is not None and self._clock.monotonic_s() >= ends_s:
                return

    async def round(self, outbox: Outbox) -> None:
        """One round; where nothing is followed, a question that costs the other side nothing. Raises FeedUnavailable."""
        symbols = self._wanted.symbols
        if not symbols:
            await self._asking.get("/markets/clock", priority=Priority.BACKGROUND)
            return
        for symbol, quote in (await self._quotes.fetch(symbols, priority=Priority.BACKGROUND)).items():
            if symbol in self._wanted.all:
                outbox.put(quote)

    def _heard(self, outbox: Outbox) -> None:
        self.answered = True
        outbox.heard()

    def _lost(self, outbox: Outbox, reason: str) -> None:
        self.answered = False
        outbox.lost(reason)

    async def _rest(self, seconds: float) -> None:
        """A pause, which a symbol that is new makes short."""
        least_s = min(seconds, _LEAST_S, self._timings.poll_s)
        await self._clock.sleep(least_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds - least_s)):
                await self._wanted.ask_wake.wait()
