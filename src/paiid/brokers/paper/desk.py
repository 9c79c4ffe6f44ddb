"""Takes orders and cancellations: each group in one transaction, one answer each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.brokers.paper.records import PaperOrder, client_key
from paiid.brokers.paper.store import (
    Accounts,
    Change,
    load_known_keys,
    load_orders,
    lock_accounts,
    save,
)
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import (
    MAX_OPEN_ORDERS,
    Hours,
    PaperRefused,
    Working,
    check_market,
    reserve_price,
    short_mark,
)
from paiid.domain.quotes import Quote

QuoteOf = Callable[[str], Quote | None]
CancelRequest = tuple[str, str]
"""Account number and the venue's order id."""


class Desk:
    """The two batch functions of the venue, to be handed to `Database.commit_with`."""

    def __init__(self, clock: Clock, quote_of: QuoteOf, hours: Hours, latency_ms: int) -> None:
        self._clock = clock
        self._quote_of = quote_of
        self._hours = hours
        self._latency_us = latency_ms * 1000

    def mark_of(self, symbol: str) -> Decimal | None:
        """What covering a share costs now; None without a quote. A stale quote still values."""
        quote = self._quote_of(symbol)
        return None if quote is None or quote.ask <= 0 else short_mark(quote)

    async def place(self, tx: Tx, orders: Sequence[BrokerOrder]) -> list[PaperOrder | Exception]:
        """Accept or refuse each order of a group. The orders have passed `check_order`."""
        now = await tx.now_us()
        accounts = await lock_accounts(tx, (one.account_number for one in orders), self.mark_of, now)
        keys = [client_key(one.account_number, one.client_order_id) for one in orders]
        known = await load_known_keys(tx, keys)
        results: list[PaperOrder | Exception] = []
        changes: list[Change] = []
        indexes: list[int] = []
        for order, key in zip(orders, keys, strict=True):
            if key in known:
                # It may be the very order that the caller is asking about: a look-up tells, a refusal would lie.
                results.append(OutcomeUnknown("client_order_id must be unique"))
                continue
            known.add(key)
            try:
                accepted = self._accept(order, accounts, now)
            except PaperRefused as refused:
                results.append(BrokerRejected(refused.code, refused.message))
                known.discard(key)
                continue
            changes.append(Change(None, accepted))
            indexes.append(len(results))
            results.append(accepted)
        if changes:
            await save(tx, accounts, changes)
        for index, change in zip(indexes, changes, strict=True):
            results[index] = change.after
        return results

    def _accept(self, order: BrokerOrder, accounts: Accounts, now: int) -> PaperOrder:
        quote = check_market(
            order.type, order.time_in_force, self._quote_of(order.symbol), self._hours.is_open(now)
        )
        if order.account_number in accounts.blocked:
            raise PaperRefused("account_blocked", "The account is blocked.")
        book = accounts.books[order.account_number]
        if book.open_orders >= MAX_OPEN_ORDERS:
            raise PaperRefused("too_many_orders", f"The account has {MAX_OPEN_ORDERS} open orders already.")
        price = reserve_price(order.side, order.type, order.limit_price, order.stop_price, quote)
        book.place(order.symbol, order.side, order.qty, price)
        return PaperOrder(
            id=new_id(self._clock, "po"),
            account_number=order.account_number,
            client_order_id=order.client_order_id,
            working=Working(
                symbol=order.symbol,
                side=order.side,
                type=order.type,
                time_in_force=order.time_in_force,
                qty=order.qty,
                limit_price=order.limit_price,
                stop_price=order.stop_price,
                live_at_us=now + self._latency_us,
                expires_at_us=self._hours.next_roll_us(now) if order.time_in_force == "day" else None,
            ),
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
        )

    async def cancel(self, tx: Tx, requests: Sequence[CancelRequest]) -> list[PaperOrder | Exception]:
        """Cancel each order of a group, or say why not."""
        now = await tx.now_us()
        accounts = await lock_accounts(tx, (number for number, _ in requests), self.mark_of, now)
        orders = await load_orders(tx, sorted({order_id for _, order_id in requests}))
        results: list[PaperOrder | Exception] = []
        changes: dict[str, Change] = {}
        for number, order_id in requests:
            order = orders.get(order_id)
            if order is None or order.account_number != number:
                results.append(BrokerRejected("not_found", "There is no such order in this account."))
            elif order.is_over:
                results.append(
                    BrokerRejected("not_cancelable", f"The order is {order.status.value} already.")
                )
            else:
                after = replace(
                    order,
                    status=OrderStatus.CANCELED,
                    reason="canceled_by_user",
                    version=order.version + 1,
                    updated_at_us=now,
                )
                orders[order_id] = after
                changes[order_id] = Change(order, after)
                working = order.working
                accounts.books[number].release(
                    working.symbol, working.side, working.left, order.reserve_price
                )
                results.append(after)
        if changes:
            await save(tx, accounts, list(changes.values()))
        return [changes[result.id].after if isinstance(result, PaperOrder) else result for result in results]
