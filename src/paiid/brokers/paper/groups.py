"""Brackets, one-triggers-other, one-cancels-other: how a group is taken, and what a change of one does to the others.

Everything that one order's change does to the rest of its group happens in the same transaction, under the lock of its
account: there is no moment in which two exits could sell the same shares.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from paiid.brokers.paper.group_store import legs_of
from paiid.brokers.paper.records import PaperOrder, stepped
from paiid.brokers.paper.spreads import end_legs
from paiid.brokers.paper.store import Change
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderRequest, OrderStatus
from paiid.domain.paper import Hours, Moment, Step
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.domain.paper_checks import (
    capabilities_of,
    check_market,
    check_order,
    day_end_us,
    reserve_price,
    working_of,
)
from paiid.domain.paper_groups import (
    ENTRY_ENDED,
    EXITS,
    GROUP_CANCELED,
    OTHER_EXIT_FILLED,
    check_exit_qty,
    check_group,
    check_group_prices,
    exits_of,
    role_of_parent,
    suffixes,
)
from paiid.domain.quotes import Quote

_HELD_ALONE = capabilities_of(never_closes=True)
"""An exit is day or gtc: auctions do not matter."""


def check_exits(order: OrderRequest, quote: Quote | None, held: Holding, moment: Moment) -> None:
    """Whether the exits of an order can be taken with it, before anything is reserved. Raises PaperRefused."""
    check_group(order)
    market = None if quote is None else (quote.ask if order.side == "buy" else quote.bid)
    check_group_prices(order, market if order.type == "market" else None)
    for _, exit_order in exits_of(order):
        check_order(exit_order, _HELD_ALONE)
        if order.order_class == "oco":
            check_market(exit_order, quote, moment)
    if order.order_class == "oco":
        reserved = held.open_sell_qty if order.side == "sell" else held.open_buy_qty
        check_exit_qty(order.side, order.qty or ZERO, held.qty, reserved)


def with_exits(parent: PaperOrder, order: OrderRequest, ids: list[str], quote: Quote) -> list[PaperOrder]:
    """The parent in its role and the orders that hang on it: held until the entry has filled, live at once where there
    is no entry (oco)."""
    head = replace(parent, order_class=order.order_class, group_role=role_of_parent(order.order_class))
    waits, times = order.order_class != "oco", parent.working
    family = [head]
    counting_price = None if waits else head.reserve_price
    for order_id, suffix, (role, one) in zip(ids, suffixes(order), exits_of(order), strict=True):
        price = reserve_price(one, quote)
        if role == "take_profit":
            counting_price = price
        elif counting_price is not None:
            # Of two exits the take profit counts: a fill of the other takes from what that one has reserved.
            price = counting_price
        family.append(
            replace(
                head,
                id=order_id,
                client_order_id=parent.client_order_id + suffix,
                working=working_of(one, times.qty, times.live_at_us, None if waits else times.expires_at_us),
                reserve_price=price,
                status=OrderStatus.HELD if waits else OrderStatus.NEW,
                group_role=role,
                parent_id=parent.id,
                position_intent=None,
            )
        )
    return family


def follow(
    change: Change, orders: Mapping[str, PaperOrder], book: PaperAccount, hours: Hours, now_us: int
) -> list[Change]:
    """What else changes in the group of an order that has just changed. `orders` has the whole group as it is now;
    the caller puts the changes into it."""
    after = change.after
    if after.order_class == "simple" or after.status is OrderStatus.REPLACED:
        return []
    if after.order_class == "mleg":
        return end_legs(after, legs_of(after, orders.values()), book, now_us) if after.is_over else []
    filled = after.working.filled_qty - (change.before.working.filled_qty if change.before else ZERO)
    made: list[Change] = []
    for one in orders.values():
        if one.root_id != after.root_id or one.id == after.id or one.is_over:
            continue
        new = _beside(after, filled, one, book, hours, now_us)
        if new is not None:
            made.append(Change(one, new))
    return made


def _beside(
    changed: PaperOrder, filled: Decimal, one: PaperOrder, book: PaperAccount, hours: Hours, now_us: int
) -> PaperOrder | None:
    """How another order of the group is from now on; None where it stays as it is."""
    if changed.group_role in EXITS:
        if changed.status is OrderStatus.FILLED:
            return _ended(one, OrderStatus.CANCELED, OTHER_EXIT_FILLED, book, now_us)
        if changed.status is OrderStatus.EXPIRED:
            return _ended(one, OrderStatus.EXPIRED, changed.reason, book, now_us)
        if changed.is_over:
            return _ended(one, OrderStatus.CANCELED, GROUP_CANCELED, book, now_us)
        return _shrunk(one, filled, book, now_us) if filled > 0 else None
    if changed.status is OrderStatus.FILLED:
        return _live(one, book, hours, now_us)
    return _ended(one, OrderStatus.CANCELED, ENTRY_ENDED, book, now_us) if changed.is_over else None


def _ended(
    one: PaperOrder, status: OrderStatus, reason: str | None, book: PaperAccount, now_us: int
) -> PaperOrder:
    step = Step(ends=status, reason=reason)
    book.settle(one.working, step, one.reserve_price, counts=one.counts)
    return stepped(one, step, now_us)


def _shrunk(one: PaperOrder, by: Decimal, book: PaperAccount, now_us: int) -> PaperOrder:
    return resized(one, one.working.qty - by, book, now_us)


def resized(one: PaperOrder, qty: Decimal, book: PaperAccount, now_us: int) -> PaperOrder:
    """The order with another total quantity, and its reservation with it."""
    working = replace(one.working, qty=qty)
    if one.counts:
        book.put(working.symbol, working.side, one.working.left, working.left, one.reserve_price)
    return replace(one, working=working, version=one.version + 1, updated_at_us=now_us)


def _live(one: PaperOrder, book: PaperAccount, hours: Hours, now_us: int) -> PaperOrder:
    ends = day_end_us(one.working.time_in_force, False, hours, now_us)
    working = replace(one.working, live_at_us=now_us, expires_at_us=ends)
    live = replace(
        one, working=working, status=OrderStatus.NEW, version=one.version + 1, updated_at_us=now_us
    )
    if live.counts:
        book.put(working.symbol, working.side, ZERO, working.left, one.reserve_price)
    return live


def check_cancelable(order: PaperOrder) -> str | None:
    """Why this member of a group cannot be canceled by itself; None where it can, or is in no group."""
    return "A leg goes with its spread: cancel that." if order.group_role == "leg" else None


def attach_legs(changes: list[Change], orders: Mapping[str, PaperOrder]) -> None:
    """Give each change of a parent the orders that hang on it, as the transaction leaves them."""
    for change in changes:
        if change.after.is_parent:
            change.legs = legs_of(change.after, orders.values())
