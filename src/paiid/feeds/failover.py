"""Several real providers as one feed, in order of preference: when one is down the next takes over, until it has been well for a while."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

import structlog

from paiid.core.clock import Clock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds import Feed, FeedEvent, FeedUnavailable, Lost
from paiid.feeds.outbox import Outbox

LOST_S = 3.0
"""How long a provider may be without a connection before the next takes over."""
RECOVERY_S = 30.0
"""How long a preferred provider must have been well before it is gone back to."""
REFUSALS = 3
"""Calls that fail one after the other before a provider whose stream is well counts as down."""
_LOOK_S = 0.1
_AGAIN_S = 1.0
_STOP_S = 0.8
_NOT_REAL = frozenset({"simulated", "replay"})
_log = structlog.get_logger("paiid.feeds.failover")
_T = TypeVar("_T")


@dataclass(slots=True)
class _Member:
    """One provider. Instants are monotonic seconds."""

    feed: Feed
    task: asyncio.Task[None] | None = None
    sign_s: float = 0.0
    lost_s: float | None = None
    well_s: float | None = None
    """Since when it has been well without a break; None: it is not."""
    refusals: int = 0
    refused_s: float | None = None
    quotes: dict[str, Quote] = field(default_factory=dict)
    """What it has told of the symbols followed, so that whoever changes to it need not wait."""


class FailoverFeed:
    """A `Feed`. Down is a provider without a sign of life for its heartbeat, without a connection for `lost_s`, or whose calls fail
    `REFUSALS` times in a row; where nobody listens, the first call that fails counts. A call that fails is put to the others at once.

    The attributes of a feed are those of the provider that is active; each quote names its own source.
    """

    def __init__(
        self,
        clock: Clock,
        feeds: Sequence[Feed],
        *,
        lost_s: float = LOST_S,
        recovery_s: float = RECOVERY_S,
        look_s: float = _LOOK_S,
    ) -> None:
        """Raises ValueError without a provider, and for a simulated market or a recording: no price is ever made up to fill a hole."""
        if not feeds:
            raise ValueError("failover needs at least one provider")
        if unreal := [feed.source for feed in feeds if feed.source in _NOT_REAL]:
            raise ValueError(f"failover is between real providers; {unreal[0]} is none")
        self._clock = clock
        self._lost_s = lost_s
        self._recovery_s = recovery_s
        self._look_s = look_s
        self._members = [_Member(feed) for feed in feeds]
        self._active = 0
        self._symbols: tuple[str, ...] = ()
        self._outbox: Outbox | None = None
        self._run: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.switches = 0
        """How often another provider has taken over, back again included."""
        self.switched_at_us: int | None = None
        self._look_like_active()

    @property
    def active(self) -> Feed:
        """The provider whose word counts now."""
        return self._members[self._active].feed

    @property
    def counts(self) -> Mapping[str, int]:
        """What the providers told and nobody was shown, by reason."""
        found: Counter[str] = Counter()
        for member in self._members:
            found.update(getattr(member.feed, "counts", {}))
        return found

    def _look_like_active(self) -> None:
        feed = self.active
        self.source: str = feed.source
        self.resend_interval_s: float = feed.resend_interval_s
        self.heartbeat_s: float = feed.heartbeat_s
        self.poll_s: float = feed.poll_s
        self.most_streamed: int = feed.most_streamed
        self.delayed: bool = feed.delayed
        self.indices: Sequence[tuple[str, str]] = feed.indices

    # -- calls ------------------------------------------------------------------------------------------

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return await self._ask(lambda feed: feed.fetch_instrument(symbol))

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        return await self._ask(lambda feed: feed.search(text, limit))

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return await self._ask(lambda feed: feed.fetch_quotes(symbols))

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        return await self._ask(lambda feed: feed.fetch_bars(symbol, timeframe, start_us, end_us, limit))

    def newest(self, symbol: str) -> Quote | None:
        return self.active.newest(symbol)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return await self._ask(lambda feed: feed.fetch_expirations(symbol))

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return await self._ask(lambda feed: feed.fetch_contracts(symbol, expiration))

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        return await self._ask(lambda feed: feed.fetch_chain(symbol, first, last))

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        return await self._ask(lambda feed: feed.fetch_dividends(symbol, first, last))

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        return await self._ask(lambda feed: feed.fetch_corporate_actions(symbols, ex_date))

    async def _ask(self, call: Callable[[Feed], Awaitable[_T]]) -> _T:
        """By the first that answers. Raises FeedUnavailable with the words of the first that was asked."""
        problem: FeedUnavailable | None = None
        for at in self._order():
            member = self._members[at]
            try:
                answer = await call(member.feed)
            except FeedUnavailable as refused:
                problem = problem or refused
                member.refusals += 1
                member.refused_s = self._clock.monotonic_s()
                self._wake.set()
                continue
            member.refusals, member.refused_s = 0, None
            if self._outbox is None and at != self._active:
                self._switch(at, str(problem) if problem else "it answers again")
            return answer
        raise problem or FeedUnavailable("no provider of market data answers")

    def _order(self) -> list[int]:
        """The active one first while somebody listens; else by preference, those that have failed lately last."""
        places = range(len(self._members))
        if self._outbox is not None:
            return sorted(places, key=lambda at: (at != self._active, at))
        return sorted(places, key=lambda at: (self._refused_lately(self._members[at]), at))

    def _refused_lately(self, member: _Member) -> bool:
        return (
            member.refused_s is not None and self._clock.monotonic_s() - member.refused_s < self._recovery_s
        )

    # -- the stream -------------------------------------------------------------------------------------

    def follow(self, symbols: Sequence[str]) -> None:
        self._symbols = tuple(dict.fromkeys(symbols))
        kept = frozenset(self._symbols)
        if self._outbox is not None:
            self._outbox.keep_only(kept)
        for member in self._members:
            member.quotes = {symbol: one for symbol, one in member.quotes.items() if symbol in kept}
            if member.task is not None:
                self._follow(member)

    def _follow(self, member: _Member) -> None:
        member.feed.follow(self._symbols[: member.feed.most_streamed])

    async def listen(self) -> AsyncIterator[FeedEvent]:
        if self._run is not None:
            raise RuntimeError("there is one listener at a time")
        outbox = self._outbox = Outbox()
        run = self._run = asyncio.create_task(self._keep_judging(), name="paiid-failover")
        run.add_done_callback(lambda _: outbox.end())
        try:
            while (event := await outbox.next()) is not None:
                yield event
        finally:
            self._run = self._outbox = None
            await _end([run])

    async def _keep_judging(self) -> None:
        try:
            for member in self._members[: self._active + 1]:
                self._begin(member)
            while True:
                self._wake.clear()
                await self._judge()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._wake.wait()
        finally:
            await self._cease(self._members)

    def _begin(self, member: _Member) -> None:
        if member.task is None:
            member.sign_s, member.lost_s, member.well_s = self._clock.monotonic_s(), None, None
            member.quotes.clear()
            self._follow(member)
            member.task = asyncio.create_task(self._hear(member), name=f"paiid-feed-{member.feed.source}")

    async def _cease(self, members: Sequence[_Member]) -> None:
        tasks = [member.task for member in members if member.task is not None]
        for member in members:
            member.task, member.well_s = None, None
        await _end(tasks)

    async def _hear(self, member: _Member) -> None:
        while True:
            words = "it stopped telling"
            try:
                async with aclosing(member.feed.listen()) as events:  # type: ignore[type-var]
                    async for event in events:
                        self._note(member, event)
            except Exception as error:  # noqa: BLE001 - the feed loop: a defect of one provider must not end the others
                _log.error(
                    "feed_broke", source=member.feed.source, error=type(error).__name__, exc_info=error
                )
                words = "its reader broke"
            self._note(member, Lost(f"{member.feed.source}: {words}"))
            await asyncio.sleep(_AGAIN_S)

    def _note(self, member: _Member, event: FeedEvent) -> None:
        now_s = self._clock.monotonic_s()
        outbox = self._outbox if member is self._members[self._active] else None
        if isinstance(event, Lost):
            member.lost_s = now_s if member.lost_s is None else member.lost_s
            member.well_s = None
            member.quotes.clear()
            if outbox is not None:
                outbox.lost(event.reason)
            self._wake.set()
            return
        if member.well_s is None or self._is_silent(member):
            member.well_s = now_s
        member.sign_s, member.lost_s = now_s, None
        if isinstance(event, Quote):
            if event.symbol in self._symbols:
                member.quotes[event.symbol] = event
                if outbox is not None:
                    outbox.put(event)
        elif outbox is not None:
            outbox.heard()

    def _is_silent(self, member: _Member) -> bool:
        return self._clock.monotonic_s() - member.sign_s > member.feed.heartbeat_s

    def _why_down(self, member: _Member) -> str | None:
        if member.lost_s is not None and self._clock.monotonic_s() - member.lost_s > self._lost_s:
            return "its connection is lost"
        if member.lost_s is None and self._is_silent(member):
            return "it fell silent"
        if member.refusals >= REFUSALS and self._refused_lately(member):
            return "it refuses calls"
        return None

    def _is_well(self, member: _Member) -> bool:
        return member.well_s is not None and self._why_down(member) is None

    async def _judge(self) -> None:
        self._look_like_active()
        why = self._why_down(self._members[self._active])
        if why is not None:
            await self._leave(why)
            return
        now_s = self._clock.monotonic_s()
        for at, member in enumerate(self._members[: self._active]):
            long_enough = member.well_s is not None and now_s - member.well_s >= self._recovery_s
            if long_enough and self._is_well(member) and not self._refused_lately(member):
                member.refusals = 0
                self._switch(at, "it has been well for a while")
                await self._cease(self._members[at + 1 :])
                return

    async def _leave(self, why: str) -> None:
        """To one that is well already, else to the next; where there is none we stay, and wait for any of them."""
        well = [at for at, one in enumerate(self._members) if at != self._active and self._is_well(one)]
        following = self._active + 1
        if not well and (following >= len(self._members) or self._members[following].task is not None):
            if self._outbox is not None and self._members[self._active].lost_s is None:
                self._members[self._active].lost_s = self._clock.monotonic_s()
                self._outbox.lost(f"{self.source}: {why}, and no other provider is there")
            return
        if self._outbox is not None:
            self._outbox.lost(f"{self.source}: {why}")
        at = well[0] if well else following
        self._begin(self._members[at])
        self._switch(at, why)

    def _switch(self, at: int, why: str) -> None:
        before, self._active = self.source, at
        self.switches += 1
        self.switched_at_us = self._clock.now_us()
        self._look_like_active()
        _log.warning("feed_switched", source=self.source, instead_of=before, reason=why)
        member = self._members[at]
        if self._outbox is not None and self._is_well(member):
            for quote in member.quotes.values():
                self._outbox.put(quote)
            self._outbox.heard()

    # -- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Each provider."""
        for member in self._members:
            await member.feed.start()

    async def stop(self) -> None:
        """Ends `listen`, and each provider."""
        if self._run is not None:
            await _end([self._run])
        await asyncio.gather(*(member.feed.stop() for member in self._members))


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_S)
