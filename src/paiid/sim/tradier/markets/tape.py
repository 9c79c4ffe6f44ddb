"""Watches the market for those who listen: a quote for each of its ticks, a trade where the last price changed, the day's summary."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from paiid.feeds import FeedUnavailable
from paiid.sim.tradier.markets.calendar import session_name
from paiid.sim.tradier.markets.events import (
    MarketSession,
    Summary,
    Tick,
    quote_tick,
    shares_of_trade,
    summary_tick,
    timesale_tick,
    trade_tick,
)
from paiid.sim.tradier.markets.listener import Listener
from paiid.sim.tradier.markets.looks import Look
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.markets.spoil import Spoiler

__all__ = ["Tape"]

_SESSIONS: dict[str, MarketSession] = {"premarket": "pre", "open": "normal"}
_log = structlog.get_logger("paiid.sim")


@dataclass(slots=True)
class _Symbol:
    """What has been told of a symbol. `told_s` is when, on the monotonic clock; `last_trade` what is told again."""

    look: Look
    told_s: float
    seq: int
    volume: int = 0
    last_trade: Tick | None = None
    summary: Summary | None = None
    waiting: list[Listener] = field(default_factory=list)
    """Who is to be told the summary as soon as it is known."""


class Tape:
    """One task that looks at every symbol somebody wants, as long as somebody does. Of two ticks between two looks only the
    later one is told."""

    def __init__(self, side: MarketSide) -> None:
        self._side = side
        self._clock = side.exchange.clock
        self._spoiler = Spoiler(self._clock, side.faults)
        self._listeners: list[Listener] = []
        self._symbols: dict[str, _Symbol] = {}
        self._somebody = asyncio.Event()
        self._unknown = asyncio.Event()
        self._day = self._trading_day()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def listeners(self) -> Sequence[Listener]:
        """Who listens."""
        return tuple(self._listeners)

    def told(self, symbol: str) -> Look | None:
        """The last quote of a symbol (ours) that was told."""
        known = self._symbols.get(symbol)
        return None if known is None else known.look

    def start(self) -> None:
        """Begin to look."""
        # The day's figures are reckoned elsewhere and may take their time; ticks must not wait for them.
        self._tasks = [
            asyncio.create_task(one, name="paiid-sim-tape") for one in (self._run(), self._run_days())
        ]

    async def stop(self) -> None:
        """Look no more."""
        self._spoiler.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def subscribed(self, listener: Listener) -> None:
        """What this client wants is new: it is told the first quote and the summary of each symbol, and from then on what comes."""
        if listener not in self._listeners:
            self._listeners.append(listener)
        for symbol in sorted(listener.wanted.symbols):
            known = self._known(symbol)
            if known is None:
                continue
            self._deliver_to(quote_tick(known.look), [listener])
            if known.summary is None:
                known.waiting.append(listener)
                self._unknown.set()
            else:
                self._deliver_to(summary_tick(symbol, known.summary), [listener])
        self._somebody.set()

    def leave(self, listener: Listener) -> None:
        """It is gone."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners:
            self._somebody.clear()

    # -- looking ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            if not self._listeners:
                self._symbols.clear()
                await self._somebody.wait()
            self._look_round()
            await self._clock.sleep(self._side.options.poll_s)

    def _look_round(self) -> None:
        wanted = {symbol for one in self._listeners for symbol in one.wanted.symbols}
        for symbol in self._symbols.keys() - wanted:
            del self._symbols[symbol]
        self._begin_day()
        now_s, resend_s = self._clock.monotonic_s(), self._side.options.resend_s
        for symbol in sorted(wanted):
            known = self._known(symbol)
            look = None if known is None else self._side.looks.look(symbol)
            if known is None or look is None:
                continue
            if look is not known.look and look.quote.sequence != known.look.quote.sequence:
                self._tell_tick(known, look)
            elif now_s - known.told_s >= resend_s:
                self._tell_again(known)
            else:
                continue
            known.told_s = now_s

    def _known(self, symbol: str) -> _Symbol | None:
        """What was told of a symbol; what is shown now counts as told where nothing was."""
        known = self._symbols.get(symbol)
        if known is None and (look := self._side.looks.look(symbol)) is not None:
            # Numbers that go on over a restart, as those of an exchange do within a day.
            seq = look.at_us // 1_000_000 % 1_000_000
            known = self._symbols[symbol] = _Symbol(look, self._clock.monotonic_s(), seq)
        return known

    def _tell_tick(self, known: _Symbol, look: Look) -> None:
        before, known.look = known.look, look
        quote = look.quote
        if quote.last > 0 and quote.last != before.quote.last:
            session = session_name(self._side.exchange.hours, self._clock.now_us())
            known.seq += 1
            known.volume += shares_of_trade(quote.symbol)
            known.last_trade = trade_tick(look, known.volume, extended=session != "open")
            self._deliver(known.last_trade)
            self._deliver(timesale_tick(look, known.seq, _SESSIONS.get(session, "post")))
            if session == "open":
                self._widen(known, quote.last)
        self._deliver(quote_tick(look))

    def _tell_again(self, known: _Symbol) -> None:
        """The last tick of a quiet symbol, as it was."""
        if known.last_trade is not None:
            self._deliver(known.last_trade)
        self._deliver(quote_tick(known.look))

    # -- the day ------------------------------------------------------------------------------------

    def _widen(self, known: _Symbol, last: Decimal) -> None:
        """A new high or low of the day is told."""
        summary = known.summary
        if summary is None:
            return
        high = last if summary.high is None else max(summary.high, last)
        low = last if summary.low is None else min(summary.low, last)
        after = Summary(summary.open if summary.open is not None else last, high, low, summary.previous)
        if after != summary:
            known.summary = after
            self._deliver(summary_tick(known.look.quote.symbol, after))

    def _begin_day(self) -> None:
        """Behind a roll every summary is another one, and is told to everybody."""
        day = self._trading_day()
        if day == self._day:
            return
        self._day = day
        for symbol, known in self._symbols.items():
            known.summary, known.volume = None, 0
            known.waiting = [one for one in self._listeners if symbol in one.wanted.symbols]
        self._unknown.set()

    def _trading_day(self) -> object:
        return self._side.exchange.hours.trading_day(self._clock.now_us())

    async def _run_days(self) -> None:
        while True:
            await self._unknown.wait()
            self._unknown.clear()
            for known in [one for one in self._symbols.values() if one.summary is None]:
                await self._learn_day(known)

    async def _learn_day(self, known: _Symbol) -> None:
        quote = known.look.quote
        try:
            day = await self._side.days.of(quote)
        except FeedUnavailable as error:
            _log.warning("sim_day_unavailable", symbol=quote.symbol, error=str(error))
            return
        previous = day.previous if day.previous is not None else quote.prev_close
        known.volume += day.volume
        known.summary = Summary(day.open, day.high, day.low, previous if previous > 0 else None)
        waiting, known.waiting = known.waiting, []
        listening = [one for one in waiting if one in self._listeners]
        self._deliver_to(summary_tick(quote.symbol, known.summary), listening)

    # -- telling ------------------------------------------------------------------------------------

    def _deliver(self, tick: Tick) -> None:
        self._deliver_to(tick, self._listeners)

    def _deliver_to(self, tick: Tick, listeners: Sequence[Listener]) -> None:
        by_account: dict[str, list[Listener]] = {}
        for one in listeners:
            if one.wanted.wants(tick.event, tick.symbol):
                by_account.setdefault(one.account or "", []).append(one)
        for account, some in by_account.items():
            self._spoiler.deliver(tick, account, some)
