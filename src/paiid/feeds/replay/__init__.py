"""The replay feed: plays a file of recorded quotes once, from the start of the process on, faster or slower than it was; recorded option
chains stand still beside it (`standing`), or alone.

Nothing is added to what was recorded: no last price, no previous close, no trades, no company names. A quote says when it really
was (`recorded_at_us`); `as_of_us` is the instant at which it was played. Bars are of the midpoint, on the clock of the play: at a speed of 60
each minute bar holds an hour of the recording. When the file has ended the last quotes stand, and the market is closed (`ReplayHours`).
Each process plays for itself, so a replay is for one process.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, Heard
from paiid.feeds.replay.files import recordings_in
from paiid.feeds.replay.hours import ReplayHours
from paiid.feeds.replay.minutes import Minutes
from paiid.feeds.replay.recording import MOST_SYMBOLS, ReplayError, Row, rows
from paiid.feeds.replay.standing import Standing
from paiid.feeds.search import best_matches

__all__ = ["ReplayError", "ReplayFeed", "ReplayHours"]

FASTEST = 100_000.0
"""Recorded seconds in one second of a play."""
MOST_WAITING = 50_000
"""Quotes that wait for the listener; of one who is further behind the oldest are dropped."""
_ROWS_AT_ONCE = 2000
_OPEN_AFTER_THE_LAST_US = 1_000_000
_LONGEST_NAP_S = 0.1
_SHORTEST_NAP_S = 0.001
_SIGN_OF_LIFE_US = 1_000_000
_NOT_TOLD = Decimal(0)
_SHORTEST_RESEND_S, _LONGEST_RESEND_S = 5.0, 60.0


class ReplayFeed:
    """A `Feed` of a recording (`recording` and `chain_recording` say how the files look). `hours` are those of its market, which has
    closed a second after the last row; of chains alone, a second after the start.

    `resend_interval_s` follows from the recording: half as long again as the longest time a symbol goes without a row, from 5 s to 60 s.
    """

    source = "replay"
    heartbeat_s = 3.0
    poll_s = 0.25
    most_streamed = MOST_SYMBOLS
    delayed = False
    indices: Sequence[tuple[str, str]] = ()

    def __init__(self, clock: Clock, path: Path, speed: float) -> None:
        """`path` is a file, or several with commas between them. Looks through all of them, which takes some seconds a million rows, and
        begins to play. Raises ReplayError, ValueError for a speed that is not above 0 and at most `FASTEST`."""
        if not 0 < speed <= FASTEST:
            raise ValueError(f"the speed must be above 0 and at most {FASTEST:.0f}")
        found = recordings_in(path)
        contents = found.contents
        self._clock = clock
        self._speed = speed
        self._start_us = clock.now_us()
        self._first_us = 0 if contents is None else contents.first_us
        played = () if contents is None else contents.symbols
        self._standing = Standing(found.chains, found.days, self._start_us, self.source)
        self._instruments = {
            symbol: Instrument(symbol, symbol, "stock", fractionable=True)
            for symbol in (*played, *self._standing.symbols)
        }
        gap_s = 0.0 if contents is None else 1.5 * contents.longest_gap_us / 1_000_000 / speed
        self.resend_interval_s = min(max(gap_s, _SHORTEST_RESEND_S), _LONGEST_RESEND_S)
        self._played = frozenset(played)
        self._rows = None if found.quotes is None else rows(found.quotes)
        self._next: Row | None = None if self._rows is None else next(self._rows, None)
        self._memory: dict[str, Quote] = dict(self._standing.quotes)
        self._minutes = Minutes(played)
        self._followed: frozenset[str] = frozenset()
        self._order: tuple[str, ...] = ()
        self._waiting: deque[Quote] | None = None
        ends_us = self._start_us if contents is None else self._played_at_us(contents.last_us)
        self.hours = ReplayHours(self._start_us, ends_us + _OPEN_AFTER_THE_LAST_US)

    async def start(self) -> None:
        """The play has begun with the constructor."""

    async def stop(self) -> None:
        """Close the file; what was played stays."""
        self._next = None
        if self._rows is not None:
            self._rows.close()

    # -- the play -----------------------------------------------------------------------------------

    def _played_at_us(self, recorded_us: int) -> int:
        return self._start_us + int((recorded_us - self._first_us) / self._speed)

    def _catch_up(self) -> bool:
        """Take over rows that are due; False where there are more than can be read at once. Where the file has changed since it was
        looked through so that it cannot be read, the play ends."""
        now_us = self._clock.now_us()
        for _ in range(_ROWS_AT_ONCE):
            row = self._next
            if row is None or self._played_at_us(row.played_us) > now_us:
                return True
            if row.symbol in self._played:
                self._play(row)
            try:
                self._next = None if self._rows is None else next(self._rows, None)
            except ReplayError:
                self._next = None
        return False

    def _play(self, row: Row) -> None:
        quote = Quote(
            symbol=row.symbol,
            bid=row.bid,
            ask=row.ask,
            bid_size=row.bid_size,
            ask_size=row.ask_size,
            last=_NOT_TOLD,
            prev_close=_NOT_TOLD,
            as_of_us=self._played_at_us(row.played_us),
            # Higher than any number of a play before, as no process plays a million rows a second.
            sequence=self._start_us + row.number,
            source=self.source,
            recorded_at_us=row.recorded_us,
        )
        self._memory[row.symbol] = quote
        self._minutes.add(quote)
        if self._waiting is not None and row.symbol in self._followed:
            self._waiting.append(quote)

    async def _caught_up(self) -> None:
        while True:
            if self._catch_up():
                return
            await asyncio.sleep(0)

    # -- questions ----------------------------------------------------------------------------------

    def newest(self, symbol: str) -> Quote | None:
        """The quote of this moment; where nobody has asked for long it may take some calls until it is."""
        self._catch_up()
        return self._memory.get(symbol)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol) or self._standing.instrument(symbol)

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        return best_matches(self._instruments.values(), text, limit)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        await self._caught_up()
        return {symbol: self._memory[symbol] for symbol in symbols if symbol in self._memory}

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        """Of the midpoint, of what has been played; `volume` is 0."""
        await self._caught_up()
        return self._minutes.find(symbol, timeframe, start_us, end_us, limit)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        """As they were listed on the recorded day, those that have passed since too."""
        return self._standing.expirations(symbol)

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return self._standing.contracts(symbol, expiration)

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        """With the quotes and the open interest that were recorded; each quote says when (`recorded_at_us`)."""
        return tuple(self._standing.rows(symbol, first, last))

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        """None: no file tells them."""
        return ()

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        return []

    # -- the stream ---------------------------------------------------------------------------------

    def follow(self, symbols: Sequence[str]) -> None:
        before = self._followed
        self._order = tuple(dict.fromkeys(symbols))[: self.most_streamed]
        self._followed = frozenset(self._order)
        if self._waiting is not None:
            self._tell(symbol for symbol in self._order if symbol not in before)

    def _tell(self, symbols: Iterable[str]) -> None:
        if self._waiting is not None:
            self._waiting.extend(self._memory[symbol] for symbol in symbols if symbol in self._memory)

    async def listen(self) -> AsyncIterator[FeedEvent]:
        """Every row that has come due since then, in the order of the file."""
        waiting: deque[Quote] = deque(maxlen=MOST_WAITING)
        self._waiting = waiting
        try:
            yield Heard()
            said_us = self._clock.now_us()
            self._tell(self._order)
            while True:
                caught_up = self._catch_up()
                while waiting:
                    quote = waiting.popleft()
                    if quote.symbol in self._followed:
                        said_us = self._clock.now_us()
                        yield quote
                if abs(self._clock.now_us() - said_us) >= _SIGN_OF_LIFE_US:
                    said_us = self._clock.now_us()
                    yield Heard()
                await self._clock.sleep(self._nap_s() if caught_up else 0)
        finally:
            if self._waiting is waiting:
                self._waiting = None

    def _nap_s(self) -> float:
        if self._next is None:
            return _LONGEST_NAP_S
        wait_us = self._played_at_us(self._next.played_us) - self._clock.now_us()
        return min(max(wait_us / 1_000_000, _SHORTEST_NAP_S), _LONGEST_NAP_S)
