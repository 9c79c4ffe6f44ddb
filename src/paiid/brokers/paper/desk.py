"""Takes orders and cancellations: each group in one transaction, one answer each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.brokers.paper.group_store import load_groups
from paiid.brokers.paper.groups import attach_legs, check_cancelable, check_exits, follow, with_exits
from paiid.brokers.paper.records import PaperOrder, Placed, client_key, stepped
from paiid.brokers.paper.single_store import Resting, load_resting
from paiid.brokers.paper.spreads import accept_spread
from paiid.brokers.paper.store import (
    Accounts,
    Change,
    enter_accounts,
    keys_of,
    keys_read,
    orders_of,
    orders_read,
    save,
)
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderRequest, OrderStatus, Side
from paiid.domain.paper import MAX_OPEN_ORDERS, Hours, PaperRefused, Step, Working, moment_of
from paiid.domain.paper_checks import capabilities_of, check_wash, prepare
from paiid.domain.paper_groups import suffixes
from paiid.domain.quotes import Quote
from paiid.domain.terms import DEFAULT_TERMS, AccountTerms

QuoteOf = Callable[[str], Quote | None]
CancelRequest = tuple[str, str]
"""Account number and the venue's order id."""


Book = dict[tuple[str, str, Side], list[Resting]]
"""Open orders that another could trade with, by account, symbol and side."""


def request_of(order: BrokerOrder) -> OrderRequest:
    """What is asked, without whose it is."""
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        qty=order.qty,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        notional=order.notional,
        trail_price=order.trail_price,
        trail_percent=order.trail_percent,
        extended_hours=order.extended_hours,
        order_class=order.order_class,
        take_profit=order.take_profit,
        stop_loss=order.stop_loss,
        legs=order.legs,
        position_intent=order.position_intent,
    )


def may_wash(order: BrokerOrder) -> bool:
    """Whether the rule against wash trades looks at it: groups, spreads and trailing stops are exempt."""
    return order.order_class == "simple" and order.type != "trailing_stop"


class Desk:
    """The two batch functions of the venue, to be handed to `Database.commit_with`."""

    def __init__(
        self,
        clock: Clock,
        quote_of: QuoteOf,
        hours: Hours,
        latency_ms: int,
        terms: AccountTerms = DEFAULT_TERMS,
    ) -> None:
        self.terms = terms
        self.capabilities = capabilities_of(never_closes=hours.never_closes)
        self._clock = clock
        self._quote_of = quote_of
        self._hours = hours
        self._latency_us = latency_ms * 1000

    def mark_of(self, symbol: str, qty: Decimal) -> Decimal | None:
        """What closing a share of a position of this (signed) size brings or costs now: a long one is valued at the
        bid, a short one at the ask. None without a quote; a stale quote still values."""
        quote = self._quote_of(symbol)
        if quote is None:
            return None
        price = quote.ask if qty < 0 else quote.bid
        return price if price > 0 else None

    async def place(self, tx: Tx, orders: Sequence[BrokerOrder]) -> list[Placed | Exception]:
        """Accept or refuse each order of a batch, with what hangs on it. The orders have passed `check_order`."""
        keys = [_keys_of(one) for one in orders]
        now, accounts, (used,) = await enter_accounts(
            tx,
            (one.account_number for one in orders),
            self.mark_of,
            [keys_read([key for of_one in keys for key in of_one])],
            self.terms,
        )
        resting = await self._resting(tx, orders, accounts)
        known = keys_of(used)
        results: list[Placed | Exception] = []
        changes: list[Change] = []
        families: list[tuple[int, list[Change]]] = []
        for order, of_one in zip(orders, keys, strict=True):
            if not known.isdisjoint(of_one):
                # It may be the very order that the caller is asking about: a look-up tells, a refusal would lie.
                results.append(OutcomeUnknown("client_order_id must be unique"))
                continue
            try:
                family = self._accept_whole(order, accounts, resting, now)
            except PaperRefused as refused:
                results.append(BrokerRejected(refused.code, refused.message))
                continue
            known.update(of_one)
            mine = [Change(None, one) for one in family]
            mine[0].legs = tuple(family[1:])
            changes.extend(mine)
            families.append((len(results), mine))
            results.append(Placed(family[0], mine[0].legs))
        if changes:
            await save(tx, accounts, changes)
        for index, (head, *legs) in families:
            results[index] = Placed(head.after, tuple(leg.after for leg in legs))
        return results

    async def _resting(self, tx: Tx, orders: Sequence[BrokerOrder], accounts: Accounts) -> Book:
        """What the orders of this group might trade with: read only where something is open on the other side."""
        about = set()
        for order in orders:
            held = accounts.books[order.account_number].holding(order.symbol)
            if may_wash(order) and (held.open_sell_qty if order.side == "buy" else held.open_buy_qty):
                about.add((order.account_number, order.symbol))
        found: Book = {}
        if about:
            numbers, symbols = ({one[n] for one in about} for n in (0, 1))
            for account, symbol, side, one in await load_resting(tx, sorted(numbers), sorted(symbols)):
                found.setdefault((account, symbol, side), []).append(one)
        return found

    def _accept_whole(
        self, order: BrokerOrder, accounts: Accounts, resting: Book, now: int
    ) -> list[PaperOrder]:
        """The order and, behind it, the orders that hang on it. Raises PaperRefused with nothing entered."""
        if order.order_class == "simple":
            return [self._accept(order, accounts, resting, now)]
        asked, quote = request_of(order), self._quote_of(order.symbol)
        book = accounts.books[order.account_number]
        if order.order_class == "mleg":
            return self.accept_spread(order, accounts, now)
        check_exits(asked, quote, book.holding(order.symbol), moment_of(self._hours, now))
        head = self._accept(order, accounts, resting, now)
        assert quote is not None, "an order without a quote is refused"
        ids = [new_id(self._clock, "po") for _ in suffixes(asked)]
        book.open_orders += len(ids)
        return with_exits(head, asked, ids, quote)

    def accept_spread(self, order: BrokerOrder, accounts: Accounts, now: int) -> list[PaperOrder]:
        """A spread and its legs. Raises PaperRefused with nothing entered."""
        self._check_account(order, accounts)
        return accept_spread(
            order.account_number, order.client_order_id, request_of(order), accounts.books[order.account_number],
            self._quote_of, self._hours, self._clock, now, self._latency_us,
        )  # fmt: skip

    async def accept_again(
        self, tx: Tx, order: BrokerOrder, old: PaperOrder, accounts: Accounts, now: int
    ) -> PaperOrder:
        """The order that takes this one's place; the account is looked at as if the old one were not there. Raises
        PaperRefused, with something entered perhaps."""
        asked, working = order, old.working
        if working.triggered:
            # A stop-limit order whose stop was triggered is a limit order by now.
            asked = replace(order, type="limit", stop_price=None)
        resting = await self._resting(tx, [asked], accounts)
        new = self._accept(asked, accounts, resting, now, counts=old.counts)
        if working.triggered:
            told = replace(new.working, type=order.type, stop_price=order.stop_price, triggered=True)
            new = replace(new, working=told, triggered_at_us=old.triggered_at_us)
        return self.in_place_of(old, new.working, order.client_order_id, new.reserve_price, now)

    def in_place_of(
        self, old: PaperOrder, working: Working, client_order_id: str, reserve_price: Decimal, now: int
    ) -> PaperOrder:
        """A new order with the old one's class, role, parent and status of waiting."""
        return replace(
            old,
            id=new_id(self._clock, "po"),
            client_order_id=client_order_id,
            working=replace(working, filled_qty=ZERO, filled_value=ZERO),
            reserve_price=reserve_price,
            filled_value=ZERO,
            fees=ZERO,
            status=OrderStatus.HELD if old.status is OrderStatus.HELD else OrderStatus.NEW,
            reason=None,
            version=1,
            accepted_seq=0,
            event_seq=0,
            submitted_at_us=now,
            updated_at_us=now,
            replaces=old.id,
            replaced_by=None,
        )

    @staticmethod
    def _check_account(order: BrokerOrder, accounts: Accounts) -> None:
        if order.account_number in accounts.blocked:
            raise PaperRefused("account_blocked", "The account is blocked.")
        if accounts.books[order.account_number].open_orders >= MAX_OPEN_ORDERS:
            raise PaperRefused("too_many_orders", f"The account has {MAX_OPEN_ORDERS} open orders already.")

    def _accept(
        self, order: BrokerOrder, accounts: Accounts, resting: Book, now: int, *, counts: bool = True
    ) -> PaperOrder:
        working, price = prepare(
            request_of(order), self._quote_of(order.symbol), self._hours, now, self._latency_us
        )
        self._check_account(order, accounts)
        book = accounts.books[order.account_number]
        if may_wash(order):
            opposite: Side = "sell" if order.side == "buy" else "buy"
            for one in resting.get((order.account_number, order.symbol, opposite), ()):
                check_wash(order.side, order.limit_price, one.limit_price, one.order_id)
        if counts:
            book.place(working, price, order.position_intent)
        else:
            book.open_orders += 1
        order_id = new_id(self._clock, "po")
        if may_wash(order):
            mine = resting.setdefault((order.account_number, order.symbol, order.side), [])
            mine.append(Resting(order_id, order.limit_price))
        return PaperOrder(
            id=order_id,
            account_number=order.account_number,
            client_order_id=order.client_order_id,
            working=working,
            reserve_price=price,
            filled_value=ZERO,
            status=OrderStatus.NEW,
            reason=None,
            triggered_at_us=None,
            version=1,
            accepted_seq=0,
            event_seq=0,
            submitted_at_us=now,
            updated_at_us=now,
            position_intent=order.position_intent,
        )

    async def cancel(self, tx: Tx, requests: Sequence[CancelRequest]) -> list[Placed | Exception]:
        """Cancel each order of a batch, with the rest of its group, or say why not."""
        now, accounts, (found,) = await enter_accounts(
            tx,
            (number for number, _ in requests),
            self.mark_of,
            [orders_read(order_id for _, order_id in requests)],
            self.terms,
        )
        orders = orders_of(found)
        orders.update(await load_groups(tx, orders.values()))
        results: list[Placed | Exception] = []
        changes: list[Change] = []
        canceled: list[tuple[int, Change]] = []
        for number, order_id in requests:
            order = orders.get(order_id)
            if order is None or order.account_number != number:
                results.append(BrokerRejected("not_found", "There is no such order in this account."))
                continue
            problem = (
                f"The order is {order.status.value} already." if order.is_over else check_cancelable(order)
            )
            if problem is not None:
                results.append(BrokerRejected("not_cancelable", problem))
                continue
            book = accounts.books[number]
            step = Step(ends=OrderStatus.CANCELED, reason="canceled_by_user")
            book.settle(order.working, step, order.reserve_price, counts=order.counts)
            change = Change(order, stepped(order, step, now))
            orders[order_id] = change.after
            changes.append(change)
            for other in follow(change, orders, book, self._hours, now):
                orders[other.after.id] = other.after
                changes.append(other)
            canceled.append((len(results), change))
            results.append(Placed(change.after))
        if changes:
            attach_legs(changes, orders)
            await save(tx, accounts, changes)
        for index, change in canceled:
            results[index] = Placed(change.after, change.legs)
        return results


def _keys_of(order: BrokerOrder) -> list[str]:
    """The client keys of the order and of those that hang on it."""
    names = [order.client_order_id, *(order.client_order_id + end for end in suffixes(request_of(order)))]
    return [client_key(order.account_number, name) for name in names]
