"""Tradier's words for an order as ours: status, side, type, duration, symbol (tradier.md, sections 3, 6.1, 6.6, 7)."""

from collections.abc import Mapping
from typing import Any

import structlog

from paiid.domain.instruments import is_option
from paiid.domain.occ import find_contract
from paiid.domain.orders import OrderStatus, OrderType, PositionIntent, Side, TimeInForce
from paiid.wires.tradier.lists import absent
from paiid.wires.values import decimal_of, text_of, word_of

_log = structlog.get_logger("paiid.tradier")
TERMINAL_WORDS: Mapping[str, OrderStatus] = {
    "filled": OrderStatus.FILLED,
    "expired": OrderStatus.EXPIRED,
    "canceled": OrderStatus.CANCELED,
    "cancelled": OrderStatus.CANCELED,
    "rejected": OrderStatus.REJECTED,
    "error": OrderStatus.REJECTED,
}
_WORKING_WORDS = frozenset(
    {
        "pending", "open", "partially_filled", "submitted", "accepted_for_bidding", "calculated", "held",
        "pending_cancel", "ok",
    }
)  # fmt: skip
_SIDES: Mapping[str, tuple[Side, PositionIntent]] = {
    "buy": ("buy", "buy_to_open"),
    "buy_to_open": ("buy", "buy_to_open"),
    "buy_to_cover": ("buy", "buy_to_close"),
    "buy_to_close": ("buy", "buy_to_close"),
    "sell": ("sell", "sell_to_close"),
    "sell_to_close": ("sell", "sell_to_close"),
    "sell_short": ("sell", "sell_to_open"),
    "sell_to_open": ("sell", "sell_to_open"),
}
_TYPES: Mapping[str, OrderType] = {
    "market": "market",
    "limit": "limit",
    "stop": "stop",
    "stop_limit": "stop_limit",
}
_NET_TYPES = frozenset({"debit", "credit", "even"})
"""Types of a spread, which its legs show too: they have no price of their own."""
_DURATIONS: Mapping[str, tuple[TimeInForce, bool]] = {
    "day": ("day", False),
    "gtc": ("gtc", False),
    "pre": ("day", True),
    "post": ("day", True),
}


def told(data: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that tells something."""
    return next((value for name in names if not absent(value := data.get(name))), None)


def status_word(data: Mapping[str, Any]) -> str:
    """The status as Tradier writes it, "" where there is none; an unknown one is logged."""
    word = _keyword(data.get("status"))
    if word and word not in TERMINAL_WORDS and word not in _WORKING_WORDS:
        _log.error("unknown_order_status", status=word, order=text_of(data.get("id")))
    return word


def side_of(value: object) -> tuple[Side, PositionIntent] | None:
    """Buy or sell, and what it does to the position."""
    return _SIDES.get(_keyword(value))


def type_of(data: Mapping[str, Any]) -> OrderType:
    """The type; of one that we do not know the prices tell."""
    word = _keyword(data.get("type"))
    if word in _TYPES:
        return _TYPES[word]
    if word and word not in _NET_TYPES:
        _log.error("unknown_order_type", type=word, order=text_of(data.get("id")))
    stop, limit = (bool(decimal_of(told(data, *names))) for names in (("stop_price", "stop"), ("price",)))
    if stop:
        return "stop_limit" if limit else "stop"
    return "limit" if limit else "market"


def duration_of(value: object) -> tuple[TimeInForce, bool]:
    """Time in force, and whether it trades outside the regular session. An unknown one is read as gtc: nothing may be taken
    to end by itself that might not."""
    word = _keyword(value)
    if word not in _DURATIONS:
        _log.error("unknown_time_in_force", time_in_force=word)
    return _DURATIONS.get(word, ("gtc", False))


def symbol_of(data: Mapping[str, Any]) -> str | None:
    """Our symbol of what is traded: an option's OCC symbol, else the ticker, whose class stands behind a dot."""
    return canonical_symbol(told(data, "option_symbol", "symbol"))


def canonical_symbol(value: object) -> str | None:
    """`BRK/B` is our `BRK.B`; an OCC symbol has no blanks. None where there is none."""
    text = text_of(value)
    if text is None or absent(text):
        return None
    symbol = text.upper()
    contract = find_contract(symbol) if is_option(symbol) else None
    return symbol.replace("/", ".") if contract is None else contract.symbol


def _keyword(value: object) -> str:
    return "" if absent(value) else word_of(value).replace(" ", "_")
