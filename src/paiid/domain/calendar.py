"""When the market is open and when its day ends: the exchange's sessions, and a market that never closes.

All instants are microseconds since the epoch, UTC. A *roll* is the instant at which a trading day ends: day orders
expire and the day's equity is kept.
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
_DAY = timedelta(days=1)
_LONGEST_BREAK = 15


@dataclass(frozen=True, slots=True)
class Session:
    """One regular session; `early` marks a close at 13:00 Eastern."""

    day: date
    open_us: int
    close_us: int
    early: bool


class MarketHours(Protocol):
    """What everybody asks a market's clock."""

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
    if day.weekday() >= 5 or day.isoformat() in CLOSED:
        return None
    early = day.isoformat() in EARLY_CLOSE
    return Session(day, eastern_us(day, _OPEN), eastern_us(day, _EARLY if early else _CLOSE), early)


def sessions_between(first: date, last: date) -> list[Session]:
    """All sessions from `first` to `last`, both included."""
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [session for day in days if (session := session_of(day)) is not None]


class AlwaysOpen:
    """Open round the clock; the day rolls at 16:00 Eastern, every calendar day (`SIM_HOURS=always`)."""

    def __init__(self) -> None:
        self._span = (0, 0)

    def _rolls(self, at_us: int) -> tuple[int, int]:
        """The rolls around an instant: previous <= at < next."""
        previous, following = self._span
        if not previous <= at_us < following:
            day = eastern_date(at_us)
            today = eastern_us(day, _CLOSE)
            if at_us >= today:
                self._span = (today, eastern_us(day + _DAY, _CLOSE))
            else:
                self._span = (eastern_us(day - _DAY, _CLOSE), today)
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


class ExchangeHours:
    """The exchange's regular sessions with its holidays and early closes (`SIM_HOURS=exchange`)."""

    def __init__(self) -> None:
        self._around: tuple[int, Session, int] = (0, Session(date.min, 0, 0, False), 0)

    def _at(self, at_us: int) -> tuple[int, Session]:
        """(the last close at or before the instant, the session that is on or comes next)."""
        previous, session, _ = self._around
        if not previous <= at_us < session.close_us:
            day = eastern_date(at_us)
            near = sessions_between(
                day - timedelta(days=_LONGEST_BREAK), day + timedelta(days=_LONGEST_BREAK)
            )
            session = next(one for one in near if one.close_us > at_us)
            previous = max(one.close_us for one in near if one.close_us <= at_us)
            self._around = (previous, session, at_us)
        return previous, session

    def is_open(self, at_us: int) -> bool:
        return self._at(at_us)[1].open_us <= at_us

    def next_roll_us(self, at_us: int) -> int:
        return self._at(at_us)[1].close_us

    def previous_roll_us(self, at_us: int) -> int:
        return self._at(at_us)[0]

    def trading_day(self, at_us: int) -> date:
        return self._at(at_us)[1].day

    def next_trading_day_end_us(self, at_us: int) -> int:
        # From the close of the coming session the one after it is the coming one.
        return _session_after(self._at(at_us)[1].day).close_us

    def next_open_us(self, at_us: int) -> int:
        session = self._at(at_us)[1]
        return session.open_us if session.open_us > at_us else _session_after(session.day).open_us


def _session_after(day: date) -> Session:
    near = sessions_between(day + _DAY, day + timedelta(days=_LONGEST_BREAK))
    return near[0]


def hours_of(sim_hours: str) -> MarketHours:
    """The hours that `SIM_HOURS` names."""
    return ExchangeHours() if sim_hours == "exchange" else AlwaysOpen()
