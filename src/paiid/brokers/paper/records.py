"""What the venue keeps of an order and tells of it: rows, views, and the events of its stream."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from paiid.brokers import BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.domain.money import (
    money_from_int,
    money_to_int,
    qty_from_int,
    qty_to_int,
    round_money,
)
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from paiid.domain.paper import Step, Working


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """An order in the venue's books. `accepted_seq` and `event_seq` number its first and latest event."""

    id: str
    account_number: str
    client_order_id: str
    working: Working
    reserve_price: Decimal
    filled_value: Decimal
    status: OrderStatus
    reason: str | None
    triggered_at_us: int | None
    version: int
    accepted_seq: int
    event_seq: int
    submitted_at_us: int
    updated_at_us: int

    @property
    def is_over(self) -> bool:
        """Nothing can happen to it any more."""
        return self.status in TERMINAL_STATUSES

    def view(self) -> BrokerOrderView:
        """What the venue tells about it."""
        order = self.working
        average = round_money(self.filled_value / order.filled_qty) if order.filled_qty else None
        return BrokerOrderView(
            account_number=self.account_number,
            broker_order_id=self.id,
            client_order_id=self.client_order_id,
            symbol=order.symbol,
            side=order.side,
            qty=order.qty,
            type=order.type,
            time_in_force=order.time_in_force,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            status=self.status,
            filled_qty=order.filled_qty,
            filled_avg_price=average,
            submitted_at_us=self.submitted_at_us,
            updated_at_us=self.updated_at_us,
            reason=self.reason,
        )


def stepped(order: PaperOrder, step: Step, now_us: int) -> PaperOrder:
    """The order after a step; its event number is still the old one."""
    filled = order.working.filled_qty + step.qty
    status = step.ends or (OrderStatus.PARTIALLY_FILLED if filled > 0 else OrderStatus.NEW)
    return replace(
        order,
        working=replace(order.working, filled_qty=filled, triggered=order.working.triggered or step.triggers),
        filled_value=order.filled_value + round_money(step.qty * step.price),
        status=status,
        reason=step.reason or order.reason,
        triggered_at_us=now_us if step.triggers else order.triggered_at_us,
        version=order.version + 1,
        updated_at_us=now_us,
    )


def order_from_row(row: Any) -> PaperOrder:
    """A row of `paper_orders`."""
    limit_price, stop_price = row["limit_price"], row["stop_price"]
    return PaperOrder(
        id=row["id"],
        account_number=row["account_number"],
        client_order_id=row["client_order_id"],
        working=Working(
            symbol=row["symbol"],
            side=row["side"],
            type=row["type"],
            time_in_force=row["time_in_force"],
            qty=qty_from_int(row["qty"]),
            limit_price=None if limit_price is None else money_from_int(limit_price),
            stop_price=None if stop_price is None else money_from_int(stop_price),
            live_at_us=row["live_at"],
            expires_at_us=row["expires_at"],
            filled_qty=qty_from_int(row["filled_qty"]),
            triggered=row["triggered_at"] is not None,
        ),
        reserve_price=money_from_int(row["reserve_price"]),
        filled_value=money_from_int(row["filled_value"]),
        status=OrderStatus(row["status"]),
        reason=row["reason"],
        triggered_at_us=row["triggered_at"],
        version=row["version"],
        accepted_seq=row["accepted_seq"],
        event_seq=row["event_seq"],
        submitted_at_us=row["submitted_at"],
        updated_at_us=row["updated_at"],
    )


def row_of_order(order: PaperOrder) -> dict[str, Any]:
    """The row of a new order."""
    working = order.working
    return {
        "id": order.id,
        "account_number": order.account_number,
        "client_order_id": order.client_order_id,
        "client_key": client_key(order.account_number, order.client_order_id),
        "symbol": working.symbol,
        "side": working.side,
        "type": working.type,
        "time_in_force": working.time_in_force,
        "qty": qty_to_int(working.qty),
        "limit_price": None if working.limit_price is None else money_to_int(working.limit_price),
        "stop_price": None if working.stop_price is None else money_to_int(working.stop_price),
        "reserve_price": money_to_int(order.reserve_price),
        "live_at": working.live_at_us,
        "expires_at": working.expires_at_us,
        "accepted_seq": order.accepted_seq,
        "submitted_at": order.submitted_at_us,
        **changes_of_order(order),
    }


def changes_of_order(order: PaperOrder) -> dict[str, Any]:
    """The columns that change during an order's life."""
    return {
        "triggered_at": order.triggered_at_us,
        "filled_qty": qty_to_int(order.working.filled_qty),
        "filled_value": money_to_int(order.filled_value),
        "status": order.status.value,
        "reason": order.reason,
        "working": 0 if order.is_over else 1,
        "version": order.version,
        "event_seq": order.event_seq,
        "updated_at": order.updated_at_us,
    }


def client_key(account_number: str, client_order_id: str) -> str:
    """Account and client order id in one text; account numbers hold no colon."""
    return f"{account_number}:{client_order_id}"


def execution_from_row(row: Any) -> BrokerExecution:
    """A row of `paper_executions`."""
    return BrokerExecution(
        account_number=row["account_number"],
        execution_id=row["id"],
        broker_order_id=row["order_id"],
        symbol=row["symbol"],
        side=row["side"],
        qty=qty_from_int(row["qty"]),
        price=money_from_int(row["price"]),
        fee=money_from_int(row["fee"]),
        executed_at_us=row["executed_at"],
    )


def row_of_execution(execution: BrokerExecution, quote_sequence: int) -> dict[str, Any]:
    """The row of a new execution."""
    return {
        "id": execution.execution_id,
        "order_id": execution.broker_order_id,
        "account_number": execution.account_number,
        "symbol": execution.symbol,
        "side": execution.side,
        "qty": qty_to_int(execution.qty),
        "price": money_to_int(execution.price),
        "fee": money_to_int(execution.fee),
        "quote_sequence": quote_sequence,
        "executed_at": execution.executed_at_us,
    }


class _Event(msgspec.Struct, frozen=True):
    order: BrokerOrderView
    execution: BrokerExecution | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Event)


def row_of_event(order: PaperOrder, execution: BrokerExecution | None) -> dict[str, Any]:
    """The row that tells of an order's latest change."""
    return {
        "seq": order.event_seq,
        "order_id": order.id,
        "execution_id": None if execution is None else execution.execution_id,
        "data": _ENCODER.encode(_Event(order.view(), execution)).decode(),
        "at": order.updated_at_us,
    }


def update_from_row(row: Any) -> BrokerUpdate:
    """A row of `paper_events`."""
    event = _DECODER.decode(row["data"])
    return BrokerUpdate(row["seq"], event.order, event.execution)
