"""The words of an answer: orders and intents as the caller sees them, and the final bytes of a key.

A final answer is built from rows alone, in the transaction that makes it final (contract E5), so that every
replay is byte for byte the first answer.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from paiid.core.instants import instant
from paiid.domain.money import MONEY_SCALE, QTY_SCALE, money_from_int, plain, qty_from_int
from paiid.domain.occ import find_contract
from paiid.domain.orders import Reason, Submission
from paiid.trading.records import AccountRow, ExecutionRow, IntentRow, OrderRow, PositionRow

HALT_CODE = "trading_halted"
_MONEY_UNITS: int = 10**MONEY_SCALE
_QTY_UNITS: int = 10**QTY_SCALE


def money(scaled: int | None) -> Decimal | None:
    """Stored money or price as an exact number, None stays None."""
    if scaled is None:
        return None
    whole, rest = divmod(scaled, _MONEY_UNITS)
    return plain(money_from_int(scaled)) if rest else Decimal(whole)


def quantity(scaled: int) -> Decimal:
    """Stored quantity as an exact number."""
    whole, rest = divmod(scaled, _QTY_UNITS)
    return plain(qty_from_int(scaled)) if rest else Decimal(whole)


def reason_text(reason: Reason) -> str:
    """A reason as stored in an order's row."""
    value: dict[str, Any] = {"code": reason.code, "message": reason.message}
    if reason.field is not None:
        value["field"] = reason.field
    if reason.measured is not None:
        value["measured"] = _plain_text(reason.measured)
    if reason.limit is not None:
        value["limit"] = _plain_text(reason.limit)
    return json.dumps(value, separators=(",", ":"))


def _plain_text(value: Decimal | str) -> str:
    return str(plain(value)) if isinstance(value, Decimal) else value


def order_view(order: OrderRow) -> dict[str, Any]:
    """An order as every route and event shows it."""
    return {
        "id": order.id,
        "account": order.account_id,
        "intent_id": order.intent_id,
        "origin": order.origin,
        "state": order.state.value,
        "status": order.status.value if order.status is not None else None,
        "client_order_id": order.client_order_id,
        "broker_order_id": order.broker_order_id,
        "order_class": order.order_class,
        "group_role": order.group_role,
        "parent_id": order.parent_id,
        "symbol": order.symbol,
        "asset_class": order.asset_class,
        **_contract(order),
        "side": order.side,
        "position_intent": order.position_intent,
        "ratio_qty": order.ratio_qty,
        "type": order.type,
        "time_in_force": order.time_in_force,
        "extended_hours": bool(order.extended_hours),
        "qty": None if order.notional is not None else quantity(order.qty),
        "notional": money(order.notional),
        "limit_price": money(order.limit_price),
        "stop_price": money(order.stop_price),
        "trail_price": money(order.trail_price),
        "trail_percent": money(order.trail_percent),
        "hwm": money(order.hwm),
        "filled_qty": quantity(order.filled_qty),
        "filled_avg_price": money(order.filled_avg_price),
        "fees": money(order.fees),
        "reason": msgspec.Raw(order.reason.encode()) if order.reason is not None else None,
        "pending": pending(order),
        "cancel_state": order.cancel_state,
        "replace_state": order.replace_state,
        "replaces": order.replaces,
        "replaced_by": order.replaced_by,
        "version": order.version,
        "created_at": instant(order.created_at),
        "updated_at": instant(order.updated_at),
        "submitted_at": instant(order.submitted_at),
    }


def _contract(order: OrderRow) -> dict[str, Any]:
    """What an option order is about; nothing for a stock."""
    if order.asset_class != "option":
        return {}
    contract = find_contract(order.symbol)
    if contract is None:
        return {"underlying": order.symbol}
    return {
        "underlying": contract.underlying,
        "option_type": contract.option_type,
        "strike_price": plain(contract.strike),
        "expiration_date": contract.expiration.isoformat(),
    }


def pending(order: OrderRow) -> str | None:
    """What is under way and not told yet: PENDING_NEW, PENDING_REPLACE or PENDING_CANCEL."""
    if order.state in (Submission.QUEUED, Submission.DISPATCHING, Submission.UNKNOWN):
        return "PENDING_NEW"
    if not order.works:
        return None
    if order.cancel_state in ("REQUESTED", "UNKNOWN", "ACCEPTED"):
        return "PENDING_CANCEL"
    return "PENDING_REPLACE" if order.replace_state in ("REQUESTED", "UNKNOWN") else None


def nested_view(order: OrderRow, children: Sequence[OrderRow]) -> dict[str, Any]:
    """An order with the exits or legs that hang on it."""
    return {**order_view(order), "legs": [order_view(child) for child in children]}


def execution_view(execution: ExecutionRow) -> dict[str, Any]:
    """A print as `GET /api/trading/fills` shows it."""
    return {
        "id": execution.id,
        "order_id": execution.order_id,
        "execution_id": execution.execution_id,
        "kind": execution.kind,
        "corrects": execution.corrects,
        "symbol": execution.symbol,
        "side": execution.side,
        "qty": quantity(execution.qty),
        "price": money(execution.price),
        "fee": money(execution.fee),
        "time": instant(execution.executed_at),
    }


def position_event(position: PositionRow) -> dict[str, object]:
    """A position as its event shows it."""
    return {
        "account": position.account_id,
        "symbol": position.symbol,
        "qty": quantity(position.qty),
        "cost_basis": money(position.cost_basis),
        "realized_pl": money(position.realized_pl),
        "version": position.version,
    }


def is_sent(order: OrderRow) -> bool:
    """Whether the order goes to the broker by itself: what hangs on another does not, unless it replaces such a one."""
    return order.parent_id is None or order.replaces is not None


def sent_orders(rows: Sequence[OrderRow]) -> list[OrderRow]:
    """Of all rows of an intent those that are sent, by position."""
    mine = [order for order in rows if is_sent(order)]
    return sorted(mine, key=lambda order: order.position)


def intent_status(orders: Sequence[OrderRow]) -> str:
    """'in_flight', 'unknown' or 'final', by the states of its orders (contract E14)."""
    states = {order.state for order in sent_orders(orders)}
    if states & {Submission.QUEUED, Submission.DISPATCHING}:
        return "in_flight"
    return "unknown" if Submission.UNKNOWN in states else "final"


def answer(intent: IntentRow, account: AccountRow, rows: Sequence[OrderRow]) -> dict[str, Any]:
    """The body of an execute: what was asked for, and what became of each order. `rows` has what hangs on the orders
    as well."""
    orders = sent_orders(rows)
    hung: dict[str, list[OrderRow]] = {}
    for row in sorted(rows, key=lambda row: row.client_order_id):
        if row.parent_id is not None and row.replaces is None:
            hung.setdefault(row.parent_id, []).append(row)
    return {
        "accepted": all(order.state is Submission.ACCEPTED for order in orders),
        "dryRun": False,
        "mode": account.mode,
        "account": account.id,
        "intent_id": intent.id,
        "orders": [nested_view(order, hung.get(order.id, [])) for order in orders],
    }


def intent_view(intent: IntentRow, account: AccountRow, orders: Sequence[OrderRow]) -> dict[str, Any]:
    """An intent as it is now, for a client in doubt."""
    return {
        **answer(intent, account, orders),
        "key": intent.key,
        "kind": intent.kind,
        "status": intent_status(orders),
        "corrected": bool(intent.corrected),
        "claimed_at": instant(intent.claimed_at),
        "final_at": instant(intent.final_at),
    }


def final_status(orders: Sequence[OrderRow]) -> int:
    """200, or 423 when a halt stopped the first order (contract E5)."""
    first = sent_orders(orders)[0]
    if first.state is Submission.REFUSED and first.reason is not None:
        return 423 if json.loads(first.reason)["code"] == HALT_CODE else 200
    return 200
