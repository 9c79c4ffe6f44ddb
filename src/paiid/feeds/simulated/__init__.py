"""The simulated market: some forty symbols and the options on them, whose quotes are a function of seed and instant.

A restart or a second replica shows the same market. Every quote says `source: simulated`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import MarketHours
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument, is_option, underlying_of
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, Heard
from paiid.feeds.search import best_matches
from paiid.feeds.simulated.activity import Activity
from paiid.feeds.simulated.dividends import dividend_of
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.options import Model, Options
from paiid.feeds.simulated.tape import Tape
from paiid.feeds.simulated.walk import factor_of

if TYPE_CHECKING:
    from paiid.feeds.simulated.history import History

# How long to sleep at most before looking again: out of session, for new symbols, and in case the clock is set.
_LONGEST_NAP_S = 0.1
_SHORTEST_NAP_S = 0.001
_SIGN_OF_LIFE_US = 1_000_000


class SimulatedFeed:
    """A `Feed` without a wire. Shares tick in extended hours, with wider spreads and smaller sizes outside the regular
    session; options in the regular session only. Outside these hours the last quote of them stands still."""

    source = "simulated"
    resend_interval_s = 5.0
    heartbeat_s = 3.0
    poll_s = 0.25
    most_streamed = 4096
    delayed = False
    indices: Sequence[tuple[str, str]] = (
        ("S&P 500", "SPY"),
        ("Nasdaq-100", "QQQ"),
        ("Dow Jones", "DIA"),
        ("Russell 2000", "IWM"),
    )

    def __init__(self, clock: Clock, hours: MarketHours, seed: int) -> None:
        self._clock = clock
        self._hours = hours
        self._factor = factor_of(seed)
        # As they are needed: all of them cost the start a good part of its time.
        self._tapes: dict[str, Tape] = {}
        # Of their own, so that looking back to the close does not make the newest tapes forget; as they are needed.
        self._closing_tapes: dict[str, Tape] = {}
        self._seed = seed
        self._followed: dict[str, list[str]] = {}
        self._follows = 0
        self._history: History | None = None
        self._one_at_a_time = asyncio.Lock()
        self._options = Options(hours, seed, LISTINGS, self._newest_share, self._closing, self._factor)
        self._instruments = {
            symbol: Instrument(symbol, listing.name, "stock", fractionable=True)
            for symbol, listing in LISTINGS.items()
        }

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to end."""

    def newest(self, symbol: str) -> Quote | None:
        """The quote of this moment, or the last one of the hours that have ended."""
        if is_option(symbol):
            return self._options.quote(symbol, self._clock.now_us())
        return self._newest_share(symbol)

    def _newest_share(self, symbol: str) -> Quote | None:
        tape = self._tape(symbol)
        if tape is None:
            return None
        now_us, hours = self._clock.now_us(), self._hours
        at_us = now_us if hours.is_extended(now_us) else hours.previous_extended_end_us(now_us) - 1
        return tape.quote(at_us, hours.previous_roll_us(now_us), hours.is_open)

    def _tape(self, symbol: str) -> Tape | None:
        tape = self._tapes.get(symbol)
        if tape is None and symbol in LISTINGS:
            tape = self._tapes[symbol] = Tape(self._seed, LISTINGS[symbol], self._factor)
        return tape

    def _closing(self, symbol: str, roll_us: int) -> Quote:
        tape = self._closing_tapes.get(symbol)
        if tape is None:
            tape = self._closing_tapes[symbol] = Tape(self._seed, LISTINGS[symbol], self._factor)
        return tape.quote(roll_us - 1, roll_us)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        if is_option(symbol):
            return self._options.instrument(symbol, self._clock.now_us())
        return self._instruments.get(symbol)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return {symbol: quote for symbol in symbols if (quote := self.newest(symbol)) is not None}

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return self._options.expirations(symbol, self._clock.now_us())

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return self._options.contracts(symbol, expiration, self._clock.now_us())

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        rows: list[ChainRow] = []
        for some in self._options.rows(symbol, first, last, self._clock.now_us()):
            rows += some
            await asyncio.sleep(0)
        return rows

    def activity(self, symbol: str) -> Activity | None:
        """How much of a contract is traded today and held; None for what is no contract listed now."""
        return self._options.activity(symbol, self._clock.now_us())

    def model(self, symbol: str) -> Model | None:
        """What the quote of a contract is made from now; None for what is no contract listed now."""
        return self._options.model(symbol, self._clock.now_us())

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        """None ever: they are paid (`fetch_corporate_actions`), but the simulated price does not fall by them, so its options are worth
        what they are without (`surface`). A dividend told here would be priced into contracts whose quotes know of none."""
        return ()

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        """Dividends only; the price does not fall on the ex-date (`dividends`)."""
        listings = [LISTINGS[symbol] for symbol in dict.fromkeys(symbols) if symbol in LISTINGS]
        return [action for one in listings if (action := dividend_of(one, ex_date)) is not None]

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        return best_matches(self._instruments.values(), text, limit)

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        """Of tickers; options have none. History begins with the year before last; what a bar is made of: `history`, `trades`."""
        if symbol not in LISTINGS:
            return []
        # One at a time: it is the processor that it takes, and what is remembered is not for two threads.
        async with self._one_at_a_time:
            return await asyncio.to_thread(
                self._bars, symbol, timeframe, start_us, end_us, limit, self._clock.now_us()
            )

    def _bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int, now_us: int
    ) -> Sequence[Bar]:
        if self._history is None:
            from paiid.feeds.simulated.history import History  # numpy is loaded when it is needed

            self._history = History(self._hours, self._seed)
        return self._history.bars(symbol, timeframe, start_us, end_us, limit, now_us)

    def follow(self, symbols: Sequence[str]) -> None:
        wanted = list(dict.fromkeys(symbols))[: self.most_streamed]
        followed: dict[str, list[str]] = {}
        for symbol in wanted:
            if self._tape(underlying := underlying_of(symbol)) is not None:
                followed.setdefault(underlying, []).append(symbol)
        self._followed = followed
        self._follows += 1

    async def listen(self) -> AsyncIterator[FeedEvent]:
        """Each new quote as its tick comes; whoever takes them late gets the newest, not those in between. What is newly
        followed is told within a tenth of a second."""
        seen: dict[str, int] = {}
        ticks: dict[str, int] = {}
        follows, said_us = -1, self._clock.now_us()
        yield Heard()
        while True:
            if follows != self._follows:
                follows = self._follows
                ticks.clear()
                seen = {one: seen[one] for some in self._followed.values() for one in some if one in seen}
            for underlying, symbols in self._followed.items():
                tick = self._tapes[underlying].tick(self._clock.now_us())
                if ticks.get(underlying) == tick:
                    continue
                ticks[underlying] = tick
                for symbol in symbols:
                    quote = self.newest(symbol)
                    if quote is not None and quote.sequence > seen.get(symbol, -1):
                        seen[symbol] = quote.sequence
                        said_us = self._clock.now_us()
                        yield quote
            if abs(self._clock.now_us() - said_us) >= _SIGN_OF_LIFE_US:
                said_us = self._clock.now_us()
                yield Heard()
            await self._clock.sleep(self._nap_s())

    def _nap_s(self) -> float:
        """Seconds until the next tick or, out of hours, until they may have begun; never long."""
        now_us = self._clock.now_us()
        if self._hours.is_extended(now_us):
            wake_us = min(
                (self._tapes[one].until_next_us(now_us) for one in self._followed), default=1_000_000
            )
        else:
            wake_us = self._hours.next_extended_us(now_us) - now_us
        return min(max(wake_us / 1_000_000, _SHORTEST_NAP_S), _LONGEST_NAP_S)
