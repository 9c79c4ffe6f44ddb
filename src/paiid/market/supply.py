"""Gets the quotes of one epoch out of the feed: by listening where this replica leads, by asking where it is on its own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import suppress

import structlog

from paiid.core.clock import Clock
from paiid.core.tasks import Background
from paiid.domain.quotes import Quote
from paiid.feeds import Feed, FeedEvent, FeedUnavailable, Lost
from paiid.market.sequencer import Sequencer
from paiid.market.state import Status
from paiid.market.wanted import Union

_log = structlog.get_logger("paiid.market.supply")
MOST_POLLED = 512
"""Symbols that a replica on its own asks for."""
POLL_REST_S = 5.0
"""How often at most those are asked for that the feed cannot stream as well."""
LOST_S = 1.0
"""How long a connection may be gone before that is told."""
UNANSWERED_S = 1.0
"""How long a replica on its own waits for the first answer before it says that there is none."""
_LONG_S = 120.0
_ONE_BREATH = 128
"""Events of the feed before others get a turn."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


class Supply:
    """What runs for an epoch. `gone` is told of symbols that nobody wants any more."""

    def __init__(
        self,
        clock: Clock,
        feed: Feed,
        sequencer: Sequencer,
        union: Callable[[int, Collection[str]], Union],
        gone: Callable[[Iterable[str]], None],
        counts: Counter[str],
        *,
        listens: bool,
        sweep_s: float,
    ) -> None:
        self.sequencer = sequencer
        self.listens = listens
        self._clock = clock
        self._feed = feed
        self._union_of = union
        self._gone = gone
        self._counts = counts
        self._sweep_s = sweep_s
        self._tasks = Background(clock)
        self._union = Union((), ())
        self._ask = asyncio.Event()
        self._began_s = clock.monotonic_s()
        self._heard_s: float | None = None
        """When the feed last said or answered anything."""
        self._lost: str | None = None
        self._lost_s = 0.0

    def begin(self) -> None:
        """Run until `end`."""
        self.want_again()
        if self.listens:
            self._tasks.begin("market-listen", self._listen)
            self._tasks.begin("market-ask", self._ask_due)
            self._tasks.begin("market-ask-rest", self._ask_rest)
        else:
            self._tasks.begin("market-poll", self._poll)
        self._tasks.begin("market-sweep", self._sweep)

    async def end(self) -> None:
        """Nothing more is shown from now on; then stop what runs."""
        self.sequencer.closed = True
        await self._tasks.stop()

    @property
    def heard_ago_s(self) -> float | None:
        """Since the feed last said or answered anything; None: never."""
        return None if self._heard_s is None else self._clock.monotonic_s() - self._heard_s

    @property
    def failing(self) -> dict[str, str]:
        """What has broken just now, and on what."""
        return self._tasks.failing

    def want_again(self) -> None:
        """What is wanted may have changed."""
        before = self._union
        # On its own a replica asks for everything.
        most = self._feed.most_streamed if self.listens else 0
        self._union = union = self._union_of(most, self.sequencer.followed)
        if self.listens and set(union.streamed) != set(self.sequencer.followed):
            self.sequencer.followed = frozenset(union.streamed)
            self._feed.follow(union.streamed)
        if union == before:
            return
        kept = set(union.all)
        gone = [symbol for symbol in before.all if symbol not in kept]
        for symbol in gone:
            self.sequencer.drop(symbol)
        if gone:
            self._gone(gone)
        self._ask.set()

    def status(self) -> tuple[Status, str] | None:
        """How it goes, and why not better; None while that is not known yet."""
        now_s = self._clock.monotonic_s()
        if self.listens:
            if self._lost is not None and now_s - self._lost_s >= LOST_S:
                return "down", self._lost
            if now_s - (self._heard_s or self._began_s) > self._feed.heartbeat_s:
                return "down", self._lost or "the source of market data is silent"
            return None if self._heard_s is None else ("up", "")
        if self._lost is not None:
            return "down", self._lost
        if self._heard_s is None and self._union.all:
            return None if now_s - self._began_s < UNANSWERED_S else ("down", "the source does not answer")
        if self._heard_s is not None and now_s - self._heard_s > max(
            3 * self._feed.poll_s, self._feed.heartbeat_s
        ):
            return "down", "the source does not answer"
        return "degraded", ""

    async def _listen(self) -> None:
        """The feed's own loop; it should never end or break, and is begun again where it does."""
        pause_s = _FIRST_PAUSE_S
        while True:
            events = self._feed.listen()
            began_s = self._clock.monotonic_s()
            try:
                await self._hear(events)
                self._lose("the feed ended")
            except Exception as problem:  # noqa: BLE001 - the feed loop: whatever it meets, it goes on
                self._counts["feed_broke"] += 1
                self._lose("the feed broke off")
                _log.error("feed_broke", error=type(problem).__name__, exc_info=problem)
            finally:
                close = getattr(events, "aclose", None)
                if close is not None:
                    with suppress(RuntimeError):
                        await close()
            if self._clock.monotonic_s() - began_s > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _hear(self, events: AsyncIterator[FeedEvent]) -> None:
        count = 0
        async for event in events:
            if isinstance(event, Lost):
                self._counts["feed_lost"] += 1
                self._lose(event.reason)
                continue
            if self._lost is not None:
                self._lost = None
                self.sequencer.ask_all_again()
                self._ask.set()
            self._heard_s = self._clock.monotonic_s()
            if isinstance(event, Quote):
                self._counts["quotes_heard"] += 1
                self.sequencer.streamed(event)
            count += 1
            if count % _ONE_BREATH == 0:
                await asyncio.sleep(0)

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost_s = self._clock.monotonic_s()
        self._lost = reason[:300]

    async def _ask_due(self) -> None:
        """What nothing is known of, and what was not confirmed for a while, in one call: at once when something new is wanted, and
        in turns."""
        while True:
            self._ask.clear()
            due = self.sequencer.due(self._union.streamed, self._feed.resend_interval_s)
            # What cannot be streamed is asked for in its own time, but for the first time at once.
            due += self.sequencer.due(self._union.polled, _LONG_S)
            if due:
                await self._fetch(due)
            await self._rest(self._sweep_s)

    async def _rest(self, seconds: float) -> None:
        """A pause, or until something is wanted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ask.wait()

    async def _ask_rest(self) -> None:
        while True:
            await self._clock.sleep(max(self._feed.poll_s, POLL_REST_S))
            if self._union.polled:
                await self._fetch(self._union.polled, listens=False)

    async def _poll(self) -> None:
        while True:
            self._ask.clear()
            symbols = self._union.all[:MOST_POLLED]
            if symbols:
                await self._fetch(symbols, listens=False)
            await self._rest(self._feed.poll_s)

    async def _fetch(self, symbols: Sequence[str], *, listens: bool = True) -> None:
        asked_us = self._clock.now_us()
        try:
            quotes = await self._feed.fetch_quotes(symbols)
        except FeedUnavailable as problem:
            self._counts["fetch_failed"] += 1
            if not self.listens:
                self._lose(str(problem))
            return
        if not self.listens:
            self._lost = None
            self._heard_s = self._clock.monotonic_s()
        wanted = set(self._union.all)
        told = {
            symbol: quote for symbol, quote in quotes.items() if symbol in wanted and quote.symbol == symbol
        }
        self.sequencer.fetched(told, asked_us, listens=listens)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(self._sweep_s)
            self.sequencer.mark_stale(self._union.all)
