"""Market data of Alpaca: quotes over its one stream, everything else by asking (alpaca.md, sections 1 to 4, 12, 15, 16)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import eastern_date
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent
from paiid.feeds.alpaca.actions import fetch_corporate_actions, fetch_dividends
from paiid.feeds.alpaca.bars import fetch_bars
from paiid.feeds.alpaca.book import Book
from paiid.feeds.alpaca.chain import Chains
from paiid.feeds.alpaca.connection import StreamTimings
from paiid.feeds.alpaca.keys import AlpacaDataKeys
from paiid.feeds.alpaca.listener import Listener
from paiid.feeds.alpaca.listing import Listing
from paiid.feeds.alpaca.snapshots import Snapshots
from paiid.feeds.alpaca.subscription import Wanted
from paiid.feeds.alpaca.wire import Wire
from paiid.feeds.outbox import Outbox
from paiid.wires.alpaca.wire import data_budget, trading_budget
from paiid.wires.governor import Governors, Priority

__all__ = ["FREE_PLAN_SYMBOLS", "AlpacaDataKeys", "AlpacaFeed", "StreamTimings"]

FREE_PLAN_SYMBOLS = 30
_STOP_S = 0.8


class AlpacaFeed:
    """A `Feed`. Alpaca allows one connection to its stream, so there is one `listen` at a time, and one process that listens.

    The stream tells what changes. A symbol that it has not told for 12 s is asked for, and the answer confirms its quote; options are not
    on the stock stream and are asked for every 5 s, as are symbols over the plan's limit. `packed` asks for MessagePack.
    """

    source = "alpaca"
    resend_interval_s = 30.0
    heartbeat_s = 4.0
    poll_s = 2.0
    indices: Sequence[tuple[str, str]] = (
        ("S&P 500", "SPY"),
        ("Nasdaq 100", "QQQ"),
        ("Dow Jones", "DIA"),
        ("Russell 2000", "IWM"),
    )
    """Alpaca has no indices; these are the funds that follow them."""

    def __init__(
        self,
        clock: Clock,
        keys: AlpacaDataKeys,
        *,
        most_streamed: int = FREE_PLAN_SYMBOLS,
        packed: bool = False,
        timings: StreamTimings | None = None,
        request_s: float = 4.0,
        governors: Governors | None = None,
    ) -> None:
        """`governors` are those of the process: assets and contracts are listed on the trading host, whose budget is that of orders.
        Raises ValueError for a number of symbols below 1."""
        if most_streamed < 1:
            raise ValueError("at least one symbol must be streamed")
        self.delayed = keys.venue == "delayed_sip"
        self._clock = clock
        self._venue = keys.venue
        governors = governors or Governors(clock)
        data, trading = data_budget(governors, keys.key), trading_budget(governors, keys.key)
        self._data = Wire(clock, keys, keys.data_url, data, priority=Priority.READ, request_s=request_s)
        self._trading = Wire(
            clock, keys, keys.trading_url, trading, priority=Priority.BACKGROUND, request_s=request_s
        )
        book = self._book = Book(clock, self.source)
        self._snapshots = Snapshots(clock, self._data, book, keys.venue)
        self._listing = Listing(clock, self._trading)
        self._chains = Chains(clock, self._data, self._listing, self.source)
        self._wanted = Wanted(most_streamed)
        self._listener = Listener(
            clock, keys, book, self._snapshots, self._wanted, timings or StreamTimings(), packed=packed
        )
        self._run: asyncio.Task[None] | None = None
        self._outbox: Outbox | None = None

    @property
    def most_streamed(self) -> int:
        """Symbols that it streams at once; fewer once Alpaca has said that there are too many."""
        return max(1, self._wanted.limit)

    @most_streamed.setter
    def most_streamed(self, limit: int) -> None:
        self._wanted.most = self._wanted.limit = max(1, limit)
        self._wanted.wake()

    @property
    def dropped(self) -> int:
        """Messages of the stream that could not be used."""
        return self._listener.dropped

    @property
    def counts(self) -> Mapping[str, int]:
        """What the stream told and nobody was shown, by reason."""
        return {**self._book.counts, **({"unreadable": self.dropped} if self.dropped else {})}

    @property
    def connections(self) -> int:
        """How often the stream was connected."""
        return self._listener.connections

    @property
    def requests_left(self) -> int:
        """Of this minute, at the market data API."""
        return self._data.left

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return await self._listing.fetch_instrument(symbol)

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        return await self._listing.search(text, limit)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return await self._snapshots.fetch(symbols)

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        return await fetch_bars(self._data, self._venue, symbol, timeframe, start_us, end_us, limit)

    def newest(self, symbol: str) -> Quote | None:
        """One has to listen."""
        return None

    async def listen(self) -> AsyncIterator[FeedEvent]:
        if self._run is not None:
            raise RuntimeError("Alpaca's stream has one listener at a time")
        outbox = self._outbox = Outbox()
        run = self._run = asyncio.create_task(self._listener.run(outbox), name="paiid-alpaca-data")
        run.add_done_callback(lambda _: outbox.end())
        try:
            while (event := await outbox.next()) is not None:
                yield event
        finally:
            self._run = self._outbox = None
            await _end(run)

    def follow(self, symbols: Sequence[str]) -> None:
        self._wanted.set(symbols)
        if self._outbox is not None:
            self._outbox.keep_only(self._wanted.all)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return await self._listing.fetch_expirations(symbol)

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return await self._listing.fetch_contracts(symbol, expiration)

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        return await self._chains.fetch(symbol, first, last)

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        return await fetch_dividends(self._data, symbol, first, last, eastern_date(self._clock.now_us()))

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        return await fetch_corporate_actions(self._data, symbols, ex_date)

    async def start(self) -> None:
        """Connects nothing."""

    async def stop(self) -> None:
        """Ends `listen`, and every connection."""
        if self._run is not None:
            await _end(self._run)
        await asyncio.gather(self._data.close(), self._trading.close())


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_STOP_S)
