"""What is listed: by a search in names, by the beginning of a symbol, and what is easy to borrow (tradier.md, sections 8.5 and 8.9)."""

from collections.abc import Iterable
from typing import Any

from paiid.domain.instruments import Instrument
from paiid.sim.tradier.markets.asked import Asked, flag_of, invalid, text_of, texts_of
from paiid.sim.tradier.markets.names import exchange_of, security_type, wire_symbol
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.shapes import Rows, Told

__all__ = ["easy_to_borrow", "lookup", "search"]

_TYPES = ("stock", "option", "etf", "index", "mutual_fund")


async def easy_to_borrow(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/etb`."""
    return _told(one for one in side.market.instruments() if one.shortable)


async def search(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/search?q=`: whatever has the text in its symbol or name. The market has no indexes to add."""
    text = text_of(asked, "q").lower()
    flag_of(asked, "indexes")
    shares = side.market.instruments()
    begins = [one for one in shares if wire_symbol(one.symbol).lower().startswith(text)]
    named = [one for one in shares if text in one.name.lower() and one not in begins]
    return _told([*begins, *named])


async def lookup(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/lookup`: symbols that begin so, at these exchanges and of these types."""
    text = asked.get("q", "").strip().upper()
    exchanges, types = texts_of(asked, "exchanges"), texts_of(asked, "types")
    if any(one not in _TYPES for one in types):
        raise invalid("types")
    return _told(
        one
        for one in side.market.instruments()
        if wire_symbol(one.symbol).startswith(text)
        and (not exchanges or exchange_of(one.symbol) in exchanges)
        and (not types or security_type(one.symbol) in types)
    )


def _told(found: Iterable[Instrument]) -> Told:
    return Told({"securities": Rows("security", [_security(one) for one in found])})


def _security(one: Instrument) -> dict[str, Any]:
    return {
        "symbol": wire_symbol(one.symbol),
        "exchange": exchange_of(one.symbol),
        "type": security_type(one.symbol),
        "description": one.name,
    }
