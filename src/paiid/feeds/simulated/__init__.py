"""The simulated market: forty symbols whose quotes are a function of seed and instant.

A restart or a second replica shows the same market. Every quote says `source: simulated`.
"""

from collections.abc import AsyncIterator, Sequence

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.tape import Tape

# Out of session, and in case the clock is set: how long to sleep at most before looking again.
_LONGEST_NAP_S = 1.0
_SHORTEST_NAP_S = 0.001


class SimulatedFeed:
    """A `Feed` without a wire. Out of session the last quote of the session stands still."""

    source = "simulated"
    resend_interval_s = 5.0
    delayed = False

    def __init__(self, clock: Clock, hours: MarketHours, seed: int) -> None:
        self._clock = clock
        self._hours = hours
        self._tapes = {symbol: Tape(seed, listing) for symbol, listing in LISTINGS.items()}
        self._instruments = {
            symbol: Instrument(symbol, listing.name, "stock") for symbol, listing in LISTINGS.items()
        }

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to end."""

    def newest(self, symbol: str) -> Quote | None:
        """The quote of this moment, or the last one of the session that has ended."""
        tape = self._tapes.get(symbol)
        if tape is None:
            return None
        now_us = self._clock.now_us()
        roll_us = self._hours.previous_roll_us(now_us)
        return tape.quote(now_us if self._hours.is_open(now_us) else roll_us - 1, roll_us)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return {symbol: quote for symbol in symbols if (quote := self.newest(symbol)) is not None}

    async def quotes(self, symbols: Sequence[str]) -> AsyncIterator[Quote]:
        """Each new quote as its tick comes; whoever takes them late gets the newest, not those in between."""
        seen: dict[str, int] = {}
        tapes = {symbol: self._tapes[symbol] for symbol in symbols if symbol in self._tapes}
        while True:
            for symbol in tapes:
                quote = self.newest(symbol)
                if quote is not None and quote.sequence > seen.get(symbol, -1):
                    seen[symbol] = quote.sequence
                    yield quote
            await self._clock.sleep(self._nap_s([tape.interval_us for tape in tapes.values()]))

    def _nap_s(self, intervals_us: Sequence[int]) -> float:
        """Seconds until the next tick or, out of session, until the market may have opened."""
        now_us = self._clock.now_us()
        if self._hours.is_open(now_us):
            wake_us = min((each - now_us % each for each in intervals_us), default=1_000_000)
        else:
            wake_us = self._hours.next_open_us(now_us) - now_us
        return min(max(wake_us / 1_000_000, _SHORTEST_NAP_S), _LONGEST_NAP_S)
