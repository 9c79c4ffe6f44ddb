"""Watches the market for those who listen: a quote for each of its ticks, a trade where the last price changed, bars."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import time, timedelta
from typing import Any, Protocol

import structlog

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.instruments import is_option
from paiid.feeds import FeedUnavailable
from paiid.sim.alpaca.marketdata.channels import ALL, FAMILIES, Subscriptions
from paiid.sim.alpaca.marketdata.looks import FAKE, Look, fake_look
from paiid.sim.alpaca.marketdata.params import LENGTH_US
from paiid.sim.alpaca.marketdata.shapes import bar_tick_body, quote_body, trade_body
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.marketdata.spoil import Hearer, Spoiler
from paiid.sim.alpaca.marketdata.wire import Tick

__all__ = ["Member", "Tape"]

_TICKS = ("trades", "quotes")
_BARS = ("bars", "dailyBars")
_DELAYED, _TEST = "delayed_sip", "test"
_SHORTEST_NAP_S = 0.001
_MOST_DELAYED = 500_000
"""Messages that wait for delayed_sip; beyond that the oldest are lost."""
_OPTION_FEEDS = frozenset(FAMILIES["options"].feeds)
_log = structlog.get_logger("paiid.sim")


class Member(Hearer, Protocol):
    """A socket that is authenticated."""

    @property
    def feed(self) -> str:
        """Which feed it hears."""
        ...

    @property
    def account_number(self) -> str | None:
        """Whose it is."""
        ...

    @property
    def subscriptions(self) -> Subscriptions:
        """What it wants to hear."""
        ...


class Tape:
    """One task that looks at every symbol somebody wants, as long as somebody does. Of two ticks between two looks only the
    later one is told."""

    def __init__(self, side: DataSide) -> None:
        self._side = side
        self._clock = side.exchange.clock
        self._spoiler = Spoiler(self._clock, side.faults)
        self._members: list[Member] = []
        self._told: dict[tuple[str, str], Look] = {}
        self._delayed: deque[tuple[int, Tick]] = deque()
        self._somebody = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def members(self) -> Sequence[Member]:
        """Who listens."""
        return tuple(self._members)

    def told(self, feed: str, symbol: str) -> Look | None:
        """The last quote of a symbol that was told on a feed, or was no news there any more."""
        return self._told.get((feed, symbol))

    def start(self) -> None:
        """Begin to look."""
        # Bars are reckoned elsewhere and may take their time; ticks must not wait for them.
        works = (self._run(), self._run_bars())
        self._tasks = [asyncio.create_task(one, name="paiid-sim-tape") for one in works]

    async def stop(self) -> None:
        """Look no more."""
        self._spoiler.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, member: Member) -> None:
        """From now on tell this socket what it has subscribed to."""
        self._members.append(member)
        self._somebody.set()

    def leave(self, member: Member) -> None:
        """It is gone."""
        if member in self._members:
            self._members.remove(member)
        if not self._members:
            self._somebody.clear()

    def resubscribed(self, member: Member) -> None:
        """What the socket wants has changed: what is shown now is no news for it, the next tick is."""
        for symbol in self._wanted([member], _TICKS):
            key = (member.feed, symbol)
            if key not in self._told and (look := self._look(*key)) is not None:
                self._told[key] = look

    # -- looking ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            if not self._members:
                self._told.clear()
                await self._somebody.wait()
            self._look_round()
            self._let_go_delayed()
            await self._clock.sleep(self._side.options.poll_s)

    def _look_round(self) -> None:
        wanted = {
            (feed, symbol)
            for feed in {one.feed for one in self._members}
            for symbol in self._wanted([one for one in self._members if one.feed == feed], _TICKS)
        }
        for key in self._told.keys() - wanted:
            del self._told[key]
        for key in sorted(wanted):
            look, before = self._look(*key), self._told.get(key)
            if look is None or look is before:
                continue
            if before is not None and look.quote.sequence == before.quote.sequence:
                continue
            self._told[key] = look
            for tick in _ticks(look, before, key[0]):
                self._tell(key[0], tick)

    def _look(self, feed: str, symbol: str) -> Look | None:
        if feed == _TEST:
            return fake_look(self._clock.now_us()) if symbol == FAKE else None
        if is_option(symbol) is not (feed in _OPTION_FEEDS):
            return None
        return self._side.looks.look(symbol)

    def _wanted(self, members: Iterable[Member], channels: Sequence[str]) -> set[str]:
        """The symbols in these channels of these sockets; all of the market where one wants all."""
        found: set[str] = set()
        for one in members:
            names = one.subscriptions.of(*channels)
            found |= names - {ALL}
            if ALL in names:
                found |= {FAKE} if one.feed == _TEST else self._all(one.feed)
        return found

    def _all(self, feed: str) -> set[str]:
        # The contracts on forty shares are tens of thousands; nobody can be told of each of their ticks.
        return set() if feed in _OPTION_FEEDS else {one.symbol for one in self._side.market.instruments()}

    # -- bars ---------------------------------------------------------------------------------------

    async def _run_bars(self) -> None:
        while True:
            every_us = int(self._side.options.minute_s * 1_000_000)
            end_us = (self._clock.now_us() // every_us + 1) * every_us
            while (now_us := self._clock.now_us()) < end_us:
                await self._clock.sleep(max((end_us - now_us) / 1_000_000, _SHORTEST_NAP_S))
            await self._tell_bars(end_us)

    async def _tell_bars(self, end_us: int) -> None:
        """The bars of the minute that has ended, and of the day with it."""
        start_us = end_us - LENGTH_US[Timeframe.MINUTE_1]
        listening = [one for one in self._members if one.feed != _TEST and one.feed not in _OPTION_FEEDS]
        for symbol in sorted(self._wanted(listening, _BARS)):
            minute = await self._bar(symbol, Timeframe.MINUTE_1, start_us, end_us)
            if minute is None:
                continue
            feeds = {one.feed for one in listening}
            for feed in feeds:
                self._tell(feed, Tick("bars", "bar", symbol, bar_tick_body("b", symbol, minute)))
            if any(one.subscriptions.wants("dailyBars", symbol) for one in listening):
                day = await self._bar(symbol, Timeframe.DAY_1, self._day_us(start_us), end_us)
                for feed in feeds if day is not None else ():
                    assert day is not None
                    self._tell(feed, Tick("dailyBars", "bar", symbol, bar_tick_body("d", symbol, day)))

    def _day_us(self, at_us: int) -> int:
        """Where the newest daily bar may begin: midnight of the day before this instant."""
        return eastern_us(eastern_date(at_us) - timedelta(days=1), time())

    async def _bar(self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int) -> Bar | None:
        if is_option(symbol):
            return None
        try:
            bars = await self._side.market.fetch_bars(symbol, timeframe, start_us, end_us, 1)
        except FeedUnavailable as error:
            _log.warning("sim_bars_unavailable", symbol=symbol, error=str(error))
            return None
        return bars[-1] if bars else None

    # -- telling ------------------------------------------------------------------------------------

    def _tell(self, feed: str, tick: Tick) -> None:
        if feed != _DELAYED:
            self._deliver(feed, tick)
            return
        due_us = self._clock.now_us() + int(self._side.options.delay_s * 1_000_000)
        self._delayed.append((due_us, tick))
        if len(self._delayed) > _MOST_DELAYED:
            self._delayed.popleft()

    def _let_go_delayed(self) -> None:
        now_us = self._clock.now_us()
        while self._delayed and self._delayed[0][0] <= now_us:
            self._deliver(_DELAYED, self._delayed.popleft()[1])

    def _deliver(self, feed: str, tick: Tick) -> None:
        by_account: dict[str, list[Member]] = {}
        for one in self._members:
            if one.feed == feed and one.subscriptions.wants(tick.channel, tick.symbol):
                by_account.setdefault(one.account_number or "", []).append(one)
        for account, members in by_account.items():
            self._spoiler.deliver(tick, account, members)


def _ticks(look: Look, before: Look | None, feed: str) -> Iterator[Tick]:
    """What a look at a symbol has to tell: the trade that made the price, and the quote."""
    symbol = look.quote.symbol
    if before is not None and look.quote.last != before.quote.last:
        trade: dict[str, Any] | None = trade_body(look.quote, look.at_us, feed)
        if trade is not None:
            yield Tick("trades", "trade", symbol, {"T": "t", "S": symbol, **trade})
    yield Tick("quotes", "quote", symbol, {"T": "q", "S": symbol, **quote_body(look.quote, look.at_us, feed)})
