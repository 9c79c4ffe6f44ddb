"""Alpaca's order object as ours: fields that are missing, new or of another type never break a read (section 7)."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast, get_args

import structlog

from paiid.brokers import BrokerOrderView
from paiid.domain.instruments import underlying_of
from paiid.domain.money import ZERO
from paiid.domain.orders import (
    GroupRole,
    OrderClass,
    OrderStatus,
    OrderType,
    PositionIntent,
    Side,
    TimeInForce,
)
from paiid.wires.values import (
    decimal_of,
    fields_of,
    flag_of,
    instant_of,
    message_of,
    money_of,
    qty_of,
    rows_of,
    text_of,
    word_of,
)

_log = structlog.get_logger("paiid.alpaca")
_TERMINAL = {
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "cancelled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
    "replaced": OrderStatus.REPLACED,
    "rejected": OrderStatus.REJECTED,
}
_WORKING = frozenset(
    {
        "new", "partially_filled", "pending_new", "accepted", "pending_cancel", "pending_replace",
        "accepted_for_bidding", "stopped", "suspended", "calculated", "pending_review", "done_for_day",
    }
)  # fmt: skip
_CLASSES = frozenset({"bracket", "oto", "oco", "mleg"})
_MAX_LEGS = 16
_MAX_RATIO = 10_000


def read_order(data: object, account_number: str) -> BrokerOrderView | None:
    """An order with what hangs on it; None (and a line in the log) where it cannot be used at all: no id, no symbol,
    no side.

    A leg that cannot be used is left out; `is_whole` tells. An exit or leg that is told alone has no
    `parent_broker_order_id` here: only a nested view knows it.
    """
    view = _read(fields_of(data), account_number, None)
    if view is None:
        _log.error("alpaca_order_unusable", account=account_number, order=text_of(fields_of(data).get("id")))
    return view


def is_whole(data: object, view: BrokerOrderView) -> bool:
    """Whether every leg that was told could be read."""
    return len(rows_of(fields_of(data).get("legs"))) == len(view.legs)


def has_children(view: BrokerOrderView) -> bool:
    """Whether orders hang on it, or it hangs on another: only a nested view tells which."""
    return view.order_class != "simple"


def _read(
    data: Mapping[str, Any], account_number: str, parent: BrokerOrderView | None
) -> BrokerOrderView | None:
    order_id = text_of(data.get("id"))
    if order_id is None:
        return None
    order_class = _class_of(data, parent)
    legs = rows_of(data.get("legs"))[:_MAX_LEGS] if parent is None else []
    symbol, side = text_of(data.get("symbol")), _side_of(data)
    if order_class == "mleg" and symbol is None and parent is None:
        # A spread has neither symbol nor side of its own (section 7): ours are its underlying, and "buy".
        named = next((found for leg in legs if (found := text_of(fields_of(leg).get("symbol")))), None)
        symbol, side = (None if named is None else underlying_of(named.upper())), "buy"
    if symbol is None or side is None:
        return None
    time_in_force = _time_in_force_of(data, parent)
    qty = qty_of(data.get("qty"))
    filled_qty = _filled_qty_of(data, qty)
    role = _role_of(data, order_class, parent)
    is_exit = order_class in ("bracket", "oto") and role in ("take_profit", "stop_loss")
    submitted = _first_instant(data, "submitted_at", "created_at", "updated_at")
    view = BrokerOrderView(
        account_number=account_number,
        broker_order_id=order_id,
        client_order_id=text_of(data.get("client_order_id")),
        symbol=symbol.upper(),
        side=side,
        qty=qty,
        type=_type_of(data, parent),
        time_in_force=time_in_force,
        limit_price=money_of(data.get("limit_price")),
        stop_price=money_of(data.get("stop_price")),
        status=_status_of(data, order_id, time_in_force, filled_qty, is_exit=is_exit),
        filled_qty=filled_qty,
        filled_avg_price=money_of(data.get("filled_avg_price")),
        submitted_at_us=submitted,
        updated_at_us=_first_instant(data, "updated_at") or submitted,
        reason=_reason_of(data),
        notional=money_of(data.get("notional")),
        trail_price=money_of(data.get("trail_price")),
        trail_percent=money_of(data.get("trail_percent")),
        hwm=money_of(data.get("hwm")),
        extended_hours=flag_of(data.get("extended_hours")) or False,
        order_class=order_class,
        group_role=role,
        parent_broker_order_id=None if parent is None else parent.broker_order_id,
        ratio_qty=_ratio_of(data),
        position_intent=_intent_of(data),
        replaces=text_of(data.get("replaces")),
        replaced_by=text_of(data.get("replaced_by")),
    )
    if not legs:
        return view
    read = (_read(fields_of(leg), account_number, view) for leg in legs)
    return _with_legs(view, tuple(leg for leg in read if leg is not None), len(legs))


def _with_legs(view: BrokerOrderView, legs: tuple[BrokerOrderView, ...], told: int) -> BrokerOrderView:
    if len(legs) < told:
        _log.error("alpaca_leg_unusable", account=view.account_number, order=view.broker_order_id)
    return replace(view, legs=legs)


def _class_of(data: Mapping[str, Any], parent: BrokerOrderView | None) -> OrderClass:
    word = word_of(data.get("order_class"))
    if parent is not None:
        return parent.order_class
    if word in _CLASSES:
        return cast(OrderClass, word)
    if word not in ("", "simple"):
        _log.error("unknown_order_class", order_class=word)
    return "simple"


def _side_of(data: Mapping[str, Any]) -> Side | None:
    """Where it is missing, the position intent has it too; a short sale is a sale."""
    for name in ("side", "position_intent"):
        word = word_of(data.get(name)).partition("_")[0]
        if word in ("buy", "sell"):
            return cast(Side, word)
    return None


def side_of(value: object) -> Side | None:
    """A side that may be told as `sell_short`."""
    return _side_of({"side": value})


def _type_of(data: Mapping[str, Any], parent: BrokerOrderView | None) -> OrderType:
    """`order_type` is a copy of `type` (section 7). Without either, the prices tell."""
    for name in ("type", "order_type"):
        word = word_of(data.get(name))
        if word in get_args(OrderType):
            return cast(OrderType, word)
        if word:
            _log.error("unknown_order_type", type=word)
    if parent is not None and parent.order_class == "mleg":
        return parent.type
    if decimal_of(data.get("trail_price")) is not None or decimal_of(data.get("trail_percent")) is not None:
        return "trailing_stop"
    stops, limits = (decimal_of(data.get(name)) is not None for name in ("stop_price", "limit_price"))
    if stops:
        return "stop_limit" if limits else "stop"
    return "limit" if limits else "market"


def _time_in_force_of(data: Mapping[str, Any], parent: BrokerOrderView | None) -> TimeInForce:
    """An unknown one is read as gtc: nothing may be taken to end by itself that might not."""
    word = word_of(data.get("time_in_force"))
    if word in get_args(TimeInForce):
        return cast(TimeInForce, word)
    if parent is not None:
        return parent.time_in_force
    _log.error("unknown_time_in_force", time_in_force=word)
    return "gtc"


def _filled_qty_of(data: Mapping[str, Any], qty: Decimal | None) -> Decimal:
    told = qty_of(data.get("filled_qty"))
    if told is None and word_of(data.get("status")) == "filled":
        return abs(qty or ZERO)
    return max(told or ZERO, ZERO)


def _status_of(
    data: Mapping[str, Any], order_id: str, time_in_force: TimeInForce, filled_qty: Decimal, *, is_exit: bool
) -> OrderStatus:
    """Section 9. What we do not know is never taken for the end of an order, nor for the beginning of an exit: what is
    live is never held again, what is held may become anything."""
    word = word_of(data.get("status"))
    if word in _TERMINAL:
        return _TERMINAL[word]
    if word == "held":
        return OrderStatus.HELD
    if word == "done_for_day" and time_in_force == "day":
        return OrderStatus.EXPIRED
    if word not in _WORKING:
        _log.error("unknown_order_status", status=word, order=order_id)
        if is_exit and filled_qty == 0:
            return OrderStatus.HELD
    return OrderStatus.PARTIALLY_FILLED if filled_qty > 0 else OrderStatus.NEW


def _role_of(
    data: Mapping[str, Any], order_class: OrderClass, parent: BrokerOrderView | None
) -> GroupRole | None:
    """From the field, which newer answers have, else from what the order is (section 6.1)."""
    if order_class == "simple":
        return None
    if order_class == "mleg":
        alone = parent is None and text_of(data.get("symbol")) is not None
        return "leg" if parent is not None or alone else None
    told = word_of(data.get("group_role"))
    if told in ("entry", "take_profit", "stop_loss"):
        return cast(GroupRole, told)
    if parent is not None:
        return "take_profit" if _type_of(data, parent) == "limit" else "stop_loss"
    if order_class == "oco":
        return "take_profit" if _type_of(data, None) == "limit" else "stop_loss"
    return "entry" if rows_of(data.get("legs")) else None


def _ratio_of(data: Mapping[str, Any]) -> int | None:
    ratio = decimal_of(data.get("ratio_qty"))
    if ratio is None or not 1 <= ratio <= _MAX_RATIO or ratio != ratio.to_integral_value():
        return None
    return int(ratio)


def _intent_of(data: Mapping[str, Any]) -> PositionIntent | None:
    word = word_of(data.get("position_intent"))
    return cast(PositionIntent, word) if word in get_args(PositionIntent) else None


def _reason_of(data: Mapping[str, Any]) -> str | None:
    if word_of(data.get("status")) != "rejected":
        return None
    return message_of(data.get("reject_reason")) or message_of(data.get("reason")) or None


def _first_instant(data: Mapping[str, Any], *names: str) -> int:
    return next((at for name in names if (at := instant_of(data.get(name))) is not None), 0)
