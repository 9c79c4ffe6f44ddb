"""Bars of the past: days, weeks and months (`/v1/markets/history`), minutes and trades (`/v1/markets/timesales`); tradier.md, sections
8.7 and 8.8."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import EASTERN, eastern_date, eastern_us
from paiid.domain.instruments import is_option
from paiid.sim.tradier.markets.asked import Asked, choice_of, day_of, invalid, minute_us_of, symbol_of
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.shapes import Rows, Told, number

__all__ = ["history", "timesales"]

_LONG = {"daily": Timeframe.DAY_1, "weekly": Timeframe.WEEK_1, "monthly": Timeframe.MONTH_1}
_SHORT = {
    "tick": Timeframe.MINUTE_1,
    "1min": Timeframe.MINUTE_1,
    "5min": Timeframe.MINUTE_5,
    "15min": Timeframe.MINUTE_15,
}
_DAYS_BACK = {"tick": (5, 0), "1min": (20, 10), "5min": (40, 18), "15min": (40, 18)}
"""How far back each interval goes, in days: of the regular session, and of all hours (0: not offered)."""
_SECONDS_OF_TRADES = (0, 29, 59)
"""Of each minute: when the three trades were that its bar tells of."""
_DEFAULT_DAYS = 31
_MOST = 100_000
_DAY = timedelta(days=1)
_TENTH_OF_CENT = Decimal("0.0001")


async def history(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/history`: both days included, the one that is on as far as it has come."""
    symbol, interval = symbol_of(asked), choice_of(asked, "interval", tuple(_LONG))
    choice_of(asked, "session_filter", ("all", "open"))
    now_us = side.exchange.clock.now_us()
    last = day_of(asked, "end") or eastern_date(now_us)
    first = day_of(asked, "start") or last - timedelta(days=_DEFAULT_DAYS)
    if first > last:
        raise invalid("end", "must be on or after start.")
    if symbol is None:
        return Told({"history": Rows("day", [])})
    start_us, end_us = eastern_us(first, time()), eastern_us(last + _DAY, time())
    bars: Sequence[Bar]
    if is_option(symbol):
        bars = _option_days(side, symbol, first, last) if interval == "daily" else []
    else:
        bars = await side.market.fetch_bars(symbol, _LONG[interval], start_us, end_us, _MOST)
    return Told({"history": Rows("day", [_day_body(one) for one in bars])})


def _option_days(side: MarketSide, symbol: str, first: date, last: date) -> list[Bar]:
    """The market knows the last two closes of a contract only: the day before, and the day that is on if there were trades."""
    look, activity = side.looks.look(symbol), side.market.activity(symbol)
    if look is None or look.quote.prev_close <= 0:
        return []
    quote, hours, now_us = look.quote, side.exchange.hours, side.exchange.clock.now_us()
    before, today = eastern_date(hours.previous_roll_us(now_us)), hours.trading_day(now_us)
    close, size = quote.prev_close, Decimal(0 if activity is None else activity.volume)
    found = [Bar(eastern_us(before, time()), close, close, close, close, Decimal(1))]
    if size:
        low, high = min(close, quote.last), max(close, quote.last)
        found.append(Bar(eastern_us(today, time()), close, high, low, quote.last, size))
    return [one for one in found if first <= eastern_date(one.start_us) <= last]


def _day_body(bar: Bar) -> dict[str, Any]:
    return {"date": str(eastern_date(bar.start_us)), **_prices(bar), "volume": int(bar.volume)}


def _prices(bar: Bar) -> dict[str, Any]:
    return {
        name: number(one)
        for name, one in (("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close))
    }


# -- within a day -----------------------------------------------------------------------------------


async def timesales(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/timesales`: of today if nothing else is asked for. Ticks are not for a sandbox, nor for all hours."""
    symbol, interval = symbol_of(asked), choice_of(asked, "interval", tuple(_SHORT))
    ticks = interval == "tick"
    sessions = choice_of(asked, "session_filter", ("open", "all") if ticks else ("all", "open"))
    if ticks and not side.streams:
        raise invalid("interval")
    all_hours = sessions == "all"
    back = _DAYS_BACK[interval][all_hours]
    if not back:
        raise invalid("session_filter", "must be open for tick.")
    start_us, end_us = _range(side, asked, back)
    if symbol is None or is_option(symbol):
        return Told({"series": Rows("data", [])})
    bars = await side.market.fetch_bars(symbol, _SHORT[interval], start_us, end_us, _MOST)
    hours = side.exchange.hours
    wanted = [one for one in bars if all_hours or hours.is_open(one.start_us)]
    rows = [row for one in wanted for row in (_trades(one) if ticks else [_row(one, one.start_us)])]
    return Told({"series": Rows("data", rows)})


def _range(side: MarketSide, asked: Asked, back: int) -> tuple[int, int]:
    """From when to when, the last minute included. Raises TradierError 400."""
    now_us = side.exchange.clock.now_us()
    today = eastern_date(now_us)
    oldest = today - timedelta(days=back)
    start_us, end_us = minute_us_of(asked, "start"), minute_us_of(asked, "end")
    if start_us is None:
        start_us = eastern_us(eastern_date(end_us) if end_us is not None else today, time())
    if start_us < eastern_us(oldest, time()):
        raise invalid("start", f"must be on or after {oldest} 00:00:00.")
    if end_us is not None and end_us < start_us:
        raise invalid("end", "must be on or after start.")
    return start_us, min(now_us + 1, now_us + 1 if end_us is None else end_us + 1)


def _trades(bar: Bar) -> list[dict[str, Any]]:
    """The market's history knows of bars only: a bar is the trades at its open, its middle and its close."""
    share, rest = divmod(int(bar.volume), len(_SECONDS_OF_TRADES))
    middle = bar.high if bar.high > max(bar.open, bar.close) else bar.low
    sizes = (share + rest, share, share)
    found = []
    for second, price, size in zip(_SECONDS_OF_TRADES, (bar.open, middle, bar.close), sizes, strict=True):
        at_us = bar.start_us + second * 1_000_000
        found.append(_row(Bar(at_us, price, price, price, price, Decimal(size), price), at_us))
    return found


def _row(bar: Bar, at_us: int) -> dict[str, Any]:
    """New York's time without a zone, and seconds since the epoch; the price is the middle of the bar."""
    middle = ((bar.high + bar.low) / 2).quantize(_TENTH_OF_CENT)
    return {
        "time": f"{datetime.fromtimestamp(at_us // 1_000_000, EASTERN):%Y-%m-%dT%H:%M:%S}",
        "timestamp": at_us // 1_000_000,
        "price": number(middle),
        **_prices(bar),
        "volume": int(bar.volume),
        "vwap": number(bar.vwap if bar.vwap is not None else middle),
    }
