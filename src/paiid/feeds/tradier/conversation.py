"""What goes on while one connection to the market stream is open (tradier.md, section 9)."""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.outbox import Outbox
from paiid.feeds.tradier.book import Book
from paiid.feeds.tradier.connection import Channel
from paiid.feeds.tradier.faults import StreamFault
from paiid.feeds.tradier.hearing import Hearing, Tally
from paiid.feeds.tradier.poller import Poller
from paiid.feeds.tradier.quotes import Quotes
from paiid.feeds.tradier.symbols import to_wire
from paiid.feeds.tradier.timings import StreamTimings
from paiid.feeds.tradier.wanted import Wanted
from paiid.wires.governor import Priority

_LATE_US = 5_000_000
_MISSED_ROUNDS = 3
_log = structlog.get_logger("paiid.feeds.tradier")


@dataclass(frozen=True, slots=True)
class Parts:
    """What every conversation works with."""

    clock: Clock
    book: Book
    quotes: Quotes
    wanted: Wanted
    poller: Poller
    timings: StreamTimings
    hours: MarketHours


class Conversation:
    """One connection. `streamed` are the symbols that it was told; its session is good until a monotonic instant."""

    def __init__(
        self,
        parts: Parts,
        channel: Channel,
        session: tuple[str, float],
        streamed: list[str],
        outbox: Outbox,
        tally: Tally,
    ) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._book = parts.book
        self._wanted = parts.wanted
        self._timings = parts.timings
        self._channel = channel
        self._session_id, self._session_until_s = session
        self._streamed = frozenset(streamed)
        self._outbox = outbox
        self._tally = tally
        self._began_s = self._clock.monotonic_s()
        self._hearing = Hearing(self._clock, parts.book, parts.wanted, outbox, tally)
        self._close_asked_s: dict[str, float] = {}
        self._asked_s = 0.0
        self._missed_rounds = 0

    async def run(self) -> StreamFault:
        """Until the connection is of no use any more; why."""
        work: list[Coroutine[Any, Any, None]] = [
            self._read(),
            self._live(),
            self._keep_told(),
            self._keep_asking(),
        ]
        tasks = [asyncio.create_task(one, name="paiid-tradier-data") for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except StreamFault as fault:
            return fault
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return StreamFault("the connection to Tradier's stream ended")

    async def _read(self) -> None:
        async for read in self._channel.reads():
            news = self._hearing.news
            self._hearing.take(read)
            if news != self._hearing.news:
                self._tally.mute_s = self._timings.mute_s

    # -- whether it is there ------------------------------------------------------------------------

    async def _live(self) -> None:
        """A piece of the stream or a pong shows that it is there; where neither comes and no pong ever did, REST shows that Tradier is:
        by HTTP there are no pings, and that they are answered is not confirmed."""
        timings, pieces, pongs = self._timings, -1, False
        while True:
            self._look_at_age()
            began_s = self._clock.monotonic_s()
            if await self._channel.answers(timings.silence_s):
                pongs = True
            elif pieces == self._hearing.pieces:
                if pongs:
                    raise StreamFault("Tradier's stream fell silent", "quick")
                await self._ask_for_life()
            pieces = self._hearing.pieces
            self._outbox.heard()
            took_s = self._clock.monotonic_s() - began_s
            await self._clock.sleep(
                timings.ping_s if pongs else max(timings.look_s, timings.proof_s - took_s)
            )

    async def _ask_for_life(self) -> None:
        try:
            await self._parts.poller.round(self._outbox)
        except FeedUnavailable as problem:
            raise StreamFault(
                f"Tradier's stream tells nothing, and nothing can be asked: {problem}"
            ) from None
        self._hearing.told_s |= dict.fromkeys(self._wanted.symbols, self._clock.monotonic_s())

    def _look_at_age(self) -> None:
        age_s = self._clock.monotonic_s() - self._began_s
        night = not self._parts.hours.is_extended(self._clock.now_us())
        if age_s >= self._timings.longest_s or (night and age_s >= self._timings.night_s):
            raise StreamFault("the connection to Tradier's stream has become old", "now")

    # -- what it is told ----------------------------------------------------------------------------

    async def _keep_told(self) -> None:
        """Until cancelled. A set takes the place of the one before; once the session's id is no longer good, that takes another session,
        for which this connection has to end, as there is only one at a time (section 9.1)."""
        while True:
            self._wanted.stream_wake.clear()
            target = self._wanted.streamed()
            if frozenset(target) == self._streamed:
                await self._wanted.stream_wake.wait()
                continue
            due_s = self._may_tell_s(target)
            if due_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(due_s):
                        await self._wanted.stream_wake.wait()
                continue
            await self._clock.sleep(self._timings.settle_s)
            target = self._wanted.streamed()
            if not self._session_is_good():
                raise StreamFault("what is followed has changed", "now")
            await self._channel.tell(self._session_id, [to_wire(symbol) for symbol in target])
            self._streamed = frozenset(target)

    def _session_is_good(self) -> bool:
        return (
            self._channel.replaces
            and self._clock.monotonic_s() + self._timings.settle_s < self._session_until_s
        )

    def _may_tell_s(self, target: list[str]) -> float:
        """How long that still has to wait."""
        if self._session_is_good():
            return 0.0
        if not self._streamed:
            return 0.0
        new = any(symbol not in self._streamed for symbol in target)
        least_s = self._timings.renew_s if new else self._timings.tidy_s
        return self._began_s + least_s - self._clock.monotonic_s()

    # -- what is asked beside it --------------------------------------------------------------------

    async def _keep_asking(self) -> None:
        failures = 0
        while True:
            self._wanted.ask_wake.clear()
            due = self._due()
            if due:
                try:
                    await self._ask(due)
                    failures = 0
                except FeedUnavailable as problem:
                    # The stream goes on; what is not confirmed grows stale by itself.
                    failures += 1
                    _log.warning("tradier_data_not_confirmed", symbols=len(due), reason=str(problem))
                    self._tell_unasked(due)
                    await self._clock.sleep(
                        min(self._timings.confirm_s, self._timings.first_pause_s * 2**failures)
                    )
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timings.look_s):
                    await self._wanted.ask_wake.wait()

    def _due(self) -> list[str]:
        """What must be asked for now: what is new at once, the rest in rounds."""
        now_s, timings = self._clock.monotonic_s(), self._timings
        for kept in (self._hearing.told_s, self._close_asked_s):
            for symbol in [one for one in kept if one not in self._wanted.all]:
                del kept[symbol]
        mute_s = self._mute_for_s(now_s)
        new = [symbol for symbol in self._wanted.symbols if symbol not in self._hearing.told_s]
        if now_s - self._asked_s < timings.round_s:
            return new
        if mute_s >= self._tally.mute_s:
            return list(self._wanted.symbols)
        return [symbol for symbol in self._wanted.symbols if symbol in new or self._is_due(symbol, now_s)]

    def _is_due(self, symbol: str, now_s: float) -> bool:
        timings = self._timings
        pause_s = timings.confirm_s if symbol in self._streamed else timings.polled_s
        if now_s - self._hearing.told_s[symbol] >= pause_s:
            return True
        return self._book.needs_close(symbol) and (
            now_s - self._close_asked_s.get(symbol, -timings.close_s) >= timings.close_s
        )

    def _mute_for_s(self, now_s: float) -> float:
        """For how long the stream has said nothing although it should have; 0 where that is not clear."""
        if not self._streamed or not self._parts.hours.is_open(self._clock.now_us()):
            self._hearing.news_s = now_s
        return now_s - self._hearing.news_s

    async def _ask(self, due: list[str]) -> None:
        news, asked_us = self._hearing.news, self._clock.now_us()
        before = {symbol: self._book.find(symbol) for symbol in due if symbol in self._hearing.told_s}
        quotes = await self._parts.quotes.fetch(due, priority=Priority.BACKGROUND)
        now_s = self._asked_s = self._clock.monotonic_s()
        for symbol in due:
            self._hearing.told_s[symbol] = self._close_asked_s[symbol] = now_s
            quote = quotes.get(symbol)
            if quote is not None and symbol in self._wanted.all:
                self._outbox.put(quote)
        if news != self._hearing.news:
            self._missed_rounds = 0
        else:
            self._judge_silence(self._missed(before, quotes, asked_us), self._mute_for_s(now_s))

    def _judge_silence(self, missed: bool, mute_s: float) -> None:
        """An open connection may be mute (section 9.4): REST tells whether there was something to be told."""
        self._missed_rounds += missed
        if self._missed_rounds >= _MISSED_ROUNDS or (missed and mute_s >= self._tally.mute_s):
            raise StreamFault("Tradier's stream is open but tells nothing", "quick")
        if mute_s >= 2 * self._tally.mute_s:
            # Maybe there is nothing to be told; the next one may be silent for longer.
            self._tally.mute_s = min(self._timings.longest_mute_s, 2 * self._tally.mute_s)
            raise StreamFault("Tradier's stream has told nothing for a long time", "quick")

    def _missed(self, before: dict[str, Quote | None], quotes: dict[str, Quote], asked_us: int) -> bool:
        """Whether the answer has what the stream should have told some time ago."""
        return any(
            (known := before.get(symbol)) is not None
            and symbol in self._streamed
            and known.as_of_us < quote.as_of_us < asked_us - _LATE_US
            for symbol, quote in quotes.items()
        )

    def _tell_unasked(self, due: list[str]) -> None:
        """What the stream has told of symbols that cannot be asked for: better than nothing."""
        for symbol in due:
            quote = self._book.find(symbol)
            if symbol not in self._hearing.told_s and quote is not None and symbol in self._streamed:
                self._hearing.told_s[symbol] = self._clock.monotonic_s() - self._timings.confirm_s
                self._outbox.put(quote)
