"""A replace at a broker that changes an order where it stands: the broker's id moves to the new row (ADR 0024).

The old row keeps the id with a suffix (`228175~1`, its successor's would be `228175~2`), and what it had booked is its
own for ever. What the broker counts for the id is from then on the new row's, less what all before it have booked: a
view is brought to that where it enters the merge, so that everything behind it knows of nothing. Sums over the chain
are always the broker's.

The new order has no id of its own at the broker: whether it is there, the terms tell, for only one change of an order
can be under way. It is for orders that stand alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from paiid.brokers import BrokerOrderView, BrokerReplace
from paiid.domain.money import money_from_int, qty_from_int, qty_to_int
from paiid.domain.orders import TERMINAL_STATUSES, CancelState, OrderStatus, ReplaceState, Submission
from paiid.trading.book import Book
from paiid.trading.in_place_store import load_predecessors
from paiid.trading.order_rows import from_money
from paiid.trading.records import OrderRow

Shown = Literal["new", "old", "other"]
"""Whose terms the broker shows."""

_MARK = "~"
_PRICES = ("limit_price", "stop_price", "trail_price", "trail_percent")
_IN_DOUBT = frozenset({Submission.DISPATCHING, Submission.UNKNOWN})


async def load_chains(book: Book) -> None:
    """Load what came before the replacements in the book, as far as it was in place; after `Book.load_replaced`."""
    wanted: set[str] = set()
    for order in book.orders.values():
        old = book.orders.get(order.replaces or "")
        if old is None or old.replaces is None or old.replaces in book.orders:
            continue
        if order.broker_order_id is None or has_passed_on(old):
            wanted.add(old.id)
    if wanted:
        for one in await load_predecessors(book.tx, sorted(wanted)):
            book.register(one)


def has_passed_on(order: OrderRow) -> bool:
    """Whether the broker's id it had is another row's now."""
    return order.broker_order_id is not None and _MARK in order.broker_order_id


def is_changing(order: OrderRow, view: BrokerOrderView) -> bool:
    """Whether the view may show what a change that is under way has made of the order."""
    mine = order.state is Submission.ACCEPTED and order.broker_order_id == view.broker_order_id
    return mine and order.replaced_by is not None


def passed_to(old: OrderRow, new: OrderRow) -> bool:
    """Whether the new row has its broker's id from the old one."""
    named = new.broker_order_id
    return named is not None and (old.broker_order_id or "").startswith(f"{named}{_MARK}")


def predecessors(orders: Mapping[str, OrderRow], order: OrderRow) -> list[OrderRow]:
    """The rows that had the order's id before it, the youngest first, as far as they are among these (by id)."""
    found: list[OrderRow] = []
    at = order
    while (old := orders.get(at.replaces or "")) is not None and passed_to(old, order):
        found.append(old)
        at = old
    return found


# -- whose terms -----------------------------------------------------------------------------------------


def shown_terms(new: OrderRow, old: OrderRow, view: BrokerOrderView) -> Shown:
    """Whose terms the broker shows, by those in which the two differ."""
    changed = _changed(new, old)
    if all(getattr(view, name) == one for name, (_, one) in changed.items()):
        return "new"
    return "old" if all(getattr(view, name) == one for name, (one, _) in changed.items()) else "other"


def odd_term(new: OrderRow, old: OrderRow, view: BrokerOrderView) -> str | None:
    """The first changed term that is not as wished."""
    changed = _changed(new, old).items()
    return next((name for name, (_, one) in changed if getattr(view, name) != one), None)


def shows(view: BrokerOrderView, change: BrokerReplace) -> bool:
    """Whether the order is as the change wanted it."""
    wanted = {name: getattr(change, name) for name in (*_PRICES, "time_in_force")}
    return all(one is None or getattr(view, name) == one for name, one in wanted.items())


def _changed(new: OrderRow, old: OrderRow) -> dict[str, tuple[object, object]]:
    """Term -> its old and its new value, of those that differ."""
    before, after = _terms(old), _terms(new)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _terms(order: OrderRow) -> dict[str, Decimal | str | None]:
    terms: dict[str, Decimal | str | None] = {name: from_money(getattr(order, name)) for name in _PRICES}
    if order.type == "trailing_stop":
        # Where the stop of a trailing order stands follows from the market.
        terms["stop_price"] = None
    return terms | {"time_in_force": order.time_in_force}


def told_order(book: Book, order: OrderRow, view: BrokerOrderView) -> OrderRow:
    """Which row a told view means: the one that is to take the order's place, if it shows that one's terms.

    A word from before an earlier change may show the same terms again, and then proves nothing: the look-up decides.
    """
    new = book.orders.get(order.replaced_by or "")
    if new is None or order.broker_order_id != view.broker_order_id:
        return order
    if not (new.state in _IN_DOUBT or awaits_id(new)) or shown_terms(new, order, view) != "new":
        return order
    if awaits_id(new):
        return new
    changed = _changed(new, order)
    again = any(
        all(_terms(one)[name] == wished for name, (_, wished) in changed.items())
        for one in predecessors(book.orders, order)
    )
    return order if again or not changed else new


def awaits_id(order: OrderRow) -> bool:
    """Whether the owner has said of a replacement in doubt that it is placed, and the broker's id is still to come."""
    return order.state is Submission.ACCEPTED and order.replaces is not None and order.broker_order_id is None


# -- handing over ----------------------------------------------------------------------------------------


def holder(book: Book, order: OrderRow, view: BrokerOrderView) -> OrderRow | None:
    """The row that still has the broker's id which the view gives to the order; None where none is to be handed over."""
    old = book.orders.get(order.replaces or "")
    mine = order.broker_order_id == view.broker_order_id
    return None if old is None or mine or old.broker_order_id != view.broker_order_id else old


def has_ended(order: OrderRow) -> bool:
    """Whether there is nothing left of it to hand over."""
    return order.status in TERMINAL_STATUSES


def hand_over(book: Book, old: OrderRow, new: OrderRow, source: str) -> None:
    """The old row ends as `REPLACED` with what it has booked; its id is free for the new one."""
    number = len(predecessors(book.orders, old)) + 1
    new.broker_order_id, old.broker_order_id = old.broker_order_id, f"{old.broker_order_id}{_MARK}{number}"
    old.status = old.broker_status = OrderStatus.REPLACED
    # What was told beyond it, and not booked yet, is the new row's.
    old.broker_filled_qty = old.filled_qty
    old.replace_state, old.replaced_by = ReplaceState.ACCEPTED.value, new.id
    if old.cancel_state is not None:
        if old.cancel_state != CancelState.REFUSED:
            # It was the order at the broker that was to go, and that is the new row's now.
            new.cancel_state, new.cancel_requested_at = old.cancel_state, old.cancel_requested_at
        old.cancel_state = CancelState.REFUSED.value
    book.release_id(old)
    book.change(old, source)


def own_view(orders: Mapping[str, OrderRow], order: OrderRow, view: BrokerOrderView) -> BrokerOrderView:
    """Of what the broker counts for the order's id what is the order's own: quantity, filled quantity, average."""
    before = predecessors(orders, order)
    if not before or view.broker_order_id != order.broker_order_id:
        return view
    qty = sum(one.filled_qty for one in before)
    filled = max(0, qty_to_int(view.filled_qty) - qty)
    average: Decimal | None = None
    if filled and view.filled_avg_price is not None:
        value = money_from_int(sum(one.filled_value for one in before))
        average = (view.filled_avg_price * view.filled_qty - value) / qty_from_int(filled)
    nothing_yet = filled == 0 and view.status is OrderStatus.PARTIALLY_FILLED
    return replace(
        view,
        qty=None if view.qty is None else max(view.qty - qty_from_int(qty), Decimal(0)),
        filled_qty=qty_from_int(filled),
        filled_avg_price=average,
        status=OrderStatus.NEW if nothing_yet else view.status,
    )
