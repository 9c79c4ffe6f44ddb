"""The newest quote of each symbol, and whether it is still good (contract S5)."""

from collections.abc import Sequence
from dataclasses import replace

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote
from paiid.feeds import Feed


class MarketService:
    """Quotes of one feed with their freshness."""

    def __init__(self, feed: Feed, clock: Clock, hours: MarketHours) -> None:
        self._feed = feed
        self._clock = clock
        self.hours = hours
        self._resend_us = int(feed.resend_interval_s * 1_000_000)

    @property
    def source(self) -> str:
        """Where quotes come from."""
        return self._feed.source

    @property
    def delayed(self) -> bool:
        """Whether the source itself is late."""
        return self._feed.delayed

    async def start(self) -> None:
        """Connect the feed."""
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
        found: dict[str, Quote] = {}
        missing: list[str] = []
        for symbol in symbols:
            quote = self._feed.newest(symbol)
            if quote is None:
                missing.append(symbol)
            else:
                found[symbol] = quote
        if missing:
            found.update(await self._feed.fetch_quotes(missing))
        return {symbol: self._judged(quote) for symbol, quote in found.items()}

    async def instrument(self, symbol: str) -> Instrument | None:
        """The instrument, None where the source does not know it. Raises FeedUnavailable."""
        return await self._feed.fetch_instrument(symbol)

    def _judged(self, quote: Quote) -> Quote:
        """In a session a quote older than the feed's re-send interval is stale; out of session the last close
        is the reference and is not."""
        now_us = self._clock.now_us()
        stale = self.hours.is_open(now_us) and now_us - quote.as_of_us > self._resend_us
        return quote if stale == quote.stale else replace(quote, stale=stale)
