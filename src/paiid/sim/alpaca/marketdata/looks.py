"""When a quote is from: the market's own instant, or the moment it was seen to change within one."""

from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote

__all__ = ["FAKE", "Look", "Looks", "fake_look"]

_MOST = 20_000
"""Symbols that are remembered; the one first seen longest ago goes first."""
FAKE = "FAKEPACA"
_FAKE_TICK_US = 500_000
_FAKE_CENTS = 13_450


class _Quotes(Protocol):
    def newest(self, symbol: str) -> Quote | None: ...


@dataclass(frozen=True, slots=True)
class Look:
    """A quote and the instant that clients are told."""

    quote: Quote
    at_us: int


class Looks:
    """What the market shows. A pin or a flash changes a quote between two ticks; a client that goes by `t` must see that as
    newer, so it gets the moment at which it was first seen."""

    def __init__(self, market: _Quotes, clock: Clock) -> None:
        self._market = market
        self._clock = clock
        self._seen: OrderedDict[str, Look] = OrderedDict()

    def look(self, symbol: str) -> Look | None:
        """What orders meet now; None where the market knows no such symbol."""
        quote = self._market.newest(symbol)
        if quote is None:
            return None
        before = self._seen.get(symbol)
        if before is not None and before.quote.sequence == quote.sequence:
            return before
        at_us = quote.as_of_us
        if before is not None and at_us <= before.at_us:
            at_us = max(before.at_us + 1, self._clock.now_us())
        look = self._seen[symbol] = Look(quote, at_us)
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        return look


def fake_look(at_us: int) -> Look:
    """The quote of FAKEPACA, which the `test` feed has round the clock and nobody can trade."""
    tick = at_us // _FAKE_TICK_US
    bid = Decimal(_FAKE_CENTS + tick * 7919 % 100).scaleb(-2)
    ask = bid + Decimal("0.02")
    size = Decimal(100)
    quote = Quote(
        FAKE, bid, ask, size, size, ask if tick % 2 else bid, bid, tick * _FAKE_TICK_US, tick, "simulated"
    )
    return Look(quote, quote.as_of_us)
