"""When the market is open and when its day ends: the exchange's sessions, and a market that never closes.

All instants are microseconds since the epoch, UTC. A *roll* is the instant at which a trading day ends: day orders
expire and the day's equity is kept. *Extended hours* lie around the regular session of the same calendar day; the
roll stays at the regular close, so the evening after it belongs to the next trading day. Both kinds of hours remember
the stretch they were last asked about, so that the next question about the same day costs two comparisons.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from paiid.domain.holidays import CLOSED, EARLY_CLOSE, FIRST_YEAR, LAST_YEAR

EASTERN = ZoneInfo("America/New_York")
_OPEN = time(9, 30)
_CLOSE = time(16, 0)
_EARLY = time(13, 0)
# The extended session of the exchange's electronic markets (NYSE Arca: 4:00 to 20:00, on early closes to 17:00).
_EXTENDED_OPEN = time(4, 0)
_EXTENDED_CLOSE = time(20, 0)
_EXTENDED_EARLY = time(17, 0)
_DAY = timedelta(days=1)
_SATURDAY = 5
# More days than the exchange has ever been closed in a row since 1933.
_LONGEST_BREAK = timedelta(days=15)


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day, from `open_us` up to but not including `close_us`.

    `early` marks a close at 13:00 Eastern. `certain` is false beyond the holiday table, where only weekends
    are known.
    """

    day: date
    open_us: int
    close_us: int
    early: bool
    certain: bool


class MarketHours(Protocol):
    """What everybody asks a market's clock."""

    never_closes: bool

    def is_open(self, at_us: int) -> bool:
        """Whether orders can trade at this instant."""
        ...

    def next_roll_us(self, at_us: int) -> int:
        """The end of the current or coming trading day, strictly after `at_us`."""
        ...

    def previous_roll_us(self, at_us: int) -> int:
        """The end of the last trading day that has ended, at or before `at_us`."""
        ...

    def trading_day(self, at_us: int) -> date:
        """The day that the next roll ends."""
        ...

    def next_trading_day_end_us(self, at_us: int) -> int:
        """The end of the trading day after the current or coming one (contract E12)."""
        ...

    def next_open_us(self, at_us: int) -> int:
        """The next instant at which the market opens, strictly after `at_us`; `at_us` itself if it never closes."""
        ...

    def sessions(self, first: date, last: date) -> list[Session]:
        """The trading days from `first` to `last`, both included, in order."""
        ...

    def coming_session(self, at_us: int) -> Session:
        """The regular session that is on or comes next."""
        ...

    def is_extended(self, at_us: int) -> bool:
        """Whether an order for extended hours can trade at this instant; the regular session is part of them."""
        ...

    def extended_end_us(self, at_us: int) -> int:
        """The end of the extended day that is on or comes next, strictly after `at_us`."""
        ...

    def previous_extended_end_us(self, at_us: int) -> int:
        """The end of the last extended day that has ended, at or before `at_us`."""
        ...

    def next_extended_us(self, at_us: int) -> int:
        """The next instant at which extended hours begin, strictly after `at_us`; `at_us` itself if they never end."""
        ...


def eastern_us(day: date, at: time) -> int:
    """An Eastern wall-clock time as microseconds since the epoch."""
    moment = datetime.combine(day, at, tzinfo=EASTERN)
    return int(moment.timestamp()) * 1_000_000


def eastern_date(at_us: int) -> date:
    """The Eastern calendar day of an instant."""
    return datetime.fromtimestamp(at_us // 1_000_000, EASTERN).date()


def in_table(day: date) -> bool:
    """Whether the holiday table reaches this day; beyond it only weekends are known."""
    return FIRST_YEAR <= day.year <= LAST_YEAR


def session_of(day: date) -> Session | None:
    """The exchange's session of a day, None for weekends and holidays."""
    if day.weekday() >= _SATURDAY or day in CLOSED:
        return None
    early = day in EARLY_CLOSE
    close_us = eastern_us(day, _EARLY if early else _CLOSE)
    return Session(day, eastern_us(day, _OPEN), close_us, early, in_table(day))


def _extended_of(session: Session) -> tuple[int, int]:
    """From when to when extended hours last on the day of a session."""
    end = _EXTENDED_EARLY if session.early else _EXTENDED_CLOSE
    return eastern_us(session.day, _EXTENDED_OPEN), eastern_us(session.day, end)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _session_after(day: date) -> Session:
    coming = _days(day + _DAY, day + _LONGEST_BREAK)
    return next(session for one in coming if (session := session_of(one)) is not None)


class AlwaysOpen:
    """Open round the clock; the day rolls at 16:00 Eastern, every calendar day (`SIM_HOURS=always`)."""

    never_closes = True

    def __init__(self) -> None:
        self._span = (0, 0)

    def _rolls(self, at_us: int) -> tuple[int, int]:
        """The rolls around an instant: previous <= at < next."""
        previous, following = self._span
        if not previous <= at_us < following:
            day = eastern_date(at_us)
            if at_us >= eastern_us(day, _CLOSE):
                day += _DAY
            self._span = (eastern_us(day - _DAY, _CLOSE), eastern_us(day, _CLOSE))
        return self._span

    def is_open(self, at_us: int) -> bool:
        return True

    def next_roll_us(self, at_us: int) -> int:
        return self._rolls(at_us)[1]

    def previous_roll_us(self, at_us: int) -> int:
        return self._rolls(at_us)[0]

    def trading_day(self, at_us: int) -> date:
        return eastern_date(self._rolls(at_us)[1])

    def next_trading_day_end_us(self, at_us: int) -> int:
        return eastern_us(self.trading_day(at_us) + _DAY, _CLOSE)

    def next_open_us(self, at_us: int) -> int:
        return at_us

    def sessions(self, first: date, last: date) -> list[Session]:
        return [
            Session(day, eastern_us(day - _DAY, _CLOSE), eastern_us(day, _CLOSE), early=False, certain=True)
            for day in _days(first, last)
        ]

    def coming_session(self, at_us: int) -> Session:
        day = self.trading_day(at_us)
        return Session(day, *self._rolls(at_us), early=False, certain=True)

    def is_extended(self, at_us: int) -> bool:
        return True

    def extended_end_us(self, at_us: int) -> int:
        return self._rolls(at_us)[1]

    def previous_extended_end_us(self, at_us: int) -> int:
        return self._rolls(at_us)[0]

    def next_extended_us(self, at_us: int) -> int:
        return at_us


class ExchangeHours:
    """The exchange's regular sessions with its holidays and early closes (`SIM_HOURS=exchange`).

    Beyond the holiday table every weekday is a full session: the service goes on, and says so at start
    (`market.service`).
    """

    never_closes = False

    def __init__(self) -> None:
        self._last_close_us = 0
        self._session = Session(date.min, 0, 0, early=False, certain=False)
        self._extended = (0, 0, 0)

    def _coming(self, at_us: int) -> Session:
        """The session that is on or comes next: last close <= at < its close."""
        if not self._last_close_us <= at_us < self._session.close_us:
            day = eastern_date(at_us)
            near = self.sessions(day - _LONGEST_BREAK, day + _LONGEST_BREAK)
            self._session = next(one for one in near if one.close_us > at_us)
            self._last_close_us = max(one.close_us for one in near if one.close_us <= at_us)
        return self._session

    def is_open(self, at_us: int) -> bool:
        return self._coming(at_us).open_us <= at_us

    def next_roll_us(self, at_us: int) -> int:
        return self._coming(at_us).close_us

    def previous_roll_us(self, at_us: int) -> int:
        self._coming(at_us)
        return self._last_close_us

    def trading_day(self, at_us: int) -> date:
        return self._coming(at_us).day

    def next_trading_day_end_us(self, at_us: int) -> int:
        return _session_after(self._coming(at_us).day).close_us

    def next_open_us(self, at_us: int) -> int:
        session = self._coming(at_us)
        return session.open_us if session.open_us > at_us else _session_after(session.day).open_us

    def sessions(self, first: date, last: date) -> list[Session]:
        return [session for day in _days(first, last) if (session := session_of(day)) is not None]

    def coming_session(self, at_us: int) -> Session:
        return self._coming(at_us)

    def _coming_extended(self, at_us: int) -> tuple[int, int, int]:
        """The extended day that is on or comes next, after the end of the one before: last end <= at < its end."""
        if not self._extended[0] <= at_us < self._extended[2]:
            day = eastern_date(at_us)
            near = [_extended_of(one) for one in self.sessions(day - _LONGEST_BREAK, day + _LONGEST_BREAK)]
            start_us, end_us = next(one for one in near if one[1] > at_us)
            self._extended = (max(end for _, end in near if end <= at_us), start_us, end_us)
        return self._extended

    def is_extended(self, at_us: int) -> bool:
        return self._coming_extended(at_us)[1] <= at_us

    def extended_end_us(self, at_us: int) -> int:
        return self._coming_extended(at_us)[2]

    def previous_extended_end_us(self, at_us: int) -> int:
        return self._coming_extended(at_us)[0]

    def next_extended_us(self, at_us: int) -> int:
        _, start_us, end_us = self._coming_extended(at_us)
        if start_us > at_us:
            return start_us
        return _extended_of(_session_after(eastern_date(end_us - 1)))[0]


def hours_of(sim_hours: str) -> MarketHours:
    """The hours that `SIM_HOURS` names."""
    return ExchangeHours() if sim_hours == "exchange" else AlwaysOpen()
