"""The newest quotes of many symbols in one call, which everybody who asks at the same time shares (tradier.md, section 8.1)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.tradier.asking import LIST_CAP, Asking, container_of
from paiid.feeds.tradier.book import Book
from paiid.feeds.tradier.rows import Row, read_row
from paiid.feeds.tradier.symbols import is_asked_for, to_wire
from paiid.wires.governor import Priority
from paiid.wires.tradier.lists import as_list

SYMBOLS_A_CALL = 256
MOST_ASKED = 2_000
_POST_FROM = 40
"""Symbols from which on a question is a form and not an address."""
_MOST_CALLS = 4


@dataclass(frozen=True, slots=True)
class Answered:
    """A row, and the quote as it was known after it; None where the row has none."""

    row: Row
    quote: Quote | None


@dataclass(eq=False, slots=True)
class _Call:
    """Symbols that are asked for together; it takes more until it begins."""

    symbols: dict[str, None] = field(default_factory=dict)
    priority: Priority = Priority.BACKGROUND
    task: "asyncio.Task[dict[str, Answered] | FeedUnavailable] | None" = None


class Quotes:
    """Asks, and tells the book. Callers of the same turn of the event loop share a call, and so does who wants a symbol that is
    being asked for."""

    def __init__(self, clock: Clock, asking: Asking, book: Book) -> None:
        self._clock = clock
        self._asking = asking
        self._book = book
        self._turns = asyncio.Semaphore(_MOST_CALLS)
        self._next: _Call | None = None
        self._calls: dict[str, _Call] = {}

    async def fetch(self, symbols: Sequence[str], *, priority: Priority = Priority.READ) -> dict[str, Quote]:
        """The newest quote of each symbol that Tradier knows, in the order asked; others are left out. Raises FeedUnavailable."""
        answered = await self.fetch_rows(symbols, priority=priority)
        return {symbol: one.quote for symbol, one in answered.items() if one.quote is not None}

    async def fetch_rows(
        self, symbols: Sequence[str], *, priority: Priority = Priority.READ
    ) -> dict[str, Answered]:
        """The same with all that is told of each. Raises FeedUnavailable."""
        known = [symbol for symbol in dict.fromkeys(symbols) if is_asked_for(symbol)]
        if len(known) > MOST_ASKED:
            raise FeedUnavailable(f"at most {MOST_ASKED} symbols can be asked for at once")
        if not known:
            return {}
        calls = dict.fromkeys([self._call_for(symbol, priority) for symbol in known])
        tasks = [call.task for call in calls if call.task is not None]
        # A caller who goes away ends no call: another may wait for it.
        await asyncio.wait(tasks)
        found: dict[str, Answered] = {}
        for task in tasks:
            outcome = FeedUnavailable("the feed was stopped") if task.cancelled() else task.result()
            if isinstance(outcome, FeedUnavailable):
                # One of each caller's own, for an exception remembers who has raised it.
                raise FeedUnavailable(str(outcome))
            found |= outcome
        return {symbol: found[symbol] for symbol in known if symbol in found}

    def stop(self) -> None:
        """End what is under way."""
        for call in set(self._calls.values()):
            if call.task is not None:
                call.task.cancel()
        # One that had not begun yet cannot take itself out.
        self._calls.clear()
        self._next = None

    def _call_for(self, symbol: str, priority: Priority) -> _Call:
        """The call under way or to come that has this symbol in it."""
        call = self._calls.get(symbol)
        if call is None:
            call = self._next
            if call is None or len(call.symbols) >= MOST_ASKED:
                call = self._next = _Call()
                call.task = asyncio.create_task(self._made(call), name="paiid-tradier-quotes")
            call.symbols[symbol] = None
            self._calls[symbol] = call
        # Before it begins, the most urgent of those who share it counts.
        call.priority = min(call.priority, priority)
        return call

    async def _made(self, call: _Call) -> dict[str, Answered] | FeedUnavailable:
        """A failure is a value here: those who wanted to hear of it may have gone."""
        try:
            async with self._turns:
                if self._next is call:
                    self._next = None
                symbols, found = list(call.symbols), dict[str, Answered]()
                for at in range(0, len(symbols), SYMBOLS_A_CALL):
                    found |= await self._fetch_some(symbols[at : at + SYMBOLS_A_CALL], call.priority)
                return found
        except FeedUnavailable as silent:
            return silent
        finally:
            if self._next is call:
                self._next = None
            for symbol in call.symbols:
                self._calls.pop(symbol, None)

    async def _fetch_some(self, symbols: list[str], priority: Priority) -> dict[str, Answered]:
        asked_us = self._clock.now_us()
        form = {"symbols": ",".join(map(to_wire, symbols)), "greeks": "false"}
        if len(symbols) < _POST_FROM:
            answer = await self._asking.get("/markets/quotes", form, priority=priority, cap=LIST_CAP)
        else:
            answer = await self._asking.post("/markets/quotes", form, priority=priority, cap=LIST_CAP)
        wanted, found = set(symbols), dict[str, Answered]()
        # What Tradier does not know is in `unmatched_symbols` and nowhere else.
        for told in as_list(container_of(answer, "quotes"), "quote"):
            row = read_row(told)
            if row is not None and row.symbol in wanted:
                found[row.symbol] = Answered(row, self._book.note_row(row, asked_us))
        return found
