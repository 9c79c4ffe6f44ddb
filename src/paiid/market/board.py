"""The newest quote of each symbol that is followed, as the leader numbered it (docs/adr/0018)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from paiid.domain.quotes import Quote

MOST_SHOWN = 8192
"""Symbols that are remembered; the one that was shown longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A quote with its place in the symbol's channel. `quote.stale` is as the leader judged it."""

    quote: Quote
    epoch: int
    sequence: int


Watcher = Callable[[Shown], None]


class Board:
    """What this replica knows; `watch` is called for each change, on the event loop, and must neither wait nor raise."""

    def __init__(self) -> None:
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._watchers: list[Watcher] = []
        self.count = 0
        """Quotes that were shown, since the start."""

    def watch(self, tell: Watcher) -> None:
        """Be told of each change from now on."""
        self._watchers.append(tell)

    def find(self, symbol: str) -> Shown | None:
        """The newest of a symbol."""
        return self._shown.get(symbol)

    def show(self, quote: Quote, epoch: int, sequence: int) -> None:
        """A newer one; whoever calls this has seen to it that it is."""
        shown = Shown(quote, epoch, sequence)
        self._shown[quote.symbol] = shown
        self._shown.move_to_end(quote.symbol)
        self.count += 1
        if len(self._shown) > MOST_SHOWN:
            self._shown.popitem(last=False)
        for tell in self._watchers:
            tell(shown)

    def confirm(self, symbol: str, confirmed_us: int) -> None:
        """The newest of a symbol is still the newest; nobody is told, for nothing has changed."""
        shown = self._shown.get(symbol)
        if shown is not None and confirmed_us > shown.quote.confirmed_us:
            quote = replace(shown.quote, confirmed_us=confirmed_us)
            self._shown[symbol] = Shown(quote, shown.epoch, shown.sequence)

    def symbols(self) -> list[str]:
        """All that something is known of, the one shown longest ago first."""
        return list(self._shown)

    def forget(self, symbol: str) -> None:
        """It is not followed any more, so what is known of it grows old."""
        self._shown.pop(symbol, None)

    def clear(self) -> None:
        """Nothing that is known is the newest any more."""
        self._shown.clear()
