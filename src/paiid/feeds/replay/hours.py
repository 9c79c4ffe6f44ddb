"""When the market of a replay is open: from the start of the play to its end, one trading day, and never again.

Rolls are at 16:00 Eastern of every calendar day, as where the market never closes, but the day on which the play begins ends with the play:
day orders expire and the equity is kept then, whatever the clock on the wall says. There are no extended hours around it.
"""

from datetime import date

from paiid.domain.calendar import AlwaysOpen, Session, eastern_date

_DAY_US = 86_400_000_000
_NEVER_US = 36_525 * _DAY_US
"""The next opening of a market that has closed for good: a hundred years later."""


class ReplayHours:
    """`MarketHours` of a play from `start_us` up to but not including `end_us`."""

    never_closes = False

    def __init__(self, start_us: int, end_us: int) -> None:
        self._days = AlwaysOpen()
        self._start_us, self._end_us = start_us, end_us
        self._day = self._days.trading_day(start_us)
        self._roll_before_us = self._days.previous_roll_us(start_us)
        self._roll_after_us = self._days.next_roll_us(end_us)
        if self._days.trading_day(end_us) <= self._day:
            self._roll_after_us = self._days.next_roll_us(self._roll_after_us)
        self._never_us = end_us + _NEVER_US
        self._session = Session(self._day, start_us, end_us, early=False, certain=True)

    def is_open(self, at_us: int) -> bool:
        return self._start_us <= at_us < self._end_us

    def next_roll_us(self, at_us: int) -> int:
        if self._roll_before_us <= at_us < self._end_us:
            return self._end_us
        if self._end_us <= at_us < self._roll_after_us:
            return self._roll_after_us
        return self._days.next_roll_us(at_us)

    def previous_roll_us(self, at_us: int) -> int:
        if self._roll_before_us <= at_us < self._end_us:
            return self._roll_before_us
        if self._end_us <= at_us < self._roll_after_us:
            return self._end_us
        return self._days.previous_roll_us(at_us)

    def trading_day(self, at_us: int) -> date:
        if self._roll_before_us <= at_us < self._end_us:
            return self._day
        return self._days.trading_day(self.next_roll_us(at_us) - 1)

    def next_trading_day_end_us(self, at_us: int) -> int:
        return self.next_roll_us(self.next_roll_us(at_us))

    def next_open_us(self, at_us: int) -> int:
        return self._start_us if at_us < self._start_us else max(self._never_us, at_us + _DAY_US)

    def sessions(self, first: date, last: date) -> list[Session]:
        return [self._session] if first <= self._day <= last else []

    def coming_session(self, at_us: int) -> Session:
        if at_us < self._end_us:
            return self._session
        opens_us = self.next_open_us(at_us)
        return Session(eastern_date(opens_us), opens_us, opens_us + _DAY_US, early=False, certain=False)

    def is_extended(self, at_us: int) -> bool:
        return self.is_open(at_us)

    def extended_end_us(self, at_us: int) -> int:
        return self._end_us if at_us < self._end_us else self.next_open_us(at_us) + _DAY_US

    def previous_extended_end_us(self, at_us: int) -> int:
        return (
            self._end_us if at_us >= self._end_us else min(self._roll_before_us, self.previous_roll_us(at_us))
        )

    def next_extended_us(self, at_us: int) -> int:
        return self.next_open_us(at_us)
