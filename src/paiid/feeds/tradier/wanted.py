"""Which symbols are followed, and which of them should be on the stream."""

import asyncio
from collections.abc import Sequence

from paiid.feeds.tradier.symbols import is_asked_for


class Wanted:
    """At most `most` symbols, the first come first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.symbols: tuple[str, ...] = ()
        self.all: frozenset[str] = frozenset()
        self.refused: set[str] = set()
        """Symbols that the stream does not take; asked for in other ways until there is another connection."""
        self.stream_wake = asyncio.Event()
        self.ask_wake = asyncio.Event()

    def set(self, symbols: Sequence[str]) -> None:
        """From now on these."""
        first = list(dict.fromkeys(symbols))[: self.most]
        self.symbols = tuple(symbol for symbol in first if is_asked_for(symbol))
        self.all = frozenset(self.symbols)
        self.wake()

    def refuse(self, symbol: str) -> None:
        """The stream does not take it."""
        self.refused.add(symbol)
        self.wake()

    def wake(self) -> None:
        """Something is to be looked at anew."""
        self.stream_wake.set()
        self.ask_wake.set()

    def streamed(self) -> list[str]:
        """Those that should be on the stream."""
        return [symbol for symbol in self.symbols if symbol not in self.refused]
