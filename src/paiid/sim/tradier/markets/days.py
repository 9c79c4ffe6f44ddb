"""What a quote tells of the day and the year: open, high, low, close, volume (tradier.md, section 8.1).

The figures of a year are long to reckon, so nobody waits for them: until they are known they are 0, as Tradier's of an option are.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, TypeVar

import structlog

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import MarketHours, eastern_date
from paiid.domain.instruments import is_option
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.simulated.activity import Activity

__all__ = ["Day", "Days"]

_HOUR_US = 3_600_000_000
_SHORT_US = 12 * 24 * _HOUR_US
"""Longer than any time without trading, so that two days of trading lie in it."""
_YEAR_US = 366 * 24 * _HOUR_US
_YEAR = 260
_AVERAGED = 90
_QUIET_S = 0.5
"""The market reckons one thing at a time: years wait until nobody has wanted a day for so long."""
_NONE = Decimal(0)
_MOST = 4_096
"""Symbols that are remembered; the one asked for first goes first."""
_log = structlog.get_logger("paiid.sim")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Day:
    """Dollars, and shares or contracts. None: not known, or not yet: before the open a day has no prices, and no close before its end.
    `previous` is the close before this day, None where that is what the quote tells, 0 where nobody knows.
    Figures of the year are 0 where they are not known."""

    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    volume: int = 0
    previous: Decimal | None = None
    average_volume: int = 0
    week_52_high: Decimal = Decimal(0)
    week_52_low: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Year:
    """Of the days that had ended at this roll."""

    roll_us: int
    average_volume: int
    high: Decimal
    low: Decimal


class _Market(Protocol):
    def newest(self, symbol: str) -> Quote | None: ...

    def activity(self, symbol: str) -> Activity | None: ...

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]: ...


class Days:
    """The days of all symbols, remembered for a while."""

    def __init__(self, market: _Market, hours: MarketHours, clock: Clock, day_s: float) -> None:
        self._market = market
        self._hours = hours
        self._clock = clock
        self._fresh_us = int(day_s * 1_000_000)
        self._days: OrderedDict[str, tuple[int, Day]] = OrderedDict()
        self._years: OrderedDict[str, _Year] = OrderedDict()
        self._wanted: dict[str, None] = {}
        self._reckoning: asyncio.Task[None] | None = None
        self._asked_s = 0.0
        """When somebody last wanted a day that was not known."""

    async def stop(self) -> None:
        """Reckon no more."""
        if self._reckoning is not None:
            self._reckoning.cancel()
            await asyncio.gather(self._reckoning, return_exceptions=True)

    async def of(self, quote: Quote) -> Day:
        """The day of the symbol of a quote. Raises FeedUnavailable."""
        now_us = self._clock.now_us()
        if is_option(quote.symbol):
            return self._option_day(quote, now_us)
        known = self._days.get(quote.symbol)
        begun_us = self._hours.previous_roll_us(now_us)
        if known is None or not max(begun_us, now_us - self._fresh_us) <= known[0] <= now_us:
            known = (now_us, await self._share_day(quote, now_us))
            _remember(self._days, quote.symbol, known)
        return self._with_year(quote.symbol, known[1])

    def _option_day(self, quote: Quote, now_us: int) -> Day:
        """The market knows of a contract's prices the newest one and the last close only: a day opens at the close before, and has no
        other prices; in the evening there is the close, and nobody knows the one before."""
        if self._is_evening(now_us):
            return Day(close=_known(quote.prev_close), previous=_NONE)
        activity, before = self._market.activity(quote.symbol), _known(quote.prev_close)
        if activity is None or not activity.volume or before is None:
            return Day(volume=0 if activity is None else activity.volume)
        return Day(before, max(before, quote.last), min(before, quote.last), None, activity.volume)

    def _is_evening(self, now_us: int) -> bool:
        """Whether the session has ended and the calendar day has not: until midnight it stands there with its close."""
        if self._hours.is_open(now_us):
            return False
        return eastern_date(self._hours.previous_roll_us(now_us)) == eastern_date(now_us)

    async def _share_day(self, quote: Quote, now_us: int) -> Day:
        symbol = quote.symbol
        self._asked_s = self._clock.monotonic_s()
        bars = await self._market.fetch_bars(symbol, Timeframe.DAY_1, now_us - _SHORT_US, now_us + 1, 2)
        evening = self._is_evening(now_us)
        today = eastern_date(now_us) if evening else self._hours.trading_day(now_us)
        if not bars or eastern_date(bars[-1].start_us) < today:
            return Day(close=_known(quote.prev_close) if evening else None)
        last = bars[-1]
        if not evening:
            return Day(last.open, last.high, last.low, None, int(last.volume))
        before = bars[-2].close if len(bars) > 1 else _NONE
        return Day(
            last.open, last.high, last.low, _known(quote.prev_close) or last.close, int(last.volume), before
        )

    # -- the year -----------------------------------------------------------------------------------

    def _with_year(self, symbol: str, day: Day) -> Day:
        year = self._years.get(symbol)
        if year is None or year.roll_us != self._hours.previous_roll_us(self._clock.now_us()):
            self._want(symbol)
        if year is None:
            return day
        return Day(
            day.open, day.high, day.low, day.close, day.volume, day.previous, year.average_volume,
            max(year.high, day.high or year.high), min(year.low, day.low or year.low),
        )  # fmt: skip

    def _want(self, symbol: str) -> None:
        self._wanted[symbol] = None
        if self._reckoning is None or self._reckoning.done():
            self._reckoning = asyncio.create_task(self._reckon(), name="paiid-sim-years")

    async def _reckon(self) -> None:
        while self._wanted:
            quiet_s = self._clock.monotonic_s() - self._asked_s
            if quiet_s < _QUIET_S:
                await self._clock.sleep(_QUIET_S - quiet_s)
                continue
            symbol = next(iter(self._wanted))
            try:
                await self._reckon_one(symbol)
            except FeedUnavailable as error:
                _log.warning("sim_year_unavailable", symbol=symbol, error=str(error))
            finally:
                self._wanted.pop(symbol, None)

    async def _reckon_one(self, symbol: str) -> None:
        now_us = self._clock.now_us()
        roll_us = self._hours.previous_roll_us(now_us)
        bars = await self._market.fetch_bars(symbol, Timeframe.DAY_1, now_us - _YEAR_US, roll_us, _YEAR)
        if not bars:
            return
        volumes = [int(one.volume) for one in bars[-_AVERAGED:]]
        year = _Year(
            roll_us, sum(volumes) // len(volumes), max(one.high for one in bars), min(one.low for one in bars)
        )
        _remember(self._years, symbol, year)


def _known(price: Decimal) -> Decimal | None:
    return price if price > 0 else None


def _remember(known: OrderedDict[str, _T], symbol: str, value: _T) -> None:
    known[symbol] = value
    known.move_to_end(symbol)
    if len(known) > _MOST:
        known.popitem(last=False)
