"""A feed in a test's hands, and instants with a meaning."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import eastern_us
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument, is_option
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, FeedUnavailable, Heard, Lost
from paiid.feeds.search import best_matches


def utc_us(text: str) -> int:
    """`2026-11-25 15:00` in UTC as microseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


WEDNESDAY_OPEN_US = utc_us("2026-11-25 15:00")
"""The day before Thanksgiving, half an hour after the open."""
THANKSGIVING_US = utc_us("2026-11-26 17:00")
SATURDAY_US = utc_us("2026-11-28 17:00")


def _stock(symbol: str) -> Instrument:
    return Instrument(symbol, f"{symbol} Inc.", "stock", fractionable=True)


class FakeFeed:
    """A `Feed` that shows what the test sets. A symbol that is listed but not set has its quote fetched, unless
    nobody quotes it (`unquoted`); the fetch fails while `down` says why. Contracts are listed (`list_contracts`) or
    just set like a ticker; none of them ever expires here unless the test takes it away (`unlist`). Whoever listens hears each quote
    that is set while it is followed; `lose`, `go_silent` and `beat` are the connection's fate."""

    source = "hand"
    resend_interval_s = 5.0
    poll_s = 0.05
    delayed = False
    indices: Sequence[tuple[str, str]] = (("S&P 500", "SPY"), ("Nasdaq-100", "QQQ"))

    def __init__(
        self,
        *symbols: str,
        quoted_us: int = WEDNESDAY_OPEN_US,
        heartbeat_s: float = 2.0,
        most_streamed: int = 256,
    ) -> None:
        """`quoted_us`: of when the quotes are that are fetched; beside a real clock that is an instant to come."""
        self.heartbeat_s = heartbeat_s
        self.most_streamed = most_streamed
        self.following: tuple[str, ...] = ()
        self.listening = False
        self._silent = False
        self._said: deque[FeedEvent] = deque()
        self._told: dict[str, int] = {}
        self._bars: dict[tuple[str, Timeframe], tuple[Bar, ...]] = {}
        self.fetched_bars = 0
        self._quoted_us = quoted_us
        self.down: str | None = None
        self.unquoted = False
        self.started = self.fetched = 0
        self.actions: list[CorporateAction] = []
        self._listed = set(symbols)
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

    def list_contracts(self, *symbols: str) -> None:
        """Option contracts by their OCC symbols, from now on."""
        assert all(find_contract(symbol) for symbol in symbols), "not OCC symbols"
        self._listed.update(symbols)

    def unlist(self, symbol: str) -> None:
        """A symbol that nobody knows any more, such as an expired contract."""
        self._listed.discard(symbol)
        self._memory.pop(symbol, None)
        self._told.pop(symbol, None)

    def _contracts(self) -> list[OptionContract]:
        known = {*self._listed, *self._memory}
        return [one for symbol in sorted(known) if is_option(symbol) and (one := find_contract(symbol))]

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.started -= 1

    def newest(self, symbol: str) -> Quote | None:
        return self._memory.get(symbol)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        self._refuse_when_down()
        if symbol not in self._listed and symbol not in self._memory:
            return None
        contract = find_contract(symbol) if is_option(symbol) else None
        if contract is None:
            return _stock(symbol)
        last_us = eastern_us(contract.expiration, time(16, 0))
        return Instrument(
            symbol, contract.name, "option", tick=Decimal("0.05"), contract=contract, last_trade_us=last_us
        )

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        self._refuse_when_down()
        return sorted({one.expiration for one in self._contracts() if one.underlying == symbol})

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        self._refuse_when_down()
        found = [one for one in self._contracts() if (one.underlying, one.expiration) == (symbol, expiration)]
        return sorted(found, key=lambda one: (one.strike, one.option_type))

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        rows: list[ChainRow] = []
        for expiration in await self.fetch_expirations(symbol):
            if first <= expiration <= last:
                contracts = await self.fetch_contracts(symbol, expiration)
                quotes = await self.fetch_quotes([one.symbol for one in contracts])
                rows += [ChainRow(one, quotes.get(one.symbol)) for one in contracts]
        return rows

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        self._refuse_when_down()
        paid = [one for one in self.actions if (one.symbol, one.kind) == (symbol, "dividend")]
        return sorted((one for one in paid if first <= one.ex_date <= last), key=lambda one: one.ex_date)

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        self._refuse_when_down()
        return [one for one in self.actions if one.symbol in symbols and one.ex_date == ex_date]

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        self._refuse_when_down()
        self.fetched += 1
        for symbol in symbols:
            if symbol in self._listed and symbol not in self._memory and not self.unquoted:
                self.set(symbol, "10", "10.02", as_of_us=self._quoted_us)
        return {symbol: replace(self._memory[symbol]) for symbol in symbols if symbol in self._memory}

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        self._refuse_when_down()
        tickers = [one for one in {*self._listed, *self._memory} if not is_option(one)]
        return best_matches([_stock(one) for one in tickers], text, limit)

    def set_bars(self, symbol: str, timeframe: Timeframe, *bars: Bar) -> None:
        """What `fetch_bars` has of a symbol, the oldest first."""
        self._bars[symbol, timeframe] = bars

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        self._refuse_when_down()
        self.fetched_bars += 1
        bars = [one for one in self._bars.get((symbol, timeframe), ()) if start_us <= one.start_us < end_us]
        return bars[-limit:] if limit > 0 else []

    # -- the stream ---------------------------------------------------------------------------------

    def follow(self, symbols: Sequence[str]) -> None:
        """`following` shows what was asked last, cut to `most_streamed`."""
        self.following = tuple(dict.fromkeys(symbols))[: self.most_streamed]
        self._told = {symbol: told for symbol, told in self._told.items() if symbol in self.following}
        self._news.set()

    def lose(self, reason: str) -> None:
        """The connection breaks: `Lost`, and then nothing until `beat`, which is the next connection."""
        self._said.append(Lost(reason))
        self._silent, self._told = True, {}
        self._news.set()

    def go_silent(self) -> None:
        """The connection stays, but nothing comes over it until `beat`."""
        self._silent = True

    def beat(self) -> None:
        """A sign of life, which ends a silence or connects anew."""
        self._silent = False
        self._said.append(Heard())
        self._news.set()

    async def listen(self) -> AsyncIterator[FeedEvent]:
        """Each new quote of what is followed at once, and a sign of life every quarter of `heartbeat_s` of real time."""
        assert not self.listening, "one listener at a time"
        self.listening, self._told = True, {}
        try:
            if not self._silent:
                yield Heard()
            while True:
                self._news.clear()
                while self._said:
                    yield self._said.popleft()
                for symbol in () if self._silent else self.following:
                    quote = self._memory.get(symbol)
                    if quote is not None and quote.sequence > self._told.get(symbol, 0):
                        self._told[symbol] = quote.sequence
                        yield quote
                if self._said or self._news.is_set():
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.heartbeat_s / 4):
                        await self._news.wait()
                        continue
                if not self._silent:
                    yield Heard()
        finally:
            self.listening = False

    def _refuse_when_down(self) -> None:
        if self.down is not None:
            raise FeedUnavailable(self.down)
