"""Bars: what a symbol did in one stretch of time, and the timeframes there are."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from paiid.domain.calendar import EASTERN, eastern_date, eastern_us


class Timeframe(StrEnum):
    """How long a bar lasts, by the name users give (as at Alpaca)."""

    MINUTE_1 = "1Min"
    MINUTE_5 = "5Min"
    MINUTE_15 = "15Min"
    MINUTE_30 = "30Min"
    HOUR_1 = "1Hour"
    HOUR_4 = "4Hour"
    DAY_1 = "1Day"
    WEEK_1 = "1Week"
    MONTH_1 = "1Month"


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices in dollars a share, volume in shares, not adjusted. `start_us` is where it begins, UTC microseconds: minutes and hours on
    the clock; a day, week or month at midnight Eastern of its first calendar day. `vwap`, `trades`: None where unknown."""

    start_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    vwap: Decimal | None = None
    trades: int | None = None


_MINUTES = {
    Timeframe.MINUTE_1: 1,
    Timeframe.MINUTE_5: 5,
    Timeframe.MINUTE_15: 15,
    Timeframe.MINUTE_30: 30,
    Timeframe.HOUR_1: 60,
}
"""Timeframes that begin at multiples of their length since 1970, which are those of Eastern time too."""
_MINUTE_US = 60_000_000
_HOURS_OF_LONG = 4
INTRADAY = frozenset({*_MINUTES, Timeframe.HOUR_4})
"""Timeframes shorter than a day."""


def bar_start_us(timeframe: Timeframe, at_us: int) -> int:
    """Where the bar of an instant begins: on the clock, four hours at 0, 4, 8 ... Eastern; days, weeks (from Monday) and months at
    midnight Eastern."""
    minutes = _MINUTES.get(timeframe)
    if minutes is not None:
        return at_us - at_us % (minutes * _MINUTE_US)
    if timeframe is Timeframe.HOUR_4:
        moment = datetime.fromtimestamp(at_us // 1_000_000, EASTERN)
        return eastern_us(moment.date(), time(moment.hour // _HOURS_OF_LONG * _HOURS_OF_LONG))
    return eastern_us(first_day(timeframe, eastern_date(at_us)), time(0))


def first_day(timeframe: Timeframe, day: date) -> date:
    """The first calendar day of the day, week or month of a day."""
    if timeframe is Timeframe.WEEK_1:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if timeframe is Timeframe.MONTH_1 else day
