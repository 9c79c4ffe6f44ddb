"""The newest quote of each symbol, and whether it is still good (contract S5)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import structlog

from paiid.core.clock import Clock
from paiid.core.json import encode
from paiid.domain.calendar import MarketHours
from paiid.domain.holidays import LAST_YEAR
from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote
from paiid.feeds import Feed
from paiid.market.views import clock_view, quote_view, session_view

_log = structlog.get_logger("paiid.market")
_WARN_BEFORE = timedelta(days=366)
MOST_KEPT = 4096
"""Symbols whose encoded quote is remembered."""


class MarketService:
    """Quotes of one feed with their freshness, and the hours of its market."""

    def __init__(self, feed: Feed, clock: Clock, hours: MarketHours) -> None:
        self._feed = feed
        self._clock = clock
        self.hours = hours
        self._resend_us = int(feed.resend_interval_s * 1_000_000)
        self._encoded: dict[str, tuple[Quote, bool, bytes]] = {}

    @property
    def source(self) -> str:
        """Where quotes come from."""
        return self._feed.source

    @property
    def delayed(self) -> bool:
        """Whether the source itself is late."""
        return self._feed.delayed

    async def start(self) -> None:
        """Connect the feed; warn in time of the end of the holiday table."""
        ahead = self.hours.trading_day(self._clock.now_us()) + _WARN_BEFORE
        if not all(one.certain for one in self.hours.sessions(ahead, ahead + timedelta(days=7))):
            _log.warning("holiday_table_ends", last_year=LAST_YEAR, then="every weekday counts as a session")
        await self._feed.start()

    async def stop(self) -> None:
        """Disconnect it."""
        await self._feed.stop()

    def newest(self, symbol: str) -> Quote | None:
        """The newest quote in memory with its `stale` flag right, None where there is none."""
        quote = self._feed.newest(symbol)
        return None if quote is None else self._judged(quote)

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The newest quotes of those symbols that are known. Raises FeedUnavailable."""
        return {symbol: self._judged(quote) for symbol, quote in (await self._found(symbols)).items()}

    async def encoded_quotes(self, symbols: Sequence[str]) -> dict[str, bytes]:
        """The same as JSON objects, each encoded once while its quote is the newest. Raises FeedUnavailable."""
        return {symbol: self._bytes_of(quote) for symbol, quote in (await self._found(symbols)).items()}

    async def instrument(self, symbol: str) -> Instrument | None:
        """The instrument, None where the source does not know it. Raises FeedUnavailable."""
        return await self._feed.fetch_instrument(symbol)

    def clock(self) -> bytes:
        """Whether the market is open, as JSON."""
        return encode(clock_view(self.hours, self._clock.now_us(), self.source))

    def calendar(self, first: date, last: date) -> bytes:
        """The trading days from `first` to `last`, both included, as a JSON array."""
        return encode([session_view(one, self.source) for one in self.hours.sessions(first, last)])

    def today(self) -> date:
        """The trading day that is on or comes next."""
        return self.hours.trading_day(self._clock.now_us())

    async def _found(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """In the order asked; what is not in memory is fetched."""
        newest = {symbol: self._feed.newest(symbol) for symbol in symbols}
        missing = [symbol for symbol, quote in newest.items() if quote is None]
        if missing:
            newest.update(await self._feed.fetch_quotes(missing))
        return {symbol: quote for symbol, quote in newest.items() if quote is not None}

    def _bytes_of(self, quote: Quote) -> bytes:
        stale = self._is_stale(quote)
        kept = self._encoded.get(quote.symbol)
        if kept is not None and kept[0] is quote and kept[1] == stale:
            return kept[2]
        body = encode(quote_view(self._judged(quote), self.delayed))
        if kept is None and len(self._encoded) >= MOST_KEPT:
            self._encoded.clear()
        self._encoded[quote.symbol] = (quote, stale, body)
        return body

    def _judged(self, quote: Quote) -> Quote:
        stale = self._is_stale(quote)
        return quote if stale == quote.stale else replace(quote, stale=stale)

    def _is_stale(self, quote: Quote) -> bool:
        """In a session: older than the feed's re-send interval. Out of session the last close counts as
        reference, so a quote is stale only where the feed had fallen silent before that close."""
        now_us = self._clock.now_us()
        wanted_us = now_us if self.hours.is_open(now_us) else self.hours.previous_roll_us(now_us)
        return wanted_us - quote.as_of_us > self._resend_us
