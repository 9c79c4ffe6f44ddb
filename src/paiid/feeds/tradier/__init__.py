"""Market data of Tradier: quotes over its one stream, or by asking where there is none, everything else by asking (tradier.md, sections
8 to 10)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import ExchangeHours, MarketHours
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent
from paiid.feeds.outbox import Outbox
from paiid.feeds.tradier.asking import Asking
from paiid.feeds.tradier.bars import Bars
from paiid.feeds.tradier.book import Book
from paiid.feeds.tradier.chain import Chains
from paiid.feeds.tradier.connection import Transport
from paiid.feeds.tradier.conversation import Parts
from paiid.feeds.tradier.listener import Listener
from paiid.feeds.tradier.listing import Listing
from paiid.feeds.tradier.poller import Poller
from paiid.feeds.tradier.quotes import SYMBOLS_A_CALL, Quotes
from paiid.feeds.tradier.session import Sessions
from paiid.feeds.tradier.timings import StreamTimings
from paiid.feeds.tradier.wanted import Wanted
from paiid.wires.governor import Governors
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import TradierWire

__all__ = ["StreamTimings", "TradierFeed", "TradierKeys", "Transport"]

_STOP_S = 0.8


class TradierFeed:
    """A `Feed`. Tradier allows one market session of a user, so there is one `listen` at a time, and one process that listens.

    The stream tells what changes, options too. A symbol that it has not told for 12 s is asked for, and the answer confirms its quote. The
    sandbox has no stream and quotes that are 15 minutes late: there all that is followed is asked for every 2.5 s, in one request.
    `transport`: the stream by WebSocket, or by HTTP, which costs a connection for every change of what is followed.
    """

    source = "tradier"
    resend_interval_s = 30.0
    heartbeat_s = 4.0
    most_streamed = SYMBOLS_A_CALL
    """As many as one request asks for, so that what is streamed can be asked for at any time. Tradier names no limit of its stream."""
    indices: Sequence[tuple[str, str]] = (
        ("S&P 500", "SPY"),
        ("Nasdaq 100", "QQQ"),
        ("Dow Jones", "DIA"),
        ("Russell 2000", "IWM"),
    )
    """The funds that follow them: which symbols Tradier's own indices have is not confirmed."""

    def __init__(
        self,
        clock: Clock,
        keys: TradierKeys,
        governors: Governors | None = None,
        *,
        timings: StreamTimings | None = None,
        transport: Transport = "websocket",
        sandbox: bool | None = None,
        request_s: float = 4.0,
        hours: MarketHours | None = None,
    ) -> None:
        """`governors`: the budgets that are shared with whoever else uses the token. `sandbox`: it has no stream and late quotes; None:
        by the address. `hours` say which session is on and which is over, the exchange's where nothing is said."""
        timings = timings or StreamTimings()
        hours = hours or ExchangeHours()
        sandbox = keys.environment == "sandbox" if sandbox is None else sandbox
        self.delayed = sandbox
        # Each costs a request; the sandbox has half as many.
        self.poll_s = 4.0 if sandbox else 2.0
        self._wire = TradierWire(clock, keys, governors or Governors(clock))
        asking = self._asking = Asking(clock, self._wire, request_s)
        book = self._book = Book(clock, self.source, hours)
        self._quotes = Quotes(clock, asking, book)
        self._listing = Listing(clock, asking, self._quotes)
        self._chains = Chains(clock, asking, self._listing, self.source, hours)
        self._bars = Bars(clock, asking, delayed=self.delayed)
        self._wanted = Wanted(self.most_streamed)
        self._poller = Poller(clock, asking, self._quotes, self._wanted, timings)
        parts = Parts(clock, book, self._quotes, self._wanted, self._poller, timings, hours)
        sessions = Sessions(clock, self._wire, reply_s=timings.reply_s, good_s=timings.session_s)
        self._listener = None if sandbox else Listener(clock, keys, parts, sessions, transport)
        self._run: asyncio.Task[None] | None = None
        self._outbox: Outbox | None = None

    @property
    def dropped(self) -> int:
        """Messages of the stream that could not be used."""
        return 0 if self._listener is None else self._listener.dropped

    @property
    def counts(self) -> Mapping[str, int]:
        """What the stream told and nobody was shown, by reason."""
        return {**self._book.counts, **({"unreadable": self.dropped} if self.dropped else {})}

    @property
    def connections(self) -> int:
        """How often the stream was connected."""
        return 0 if self._listener is None else self._listener.connections

    @property
    def requests_left(self) -> int:
        """Of this minute, of the market data bucket."""
        return self._asking.budget.left

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return await self._listing.fetch_instrument(symbol)

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        return await self._listing.search(text, limit)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return await self._quotes.fetch(symbols)

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        return await self._bars.fetch(symbol, timeframe, start_us, end_us, limit)

    def newest(self, symbol: str) -> Quote | None:
        """One has to listen."""
        return None

    async def listen(self) -> AsyncIterator[FeedEvent]:
        if self._run is not None:
            raise RuntimeError("Tradier's stream has one listener at a time")
        outbox = self._outbox = Outbox()
        work = self._poller.run(outbox) if self._listener is None else self._listener.run(outbox)
        run = self._run = asyncio.create_task(work, name="paiid-tradier-data")
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
        return await self._chains.fetch_contracts(symbol, expiration)

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        return await self._chains.fetch(symbol, first, last)

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        """None: no request for them is confirmed (its fundamentals are a beta, section 1)."""
        return ()

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        """None, for the same reason."""
        return ()

    async def start(self) -> None:
        """Connects nothing."""

    async def stop(self) -> None:
        """Ends `listen`, and every connection."""
        if self._run is not None:
            await _end(self._run)
        self._quotes.stop()
        await self._wire.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_STOP_S)
