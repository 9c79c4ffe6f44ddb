"""One transaction of the matching engine: some orders against the quotes as they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

from paiid.brokers import BrokerExecution
from paiid.brokers.paper.desk import Desk, QuoteOf
from paiid.brokers.paper.records import PaperOrder, stepped
from paiid.brokers.paper.store import (
    Accounts,
    Change,
    load_orders,
    load_taken,
    lock_accounts,
    save,
    save_taken,
)
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.core.leases import Held, still_held
from paiid.domain.money import ZERO
from paiid.domain.paper import Hours, Step, Taken, after_quote, decide, take
from paiid.domain.quotes import Quote

_SOON_US = 1_000_000
"""More than the clock of the database and what this process takes it for differ by."""


class LeaseLost(Exception):
    """Another process matches now."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a transaction did: the orders as they are now (all that were asked for); `now_us` is its time.

    `again` are orders that need another look though their quote stays the same: those that were asked about
    before their time by the database's clock, and those that wait until their account can be valued.
    """

    orders: dict[str, PaperOrder]
    now_us: int
    changed: int
    again: frozenset[str]


class FillEngine:
    """Decides and books steps of working orders, fenced by the lease."""

    def __init__(self, clock: Clock, quote_of: QuoteOf, hours: Hours, desk: Desk) -> None:
        self._clock = clock
        self._quote_of = quote_of
        self._hours = hours
        self._desk = desk

    async def run(self, tx: Tx, held: Held, candidates: Sequence[PaperOrder]) -> Round:
        """Look at these orders, first come first served. Raises LeaseLost, LostRace."""
        if not await still_held(tx, held):
            raise LeaseLost(held.name)
        now = await tx.now_us()
        accounts = await lock_accounts(
            tx, (order.account_number for order in candidates), self._desk.mark_of, now
        )
        orders = await load_orders(tx, [order.id for order in candidates])
        symbols = sorted({order.working.symbol for order in candidates})
        quotes = {symbol: self._quote_of(symbol) for symbol in symbols}
        taken_before = await load_taken(tx, symbols)
        taken: dict[str, Taken] = {}
        for symbol, quote in quotes.items():
            if quote is not None:
                left = after_quote(taken_before.get(symbol), quote)
                if left is not None:
                    taken[symbol] = left
        is_open = self._hours.is_open(now)
        changes: list[Change] = []
        used: dict[str, Taken] = {}
        again: set[str] = set()
        working = (order for order in orders.values() if not order.is_over)
        for order in sorted(working, key=lambda one: (one.working.live_at_us, one.accepted_seq)):
            symbol = order.working.symbol
            if _early(order, now):
                again.add(order.id)
            step = decide(order.working, quotes[symbol], taken.get(symbol), is_open, now)
            change = self._step(order, step, accounts, quotes[symbol], now)
            if step.qty > 0 and (change is None or (change.execution is None and not change.after.is_over)):
                again.add(order.id)
            if change is None:
                continue
            changes.append(change)
            orders[order.id] = change.after
            if change.execution is not None or change.after.triggered_at_us != order.triggered_at_us:
                qty = ZERO if change.execution is None else change.execution.qty
                taken[symbol] = used[symbol] = take(taken[symbol], order.working.side, qty)
        if changes:
            if used:
                await save_taken(tx, used)
            await save(tx, accounts, changes)
            orders.update((change.after.id, change.after) for change in changes)
        return Round(orders, now, len(changes), frozenset(again))

    def _step(
        self, order: PaperOrder, step: Step, accounts: Accounts, quote: Quote | None, now: int
    ) -> Change | None:
        working = order.working
        book = accounts.books[order.account_number]
        step = book.within_means(working, step, order.reserve_price, now)
        if not step.changes:
            return None
        after = stepped(order, step, now)
        execution = None
        if step.qty > 0:
            book.fill(working.symbol, working.side, step.qty, step.price, order.reserve_price)
            execution = BrokerExecution(
                account_number=order.account_number,
                execution_id=new_id(self._clock, "px"),
                broker_order_id=order.id,
                symbol=working.symbol,
                side=working.side,
                qty=step.qty,
                price=step.price,
                fee=ZERO,
                executed_at_us=now,
            )
        if after.is_over:
            book.release(working.symbol, working.side, after.working.left, order.reserve_price)
        return Change(order, after, execution, 0 if quote is None else quote.sequence)


def _early(order: PaperOrder, now_us: int) -> bool:
    """Whether its time is still ahead, or its day ends so soon that it may have been asked about for that."""
    expires = order.working.expires_at_us
    return now_us < order.working.live_at_us or (
        expires is not None and now_us < expires <= now_us + _SOON_US
    )
