"""What a broker's update speaks of: whose it is, which of our orders, or one that is not ours (contract E18)."""

from collections.abc import Mapping
from math import inf

from paiid.brokers import BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.clock import new_id
from paiid.domain.instruments import is_option
from paiid.domain.money import money_to_int, qty_to_int
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading.book import Book
from paiid.trading.order_rows import blank_order, money_or_none
from paiid.trading.records import AccountRow, OrderRow

_EXITS = ("take_profit", "stop_loss")


def account_number(update: BrokerUpdate) -> str:
    """Whose update it is."""
    if update.order is not None:
        return update.order.account_number
    return "" if update.activity is None else update.activity.account_number


def named_ids(view: BrokerOrderView) -> list[str]:
    """The broker's ids of the order and of those it speaks of."""
    legs = (leg.broker_order_id for leg in view.legs)
    others = (view.parent_broker_order_id, view.replaces, view.replaced_by, *legs)
    return [view.broker_order_id, *(one for one in others if one is not None)]


def hangs(view: BrokerOrderView) -> bool:
    """Whether it is an exit or leg, as far as is told: by its role alone where it is told without what it hangs on."""
    if view.parent_broker_order_id is not None:
        return True
    exits = ("take_profit", "stop_loss") if view.order_class in ("bracket", "oto") else ("stop_loss",)
    return view.group_role == "leg" or (view.order_class != "simple" and view.group_role in exits)


def hung_on(book: Book, parent: OrderRow, view: BrokerOrderView) -> OrderRow | None:
    """The exit or leg of ours that this is, where the broker had not told its id yet."""
    for child in book.children_of(parent.id):
        same_leg = child.group_role == "leg" and child.symbol == view.symbol
        if child.broker_order_id is None and (same_leg or child.group_role == view.group_role != "leg"):
            return child
    return None


def hang(book: Book, order: OrderRow, parent: OrderRow) -> bool:
    """The order hangs on this one, or on the younger one that it is known to hang on: where an entry was replaced, its
    exits hang on the one that took its place. Whether anything changed."""
    known = book.orders.get(order.parent_id or "")
    if known is parent or (known is not None and _born(known) >= _born(parent)):
        return False
    order.parent_id = parent.id
    return True


def succeed(
    book: Book, order: OrderRow, view: BrokerOrderView, found: Mapping[tuple[str, str], OrderRow]
) -> list[OrderRow]:
    """Note which exit took which one's place, where that was not done here, and hang it where the old one hangs. The
    orders that this changed.

    An exit that took another's place may be told before what it hangs on, which was told last before the exit was made
    and so never names it: only the exit in whose place it came leads there.
    """
    touched = hang_successors(book, order)
    for old, new in (
        (found.get((order.account_id, view.replaces or "")), order),
        (order, found.get((order.account_id, view.replaced_by or ""))),
    ):
        if old is None or new is None or new.origin != "external" or old.group_role not in _EXITS:
            continue
        if old.replaced_by is None:
            old.replaced_by = new.id
            touched.append(old)
        touched += hang_successors(book, old)
    return touched


def hang_successors(book: Book, old: OrderRow) -> list[OrderRow]:
    """Hang the exits that took this one's place, one after the other, where it hangs, if they are not known to hang on a
    younger order: an entry may have been replaced since. Those that this changed."""
    moved: list[OrderRow] = []
    parent = book.orders.get(old.parent_id or "")
    while parent is not None:
        new = book.orders.get(old.replaced_by or "")
        if new is None or not hang(book, new, parent):
            break
        moved.append(new)
        old = new
    return moved


def _born(order: OrderRow) -> float:
    """When the broker took it; one that it has not answered yet is the youngest."""
    return inf if order.submitted_at is None else order.submitted_at


def describe(order: OrderRow, view: BrokerOrderView, execution: BrokerExecution | None) -> None:
    """What an order that is not ours is, as the broker tells it now: others may have replaced it. Without a price of
    its own it ties up what its dearest print cost."""
    if view.qty is None:
        order.qty = max(order.qty, qty_to_int(view.filled_qty))
    elif view.group_role is None or order.qty == 0:
        # What becomes of an exit's size and of a trail, `merge.learn` knows better: a late word must not bring it back.
        order.qty = qty_to_int(view.qty)
    order.type = view.type
    order.time_in_force = view.time_in_force
    order.limit_price = money_or_none(view.limit_price)
    if view.type != "trailing_stop" or order.stop_price is None:
        order.stop_price = money_or_none(view.stop_price)
    order.trail_price = money_or_none(view.trail_price)
    order.trail_percent = money_or_none(view.trail_percent)
    order.order_class = view.order_class
    order.group_role = view.group_role
    order.position_intent = view.position_intent
    order.ratio_qty = view.ratio_qty
    own = order.limit_price or order.stop_price
    paid = 0 if execution is None else money_to_int(execution.price)
    order.reserve_price = max(order.reserve_price, paid) if own is None else own


def external_order(
    book: Book,
    account: AccountRow,
    view: BrokerOrderView,
    execution: BrokerExecution | None,
    parent: OrderRow | None = None,
    name: str | None = None,
) -> OrderRow:
    """An order at the broker that is not ours, taken into the ledger (contract E18). `name`: the client's id of it, where no
    other order has the same."""
    order = blank_order(
        book.now_us,
        id=new_id(book.clock, "ord"),
        account_id=account.id,
        origin="external",
        client_order_id=name or f"ext-{view.broker_order_id}",
        broker_order_id=view.broker_order_id,
        state=Submission.ACCEPTED,
        status=OrderStatus.NEW,
        symbol=view.symbol,
        asset_class="option" if is_option(view.symbol) or view.order_class == "mleg" else "stock",
        side=view.side,
        type=view.type,
        time_in_force=view.time_in_force,
        qty=0,
        notional=money_or_none(view.notional),
        extended_hours=int(view.extended_hours),
        parent_id=None if parent is None else parent.id,
        submitted_at=view.submitted_at_us,
    )
    describe(order, view, execution)
    book.add_order(order)
    return order
