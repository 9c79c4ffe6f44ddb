"""Which symbols somebody on this replica wants to be followed: subscribers, and whoever asked a moment ago."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

from paiid.core.clock import Clock

TOUCH_S = 60.0
"""How long a symbol is followed after somebody has asked for its quote."""
MOST_TOUCHED = 512
"""Symbols that are followed for that reason; the one asked for longest ago goes first."""


class Demand:
    """Counted subscriptions, which come first, and recent questions. `changed` is called on the event loop whenever the set of
    subscribed symbols has changed, or a symbol was asked for that was not wanted before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._touched: OrderedDict[str, float] = OrderedDict()
        self._changed: list[Callable[[], None]] = []

    def on_change(self, changed: Callable[[], None]) -> None:
        """Be told of changes."""
        self._changed.append(changed)

    def add(self, symbols: Iterable[str]) -> None:
        """One more subscriber of each."""
        fresh = [symbol for symbol in symbols if self._count_up(symbol)]
        if fresh:
            self._tell()

    def drop(self, symbols: Iterable[str]) -> None:
        """One subscriber fewer of each."""
        gone = [symbol for symbol in symbols if self._count_down(symbol)]
        if gone:
            self._tell()

    def touch(self, symbol: str) -> None:
        """Somebody asked for its quote, and may ask again."""
        known = symbol in self._held or symbol in self._touched
        self._touched[symbol] = self._clock.monotonic_s()
        self._touched.move_to_end(symbol)
        if len(self._touched) > MOST_TOUCHED:
            self._touched.popitem(last=False)
        if not known:
            self._tell()

    def subscribed(self) -> list[str]:
        """Those with subscribers, in the order in which they got their first."""
        return list(self._held)

    def asked(self) -> list[str]:
        """The others that were asked for within `TOUCH_S`, the latest first."""
        since = self._clock.monotonic_s() - TOUCH_S
        while self._touched and next(iter(self._touched.values())) < since:
            self._touched.popitem(last=False)
        return [symbol for symbol in reversed(self._touched) if symbol not in self._held]

    def _count_up(self, symbol: str) -> bool:
        self._held[symbol] += 1
        return self._held[symbol] == 1

    def _count_down(self, symbol: str) -> bool:
        self._held[symbol] -= 1
        if self._held[symbol] > 0:
            return False
        del self._held[symbol]
        return True

    def _tell(self) -> None:
        for changed in self._changed:
            changed()
