"""Puts another order in an order's place: the old one ends and the new one stands in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paiid.brokers import BrokerOrder, BrokerRejected, BrokerReplace, OutcomeUnknown
from paiid.brokers.paper.desk import Desk
from paiid.brokers.paper.group_store import legs_of, load_groups
from paiid.brokers.paper.groups import attach_legs, resized
from paiid.brokers.paper.records import PaperOrder, Placed, client_key, stepped
from paiid.brokers.paper.store import (
    Accounts,
    Change,
    enter_accounts,
    load_known_keys,
    orders_of,
    orders_read,
    save,
)
from paiid.core.db import Tx
from paiid.domain.money import ZERO
from paiid.domain.orders import Leg, OrderRequest, OrderStatus
from paiid.domain.paper import PaperRefused, Step
from paiid.domain.paper_account import PaperAccount
from paiid.domain.paper_checks import check_order
from paiid.domain.paper_groups import EXITS, check_exit_prices, opposite
from paiid.domain.paper_replace import check_replaceable, keeps_peak, replaced, spread_request

_ENDS = Step(ends=OrderStatus.REPLACED, reason="replaced_by_user")


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """Which order is to become what."""

    account_number: str
    order_id: str
    change: BrokerReplace


class Replacer:
    """The batch function of replacing, to be handed to `Database.commit_with`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def replace(self, tx: Tx, requests: Sequence[ReplaceRequest]) -> list[Placed | Exception]:
        """Replace each order of a batch, or say why not: then the old one goes on as it was."""
        now, accounts, (found,) = await enter_accounts(
            tx,
            (one.account_number for one in requests),
            self._desk.mark_of,
            [orders_read(one.order_id for one in requests)],
            self._desk.terms,
        )
        orders = orders_of(found)
        orders.update(await load_groups(tx, orders.values()))
        keys = [_keys_of(one, orders) for one in requests]
        known = await load_known_keys(tx, [key for of_one in keys for key in of_one])
        results: list[Placed | Exception] = []
        changes: list[Change] = []
        made: list[tuple[int, Change]] = []
        for request, of_one in zip(requests, keys, strict=True):
            order = orders.get(request.order_id)
            if order is None or order.account_number != request.account_number:
                results.append(BrokerRejected("not_found", "There is no such order in this account."))
                continue
            if not known.isdisjoint(of_one):
                results.append(OutcomeUnknown("client_order_id must be unique"))
                continue
            book = accounts.books[order.account_number]
            before = _kept(book)
            try:
                mine = await self._replaced(tx, order, request.change, orders, accounts, now)
            except PaperRefused as refused:
                _restore(book, before)
                results.append(BrokerRejected(refused.code, refused.message))
                continue
            known.update(of_one)
            orders.update((one.after.id, one.after) for one in mine)
            changes.extend(mine)
            made.append((len(results), mine[1]))
            results.append(Placed(mine[1].after))
        if changes:
            attach_legs(changes, orders)
            await save(tx, accounts, changes)
        for index, change in made:
            results[index] = Placed(change.after, change.legs)
        return results

    async def _replaced(
        self,
        tx: Tx,
        order: PaperOrder,
        change: BrokerReplace,
        orders: dict[str, PaperOrder],
        accounts: Accounts,
        now: int,
    ) -> list[Change]:
        """The old one's end, the new one, then what else changes in the group. Raises PaperRefused; the book may be
        changed then."""
        working = order.working
        if order.account_number in accounts.blocked:
            raise PaperRefused("account_blocked", "The account is blocked.")
        check_replaceable(working, order.status, order.order_class, is_leg=order.group_role == "leg")
        book = accounts.books[order.account_number]
        others = [
            one
            for one in orders.values()
            if one.root_id == order.root_id and one.id != order.id and not one.is_over
        ]
        if order.order_class == "mleg":
            return self._spread(order, change, legs_of(order, others), accounts, now)
        asked = replaced(working, change, grouped=order.order_class != "simple")
        check_order(asked, self._desk.capabilities)
        _check_prices(order, asked, others)
        if order.status is OrderStatus.HELD:
            return [*self._held(order, asked, change, now), *_in_step(order, None, others, book, now)]
        book.settle(working, _ENDS, order.reserve_price, counts=order.counts)
        if order.group_role in EXITS and order.order_class != "simple":
            _check_exit_qty(order, asked)
        wanted = _as_order(order, asked, change.client_order_id)
        new = await self._desk.accept_again(tx, wanted, order, accounts, now)
        new = replace(new, working=keeps_peak(working, new.working))
        if order.group_role == "stop_loss" and not order.counts:
            new = replace(new, reserve_price=order.reserve_price)
        gone = replace(stepped(order, _ENDS, now), replaced_by=new.id)
        return [Change(order, gone), Change(None, new), *_in_step(order, new, others, book, now)]

    def _held(self, order: PaperOrder, asked: OrderRequest, change: BrokerReplace, now: int) -> list[Change]:
        """A held exit has reserved nothing and meets no market yet."""
        if asked.qty != order.working.left:
            raise PaperRefused("not_replaceable", "qty: a held exit has the quantity of its entry.")
        working = replace(
            order.working,
            limit_price=asked.limit_price,
            stop_price=asked.stop_price,
            trail_price=asked.trail_price,
            trail_percent=asked.trail_percent,
        )
        new = self._desk.in_place_of(order, working, change.client_order_id, order.reserve_price, now)
        gone = replace(stepped(order, _ENDS, now), replaced_by=new.id)
        return [Change(order, gone), Change(None, new)]

    def _spread(
        self,
        order: PaperOrder,
        change: BrokerReplace,
        legs: Sequence[PaperOrder],
        accounts: Accounts,
        now: int,
    ) -> list[Change]:
        asked = spread_request(
            order.working,
            [
                Leg(
                    leg.working.symbol,
                    leg.working.side,
                    leg.ratio_qty or 1,
                    leg.position_intent or "buy_to_open",
                )
                for leg in legs
            ],
            change,
        )
        book = accounts.books[order.account_number]
        book.combos.pop(order.id, None)
        book.open_orders -= 1 + len(legs)
        wanted = _as_order(order, asked, change.client_order_id)
        family = [
            replace(new, replaces=old.id)
            for old, new in zip((order, *legs), self._desk.accept_spread(wanted, accounts, now), strict=True)
        ]
        ended = [
            Change(old, replace(stepped(old, _ENDS, now), replaced_by=new.id))
            for old, new in zip((order, *legs), family, strict=True)
        ]
        return [ended[0], Change(None, family[0]), *ended[1:], *(Change(None, one) for one in family[1:])]


def _keys_of(request: ReplaceRequest, orders: dict[str, PaperOrder]) -> list[str]:
    name = request.change.client_order_id
    order = orders.get(request.order_id)
    ends = [""]
    if order is not None and order.order_class == "mleg":
        ends += [f".leg{at}" for at, _ in enumerate(legs_of(order, orders.values()), 1)]
    return [client_key(request.account_number, name + end) for end in ends]


def _as_order(old: PaperOrder, asked: OrderRequest, client_order_id: str) -> BrokerOrder:
    return BrokerOrder(
        account_number=old.account_number,
        client_order_id=client_order_id,
        symbol=asked.symbol,
        side=asked.side,
        qty=asked.qty,
        type=asked.type,
        time_in_force=asked.time_in_force,
        limit_price=asked.limit_price,
        stop_price=asked.stop_price,
        trail_price=asked.trail_price,
        trail_percent=asked.trail_percent,
        extended_hours=asked.extended_hours,
        order_class=old.order_class,
        legs=asked.legs,
        position_intent=old.position_intent,
    )


def _kept(book: PaperAccount) -> PaperAccount:
    """The books as they are, to go back to."""
    return replace(book, holdings=dict(book.holdings), combos=dict(book.combos))


def _restore(book: PaperAccount, kept: PaperAccount) -> None:
    book.cash, book.open_orders = kept.cash, kept.open_orders
    book.holdings, book.combos = kept.holdings, kept.combos


def _check_prices(order: PaperOrder, asked: OrderRequest, others: Sequence[PaperOrder]) -> None:
    """Exits stay on their sides of each other, and of the entry while it is open. Raises PaperRefused."""
    if order.order_class == "simple":
        return
    family = {one.group_role: one.working for one in others}
    entry = family.get("entry")
    profit = family["take_profit"].limit_price if "take_profit" in family else None
    stop = family["stop_loss"].stop_price if "stop_loss" in family else None
    base = None if entry is None else entry.limit_price or entry.stop_price
    side = order.working.side
    if order.group_role == "entry":
        base, side = asked.limit_price or asked.stop_price, opposite(side)
    elif order.group_role == "take_profit":
        profit = asked.limit_price
    else:
        stop = asked.stop_price
    if "stop_loss" in family and family["stop_loss"].type == "trailing_stop":
        stop = None
    check_exit_prices(side, profit, stop, base)


def _check_exit_qty(order: PaperOrder, asked: OrderRequest) -> None:
    """An exit only ever shrinks. Raises PaperRefused: a reader that hears of the two exits in any order takes the smallest size it was
    told for the true one, and brokers do not let them grow either (alpaca.md, section 6.1: a replace changes their prices)."""
    if (asked.qty or ZERO) > order.working.left:
        raise PaperRefused(
            "invalid_qty",
            "qty: an exit can be made smaller, not larger; cancel it and send an oco order for what is held.",
        )


def _in_step(
    old: PaperOrder, new: PaperOrder | None, others: Sequence[PaperOrder], book: PaperAccount, now: int
) -> list[Change]:
    """What a replacement means to the rest of the group: another parent, the quantity that is left, and what the take
    profit has reserved."""
    if new is None or old.order_class == "simple":
        return []
    made = []
    grown = new.working.qty - old.working.left
    for one in others:
        after = one
        if grown != 0:
            after = resized(after, one.working.qty + grown, book, now)
        if one.parent_id == old.id:
            after = replace(after, parent_id=new.id)
        if new.counts and not one.counts and one.group_role == "stop_loss":
            after = replace(after, reserve_price=new.reserve_price)
        if after is not one:
            made.append(Change(one, replace(after, version=one.version + 1, updated_at_us=now)))
    return made
