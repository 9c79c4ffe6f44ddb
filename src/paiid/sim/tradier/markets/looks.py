"""When a quote is from: the market's own instant, or the moment it was seen to change within one."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote

__all__ = ["Look", "Looks", "Quotes"]

_MOST = 20_000
"""Symbols that are remembered; the one first seen longest ago goes first."""


class Quotes(Protocol):
    """What shows quotes: the market, or the market of 15 minutes ago."""

    def newest(self, symbol: str) -> Quote | None:
        """The quote that is shown; None for a symbol it does not know."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """A quote and the instant that clients are told."""

    quote: Quote
    at_us: int

    @property
    def at_ms(self) -> int:
        """In Tradier's unit."""
        return self.at_us // 1000


class Looks:
    """What clients are shown. A pin or a flash changes a quote between two ticks of the market; a client that goes by its date must
    see that as newer, so it gets the moment at which it was first seen: at least a millisecond later, as dates are no finer."""

    def __init__(self, quotes: Quotes, clock: Clock) -> None:
        self._quotes = quotes
        self._clock = clock
        self._seen: OrderedDict[str, Look] = OrderedDict()

    def look(self, symbol: str) -> Look | None:
        """What is shown now; None where the market knows no such symbol."""
        quote = self._quotes.newest(symbol)
        if quote is None:
            return None
        before = self._seen.get(symbol)
        if before is not None and before.quote.sequence == quote.sequence:
            return before
        at_us = quote.as_of_us
        if before is not None and at_us // 1000 <= before.at_ms:
            at_us = max(before.at_us + 1000, self._clock.now_us())
        look = self._seen[symbol] = Look(quote, at_us)
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        return look
