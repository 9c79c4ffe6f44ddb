"""The simulated market: forty symbols whose quotes are a function of seed and instant.

A restart or a second replica shows the same market. Every quote says `source: simulated`.
"""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.listing import LISTINGS, Listing
from paiid.feeds.simulated.walk import Walk, hash64

_FASTEST_TICK_MS = 250
_SLOWEST_TICK_MS = 1000
_LOT = 100
_CENT = Decimal("0.01")


class _Tape:
    """The quotes of one symbol; remembers the newest."""

    def __init__(self, seed: int, listing: Listing) -> None:
        self._walk = Walk(seed, listing)
        self._close_walk = Walk(seed, listing)
        self._half_spread = listing.spread_bps / 20_000
        self.symbol = listing.symbol
        span = _SLOWEST_TICK_MS - _FASTEST_TICK_MS
        self.interval_us = (_FASTEST_TICK_MS + hash64(self._walk.seed, 1) % span) * 1000
        self._newest: Quote | None = None
        self._closes: tuple[int, Decimal] = (-1, Decimal(0))

    def quote(self, at_us: int, roll_us: int) -> Quote:
        """The quote in force at an instant; `roll_us` is the end of the last trading day."""
        tick = at_us // self.interval_us
        newest = self._newest
        if newest is not None and newest.sequence == tick and self._closes[0] == roll_us:
            return newest
        bid, ask = self._sides(self._walk, tick)
        dice = hash64(self._walk.seed, 2, tick)
        quote = Quote(
            symbol=self.symbol,
            bid=bid,
            ask=ask,
            bid_size=Decimal((1 + dice % 20) * _LOT),
            ask_size=Decimal((1 + (dice >> 8) % 20) * _LOT),
            last=ask if dice >> 16 & 1 else bid,
            prev_close=self._close(roll_us),
            as_of_us=tick * self.interval_us,
            sequence=tick,
            source="simulated",
        )
        self._newest = quote
        return quote

    def _sides(self, walk: Walk, tick: int) -> tuple[Decimal, Decimal]:
        price = walk.price(tick * self.interval_us)
        half = price * self._half_spread
        bid = int((price - half) * 100)
        ask = int((price + half) * 100) + 1
        return Decimal(max(1, bid)).scaleb(-2), Decimal(max(2, ask)).scaleb(-2)

    def _close(self, roll_us: int) -> Decimal:
        """The middle of the last quote of the day that ended then, in whole cents."""
        if self._closes[0] != roll_us:
            bid, ask = self._sides(self._close_walk, (roll_us - 1) // self.interval_us)
            self._closes = (roll_us, ((bid + ask) / 2).quantize(_CENT))
        return self._closes[1]


class SimulatedFeed:
    """A `Feed` without a wire."""

    source = "simulated"
    resend_interval_s = 5.0
    delayed = False

    def __init__(self, clock: Clock, hours: MarketHours, seed: int) -> None:
        self._clock = clock
        self._hours = hours
        self._tapes = {symbol: _Tape(seed, listing) for symbol, listing in LISTINGS.items()}
        self._instruments = {
            symbol: Instrument(symbol, listing.name, "stock") for symbol, listing in LISTINGS.items()
        }

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to end."""

    def newest(self, symbol: str) -> Quote | None:
        """The quote of this moment; out of session the last one of the session stands."""
        tape = self._tapes.get(symbol)
        if tape is None:
            return None
        now_us = self._clock.now_us()
        roll_us = self._hours.previous_roll_us(now_us)
        return tape.quote(now_us if self._hours.is_open(now_us) else roll_us - 1, roll_us)

    def find_instrument(self, symbol: str) -> Instrument | None:
        """The instrument, without waiting."""
        return self._instruments.get(symbol)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        found = {symbol: self.newest(symbol) for symbol in symbols}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    async def quotes(self, symbols: Sequence[str]) -> AsyncIterator[Quote]:
        """Each new quote as its tick comes."""
        seen: dict[str, int] = {}
        tapes = [self._tapes[symbol] for symbol in symbols if symbol in self._tapes]
        while tapes:
            for tape in tapes:
                quote = self.newest(tape.symbol)
                if quote is not None and seen.get(tape.symbol) != quote.sequence:
                    seen[tape.symbol] = quote.sequence
                    yield quote
            now_us = self._clock.now_us()
            next_us = min((now_us // tape.interval_us + 1) * tape.interval_us for tape in tapes)
            await self._clock.sleep(max(0.001, (next_us - now_us) / 1_000_000))
