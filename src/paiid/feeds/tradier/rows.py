"""One row of `quotes` or of an option chain as it is told (tradier.md, sections 8.1 and 8.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paiid.domain.instruments import is_option
from paiid.feeds.tradier.symbols import from_wire
from paiid.feeds.tradier.values import millis_us, price_of, size_of
from paiid.wires.values import fields_of

ROUND_LOT = Decimal(100)
"""Sizes of everything but options are told in hundreds of shares (sections 8.1 and 11). That the stream counts so too is not
confirmed; its example has the numbers that REST has."""
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Sides:
    """Bid and ask with sizes in shares or contracts, as of the newer of their two dates; 0 is none."""

    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    at_us: int


@dataclass(frozen=True, slots=True)
class Row:
    """What one row says. `close` is of the session that is over, None while one is on; `prev_close` of the one before it (or, once
    Tradier has turned to the next day, of the last one). `fields` is the row itself."""

    symbol: str
    sides: Sides | None
    last: Decimal | None
    last_us: int
    close: Decimal | None
    prev_close: Decimal | None
    fields: Mapping[str, Any]


def read_row(row: object) -> Row | None:
    """None where it names no symbol that is known here."""
    told = fields_of(row)
    symbol = from_wire(told.get("symbol"))
    if symbol is None:
        return None
    last, last_us = price_of(told.get("last")), millis_us(told.get("trade_date"))
    return Row(
        symbol,
        read_sides(told, symbol, "bid_date", "ask_date", "bidsize", "asksize"),
        last if last and last_us else None,
        last_us if last and last_us else 0,
        price_of(told.get("close")) or None,
        price_of(told.get("prevclose")) or None,
        told,
    )


def read_sides(
    told: Mapping[str, Any], symbol: str, bid_date: str, ask_date: str, bid_size: str, ask_size: str
) -> Sides | None:
    """None where neither side is there, or nobody says of when they are: an instant is not made up."""
    bid, ask = price_of(told.get("bid")), price_of(told.get("ask"))
    at_us = max(millis_us(told.get(bid_date)) or 0, millis_us(told.get(ask_date)) or 0)
    if not at_us or (not bid and not ask):
        return None
    return Sides(
        bid or _ZERO,
        _shares(told.get(bid_size), symbol) if bid else _ZERO,
        ask or _ZERO,
        _shares(told.get(ask_size), symbol) if ask else _ZERO,
        at_us,
    )


def _shares(value: object, symbol: str) -> Decimal:
    size = size_of(value) or _ZERO
    return size if is_option(symbol) else size * ROUND_LOT
