"""What ties orders together at the fake broker: exits that wait for an entry, exits that end each other, spreads."""

from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerOrder, BrokerOrderView
from paiid.domain.orders import TERMINAL_STATUSES, GroupRole, OrderStatus, Side

Change = tuple[str, OrderStatus, str | None]
"""An order's id, what becomes of it, and why."""


def opposite(side: Side) -> Side:
    """The other side."""
    return "sell" if side == "buy" else "buy"


def children_of(order: BrokerOrder, parent: BrokerOrderView) -> list[BrokerOrderView]:
    """The orders that hang on this one, still with their parent's broker id."""
    blank = replace(
        parent,
        parent_broker_order_id=parent.broker_order_id,
        limit_price=None,
        stop_price=None,
        trail_price=None,
        trail_percent=None,
        position_intent=None,
    )
    found: list[BrokerOrderView] = []
    if order.order_class == "mleg":
        for at, leg in enumerate(order.legs, 1):
            found.append(
                replace(
                    blank,
                    client_order_id=f"{order.client_order_id}.leg{at}",
                    symbol=leg.symbol,
                    side=leg.side,
                    qty=leg.ratio_qty * (order.qty or Decimal(0)),
                    group_role="leg",
                    ratio_qty=leg.ratio_qty,
                    position_intent=leg.position_intent,
                )
            )
        return found
    waits = order.order_class != "oco"
    exit_ = replace(
        blank,
        side=opposite(order.side) if waits else order.side,
        status=OrderStatus.HELD if waits else OrderStatus.NEW,
    )
    if order.take_profit is not None and waits:
        price = order.take_profit.limit_price
        found.append(_exit(exit_, order, "take_profit", type="limit", limit_price=price))
    if order.stop_loss is not None:
        loss = order.stop_loss
        found.append(
            _exit(
                exit_,
                order,
                "stop_loss",
                type=loss.type,
                stop_price=loss.stop_price,
                limit_price=loss.limit_price,
                trail_price=loss.trail_price,
                trail_percent=loss.trail_percent,
            )
        )
    return found


def _exit(blank: BrokerOrderView, order: BrokerOrder, role: GroupRole, **fields: object) -> BrokerOrderView:
    suffix = "tp" if role == "take_profit" else "sl"
    return replace(
        blank,
        client_order_id=f"{order.client_order_id}.{suffix}",
        group_role=role,
        **fields,  # type: ignore[arg-type]
    )


def role_of(order: BrokerOrder) -> GroupRole | None:
    """What the parent is within its class."""
    if order.order_class == "oco":
        return "take_profit"
    return "entry" if order.order_class in ("bracket", "oto") else None


def legs_in(orders: dict[str, BrokerOrderView], parent: BrokerOrderView) -> tuple[BrokerOrderView, ...]:
    """What hangs on an order now, the take profit first."""
    found = [
        one
        for one in orders.values()
        if one.parent_broker_order_id == parent.broker_order_id and one.status is not OrderStatus.REPLACED
    ]
    return tuple(sorted(found, key=lambda one: one.group_role == "stop_loss"))


def group_of(orders: dict[str, BrokerOrderView], member: BrokerOrderView) -> list[BrokerOrderView]:
    """The other orders of its group that still work."""
    root = member.parent_broker_order_id or member.broker_order_id
    if member.order_class == "simple":
        return []
    return [
        one
        for one in orders.values()
        if root in (one.parent_broker_order_id, one.broker_order_id)
        and one.broker_order_id != member.broker_order_id
        and one.status not in TERMINAL_STATUSES
    ]


def in_place_of(
    old: BrokerOrderView, client_order_id: str, left: Decimal, **given: object
) -> BrokerOrderView:
    """The order that takes this one's place."""
    return replace(
        old,
        client_order_id=client_order_id,
        qty=left,
        filled_qty=Decimal(0),
        filled_avg_price=None,
        status=OrderStatus.HELD if old.status is OrderStatus.HELD else OrderStatus.NEW,
        replaces=old.broker_order_id,
        **given,  # type: ignore[arg-type]
    )


def after(
    orders: dict[str, BrokerOrderView], changed: BrokerOrderView, filled: Decimal
) -> list[BrokerOrderView]:
    """How the others of the group are once `filled` of this one has executed or it has ended."""
    if changed.order_class == "simple" or changed.status is OrderStatus.REPLACED:
        return []
    others = group_of(orders, changed)
    over = changed.status in TERMINAL_STATUSES
    if changed.order_class == "mleg":
        return [replace(one, status=changed.status, reason=changed.reason) for one in others] if over else []
    if changed.group_role == "entry":
        if changed.status is OrderStatus.FILLED:
            return [replace(one, status=OrderStatus.NEW) for one in others]
        ended = replace(changed, reason="entry_ended")
        return [_ended(one, ended) for one in others] if over else []
    if over:
        done = changed.status is OrderStatus.FILLED
        ended = replace(changed, reason="other_exit_filled" if done else "canceled_with_group")
        return [_ended(one, ended) for one in others]
    return [replace(one, qty=(one.qty or Decimal(0)) - filled) for one in others if filled > 0]


def _ended(one: BrokerOrderView, why: BrokerOrderView) -> BrokerOrderView:
    return replace(one, status=OrderStatus.CANCELED, reason=why.reason)
