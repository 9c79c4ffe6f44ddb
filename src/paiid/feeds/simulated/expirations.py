"""On which days the options of the simulated market expire, and from when to when each of those is listed.

Weekly ones on the next four Fridays, monthly ones on the third Fridays of the next nine months, yearly ones on the third Fridays of the
next two or three Januaries; where the exchange is closed on the Friday, on the trading day before, as the OCC does. The dates are the
exchange's even where the market never closes, so that symbols look the same under all hours.
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
_JANUARY = 1
_YEARLY_SINCE = (9, 3)
"""Januaries are listed since the third Friday of this month, so many years before."""
_MOST_WEEKS_OF_YEARLY = 126


@dataclass(frozen=True, slots=True)
class Expiration:
    """An expiration, listed from `since_us` up to but not including `until_us`, the end of its last trading day.

    Strikes are added every four weeks counted from `added_from_us`, backwards too: of a January that is the instant at which it would be
    listed as a monthly one. `monthly` tells those of a third Friday from the weekly ones.
    """

    day: date
    since_us: int
    until_us: int
    added_from_us: int
    monthly: bool


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
            fridays = [friday + n * _WEEK for n in range(_MOST_WEEKS_OF_YEARLY)]
            near = (self._on(one) for one in fridays if _may_be_listed(one, one - friday))
            self._listed = {one.day: one for one in near if one.since_us <= at_us < one.until_us}
            self._roll_us = roll_us
        return self._listed

    def _on(self, friday: date) -> Expiration:
        """The expiration of a week, listed as the monthly one where it is both."""
        before, monthly = friday - _WEEKS * _WEEK, _is_third(friday)
        if monthly:
            month = friday.year * 12 + friday.month - 1 - _MONTHS
            before = _third_friday(month // 12, month % 12 + 1)
        day = _trading_day(friday)
        added_from_us = since_us = self._end_us(_trading_day(before))
        if monthly and friday.month == _JANUARY:
            since_month, years = _YEARLY_SINCE
            since_us = self._end_us(_trading_day(_third_friday(friday.year - years, since_month)))
        return Expiration(day, since_us, self._end_us(day), added_from_us, monthly)

    def _end_us(self, day: date) -> int:
        [session] = self._hours.sessions(day, day)
        return session.close_us


def _may_be_listed(friday: date, ahead: timedelta) -> bool:
    if not _is_third(friday):
        return ahead <= _WEEKS * _WEEK
    return friday.month == _JANUARY or ahead < _MOST_WEEKS * _WEEK


def _third_friday(year: int, month: int) -> date:
    first = date(year, month, 15)
    return first + timedelta(days=(_FRIDAY - first.weekday()) % 7)


def _is_third(friday: date) -> bool:
    return 15 <= friday.day <= 21


def _trading_day(day: date) -> date:
    while session_of(day) is None:
        day -= _DAY
    return day
