"""Bars of a symbol: the finished ones are remembered, for they never change; the growing one for a few seconds."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import MarketHours, eastern_us
from paiid.feeds import Feed, FeedUnavailable
from paiid.market.flights import Flights
from paiid.market.shared_reads import Read, SharedReads

MOST_BARS = 1000
"""Bars of one call."""
MOST_KEPT = 50_000
"""Bars that are remembered in all; those of the symbol and timeframe that were read longest ago go first."""
MOST_KEPT_OF_ONE = 5_000
"""The same of one symbol and timeframe; the newest stay."""
MOST_SYMBOLS = 4_096
"""Symbols and timeframes of which bars, or that there are none, are remembered."""
GROWING_S = 3.0
"""How long what is still growing counts as the newest."""
SETTLED_S = 120.0
"""How long the replicas share what no longer grows."""
_SETTLES_US = 90_000_000
# A late trade still changes a bar that has ended; a source that is behind tells everything later.
_SETTLES_DELAYED_US = 20 * 60 * 1_000_000
_SPARE = 32
# More than the bars that can lie between what has settled and now.
_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US
_LONGEST_US = {
    Timeframe.MINUTE_1: _MINUTE_US,
    Timeframe.MINUTE_5: 5 * _MINUTE_US,
    Timeframe.MINUTE_15: 15 * _MINUTE_US,
    Timeframe.MINUTE_30: 30 * _MINUTE_US,
    Timeframe.HOUR_1: _HOUR_US,
    Timeframe.HOUR_4: 4 * _HOUR_US,
    # Once a year a day has 25 hours.
    Timeframe.DAY_1: _DAY_US + _HOUR_US,
    Timeframe.WEEK_1: 7 * _DAY_US + _HOUR_US,
    Timeframe.MONTH_1: 31 * _DAY_US + _HOUR_US,
}
_DATED = frozenset({Timeframe.DAY_1, Timeframe.WEEK_1, Timeframe.MONTH_1})
_SESSION_US = int(6.5 * _HOUR_US)
_EARLIEST = date(1970, 1, 2)


@dataclass(frozen=True, slots=True)
class BarsFound:
    """Bars, oldest first; when the source told the newest of them; whether it was asked for that now (`cached`: no), or could
    not be (`stale`)."""

    bars: Sequence[Bar]
    source: str
    as_of_us: int
    cached: bool
    stale: bool = False


@dataclass(frozen=True, slots=True)
class _Stretch:
    """All bars that begin in [from_us, to_us), as the source told them at `at_us`; those before `settled_us` stay as they are."""

    source: str
    from_us: int
    settled_us: int
    to_us: int
    at_s: float
    at_us: int
    bars: Sequence[Bar]

    @property
    def grows(self) -> bool:
        """Whether it went up to the newest bar when it was told."""
        return self.to_us > self.settled_us

    def between(self, start_us: int, end_us: int) -> Sequence[Bar]:
        """Those that begin in [start, end)."""
        return self.bars[_place(self.bars, start_us) : _place(self.bars, end_us)]

    def reaches_back(self, start_us: int, end_us: int, limit: int) -> bool:
        """Whether the newest `limit` of [start, end) that have settled are all here."""
        end_us = min(end_us, self.settled_us)
        return self.from_us <= start_us or len(self.between(self.from_us, end_us)) >= limit

    def joined(self, newer: "_Stretch") -> "_Stretch":
        """This and what was told later, where there is no hole between them and both are of one source; else only the latter."""
        hole = newer.from_us > self.settled_us or newer.to_us < self.from_us
        if hole or newer.source != self.source:
            return newer
        before = self.between(self.from_us, newer.from_us)
        first_us = min(self.from_us, newer.from_us)
        if newer.to_us >= self.settled_us:
            return replace(newer, from_us=first_us, bars=[*before, *newer.bars])
        after = self.between(newer.to_us, self.to_us)
        return replace(self, from_us=first_us, bars=[*before, *newer.bars, *after])


def _place(bars: Sequence[Bar], at_us: int) -> int:
    return bisect_left(bars, at_us, key=lambda bar: bar.start_us)


_Key = tuple[str, Timeframe]


class BarReader:
    """Reads the bars of one feed."""

    def __init__(
        self, feed: Feed, clock: Clock, hours: MarketHours, shared: SharedReads | None = None
    ) -> None:
        self._feed = feed
        self._shared = shared or SharedReads(feed, clock, None)
        self._clock = clock
        self._hours = hours
        self._flights: Flights[_Key, Read[_Stretch]] = Flights()
        self._kept: OrderedDict[_Key, _Stretch] = OrderedDict()
        self._count = 0

    async def read(
        self, symbol: str, timeframe: Timeframe, start_us: int | None, end_us: int | None, limit: int
    ) -> BarsFound:
        """The newest `limit` bars that begin in [start, end), oldest first. Without `end` the one that is growing is the last;
        without `start` it looks back as far as that many bars of a symbol that trades all the time reach. Raises FeedUnavailable."""
        key = (symbol, timeframe)
        open_end_us = self._open_end_us(timeframe)
        end_us = open_end_us if end_us is None else min(end_us, open_end_us)
        if start_us is None:
            start_us = self.begin_us(timeframe, end_us, limit)
        if start_us >= end_us:
            return BarsFound([], self._feed.source, self._clock.now_us(), cached=False)
        try:
            while (found := self._remembered(key, start_us, end_us, limit)) is None:
                if self._flights.is_under_way(key):
                    # It may bring what is wanted here; if not, it is our turn.
                    await self._flights.wait(key)
                else:
                    return await self._asked(key, start_us, end_us, limit)
        except FeedUnavailable:
            kept = self._kept.get(key)
            if kept is None or not kept.grows or not kept.reaches_back(start_us, end_us, limit):
                raise
            bars = kept.between(start_us, end_us)[-limit:]
            return BarsFound(bars, kept.source, kept.at_us, cached=True, stale=True)
        return found

    @staticmethod
    def begin_us(timeframe: Timeframe, end_us: int, limit: int) -> int:
        """From where to look for so many bars without being told."""
        span_us = _LONGEST_US[timeframe]
        if timeframe in _DATED:
            days = limit * span_us // _DAY_US
            days = days * 8 // 5 if timeframe is Timeframe.DAY_1 else days
        else:
            days = limit // max(1, _SESSION_US // span_us) * 8 // 5
        return max(end_us - (days + 10) * _DAY_US, eastern_us(_EARLIEST, time()))

    def _open_end_us(self, timeframe: Timeframe) -> int:
        """No bar begins from here on: a day and what is longer is dated by the trading day, which may begin the evening before."""
        now_us = self._clock.now_us()
        if timeframe in _DATED:
            return eastern_us(self._hours.trading_day(now_us) + timedelta(days=1), time())
        return now_us + 1

    def _remembered(self, key: _Key, start_us: int, end_us: int, limit: int) -> BarsFound | None:
        kept = self._kept.get(key)
        if kept is None or kept.source != self._feed.source or not kept.reaches_back(start_us, end_us, limit):
            return None
        fresh = kept.grows and self._clock.monotonic_s() - kept.at_s < GROWING_S
        if end_us > kept.settled_us and not fresh:
            return None
        self._kept.move_to_end(key)
        return BarsFound(kept.between(start_us, end_us)[-limit:], kept.source, kept.at_us, cached=True)

    async def _asked(self, key: _Key, start_us: int, end_us: int, limit: int) -> BarsFound:
        """Ask for what is missing only, if that is what came since."""
        kept = self._kept.get(key)
        known = (
            kept is not None
            and kept.source == self._feed.source
            and kept.reaches_back(start_us, end_us, limit)
        )
        from_us = kept.settled_us if kept is not None and known else start_us
        read = await self._flights.fly(key, lambda: self._read(key, start_us, from_us, end_us, limit))
        stretch = read.value
        return BarsFound(
            stretch.between(start_us, end_us)[-limit:], stretch.source, stretch.at_us, cached=read.shared
        )

    async def _read(self, key: _Key, start_us: int, from_us: int, end_us: int, limit: int) -> Read[_Stretch]:
        """What another replica was told a moment ago, if that is enough; else what the source says."""
        symbol, timeframe = key
        read = await self._shared.read(
            "bars",
            (symbol, timeframe.value),
            _Stretch,
            lambda stretch: GROWING_S if stretch.grows else SETTLED_S,
            lambda: self._fetched(key, from_us, end_us, limit),
        )
        if not read.shared:
            return read
        # The monotonic clock of another tells us nothing.
        at_s = self._clock.monotonic_s() - read.age_s
        at_us = self._clock.now_us() - int(read.age_s * 1_000_000)
        stretch = self._joined(key, replace(read.value, at_s=at_s, at_us=at_us))
        if end_us > stretch.settled_us and not stretch.grows:
            return Read(await self._fetched(key, from_us, end_us, limit))
        if not stretch.reaches_back(start_us, end_us, limit):
            return Read(await self._fetched(key, start_us, end_us, limit))
        return Read(stretch, read.age_s, shared=True)

    async def _fetched(self, key: _Key, from_us: int, end_us: int, limit: int) -> _Stretch:
        symbol, timeframe = key
        now_us = self._clock.now_us()
        settles_us = _SETTLES_DELAYED_US if self._feed.delayed else _SETTLES_US
        settled_us = now_us - _LONGEST_US[timeframe] - settles_us
        if end_us > settled_us:
            # To the very end, so that whoever asks next finds what is growing too.
            end_us, limit = self._open_end_us(timeframe), limit + _SPARE
        bars = await self._feed.fetch_bars(symbol, timeframe, from_us, end_us, limit)
        if len(bars) >= limit:
            from_us = bars[0].start_us
        at_s = self._clock.monotonic_s()
        # Asked only now, for another may have taken over meanwhile (feeds/failover).
        source = self._feed.source
        return self._joined(
            key, _Stretch(source, from_us, min(settled_us, end_us), end_us, at_s, now_us, list(bars))
        )

    def _joined(self, key: _Key, stretch: _Stretch) -> _Stretch:
        """With what is kept of it. Kept here and not by who waits for it, so that everybody who does finds it."""
        before = self._kept.get(key)
        if before is None:
            joined = stretch
        else:
            # What another replica was told may be older than what is kept here; nothing goes back in time.
            older, newer = sorted((before, stretch), key=lambda one: one.at_s)
            joined = older.joined(newer)
        self._keep(key, joined)
        return joined

    def _keep(self, key: _Key, stretch: _Stretch) -> None:
        before = self._kept.pop(key, None)
        self._count -= 0 if before is None else len(before.bars)
        if len(stretch.bars) > MOST_KEPT_OF_ONE:
            bars = stretch.bars[-MOST_KEPT_OF_ONE:]
            stretch = replace(stretch, from_us=bars[0].start_us, bars=bars)
        self._kept[key] = stretch
        self._count += len(stretch.bars)
        while self._count > MOST_KEPT or len(self._kept) > MOST_SYMBOLS:
            _, gone = self._kept.popitem(last=False)
            self._count -= len(gone.bars)
