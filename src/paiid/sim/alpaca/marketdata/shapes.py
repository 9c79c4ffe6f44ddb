"""Quotes, trades and bars as Alpaca's objects, the same for REST and the stream.

The market knows neither exchanges nor conditions nor the size of a trade; those fields say the same always.
"""

from decimal import Decimal
from typing import Any

from paiid.domain.bars import Bar
from paiid.domain.instruments import is_option
from paiid.domain.quotes import Quote
from paiid.sim.alpaca.assets import exchange_of

__all__ = ["bar_body", "bar_tick_body", "quote_body", "trade_body"]

_NONE = " "
"""The exchange of a side that there is not."""
_STOCK_TRADE, _OPTION_TRADE = 100, 1


def quote_body(quote: Quote, at_us: int, feed: str) -> dict[str, Any]:
    """`latestQuote`, and what stands in a `q`. A side with a price of 0 is no side."""
    option = is_option(quote.symbol)
    code = _code(option, feed)
    body: dict[str, Any] = {
        "bx": code if quote.bid > 0 else _NONE,
        "bp": quote.bid,
        "bs": _size(quote.bid_size) if quote.bid > 0 else 0,
        "ax": code if quote.ask > 0 else _NONE,
        "ap": quote.ask,
        "as": _size(quote.ask_size) if quote.ask > 0 else 0,
        "c": "A" if option else ["R"],
        "t": at_us,
    }
    if not option:
        body["z"] = _tape(quote.symbol)
    return body


def trade_body(quote: Quote, at_us: int, feed: str) -> dict[str, Any] | None:
    """`latestTrade`, and what stands in a `t`; None where nothing has traded."""
    if quote.last <= 0:
        return None
    if is_option(quote.symbol):
        return {"t": at_us, "x": _code(True, feed), "p": quote.last, "s": _OPTION_TRADE, "c": "I"}
    return {
        "t": at_us,
        "x": _code(False, feed),
        "p": quote.last,
        "s": _STOCK_TRADE,
        "c": ["@"],
        "i": quote.sequence,
        "z": _tape(quote.symbol),
    }


def bar_body(bar: Bar) -> dict[str, Any]:
    """A bar of REST; what the market does not know of it is left out."""
    body = {
        "t": bar.start_us,
        "o": bar.open,
        "h": bar.high,
        "l": bar.low,
        "c": bar.close,
        "v": _size(bar.volume),
        "n": bar.trades,
        "vw": bar.vwap,
    }
    return {key: one for key, one in body.items() if one is not None}


def bar_tick_body(kind: str, symbol: str, bar: Bar) -> dict[str, Any]:
    """The message of a bar: `b` of a minute, `d` of the day so far."""
    return {"T": kind, "S": symbol, **bar_body(bar)}


def _code(option: bool, feed: str) -> str:
    if option:
        return "C"
    return "V" if feed == "iex" else "P"


def _tape(symbol: str) -> str:
    return "B" if exchange_of(symbol) == "ARCA" else "C"


def _size(size: Decimal) -> int | Decimal:
    whole = size.to_integral_value()
    return int(whole) if whole == size else size
