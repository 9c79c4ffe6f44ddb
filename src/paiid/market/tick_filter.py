"""Keeps what is no quote, or no newer one, away from everybody, and counts it by reason (contract S5)."""

from collections import Counter
from dataclasses import dataclass

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote
from paiid.market.ticks import is_plain

AHEAD_S = 5.0
"""How far a source's clock may be ahead of ours."""
JUMP_S = 1.0
"""Our wall clock was set if it has moved this much against the time that never jumps."""
PATIENCE_S = 3.0
"""Whatever is refused for its time for so long, with nothing else in between, tells of a clock that was set, not of late words."""
_FEWEST = 3
"""Quotes that such a finding needs."""

REASONS = (
    "nonsense",
    "no_price",
    "crossed",
    "duplicate",
    "backward",
    "reordered",
    "from_the_future",
    "not_followed",
)


@dataclass(slots=True)
class _Streak:
    """Quotes refused for their time, one after the other: since when, how many, and the newest time they named."""

    since_s: float
    count: int
    newest_us: int


class TickFilter:
    """Judges each quote against the newest one that passed. Only what passed is remembered, and the time of what was refused."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.counts: Counter[str] = Counter()
        self._late: dict[str, _Streak] = {}
        self._early: _Streak | None = None
        self._least_ahead_us = 0
        self._ahead_us = 0
        """How far the source's clock is believed to be ahead of ours."""
        self._wall_less_steady_us = self._offset_us()
        self._settled: set[str] | None = None
        """Symbols that have had a quote since our clock was set; None while it was not."""

    def refusal(self, quote: Quote, newest: Quote | None, *, streamed: bool = True) -> str | None:
        """Why the quote must not be shown, counted; None if it is a newer one. `streamed`: its place among the source's words
        says something; what was asked for has only its time."""
        reason = self._nonsense(quote) or self._untimely(quote, newest, streamed)
        if reason is None:
            self._late.pop(quote.symbol, None)
            if self._settled is not None:
                self._settled.add(quote.symbol)
            return None
        self.counts[reason] += 1
        return reason

    def refuse(self, reason: str) -> None:
        """Count one that is refused for what the filter cannot know."""
        self.counts[reason] += 1

    def forget(self, symbol: str) -> None:
        """It is not followed any more."""
        self._late.pop(symbol, None)
        if self._settled is not None:
            self._settled.discard(symbol)

    def _nonsense(self, quote: Quote) -> str | None:
        """A locked market (bid = ask) is one, a crossed one is a mistake of whoever shows it; one side alone may be empty."""
        numbers = (quote.bid, quote.ask, quote.bid_size, quote.ask_size, quote.last, quote.prev_close)
        if quote.as_of_us <= 0 or not all(is_plain(one) for one in numbers):
            return "nonsense"
        if quote.bid == 0 and quote.ask == 0:
            return "no_price"
        if quote.bid > quote.ask > 0:
            return "crossed"
        return None

    def _untimely(self, quote: Quote, newest: Quote | None, streamed: bool) -> str | None:
        self._look_for_jump()
        ahead_us = quote.as_of_us - self._clock.now_us()
        if ahead_us > self._ahead_us + AHEAD_S * 1_000_000 and not self._believe_ahead(quote, ahead_us):
            return "from_the_future"
        if ahead_us <= AHEAD_S * 1_000_000:
            self._early = None
        if newest is None:
            return None
        if _same(quote, newest):
            return "duplicate"
        if self._settled is not None and quote.symbol not in self._settled:
            return None
        if quote.as_of_us < newest.as_of_us:
            reason = "backward"
        elif streamed and quote.sequence < newest.sequence and quote.source == newest.source:
            reason = "reordered"
        else:
            return None
        return None if self._believe_late(quote) else reason

    def _believe_ahead(self, quote: Quote, ahead_us: int) -> bool:
        """Whether it is our clock that is behind: everything has come from the future for a while."""
        now_s, streak = self._clock.monotonic_s(), self._early
        if streak is None:
            self._early, self._least_ahead_us = _Streak(now_s, 1, quote.as_of_us), ahead_us
            return False
        streak.count += 1
        self._least_ahead_us = min(self._least_ahead_us, ahead_us)
        if not _is_long(streak, now_s):
            return False
        self._ahead_us = self._least_ahead_us
        self._early = None
        self.counts["clocks_apart"] += 1
        return ahead_us <= self._ahead_us + AHEAD_S * 1_000_000

    def _believe_late(self, quote: Quote) -> bool:
        """Whether the symbol's time begins anew: nothing newer has come for a while, and these go on among themselves."""
        now_s, streak = self._clock.monotonic_s(), self._late.get(quote.symbol)
        if streak is None or quote.as_of_us < streak.newest_us:
            self._late[quote.symbol] = _Streak(now_s, 1, quote.as_of_us)
            return False
        streak.count += quote.as_of_us > streak.newest_us
        streak.newest_us = quote.as_of_us
        if not _is_long(streak, now_s):
            return False
        self.counts["time_began_anew"] += 1
        return True

    def _look_for_jump(self) -> None:
        """Where our clock was set, a source that goes by it goes back with it, and another one seems ahead."""
        offset_us = self._offset_us()
        jump_us = offset_us - self._wall_less_steady_us
        self._wall_less_steady_us = offset_us
        if abs(jump_us) < JUMP_S * 1_000_000:
            return
        self.counts["clock_set"] += 1
        self._ahead_us = max(0, self._ahead_us - jump_us)
        self._settled = set()

    def _offset_us(self) -> int:
        return self._clock.now_us() - int(self._clock.monotonic_s() * 1_000_000)


def _same(quote: Quote, newest: Quote) -> bool:
    return (
        quote.as_of_us == newest.as_of_us
        and quote.sequence == newest.sequence
        and quote.bid == newest.bid
        and quote.ask == newest.ask
        and quote.bid_size == newest.bid_size
        and quote.ask_size == newest.ask_size
        and quote.last == newest.last
        and quote.prev_close == newest.prev_close
    )


def _is_long(streak: _Streak, now_s: float) -> bool:
    return streak.count >= _FEWEST and now_s - streak.since_s >= PATIENCE_S
