"""The bars of the simulated market, as far back as it is told; everything here runs in a thread, one call at a time.

Minutes are made of the market's trades (`trades`), all longer bars of minutes. Minutes and hours exist wherever shares
tick, so in extended hours too; a day is the regular session (where the market never closes: from roll to roll) and stands under its
trading day; weeks and months are made of days. Where the market never closes, the day that begins at 16:00 Eastern therefore bears the
date of tomorrow.
"""

from collections import OrderedDict
from copy import copy
from dataclasses import dataclass
from datetime import date, time, timedelta

import numpy as np

from paiid.domain.bars import INTRADAY, Bar, Timeframe, bar_start_us, first_day
from paiid.domain.calendar import MarketHours, Session, eastern_date, eastern_us
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.paths import Ints
from paiid.feeds.simulated.table import Table, empty, joined
from paiid.feeds.simulated.tape import MINUTE_US, Tape
from paiid.feeds.simulated.trades import minutes_of
from paiid.feeds.simulated.walk import factor_of

YEARS_BACK = 2
"""History begins with the year that was this many years before the current one."""
MOST_DAYS_OF_MINUTES = 256
"""Finished days whose minutes are remembered, of all symbols together (at most 92 KB each)."""
MOST_DAYS = 366 * (YEARS_BACK + 2)
"""Finished days that are remembered of each symbol as one row (64 bytes each)."""
_DAYS_AT_ONCE = 96
_DAY_US = 86_400_000_000
_DAY = timedelta(days=1)
_MINUTES_A_DAY = 1440


@dataclass(frozen=True, slots=True)
class _Day:
    """A trading day in minutes since 1970: all in which shares trade, and its regular session; the ends are not included."""

    day: date
    first: int
    behind: int
    opens: int
    closes: int


class History:
    """The bars of all symbols of one seed; remembers finished days within bounds."""

    def __init__(self, hours: MarketHours, seed: int) -> None:
        # Of its own: hours remember where they were asked last, and the event loop asks them too.
        self._hours = copy(hours)
        self._seed = seed
        self._factor = factor_of(seed)
        self._tapes: dict[str, Tape] = {}
        self._days: dict[str, Table] = {}
        self._minutes: OrderedDict[tuple[str, date], Table] = OrderedDict()
        self._known: OrderedDict[date, _Day] = OrderedDict()

    def bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int, now_us: int
    ) -> list[Bar]:
        """As `Feed.fetch_bars`, as seen at `now_us`, of a symbol that is listed."""
        oldest = date(eastern_date(now_us).year - YEARS_BACK, 1, 1)
        start_us = max(start_us, eastern_us(oldest, time(0)))
        end_us = min(end_us, now_us + _DAY_US)
        if start_us >= end_us or limit <= 0:
            return []
        find = self._intraday if timeframe in INTRADAY else self._daily
        return find(symbol, timeframe, start_us, end_us, limit, now_us)

    # -- within a day -------------------------------------------------------------------------------

    def _intraday(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int, now_us: int
    ) -> list[Bar]:
        """From the newest day backwards, until there are enough."""
        first = eastern_date(start_us)
        # A day later: where the market never closes the evening belongs to the next trading day.
        last = eastern_date(min(end_us, now_us)) + _DAY
        found: list[Bar] = []
        while last >= first and len(found) < limit:
            wanted = (limit - len(found)) * _MINUTES[timeframe] // _MINUTES_A_DAY + 3
            since = max(first, last - min(wanted, _DAYS_AT_ONCE) * _DAY)
            days = [
                one
                for session in self._hours.sessions(since, last)
                if (one := self._day(session)).first * MINUTE_US <= now_us
            ]
            minutes = joined(self._minutes_of_days(symbol, days, now_us))
            table = minutes.grouped(_starts_us(timeframe, minutes.keys))
            begins, behind = np.searchsorted(table.keys, [start_us, end_us]).tolist()
            table = table.part(max(begins, behind - limit), behind)
            found[:0] = table.bars(table.keys.tolist())
            last = since - _DAY
        return found[-limit:]

    def _minutes_of_days(self, symbol: str, days: list[_Day], now_us: int) -> list[Table]:
        """Their minute bars, computed together where they are not remembered."""
        known: dict[date, Table] = {}
        for one in days:
            table = self._minutes.get((symbol, one.day))
            if table is not None and one.behind * MINUTE_US <= now_us:
                self._minutes.move_to_end((symbol, one.day))
                known[one.day] = table
        missing = [one for one in days if one.day not in known]
        spans = [(one.first, one.behind) for one in missing]
        table = self._traded(symbol, missing, spans, now_us)
        edges = np.searchsorted(table.keys, np.array(spans, dtype=np.int64).ravel()).tolist()
        for n, one in enumerate(missing):
            known[one.day] = table.part(edges[2 * n], edges[2 * n + 1])
            if one.behind * MINUTE_US <= now_us:
                self._minutes[symbol, one.day] = known[one.day]
        while len(self._minutes) > MOST_DAYS_OF_MINUTES:
            self._minutes.popitem(last=False)
        return [known[one.day] for one in days]

    # -- days and longer ----------------------------------------------------------------------------

    def _daily(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int, now_us: int
    ) -> list[Bar]:
        first, last = eastern_date(start_us), eastern_date(end_us - 1)
        if bar_start_us(timeframe, start_us) < start_us:
            first = _following(timeframe, first)
        today = self._hours.trading_day(now_us)
        if self._hours.never_closes and last >= eastern_date(now_us):
            last = max(last, today)  # The day that grows bears the date of tomorrow from 16:00 on.
        if first > last:
            return []
        first = max(first, _periods_before(timeframe, last, limit))
        behind = min(_following(timeframe, last), today + _DAY)
        sessions = self._hours.sessions(first, behind - _DAY)
        if timeframe is Timeframe.DAY_1:
            sessions = sessions[-limit - 1 :]
        days = self._rows_of_days(symbol, [one for one in sessions if one.open_us <= now_us], now_us)
        starts = [
            eastern_us(first_day(timeframe, date.fromordinal(each)), time(0)) for each in days.keys.tolist()
        ]
        table = days.grouped(np.array(starts, dtype=np.int64))
        return table.bars(table.keys.tolist())[-limit:]

    def _rows_of_days(self, symbol: str, sessions: list[Session], now_us: int) -> Table:
        """One row a day by its ordinal, none for a day that has not traded yet."""
        kept = self._days.get(symbol, empty())
        known = set(kept.keys.tolist())
        finished = [one for one in sessions if one.close_us <= now_us]
        missing = [one for one in finished if one.day.toordinal() not in known]
        parts = [
            self._computed_days(symbol, missing[n : n + _DAYS_AT_ONCE], now_us)
            for n in range(0, len(missing), _DAYS_AT_ONCE)
        ]
        if parts:
            kept = joined([kept, *parts])
            kept = kept.rows(np.argsort(kept.keys))
            self._days[symbol] = kept.part(max(0, len(kept) - MOST_DAYS), len(kept))
        wanted = np.array([one.day.toordinal() for one in finished], dtype=np.int64)
        growing = self._computed_days(symbol, sessions[len(finished) :], now_us)
        return joined([kept.rows(np.flatnonzero(np.isin(kept.keys, wanted))), growing])

    def _computed_days(self, symbol: str, sessions: list[Session], now_us: int) -> Table:
        days = [
            _Day(one.day, opens, closes, opens, closes)
            for one in sessions
            for opens, closes in [(one.open_us // MINUTE_US, one.close_us // MINUTE_US)]
        ]
        minutes = self._traded(symbol, days, [(one.opens, one.closes) for one in days], now_us)
        ordinals = np.array([one.day.toordinal() for one in days], dtype=np.int64)
        closes = np.array([one.closes for one in days], dtype=np.int64)
        return minutes.grouped(ordinals[np.searchsorted(closes, minutes.keys, side="right")])

    # -- both ---------------------------------------------------------------------------------------

    def _traded(self, symbol: str, days: list[_Day], spans: list[tuple[int, int]], now_us: int) -> Table:
        """The minutes of these spans, of one day each, as one table."""
        if not spans:
            return empty()
        each = [np.arange(first, behind, dtype=np.int64) for first, behind in spans]
        regular = [
            (minutes >= one.opens) & (minutes < one.closes) for one, minutes in zip(days, each, strict=True)
        ]
        return minutes_of(self._tape(symbol), np.concatenate(each), np.concatenate(regular), now_us)

    def _tape(self, symbol: str) -> Tape:
        tape = self._tapes.get(symbol)
        if tape is None:
            tape = self._tapes[symbol] = Tape(self._seed, LISTINGS[symbol], self._factor)
        return tape

    def _day(self, session: Session) -> _Day:
        """With extended hours, which take a while to find."""
        known = self._known.get(session.day)
        if known is not None:
            return known
        first_us, behind_us = session.open_us, session.close_us
        if not self._hours.never_closes:
            before_us = self._hours.previous_extended_end_us(session.open_us)
            first_us = self._hours.next_extended_us(before_us)
            behind_us = self._hours.extended_end_us(session.open_us)
        edges = (first_us, behind_us, session.open_us, session.close_us)
        known = self._known[session.day] = _Day(session.day, *(edge // MINUTE_US for edge in edges))
        if len(self._known) > MOST_DAYS:
            self._known.popitem(last=False)
        return known


_MINUTES = {
    Timeframe.MINUTE_1: 1,
    Timeframe.MINUTE_5: 5,
    Timeframe.MINUTE_15: 15,
    Timeframe.MINUTE_30: 30,
    Timeframe.HOUR_1: 60,
    Timeframe.HOUR_4: 240,
}


def _starts_us(timeframe: Timeframe, minutes: Ints) -> Ints:
    """Where the bars begin that these minutes belong to."""
    if timeframe is not Timeframe.HOUR_4:
        length = _MINUTES[timeframe]
        return minutes // length * (length * MINUTE_US)
    hours, place = np.unique(minutes // 60, return_inverse=True)
    starts = [bar_start_us(timeframe, hour * 60 * MINUTE_US) for hour in hours.tolist()]
    return np.array(starts, dtype=np.int64)[place]


def _following(timeframe: Timeframe, day: date) -> date:
    """The first day of the next day, week or month."""
    begins = first_day(timeframe, day)
    longest = {Timeframe.DAY_1: 1, Timeframe.WEEK_1: 7}.get(timeframe, 31)
    return first_day(timeframe, begins + timedelta(days=longest))


def _periods_before(timeframe: Timeframe, day: date, count: int) -> date:
    """A first day that lies at least `count` periods with trades before a day; bounded, as history is."""
    days = {Timeframe.DAY_1: 2, Timeframe.WEEK_1: 7}.get(timeframe, 31)
    back = min(days * (count + 1) + 15, MOST_DAYS)
    return first_day(timeframe, day - timedelta(days=back))
