"""What the venue keeps of an order and tells of it: rows, views, and the events of its stream."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from paiid.brokers import BrokerActivity, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.domain.money import (
    ZERO,
    money_from_int,
    money_to_int,
    qty_from_int,
    qty_to_int,
    round_money,
)
from paiid.domain.orders import TERMINAL_STATUSES, GroupRole, OrderClass, OrderStatus, PositionIntent
from paiid.domain.paper import Step, Working, applied
from paiid.domain.paper_groups import counts


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
    order_class: OrderClass = "simple"
    group_role: GroupRole | None = None
    parent_id: str | None = None
    position_intent: PositionIntent | None = None
    ratio_qty: int | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    fees: Decimal = ZERO

    @property
    def is_over(self) -> bool:
        """Nothing can happen to it any more."""
        return self.status in TERMINAL_STATUSES

    @property
    def root_id(self) -> str:
        """The order at the head of its group: its parent, or itself."""
        return self.parent_id or self.id

    @property
    def is_parent(self) -> bool:
        """Whether other orders may hang on it."""
        return self.order_class != "simple" and self.parent_id is None

    @property
    def counts(self) -> bool:
        """Whether what is left of it counts in its holding's open quantities, once it is open."""
        return counts(self.order_class, self.group_role, self.status)

    def view(self, legs: "Sequence[PaperOrder]" = ()) -> BrokerOrderView:
        """What the venue tells about it; `legs` are the orders that hang on it."""
        order = self.working
        average = round_money(self.filled_value / order.filled_qty) if order.filled_qty else None
        return BrokerOrderView(
            account_number=self.account_number,
            broker_order_id=self.id,
            client_order_id=self.client_order_id,
            symbol=order.symbol,
            side=order.side,
            qty=None if order.notional is not None else order.qty,
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
            notional=order.notional,
            trail_price=order.trail_price,
            trail_percent=order.trail_percent,
            hwm=order.hwm,
            extended_hours=order.extended_hours,
            order_class=self.order_class,
            group_role=self.group_role,
            parent_broker_order_id=self.parent_id,
            legs=tuple(leg.view() for leg in legs),
            ratio_qty=self.ratio_qty,
            position_intent=self.position_intent,
            replaces=self.replaces,
            replaced_by=self.replaced_by,
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as it was accepted, with the orders that hang on it."""

    order: PaperOrder
    legs: tuple[PaperOrder, ...] = ()

    def view(self) -> BrokerOrderView:
        """What the venue tells about it."""
        return self.order.view(self.legs)


def stepped(order: PaperOrder, step: Step, now_us: int, fee: Decimal = ZERO) -> PaperOrder:
    """The order after a step that cost `fee`; its event number is still the old one."""
    working = applied(order.working, step, order.reserve_price)
    status = step.ends or (OrderStatus.PARTIALLY_FILLED if working.filled_qty > 0 else OrderStatus.NEW)
    return replace(
        order,
        working=working,
        filled_value=working.filled_value,
        fees=order.fees + fee,
        status=status,
        reason=step.reason or order.reason,
        triggered_at_us=now_us if step.triggers else order.triggered_at_us,
        version=order.version + 1,
        updated_at_us=now_us,
    )


def order_from_row(row: Any) -> PaperOrder:
    """A row of `paper_orders`."""
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
            limit_price=_money_or_none(row["limit_price"]),
            stop_price=_money_or_none(row["stop_price"]),
            live_at_us=row["live_at"],
            expires_at_us=row["expires_at"],
            filled_qty=qty_from_int(row["filled_qty"]),
            triggered=row["triggered_at"] is not None,
            notional=_money_or_none(row["notional"]),
            trail_price=_money_or_none(row["trail_price"]),
            trail_percent=_money_or_none(row["trail_percent"]),
            hwm=_money_or_none(row["hwm"]),
            extended_hours=bool(row["extended_hours"]),
            filled_value=money_from_int(row["filled_value"]),
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
        order_class=row["order_class"],
        group_role=row["group_role"],
        parent_id=row["parent_id"],
        position_intent=row["position_intent"],
        ratio_qty=row["ratio_qty"],
        replaces=row["replaces"],
        replaced_by=row["replaced_by"],
        fees=money_from_int(row["fees"]),
    )


def _money_or_none(stored: int | None) -> Decimal | None:
    return None if stored is None else money_from_int(stored)


def _stored_or_none(value: Decimal | None) -> int | None:
    return None if value is None else money_to_int(value)


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
        "limit_price": _stored_or_none(working.limit_price),
        "accepted_seq": order.accepted_seq,
        "submitted_at": order.submitted_at_us,
        "notional": _stored_or_none(working.notional),
        "trail_price": _stored_or_none(working.trail_price),
        "trail_percent": _stored_or_none(working.trail_percent),
        "extended_hours": int(working.extended_hours),
        "order_class": order.order_class,
        "group_role": order.group_role,
        "position_intent": order.position_intent,
        "ratio_qty": order.ratio_qty,
        "replaces": order.replaces,
        **changes_of_order(order),
    }


def changes_of_order(order: PaperOrder) -> dict[str, Any]:
    """The columns that change during an order's life."""
    working = order.working
    return {
        "qty": qty_to_int(working.qty),
        "stop_price": _stored_or_none(working.stop_price),
        "hwm": _stored_or_none(working.hwm),
        "reserve_price": money_to_int(order.reserve_price),
        "live_at": working.live_at_us,
        "expires_at": working.expires_at_us,
        "parent_id": order.parent_id,
        "replaced_by": order.replaced_by,
        "fees": money_to_int(order.fees),
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
    order: BrokerOrderView | None
    execution: BrokerExecution | None = None
    activity: BrokerActivity | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Event)


def row_of_event(
    order: PaperOrder, execution: BrokerExecution | None, legs: Sequence[PaperOrder] = ()
) -> dict[str, Any]:
    """The row that tells of an order's latest change."""
    return {
        "seq": order.event_seq,
        "order_id": order.id,
        "execution_id": None if execution is None else execution.execution_id,
        "data": _ENCODER.encode(_Event(order.view(legs), execution)).decode(),
        "at": order.updated_at_us,
    }


def row_of_activity(activity: BrokerActivity) -> dict[str, Any]:
    """The row of a new activity."""
    return {
        "id": activity.activity_id,
        "account_number": activity.account_number,
        "kind": activity.kind,
        "symbol": activity.symbol,
        "qty": qty_to_int(activity.qty),
        "price": money_to_int(activity.price),
        "cash": money_to_int(activity.cash),
        "description": activity.description,
        "at": activity.at_us,
    }


def activity_from_row(row: Any) -> BrokerActivity:
    """A row of `paper_activities`."""
    return BrokerActivity(
        account_number=row["account_number"],
        activity_id=row["id"],
        kind=row["kind"],
        symbol=row["symbol"],
        qty=qty_from_int(row["qty"]),
        price=money_from_int(row["price"]),
        cash=money_from_int(row["cash"]),
        at_us=row["at"],
        description=row["description"],
    )


def row_of_activity_event(seq: int, activity: BrokerActivity) -> dict[str, Any]:
    """The row that tells of an activity."""
    return {
        "seq": seq,
        "order_id": "",
        "execution_id": None,
        "data": _ENCODER.encode(_Event(None, None, activity)).decode(),
        "at": activity.at_us,
    }


def update_from_row(row: Any) -> BrokerUpdate:
    """A row of `paper_events`."""
    event = _DECODER.decode(row["data"])
    return BrokerUpdate(row["seq"], event.order, event.execution, event.activity)
