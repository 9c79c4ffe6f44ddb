"""An order between its three forms: what was asked, the ledger's rows, and what goes to the broker.

A bracket, oto, oco or spread is one row that is sent, and a row for each exit or leg that hangs on it.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerOrder
from paiid.domain.instruments import is_option
from paiid.domain.money import money_from_int, money_to_int, qty_from_int, qty_to_int
from paiid.domain.orders import (
    GroupRole,
    Leg,
    OrderClass,
    OrderRequest,
    OrderType,
    StopLoss,
    Submission,
    TakeProfit,
)
from paiid.trading.records import OrderRow

_ROLE_ENDINGS: dict[GroupRole, str] = {"take_profit": "tp", "stop_loss": "sl", "leg": "leg", "entry": ""}


def money_or_none(value: Decimal | None) -> int | None:
    """Dollars to stored millionths, None stays None."""
    return None if value is None else money_to_int(value)


def from_money(stored: int | None) -> Decimal | None:
    """Stored millionths to dollars, None stays None."""
    return None if stored is None else money_from_int(stored)


def blank_order(now_us: int, **known: Any) -> OrderRow:
    """A row of which only this much is known; the rest is as nothing has happened yet."""
    values: dict[str, Any] = {
        "user_id": None,
        "intent_id": None,
        "position": 0,
        "broker_order_id": None,
        "state": Submission.QUEUED,
        "status": None,
        "limit_price": None,
        "stop_price": None,
        "reference_price": None,
        "reserve_price": 0,
        "filled_qty": 0,
        "filled_value": 0,
        "filled_avg_price": None,
        "fees": 0,
        "broker_status": None,
        "broker_filled_qty": 0,
        "reason": None,
        "cancel_state": None,
        "cancel_requested_at": None,
        "open": 0,
        "dispatch_deadline_at": None,
        "unknown_at": None,
        "lookup_count": 0,
        "next_lookup_at": None,
        "watch_until": None,
        "version": 1,
        "created_at": now_us,
        "updated_at": now_us,
        "submitted_at": None,
    }
    return OrderRow(**{**values, **known})


def parent_fields(request: OrderRequest, qty: Decimal) -> dict[str, Any]:
    """What the row that is sent takes from the request; `qty` is the quantity it comes to."""
    grouped = request.order_class in ("bracket", "oto")
    role: GroupRole | None = "entry" if grouped else "take_profit" if request.order_class == "oco" else None
    return {
        "symbol": request.symbol,
        "asset_class": "option" if request.legs or is_option(request.symbol) else "stock",
        "side": request.side,
        "type": request.type,
        "time_in_force": request.time_in_force,
        "qty": qty_to_int(qty),
        "limit_price": money_or_none(request.limit_price),
        "stop_price": money_or_none(request.stop_price),
        "order_class": request.order_class,
        "group_role": role,
        "position_intent": request.position_intent,
        "notional": money_or_none(request.notional),
        "trail_price": money_or_none(request.trail_price),
        "trail_percent": money_or_none(request.trail_percent),
        "extended_hours": int(request.extended_hours),
    }


def child_fields(request: OrderRequest, qty: Decimal) -> list[dict[str, Any]]:
    """The rows that hang on the one that is sent: exits, or legs."""
    if request.order_class == "mleg":
        return [_leg_fields(request, leg, qty) for leg in request.legs]
    opposite = "sell" if request.side == "buy" else "buy"
    side = request.side if request.order_class == "oco" else opposite
    children: list[dict[str, Any]] = []
    if request.take_profit is not None:
        children.append(
            _exit_fields(request, side, qty, "take_profit", "limit")
            | {"limit_price": money_to_int(request.take_profit.limit_price)}
        )
    loss = request.stop_loss
    if loss is not None:
        children.append(
            _exit_fields(request, side, qty, "stop_loss", loss.type)
            | {
                "limit_price": money_or_none(loss.limit_price),
                "stop_price": money_or_none(loss.stop_price),
                "trail_price": money_or_none(loss.trail_price),
                "trail_percent": money_or_none(loss.trail_percent),
            }
        )
    return children


def _exit_fields(
    request: OrderRequest, side: str, qty: Decimal, role: GroupRole, order_type: OrderType
) -> dict[str, Any]:
    return {
        "symbol": request.symbol,
        "asset_class": "option" if is_option(request.symbol) else "stock",
        "side": side,
        "type": order_type,
        "time_in_force": request.time_in_force,
        "qty": qty_to_int(qty),
        "order_class": request.order_class,
        "group_role": role,
        "reserve_price": money_or_none(
            request.take_profit.limit_price if role == "take_profit" and request.take_profit else None
        )
        or 0,
    }


def _leg_fields(request: OrderRequest, leg: Leg, qty: Decimal) -> dict[str, Any]:
    return {
        "symbol": leg.symbol,
        "asset_class": "option",
        "side": leg.side,
        "type": request.type,
        "time_in_force": request.time_in_force,
        "qty": qty_to_int(qty * leg.ratio_qty),
        "order_class": request.order_class,
        "group_role": "leg",
        "position_intent": leg.position_intent,
        "ratio_qty": leg.ratio_qty,
    }


def child_client_id(parent: str, role: GroupRole, number: int) -> str:
    """The id of an exit, or of a leg (the first has the number 0), in our ledger; the venue makes the same of it."""
    return f"{parent}.{_ROLE_ENDINGS[role]}{number + 1 if role == 'leg' else ''}"


def request_of(order: OrderRow, children: Sequence[OrderRow]) -> OrderRequest:
    """A ledger order, with what hangs on it, as it was asked for and resolved.

    An exit is an order of its own here: what it belongs to is not part of what it does.
    """
    parent = order.parent_id is None
    profit = _child(children, "take_profit")
    loss = _child(children, "stop_loss")
    order_class: OrderClass = order.order_class if parent else "simple"
    notional = from_money(order.notional)
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        qty=None if notional is not None else qty_from_int(order.qty),
        limit_price=from_money(order.limit_price),
        stop_price=from_money(order.stop_price) if order.type != "trailing_stop" else None,
        notional=notional,
        trail_price=from_money(order.trail_price),
        trail_percent=from_money(order.trail_percent),
        extended_hours=bool(order.extended_hours),
        order_class=order_class,
        take_profit=None if profit is None else TakeProfit(from_money(profit.limit_price) or Decimal(0)),
        stop_loss=None if loss is None else _stop_loss(loss),
        legs=tuple(_leg(child) for child in children if child.group_role == "leg"),
        position_intent=order.position_intent,
    )


def _child(children: Sequence[OrderRow], role: GroupRole) -> OrderRow | None:
    return next((child for child in children if child.group_role == role), None)


def _stop_loss(row: OrderRow) -> StopLoss:
    trails = row.type == "trailing_stop"
    return StopLoss(
        None if trails else from_money(row.stop_price),
        from_money(row.limit_price),
        from_money(row.trail_price),
        from_money(row.trail_percent),
    )


def _leg(row: OrderRow) -> Leg:
    assert row.position_intent is not None
    return Leg(row.symbol, row.side, row.ratio_qty or 1, row.position_intent)


def as_broker_order(order: OrderRow, children: Sequence[OrderRow], account_number: str) -> BrokerOrder:
    """A ledger order, with what hangs on it, as it goes to the broker."""
    request = request_of(order, children)
    return BrokerOrder(
        account_number=account_number,
        client_order_id=order.client_order_id,
        symbol=request.symbol,
        side=request.side,
        qty=request.qty,
        type=request.type,
        time_in_force=request.time_in_force,
        limit_price=request.limit_price,
        stop_price=request.stop_price,
        notional=request.notional,
        trail_price=request.trail_price,
        trail_percent=request.trail_percent,
        extended_hours=request.extended_hours,
        order_class=request.order_class,
        take_profit=request.take_profit,
        stop_loss=request.stop_loss,
        legs=request.legs,
        position_intent=request.position_intent,
    )
