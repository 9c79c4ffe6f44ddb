"""On which days the options of the simulated market expire, and from when to when each of those is listed.

Weekly ones on the next four Fridays, monthly ones on the third Fridays of the next nine months; where the exchange is
closed on the Friday, on the trading day before, as the OCC does. The dates are the exchange's even where the market
never closes, so that symbols look the same under all hours.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from paiid.domain.calendar import MarketHours, eastern_date, session_of

_WEEKS = 4
_MONTHS = 9
_FRIDAY = 4
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
# Nine months and a bit: the third Friday may come late in its month.
_MOST_WEEKS = 42


@dataclass(frozen=True, slots=True)
class Expiration:
    """An expiration, listed from `since_us` up to but not including `until_us`, the end of its last trading day."""

    day: date
    since_us: int
    until_us: int


class Expirations:
    """The expirations of every symbol, which are the same for all. Remembers those of the trading day asked last."""

    def __init__(self, hours: MarketHours) -> None:
        self._hours = hours
        self._roll_us = -1
        self._listed: dict[date, Expiration] = {}

    def listed(self, at_us: int) -> dict[date, Expiration]:
        """What is listed at an instant, by day and in order. It changes at rolls only."""
        roll_us = self._hours.previous_roll_us(at_us)
        if roll_us != self._roll_us:
            today = eastern_date(at_us)
            friday = today + timedelta(days=(_FRIDAY - today.weekday()) % 7)
            fridays = (friday + n * _WEEK for n in range(_MOST_WEEKS))
            near = (self._on(one) for one in fridays if _is_third(one) or one - friday <= _WEEKS * _WEEK)
            self._listed = {one.day: one for one in near if one.since_us <= at_us < one.until_us}
            self._roll_us = roll_us
        return self._listed

    def _on(self, friday: date) -> Expiration:
        """The expiration of a week, listed as the monthly one where it is both."""
        before = friday - _WEEKS * _WEEK
        if _is_third(friday):
            month = friday.year * 12 + friday.month - 1 - _MONTHS
            first = date(month // 12, month % 12 + 1, 15)
            before = first + timedelta(days=(_FRIDAY - first.weekday()) % 7)
        day = _trading_day(friday)
        return Expiration(day, self._end_us(_trading_day(before)), self._end_us(day))

    def _end_us(self, day: date) -> int:
        [session] = self._hours.sessions(day, day)
        return session.close_us


def _is_third(friday: date) -> bool:
    return 15 <= friday.day <= 21


def _trading_day(day: date) -> date:
    while session_of(day) is None:
        day -= _DAY
    return day
