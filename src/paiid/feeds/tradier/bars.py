"""Historical bars: days and longer from `history`, shorter ones from `timesales` (tradier.md, sections 8.7 and 8.8)."""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe, bar_start_us, first_day
from paiid.domain.calendar import EASTERN, eastern_date, eastern_us, session_of
from paiid.domain.instruments import is_option
from paiid.domain.money import round_money
from paiid.feeds.tradier.asking import LIST_CAP, Asking, container_of
from paiid.feeds.tradier.symbols import is_asked_for, to_wire
from paiid.feeds.tradier.values import date_of, price_of, seconds_us, size_of
from paiid.wires.tradier.lists import as_list
from paiid.wires.tradier.wire import Answer
from paiid.wires.values import fields_of

MOST_BARS = 50_000
_DATED = {Timeframe.DAY_1: "daily", Timeframe.WEEK_1: "weekly", Timeframe.MONTH_1: "monthly"}
_TIMED = {Timeframe.MINUTE_1: "1min", Timeframe.MINUTE_5: "5min"}
"""All others shorter than a day are put together from bars of 15 minutes."""
_QUARTER = "15min"
_LOOKBACK = {"1min": (10, 20), "5min": (18, 40), _QUARTER: (18, 40)}
"""Days that can be looked back at with extended hours, and without."""
_EARLIEST = date(1970, 1, 2)
_LATEST = date(2099, 12, 31)
_EARLIEST_US, _LATEST_US = eastern_us(_EARLIEST, time()), eastern_us(_LATEST, time())
_DELAY_US = 20 * 60 * 1_000_000
_FROM = re.compile(r"on or after:? *\"?(\d{4}-\d\d-\d\d)", re.ASCII)
_WALL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?\Z", re.ASCII)
_ZERO = Decimal(0)


class Bars:
    """Asks for bars. `delayed`: the source tells everything a quarter of an hour late."""

    def __init__(self, clock: Clock, asking: Asking, *, delayed: bool) -> None:
        self._clock = clock
        self._asking = asking
        self._delayed = delayed

    async def fetch(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        """The newest `limit` (at most 50,000) bars that begin in [start, end), oldest first. Raises FeedUnavailable.

        A day that is not over is left out: what its bar says before the close is not confirmed; weeks and months may still grow. Minutes
        reach back as far as Tradier does, 20 to 40 days, the older half of that without extended hours. Whether days are adjusted for
        splits is not confirmed.
        """
        start_us, end_us, limit = max(start_us, _EARLIEST_US), min(end_us, _LATEST_US), min(limit, MOST_BARS)
        if limit <= 0 or end_us <= start_us or not is_asked_for(symbol):
            return ()
        if timeframe in _DATED:
            found = await self._days(symbol, timeframe, start_us, end_us)
        else:
            found = await self._times(symbol, timeframe, start_us, end_us)
        return tuple(found[at] for at in sorted(found)[-limit:])

    async def _days(self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int) -> dict[int, Bar]:
        query = {
            "symbol": to_wire(symbol),
            "interval": _DATED[timeframe],
            "start": first_day(timeframe, eastern_date(start_us)).isoformat(),
            "end": eastern_date(end_us - 1).isoformat(),
        }
        answer = await self._asking.get("/markets/history", query, cap=LIST_CAP, slow=True)
        found: dict[int, Bar] = {}
        if not answer.ok:
            return found
        for row in as_list(container_of(answer, "history"), "day"):
            day = date_of(fields_of(row).get("date"))
            if day is None or (timeframe is Timeframe.DAY_1 and not self._is_over(day)):
                continue
            begins_us = eastern_us(first_day(timeframe, day), time())
            bar = _read_bar(row, begins_us)
            if bar is not None and start_us <= begins_us < end_us:
                found[begins_us] = bar
        return found

    def _is_over(self, day: date) -> bool:
        """Whether the session of a day is over, and told to its end; a day without one is over once it has passed."""
        now_us, session = self._clock.now_us(), session_of(day)
        if session is None:
            return day < eastern_date(now_us)
        return now_us >= session.close_us + (_DELAY_US if self._delayed else 0)

    async def _times(self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int) -> dict[int, Bar]:
        interval = _TIMED.get(timeframe, _QUARTER)
        # A bar of hours is put together from all of its quarters.
        from_us = bar_start_us(timeframe, start_us)
        parts: dict[int, Bar] = {}
        for first_us, last_us, hours in self._stretches(symbol, interval, from_us, end_us):
            answer = await self._ask_times(symbol, interval, first_us, last_us, hours)
            for row in as_list(container_of(answer, "series"), "data") if answer.ok else ():
                begins_us = _begin_of(row)
                bar = None if begins_us is None else _read_bar(row, begins_us)
                if bar is not None and from_us <= bar.start_us <= last_us:
                    parts[bar.start_us] = bar
        together = parts if interval != _QUARTER else _joined(parts, timeframe)
        return {at: bar for at, bar in together.items() if start_us <= at < end_us}

    def _stretches(
        self, symbol: str, interval: str, start_us: int, end_us: int
    ) -> Iterator[tuple[int, int, str]]:
        """(first, last, which hours) of what is to be asked: the older part without extended hours, which go back half as far."""
        now_us = self._clock.now_us()
        all_days, open_days = _LOOKBACK[interval]
        today = eastern_date(now_us)
        open_from_us = eastern_us(today - timedelta(days=open_days - 1), time())
        all_from_us = eastern_us(today - timedelta(days=all_days - 1), time())
        last_us = min(end_us - 1, now_us)
        if is_option(symbol):
            # They do not trade in extended hours.
            all_from_us = last_us + 1
        start_us = max(start_us, open_from_us)
        if start_us < min(all_from_us, last_us + 1):
            yield start_us, min(last_us, all_from_us - 1), "open"
        if max(start_us, all_from_us) <= last_us:
            yield max(start_us, all_from_us), last_us, "all"

    async def _ask_times(self, symbol: str, interval: str, first_us: int, last_us: int, hours: str) -> Answer:
        query = {
            "symbol": to_wire(symbol),
            "interval": interval,
            "start": _wall(first_us),
            "end": _wall(last_us),
            "session_filter": hours,
        }
        answer = await self._asking.get("/markets/timesales", query, cap=LIST_CAP, slow=True)
        found = None if answer.ok else _FROM.search(" ".join(answer.words))
        if found is not None and found[1] <= _wall(last_us):
            # Further back than Tradier goes: what it has is asked for, once.
            query["start"] = max(query["start"], f"{found[1]} 00:00")
            answer = await self._asking.get("/markets/timesales", query, cap=LIST_CAP, slow=True)
        return answer


def _wall(at_us: int) -> str:
    """Eastern wall time as `timesales` takes it."""
    return datetime.fromtimestamp(at_us // 1_000_000, EASTERN).strftime("%Y-%m-%d %H:%M")


def _begin_of(row: object) -> int | None:
    """By the epoch where it is told, for wall time is told twice in an hour of November."""
    told = fields_of(row)
    at_us = seconds_us(told.get("timestamp"))
    if at_us is not None:
        return at_us - at_us % 60_000_000
    text = told.get("time")
    if not isinstance(text, str) or not _WALL.match(text):
        return None
    try:
        wall = datetime.fromisoformat(text)
    except ValueError:
        return None
    return eastern_us(wall.date(), wall.time().replace(second=0))


def _read_bar(row: object, begins_us: int) -> Bar | None:
    told = fields_of(row)
    opened, high, low, close = (price_of(told.get(name)) for name in ("open", "high", "low", "close"))
    volume = size_of(told.get("volume"))
    if not opened or not high or not low or not close or volume is None:
        return None
    if not low <= min(opened, close) <= max(opened, close) <= high:
        return None
    return Bar(begins_us, opened, high, low, close, volume, price_of(told.get("vwap")) or None)


def _joined(parts: dict[int, Bar], timeframe: Timeframe) -> dict[int, Bar]:
    """Bars of a longer timeframe out of those of 15 minutes."""
    groups: dict[int, list[Bar]] = {}
    for at in sorted(parts):
        groups.setdefault(bar_start_us(timeframe, at), []).append(parts[at])
    return {begins_us: _join(begins_us, some) for begins_us, some in groups.items()}


def _join(begins_us: int, some: list[Bar]) -> Bar:
    volume = sum((one.volume for one in some), _ZERO)
    vwap = None
    if volume and all(one.vwap is not None for one in some):
        traded = sum((one.volume * one.vwap for one in some if one.vwap is not None), _ZERO)
        vwap = round_money(traded / volume)
    return Bar(
        begins_us,
        some[0].open,
        max(one.high for one in some),
        min(one.low for one in some),
        some[-1].close,
        volume,
        vwap,
    )
