"""Market data for users and for orders: the newest quote of each symbol and whether it is still good (contract S5), bars, search."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import structlog

from paiid.core.clock import Clock
from paiid.core.json import encode
from paiid.core.shared import SharedCache
from paiid.domain.bars import Timeframe
from paiid.domain.calendar import MarketHours, eastern_date
from paiid.domain.corporate import CorporateAction
from paiid.domain.holidays import LAST_YEAR
from paiid.domain.instruments import Instrument, is_option
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.domain.valuation import closing_price
from paiid.feeds import Feed, FeedUnavailable
from paiid.market.bars import BarReader, BarsFound
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.market.fetched import Fetched, QuoteFetcher
from paiid.market.freshness import Freshness
from paiid.market.search import Searcher
from paiid.market.shared_reads import SharedReads
from paiid.market.state import FeedState
from paiid.market.views import bars_view, clock_view, instrument_view, quote_view, session_view

_log = structlog.get_logger("paiid.market")
_WARN_BEFORE = timedelta(days=366)
MOST_KEPT = 4096
"""Symbols whose encoded quote is remembered."""
LISTED_S = 60.0
"""How long the replicas share what expirations there are."""
_AHEAD_US = 5_000_000
"""How far ahead of our clock a quote may be."""
_ROWS_AT_ONCE = 500
"""Rows of a chain that are judged before others have their turn."""
_NOT_REAL = frozenset({"simulated", "replay"})
"""Sources whose prices are no word on what anything costs at a broker now."""


class MarketService:
    """Quotes of one feed with their freshness, and the hours of its market.

    A quote comes from the feed where that knows it by itself (the simulated market, a recording), else from the board, which
    the upstream keeps; what is not there, or is there but stale, is asked for. `state` tells how the upstream is.
    """

    def __init__(
        self,
        feed: Feed,
        clock: Clock,
        hours: MarketHours,
        board: Board | None = None,
        demand: Demand | None = None,
        state: Callable[[], FeedState] | None = None,
        cache: SharedCache | None = None,
    ) -> None:
        self._feed = feed
        self.shared = SharedReads(feed, clock, cache)
        self._clock = clock
        self.hours = hours
        self.board = board or Board()
        self.demand = demand or Demand(clock)
        self._state = state
        self._freshness = Freshness(clock, hours, feed.resend_interval_s)
        self._resend_interval_s = feed.resend_interval_s
        self._fetcher = QuoteFetcher(feed, clock)
        self._bars = BarReader(feed, clock, hours, self.shared)
        self._searcher = Searcher(feed, clock)
        self._encoded: dict[str, tuple[Quote, bytes]] = {}

    @property
    def source(self) -> str:
        """Where quotes come from."""
        return self._feed.source

    @property
    def delayed(self) -> bool:
        """Whether the source itself is late."""
        return self._feed.delayed

    @property
    def poll_s(self) -> float:
        """How often at most the source may be asked for quotes."""
        return self._feed.poll_s

    def prices_for(self, *, simulated: bool) -> bool:
        """Whether these quotes are the prices of a broker that fills against our own market data, or does not: what is simulated
        or recorded is no word on what anything costs at a real one."""
        return simulated or self._feed.source not in _NOT_REAL

    async def start(self) -> None:
        """Make the feed ready; warn in time of the end of the holiday table."""
        ahead = self.hours.trading_day(self._clock.now_us()) + _WARN_BEFORE
        if not all(one.certain for one in self.hours.sessions(ahead, ahead + timedelta(days=7))):
            _log.warning("holiday_table_ends", last_year=LAST_YEAR, then="every weekday counts as a session")
        await self._feed.start()

    async def stop(self) -> None:
        """Disconnect it."""
        await self._feed.stop()

    # -- quotes -------------------------------------------------------------------------------------

    def newest(self, symbol: str) -> Quote | None:
        """The newest quote in memory with its `stale` flag right, None where there is none. From then on the symbol is followed for
        a while, if it has to be."""
        quote = self._feed.newest(symbol)
        if quote is not None:
            return self._judged(quote)
        self.demand.touch(symbol)
        return self._newer(self._on_board(symbol), self._fetcher.find(symbol))[0]

    async def quotes(self, symbols: Sequence[str], *, follow: bool = True) -> dict[str, Quote]:
        """The newest quotes of those symbols that are known, in the order asked; with `follow` the upstream is told that somebody
        may ask again. Raises FeedUnavailable where nothing is known of one."""
        return (await self._found(symbols, follow))[0]

    async def encoded_quotes(self, symbols: Sequence[str]) -> dict[str, bytes]:
        """The same as JSON objects, each encoded once while its quote is the newest. Raises FeedUnavailable."""
        found, ages_s = await self._found(symbols, follow=True)
        if ages_s:
            return {symbol: self._bytes_of(quote, ages_s.get(symbol)) for symbol, quote in found.items()}
        return {symbol: self._bytes_of(quote) for symbol, quote in found.items()}

    async def indices(self) -> bytes:
        """What stands for the indices of a dashboard, as a JSON array; those without a quote are left out. Raises FeedUnavailable."""
        named = list(self._feed.indices)
        quotes = await self.encoded_quotes([symbol for _, symbol in named])
        # A quote is an object of its own: ours begins in its place.
        items = [
            encode({"name": name, "proxy": True})[:-1] + b"," + quotes[symbol][1:]
            for name, symbol in named
            if symbol in quotes
        ]
        return b"[" + b",".join(items) + b"]"

    async def _found(self, symbols: Sequence[str], follow: bool) -> tuple[dict[str, Quote], dict[str, float]]:
        """Quotes in the order asked, and how old those are that come from the cache, in seconds. Memory first."""
        found: dict[str, Quote] = {}
        ages_s: dict[str, float] = {}
        heard: list[str] = []
        lacking: list[str] = []
        for symbol in symbols:
            quote = self._feed.newest(symbol)
            if quote is not None:
                quote = self._judged(quote)
            else:
                quote = self._on_board(symbol)
                heard.append(symbol)
            if quote is None or quote.stale:
                lacking.append(symbol)
            else:
                found[symbol] = quote
        if lacking:
            found |= await self._asked(lacking, ages_s)
            found = {symbol: found[symbol] for symbol in symbols if symbol in found}
        if follow:
            # Only what there is: a stranger's spelling mistakes are not worth following.
            for symbol in heard:
                if symbol in found:
                    self.demand.touch(symbol)
        return found, ages_s

    async def _asked(self, symbols: Sequence[str], ages_s: dict[str, float]) -> dict[str, Quote]:
        """What the feed says of these, or has said a moment ago; where it cannot say, what is in memory, as stale. Raises
        FeedUnavailable where that is nothing."""
        kept = {symbol: self._fetcher.find(symbol) for symbol in symbols}
        asked = {symbol for symbol, fetched in kept.items() if not self._fetcher.is_recent(fetched)}
        silent: FeedUnavailable | None = None
        if asked:
            try:
                kept.update(await self._fetcher.fetch([symbol for symbol in symbols if symbol in asked]))
            except FeedUnavailable as problem:
                silent = problem
        found: dict[str, Quote] = {}
        for symbol in symbols:
            quote, fetched = self._newer(self._live(symbol), kept[symbol])
            failed = silent is not None and symbol in asked
            if quote is None:
                if silent is not None and failed:
                    raise silent
                continue
            found[symbol] = replace(quote, stale=True) if failed else quote
            if fetched is not None and (failed or symbol not in asked):
                ages_s[symbol] = self._clock.monotonic_s() - fetched.at_s
        return found

    def _live(self, symbol: str) -> Quote | None:
        quote = self._feed.newest(symbol)
        return self._on_board(symbol) if quote is None else self._judged(quote)

    def _on_board(self, symbol: str) -> Quote | None:
        """What the upstream has shown; while it is down and the symbol's market trades, nobody knows whether it still holds."""
        shown = self.board.find(symbol)
        if shown is None:
            return None
        quote = self._judged(shown.quote)
        if (
            not quote.stale
            and self._state is not None
            and self._state().status == "down"
            and self._trades(symbol)
        ):
            return replace(quote, stale=True)
        return quote

    def _trades(self, symbol: str) -> bool:
        now_us = self._clock.now_us()
        return self.hours.is_open(now_us) if is_option(symbol) else self.hours.is_extended(now_us)

    def _newer(self, live: Quote | None, fetched: Fetched | None) -> tuple[Quote | None, Fetched | None]:
        """The newer of the two, and where it came from if that is the cache."""
        if fetched is None or fetched.quote is None:
            return live, None
        quote = self._judged(fetched.quote)
        if quote.as_of_us > self._clock.now_us() + _AHEAD_US:
            # Somebody's clock is wrong: it would be the newest for as long as that lasts.
            return (live, None) if live is not None else (replace(quote, stale=True), fetched)
        if live is None or (quote.as_of_us, quote.confirmed_us) > (live.as_of_us, live.confirmed_us):
            return quote, fetched
        if live.stale and not quote.stale and _known_us(live) >= _known_us(quote):
            # The upstream is down but for its own questions: one was answered after what is kept here.
            return replace(live, stale=False), None
        return live, None

    def _judged(self, quote: Quote) -> Quote:
        if self._feed.resend_interval_s != self._resend_interval_s:
            # Another source has taken over (feeds/failover).
            self._resend_interval_s = self._feed.resend_interval_s
            self._freshness = Freshness(self._clock, self.hours, self._resend_interval_s)
        return self._freshness.judged(quote)

    def _bytes_of(self, quote: Quote, age_s: float | None = None) -> bytes:
        if age_s is not None:
            return encode(quote_view(quote, self.delayed, age_s))
        kept = self._encoded.get(quote.symbol)
        if kept is not None and (kept[0] is quote or kept[0] == quote):
            return kept[1]
        body = encode(quote_view(quote, self.delayed))
        if kept is None and len(self._encoded) >= MOST_KEPT:
            self._encoded.clear()
        self._encoded[quote.symbol] = (quote, body)
        return body

    # -- bars, instruments --------------------------------------------------------------------------

    async def bars(
        self, symbol: str, timeframe: Timeframe, start_us: int | None, end_us: int | None, limit: int
    ) -> BarsFound:
        """The newest `limit` bars that begin in [start, end), oldest first; None is as in `BarReader.read`. Raises
        FeedUnavailable."""
        return await self._bars.read(symbol, timeframe, start_us, end_us, limit)

    async def encoded_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int | None, end_us: int | None, limit: int
    ) -> tuple[bytes, int]:
        """The same as a JSON object, and how many there are. Raises FeedUnavailable."""
        found = await self.bars(symbol, timeframe, start_us, end_us, limit)
        view = bars_view(
            symbol,
            timeframe,
            found.bars,
            found.source,
            found.as_of_us,
            stale=found.stale,
            cached=found.cached,
        )
        return encode(view), len(found.bars)

    async def search(self, text: str, limit: int) -> bytes:
        """Instruments whose symbol or name has the text, the best match first, as a JSON array. Raises FeedUnavailable."""
        found, source, cached = await self._searcher.find(text, limit)
        return encode([instrument_view(one, source, cached=cached) for one in found])

    async def instrument(self, symbol: str) -> Instrument | None:
        """The instrument, None where the source does not know it. Raises FeedUnavailable."""
        return await self._feed.fetch_instrument(symbol)

    async def expirations(self, symbol: str) -> Sequence[date]:
        """The expirations of the options on a ticker, in order. Raises FeedUnavailable."""
        read = await self.shared.read(
            "expirations",
            (symbol,),
            tuple[date, ...],
            lambda days: LISTED_S if days else 0.0,
            lambda: self._expirations(symbol),
        )
        if not read.shared:
            return read.value
        today = eastern_date(self._clock.now_us())
        return [day for day in read.value if day >= today]

    async def _expirations(self, symbol: str) -> tuple[date, ...]:
        return tuple(await self._feed.fetch_expirations(symbol))

    async def contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        """The contracts on a ticker that expire then, by strike and the call first. Raises FeedUnavailable."""
        return await self._feed.fetch_contracts(symbol, expiration)

    async def chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        """The contracts on a ticker that expire from the first to the last of these days, each with its quote judged for freshness.
        Raises FeedUnavailable."""
        return await self._judged_chain(await self._feed.fetch_chain(symbol, first, last))

    async def shared_chain(
        self, symbol: str, first: date, last: date, keep_s: Callable[[int], float]
    ) -> tuple[Sequence[ChainRow], float]:
        """The same, and how many seconds ago the source told it to this replica or another: less than `keep_s` of so many contracts.
        Raises FeedUnavailable."""

        async def call() -> tuple[ChainRow, ...]:
            return tuple(await self._feed.fetch_chain(symbol, first, last))

        key = (symbol, first.isoformat(), last.isoformat())
        read = await self.shared.read(
            "chain", key, tuple[ChainRow, ...], lambda rows: keep_s(len(rows)) if rows else 0.0, call
        )
        return await self._judged_chain(read.value), read.age_s

    async def _judged_chain(self, rows: Sequence[ChainRow]) -> Sequence[ChainRow]:
        judged: list[ChainRow] = []
        for number, row in enumerate(rows, 1):
            judged.append(row if row.quote is None else _with_quote(row, self._judged(row.quote)))
            if number % _ROWS_AT_ONCE == 0:
                # A whole chain at once would hold up everybody else.
                await asyncio.sleep(0)
        return judged

    async def dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        """The cash dividends announced with an ex-date from the first to the last of these days. Raises FeedUnavailable."""
        return await self._feed.fetch_dividends(symbol, first, last)

    async def corporate_actions(self, symbols: Sequence[str], ex_date: date) -> Sequence[CorporateAction]:
        """The dividends and splits of these tickers whose ex-date this is. Raises FeedUnavailable."""
        return await self._feed.fetch_corporate_actions(symbols, ex_date)

    async def closing_price(self, symbol: str, roll_us: int) -> Decimal | None:
        """The close of a stock at the last roll; None for any other roll, and where it is not known. Raises
        FeedUnavailable."""
        if self.hours.previous_roll_us(self._clock.now_us()) != roll_us:
            return None
        return closing_price((await self.quotes([symbol])).get(symbol), roll_us)

    # -- hours --------------------------------------------------------------------------------------

    def clock(self) -> bytes:
        """Whether the market is open, as JSON."""
        return encode(clock_view(self.hours, self._clock.now_us(), self.source))

    def calendar(self, first: date, last: date) -> bytes:
        """The trading days from `first` to `last`, both included, as a JSON array."""
        return encode([session_view(one, self.source) for one in self.hours.sessions(first, last)])

    def today(self) -> date:
        """The trading day that is on or comes next."""
        return self.hours.trading_day(self._clock.now_us())


def _with_quote(row: ChainRow, quote: Quote) -> ChainRow:
    return row if quote is row.quote else replace(row, quote=quote)


def _known_us(quote: Quote) -> int:
    """Up to when the source is known to have had nothing newer."""
    return max(quote.as_of_us, quote.confirmed_us)
