"""Replacing an order: a new order that takes an old one's place at the broker, under an id of its own (contract E0).

The new order is sent like any other, once, by the broker's own replace. Until its outcome is known both count; what
becomes of the wish is kept on the old order as `replace_state`. If the broker says no, the old order goes on.
"""

from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerReplace
from paiid.domain.capabilities import Capabilities
from paiid.domain.errors import not_found
from paiid.domain.money import qty_from_int
from paiid.domain.orders import OrderRequest, Reason, ReplaceState, Submission
from paiid.trading.book import Book
from paiid.trading.commands import ReplaceRequest, Replacing
from paiid.trading.if_match import require_version
from paiid.trading.order_rows import from_money, request_of
from paiid.trading.records import AccountRow, OrderRow

_PRICES: dict[str, frozenset[str]] = {
    "market": frozenset(),
    "limit": frozenset({"limit_price"}),
    "stop": frozenset({"stop_price"}),
    "stop_limit": frozenset({"limit_price", "stop_price"}),
    "trailing_stop": frozenset({"trail_price", "trail_percent"}),
}
_CHANGEABLE = ("limit_price", "stop_price", "trail_price", "trail_percent")
_UNDER_WAY = frozenset({ReplaceState.REQUESTED.value, ReplaceState.UNKNOWN.value})


def order_to_replace(book: Book, asked: ReplaceRequest, account: AccountRow) -> OrderRow:
    """The order that is to go, under its account's lock.

    Raises Problem: 404 where there is none in this account, 412 where it is not the version the caller has seen.
    """
    order = book.orders.get(asked.order_id)
    if order is None or order.account_id != account.id:
        raise not_found("order")
    require_version(asked.version, order.version, "order")
    return order


def why_not_replaceable(order: OrderRow, asked: ReplaceRequest | None, can: Capabilities) -> Reason | None:
    """Why this order cannot be replaced, or not in this way; None where it can."""
    if order.state is not Submission.ACCEPTED or order.broker_order_id is None:
        return Reason(
            "not_replaceable",
            f"The order is {order.state.value}: the broker does not have it.",
            order.state.value,
            field="status",
        )
    if not order.works:
        status = order.status.value if order.status is not None else order.state.value
        return Reason("not_replaceable", f"The order is {status} already.", status, field="status")
    if order.replace_state in _UNDER_WAY:
        return Reason("replace_in_progress", "The order is being replaced already.", order.replace_state)
    if order.cancel_state is not None and order.cancel_state != "REFUSED":
        return Reason("cancel_in_progress", "The order is being canceled already.", order.cancel_state)
    if order.group_role == "leg":
        return Reason("not_replaceable", "A leg is not replaced by itself; replace the spread.", order.id)
    if order.order_class not in can.replaceable or (can.replaces_in_place and order.order_class != "simple"):
        return Reason(
            "replace_not_supported",
            f"This broker cannot replace an order of the class {order.order_class}; cancel it and place another.",
            order.order_class,
            ", ".join(sorted(can.replaceable)),
            "order_class",
        )
    if order.notional is not None:
        return Reason("replace_not_supported", "An order by amount cannot be replaced.", field="notional")
    return None if asked is None else _odd_change(order, asked, can)


def _odd_change(order: OrderRow, asked: ReplaceRequest, can: Capabilities) -> Reason | None:
    allowed = _PRICES[order.type]
    for name in _CHANGEABLE:
        value: Decimal | None = getattr(asked, name)
        if value is not None and name not in allowed:
            return Reason("not_of_this_type", f"A {order.type} order has no {name}.", value, field=name)
    if asked.limit_price is not None and asked.limit_price <= 0 and order.order_class != "mleg":
        return Reason(
            "not_positive", "limit_price must be greater than 0.", asked.limit_price, field="limit_price"
        )
    qty = qty_from_int(order.qty)
    if asked.qty is not None and asked.qty != qty and not can.replaces_qty:
        words = "This broker cannot change the quantity of an order; cancel it and place another."
        return Reason("replace_not_supported", can.notes.get("replace_qty") or words, asked.qty, qty, "qty")
    if can.replaces_in_place and _changes_nothing(order, asked):
        return Reason("nothing_to_change", "The order is like that already.")
    filled = qty_from_int(order.filled_qty)
    if asked.qty is not None and asked.qty <= filled:
        return Reason(
            "qty_filled", "So much of the order has filled already; cancel it.", asked.qty, filled, "qty"
        )
    fractional = qty % 1 != 0
    if asked.qty is not None and fractional:
        return Reason(
            "replace_not_supported",
            "The quantity of a fractional order cannot change.",
            asked.qty,
            field="qty",
        )
    return None


def _changes_nothing(order: OrderRow, asked: ReplaceRequest) -> bool:
    """Whether the order would be as it is: where it changes in place, its terms must tell whether it has (ADR 0024)."""
    prices = all(getattr(asked, one) in (None, from_money(getattr(order, one))) for one in _CHANGEABLE)
    return prices and asked.time_in_force in (None, order.time_in_force)


def changed_request(book: Book, order: OrderRow, asked: ReplaceRequest | None) -> OrderRequest:
    """What the order is to become: `qty` is what would be left to do. `asked` None: the order as it is."""
    request = request_of(order, book.children_of(order.id))
    if asked is None:
        return request
    changes = {name: value for name in _CHANGEABLE if (value := getattr(asked, name)) is not None}
    if asked.trail_price is not None:
        changes.setdefault("trail_percent", None)
    if asked.trail_percent is not None:
        changes.setdefault("trail_price", None)
    total = asked.qty if asked.qty is not None else qty_from_int(order.qty)
    left = max(Decimal(0), total - qty_from_int(order.filled_qty))
    if request.notional is None:
        changes["qty"] = left
    return replace(request, **changes, time_in_force=asked.time_in_force or request.time_in_force)


def begin_replace(book: Book, old: OrderRow, new: OrderRow) -> None:
    """The new order is the old one's successor in everything it belongs to; where it is refused the old stays."""
    new.replaces = old.id
    new.parent_id = old.parent_id
    new.order_class, new.group_role = old.order_class, old.group_role
    if new.state is Submission.DISPATCHING:
        old.replaced_by = new.id
        old.replace_state = ReplaceState.REQUESTED.value
        book.change(old, "ledger")


def replacing_of(book: Book, new: OrderRow, asked: ReplaceRequest) -> Replacing:
    """What goes to the broker: only what changes, and the new total."""
    old = book.orders[new.replaces or ""]
    assert old.broker_order_id is not None
    return Replacing(
        old.broker_order_id,
        BrokerReplace(
            client_order_id=new.client_order_id,
            # As it was is no change, and some brokers cannot be told it.
            qty=None if asked.qty == qty_from_int(old.qty) else asked.qty,
            limit_price=asked.limit_price,
            stop_price=asked.stop_price,
            trail_price=asked.trail_price,
            trail_percent=asked.trail_percent,
            time_in_force=asked.time_in_force,
        ),
    )
