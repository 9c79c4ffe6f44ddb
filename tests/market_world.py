"""A feed in a test's hands, and instants with a meaning."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable


def utc_us(text: str) -> int:
    """`2026-11-25 15:00` in UTC as microseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


WEDNESDAY_OPEN_US = utc_us("2026-11-25 15:00")
"""The day before Thanksgiving, half an hour after the open."""
THANKSGIVING_US = utc_us("2026-11-26 17:00")
SATURDAY_US = utc_us("2026-11-28 17:00")


class FakeFeed:
    """A `Feed` that shows what the test sets. A symbol that is listed but not set has its quote fetched, unless
    nobody quotes it (`unquoted`); the fetch fails while `down` says why."""

    source = "hand"
    resend_interval_s = 5.0
    delayed = False

    def __init__(self, *symbols: str) -> None:
        self.down: str | None = None
        self.unquoted = False
        self.started = self.fetched = 0
        self._listed = symbols
        self._memory: dict[str, Quote] = {}
        self._news = asyncio.Event()

    def set(self, symbol: str, bid: str, ask: str, *, as_of_us: int = WEDNESDAY_OPEN_US) -> Quote:
        """The next quote of a symbol."""
        before = self._memory.get(symbol)
        quote = Quote(
            symbol=symbol,
            bid=Decimal(bid),
            ask=Decimal(ask),
            bid_size=Decimal(100),
            ask_size=Decimal(200),
            last=Decimal(ask),
            prev_close=Decimal(bid),
            as_of_us=as_of_us,
            sequence=1 if before is None else before.sequence + 1,
            source=self.source,
        )
        self._memory[symbol] = quote
        self._news.set()
        return quote

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.started -= 1

    def newest(self, symbol: str) -> Quote | None:
        return self._memory.get(symbol)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        self._refuse_when_down()
        known = symbol in self._listed or symbol in self._memory
        return Instrument(symbol, f"{symbol} Inc.", "stock") if known else None

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        self._refuse_when_down()
        self.fetched += 1
        for symbol in symbols:
            if symbol in self._listed and symbol not in self._memory and not self.unquoted:
                self.set(symbol, "10", "10.02")
        return {symbol: replace(self._memory[symbol]) for symbol in symbols if symbol in self._memory}

    async def quotes(self, symbols: Sequence[str]) -> AsyncIterator[Quote]:
        seen: dict[str, int] = {}
        while True:
            self._news.clear()
            for symbol in symbols:
                quote = self._memory.get(symbol)
                if quote is not None and quote.sequence > seen.get(symbol, 0):
                    seen[symbol] = quote.sequence
                    yield quote
            await self._news.wait()

    def _refuse_when_down(self) -> None:
        if self.down is not None:
            raise FeedUnavailable(self.down)
