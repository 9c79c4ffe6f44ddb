"""Quotes that are not in memory are asked for: many callers at once cost one call, and what came of it is kept a moment.

Callers of the same turn of the event loop, and those who come while all calls are under way, share the next call,
whatever symbols they want.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote
from paiid.feeds import Feed, FeedUnavailable

MOST_FETCHED = 4096
"""Symbols whose answer is remembered; the one that was asked for longest ago goes first."""
MOST_CALLS = 4
"""Calls under way at a time."""
CALL_S = 5.0
"""How long one may take."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the feed said of a symbol, None for "unknown", and when, by the monotonic clock."""

    quote: Quote | None
    at_s: float


@dataclass(eq=False, slots=True)
class _Call:
    """Symbols that are asked for together; it takes more until it begins."""

    symbols: dict[str, None] = field(default_factory=dict)
    task: "asyncio.Task[dict[str, Fetched] | FeedUnavailable] | None" = None


class QuoteFetcher:
    """Asks one feed, at most every `poll_s` for a symbol."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._kept: OrderedDict[str, Fetched] = OrderedDict()
        self._turns = asyncio.Semaphore(MOST_CALLS)
        self._next: _Call | None = None
        self._calls: dict[str, _Call] = {}

    def find(self, symbol: str) -> Fetched | None:
        """The last answer, however old."""
        return self._kept.get(symbol)

    def is_recent(self, fetched: Fetched | None) -> bool:
        """Whether it is too early to ask again."""
        return fetched is not None and self._clock.monotonic_s() - fetched.at_s < self._feed.poll_s

    async def fetch(self, symbols: Sequence[str]) -> dict[str, Fetched]:
        """Ask for each of these, or wait for who does already. Raises FeedUnavailable."""
        calls = dict.fromkeys([self._call_for(symbol) for symbol in symbols])
        tasks = [call.task for call in calls if call.task is not None]
        await asyncio.wait(tasks)
        found: dict[str, Fetched] = {}
        for task in tasks:
            outcome = task.result()
            if isinstance(outcome, FeedUnavailable):
                # One of each caller's own, for an exception remembers who has raised it.
                raise FeedUnavailable(str(outcome))
            found.update(outcome)
        return found

    def _call_for(self, symbol: str) -> _Call:
        """The call under way or to come that has this symbol in it."""
        call = self._calls.get(symbol)
        if call is None:
            call = self._next
            if call is None:
                call = self._next = _Call()
                call.task = asyncio.create_task(self._made(call), name="paiid-fetch-quotes")
            call.symbols[symbol] = None
            self._calls[symbol] = call
        return call

    async def _made(self, call: _Call) -> dict[str, Fetched] | FeedUnavailable:
        """A failure is a value here: those who wanted to hear of it may have gone."""
        async with self._turns:
            self._next = None
            symbols = list(call.symbols)
            try:
                async with asyncio.timeout(CALL_S):
                    quotes = await self._feed.fetch_quotes(symbols)
            except FeedUnavailable as silent:
                return silent
            except TimeoutError:
                return FeedUnavailable("the source did not answer in time")
            finally:
                for symbol in symbols:
                    del self._calls[symbol]
        at_s = self._clock.monotonic_s()
        found = {symbol: Fetched(quotes.get(symbol), at_s) for symbol in symbols}
        self._keep(found)
        return found

    def _keep(self, found: dict[str, Fetched]) -> None:
        for symbol, fetched in found.items():
            self._kept[symbol] = fetched
            self._kept.move_to_end(symbol)
        while len(self._kept) > MOST_FETCHED:
            self._kept.popitem(last=False)
