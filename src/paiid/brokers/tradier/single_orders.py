"""One order object of Tradier's by itself: a plain order, or a leg of a group (tradier.md, section 6.6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerOrderView
from paiid.brokers.tradier.order_words import (
    TERMINAL_WORDS,
    duration_of,
    side_of,
    status_word,
    symbol_of,
    told,
    type_of,
)
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from paiid.wires.tradier.lists import absent
from paiid.wires.values import instant_of, message_of, money_of, qty_of, text_of

__all__ = ["Reading", "as_working", "read_single", "reason_of", "tag_of"]


@dataclass(frozen=True, slots=True)
class Reading:
    """An order with what hangs on it, as one answer told it.

    `unpriced` are the broker's ids of those whose fill is told without its price or its end: their view says that they work
    with nothing filled, which what was known before may better. `aliases` are other ids under which the order itself may
    be asked for. `whole` is false where a leg could not be read.
    """

    view: BrokerOrderView
    unpriced: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    whole: bool = True


def read_single(data: Mapping[str, Any], account_number: str) -> Reading | None:
    """A view without legs; None where there is no id, no symbol or no side. `client_order_id` is the tag. Raises nothing."""
    order_id, symbol, side = text_of(data.get("id")), symbol_of(data), side_of(data.get("side"))
    if order_id is None or absent(order_id) or symbol is None or side is None:
        return None
    word = status_word(data)
    qty = qty_of(told(data, "quantity"))
    filled_qty, average, settled = _fill_of(data, word, qty)
    type_ = type_of(data)
    time_in_force, extended = duration_of(data.get("duration"))
    created = instant_of(data.get("create_date")) or 0
    status = TERMINAL_WORDS.get(word) if settled else None
    view = BrokerOrderView(
        account_number=account_number,
        broker_order_id=order_id,
        client_order_id=tag_of(data),
        symbol=symbol,
        side=side[0],
        qty=None if qty is None else abs(qty),
        type=type_,
        time_in_force=time_in_force,
        # A price that the type does not have is told as 0, or as what it once was.
        limit_price=_price_of(data, "price") if type_ in ("limit", "stop_limit") else None,
        stop_price=_price_of(data, "stop_price", "stop") if type_ in ("stop", "stop_limit") else None,
        status=status or as_working(filled_qty),
        filled_qty=filled_qty,
        filled_avg_price=average,
        submitted_at_us=created,
        updated_at_us=instant_of(data.get("transaction_date")) or created,
        reason=reason_of(data) if status not in (None, OrderStatus.FILLED) else None,
        extended_hours=extended,
        position_intent=side[1],
        last_fill=_last_fill_of(data) if filled_qty else None,
    )
    return Reading(view, frozenset() if settled else frozenset({order_id}))


def as_working(filled_qty: Decimal) -> OrderStatus:
    """The status of an order that has not ended."""
    return OrderStatus.PARTIALLY_FILLED if filled_qty > 0 else OrderStatus.NEW


def tag_of(data: Mapping[str, Any]) -> str | None:
    """What the order was given to be known by; told only where it was asked for (section 6.8)."""
    tag = text_of(told(data, "tag"))
    return tag or None


def reason_of(data: Mapping[str, Any]) -> str | None:
    """Why it ended, in the broker's words."""
    return message_of(told(data, "reason_description")) or None


def _fill_of(data: Mapping[str, Any], word: str, qty: Decimal | None) -> tuple[Decimal, Decimal | None, bool]:
    """What has filled, its average price, and whether this is all that there is to know: `filled` is visible before its
    numbers are (section 7), and a fill without a price is no fill yet (ADR 0023)."""
    filled = max(qty_of(told(data, "exec_quantity", "executed_quantity")) or ZERO, ZERO)
    if filled == ZERO:
        return ZERO, None, word != "filled"
    average = abs(money_of(told(data, "avg_fill_price")) or ZERO)
    last = _last_fill_of(data)
    if average == ZERO and last is not None and last[0] == filled:
        average = last[1]
    if average == ZERO:
        return ZERO, None, False
    return filled, average, word != "filled" or qty is None or filled >= abs(qty)


def _last_fill_of(data: Mapping[str, Any]) -> tuple[Decimal, Decimal] | None:
    qty = qty_of(told(data, "last_fill_quantity"))
    price = money_of(told(data, "last_fill_price"))
    return None if not qty or not price or qty < ZERO else (qty, abs(price))


def _price_of(data: Mapping[str, Any], *names: str) -> Decimal | None:
    price = money_of(told(data, *names))
    return price if price else None
