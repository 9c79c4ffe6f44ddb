"""Lets quotes through the filter, gives each its place in its symbol's channel, and shows it (docs/adr/0018)."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote
from paiid.market.board import Board, Shown
from paiid.market.freshness import Freshness
from paiid.market.tick_filter import TickFilter
from paiid.market.ticks import Confirmed

MOST_NUMBERED = 65_536
"""Symbols that one epoch can number; then there has to be another."""


class Sequencer:
    """The quotes of one epoch. `told` gets each that was shown, `confirmed` each that is still the newest.

    `fresh` makes a Freshness that confirms each quote at least this much more often than the feed's re-send interval."""

    def __init__(
        self,
        clock: Clock,
        board: Board,
        fresh: Callable[[float], Freshness],
        ticks: TickFilter,
        epoch: int,
        told: Callable[[Shown], None],
        confirmed: Callable[[Confirmed], None],
    ) -> None:
        self.epoch = epoch
        self._clock = clock
        self._board = board
        self._fresh = fresh
        self._filter = ticks
        self._told = told
        self._confirmed = confirmed
        self._sequences: dict[str, int] = {}
        self._asked_s: dict[str, float] = {}
        self.followed: Collection[str] = ()
        """Whose quotes may come by the stream."""
        self.closed = False
        """The epoch is over: whatever still comes is not shown."""

    @property
    def full(self) -> bool:
        """Another symbol would not fit."""
        return len(self._sequences) >= MOST_NUMBERED

    def streamed(self, quote: Quote) -> None:
        """What the feed says by itself."""
        if quote.symbol not in self.followed:
            self._filter.refuse("not_followed")
            return
        newest = self._newest(quote.symbol)
        refused = self._filter.refusal(quote, newest)
        if refused is None:
            self._show(self._fresh(1).judged(quote))
        elif refused == "duplicate" and newest is not None and quote.confirmed_us > newest.confirmed_us:
            # The source itself says that there is nothing newer.
            self._confirm(quote.symbol, quote.confirmed_us)

    def fetched(self, quotes: Mapping[str, Quote], asked_us: int, *, listens: bool) -> None:
        """What was asked for at this instant. `listens`: a newer one should have come by the stream, and is counted."""
        fresh = self._fresh(1)
        for symbol, quote in quotes.items():
            newest = self._newest(symbol)
            if newest is not None and _says_the_same(quote, newest):
                self._confirm(symbol, max(asked_us, quote.confirmed_us))
                continue
            if self._filter.refusal(quote, newest, streamed=False) is not None:
                continue
            if listens and newest is not None and quote.as_of_us > newest.as_of_us:
                self._filter.refuse("missed_by_stream")
            self._show(fresh.judged(replace(quote, confirmed_us=max(asked_us, quote.confirmed_us))))

    def due(self, symbols: Iterable[str], interval_s: float) -> list[str]:
        """Those to ask for: nothing is known of them, or nothing was heard for half the interval in which a quote is good. Each is
        told once in that time."""
        soon, now_s = self._fresh(0.5), self._clock.monotonic_s()
        since_s = now_s - interval_s / 2
        due = []
        for symbol in symbols:
            newest = self._newest(symbol)
            if (newest is None or soon.is_stale(newest)) and self._asked_s.get(symbol, since_s) <= since_s:
                due.append(symbol)
                self._asked_s[symbol] = now_s
        return due

    def ask_all_again(self) -> None:
        """The stream was interrupted: whatever it missed is wanted at once."""
        self._asked_s.clear()

    def mark_stale(self, symbols: Iterable[str]) -> None:
        """Show those again that have grown stale (contract S5), as their next event."""
        fresh = self._fresh(1)
        for symbol in symbols:
            newest = self._newest(symbol)
            if newest is not None and fresh.is_stale(newest) and not newest.stale:
                self._show(replace(newest, stale=True))

    def drop(self, symbol: str) -> None:
        """It is not wanted any more. Its sequence is kept: it goes on if somebody wants it again."""
        self._asked_s.pop(symbol, None)
        self._filter.forget(symbol)
        self._board.forget(symbol)

    def _newest(self, symbol: str) -> Quote | None:
        shown = self._board.find(symbol)
        return shown.quote if shown is not None and shown.epoch == self.epoch else None

    def _show(self, quote: Quote) -> None:
        if self.closed:
            return
        sequence = self._sequences.get(quote.symbol, 0) + 1
        self._sequences[quote.symbol] = sequence
        self._board.show(quote, self.epoch, sequence)
        self._told(Shown(quote, self.epoch, sequence))

    def _confirm(self, symbol: str, confirmed_us: int) -> None:
        """Move the time; one that was stale is good again, which is news."""
        newest = self._newest(symbol)
        if self.closed or newest is None or confirmed_us <= newest.confirmed_us:
            return
        confirmed = replace(newest, confirmed_us=confirmed_us)
        if newest.stale:
            judged = self._fresh(1).judged(confirmed)
            if not judged.stale:
                self._show(judged)
                return
        self._board.confirm(symbol, confirmed_us)
        self._confirmed(Confirmed(symbol, self._sequences[symbol], confirmed_us))


def _says_the_same(quote: Quote, newest: Quote) -> bool:
    """Whether what was fetched is what was shown; its number in the source's stream is another matter."""
    return quote.as_of_us == newest.as_of_us and (
        quote.bid,
        quote.ask,
        quote.bid_size,
        quote.ask_size,
        quote.last,
        quote.prev_close,
    ) == (newest.bid, newest.ask, newest.bid_size, newest.ask_size, newest.last, newest.prev_close)
