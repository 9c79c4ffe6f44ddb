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
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import (
    IMMEDIATE,
    IMMEDIATE_PATIENCE_US,
    NOTHING,
    Hours,
    Step,
    Taken,
    after_quote,
    decide,
    take,
    within_means,
)
from paiid.domain.quotes import Quote


class LeaseLost(Exception):
    """Another process matches now."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a transaction did: the orders as they are now (all that were asked for), and what is gone of the
    quotes; `now_us` is its time."""

    orders: dict[str, PaperOrder]
    taken: dict[str, Taken]
    now_us: int
    changed: int


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
        for order in sorted(orders.values(), key=lambda one: (one.working.live_at_us, one.accepted_seq)):
            symbol = order.working.symbol
            change = self._step(order, accounts, quotes[symbol], taken.get(symbol), is_open, now)
            if change is None:
                continue
            changes.append(change)
            orders[order.id] = change.after
            if change.execution is not None:
                taken[symbol] = take(taken[symbol], order.working.side, change.execution.qty)
        if changes:
            await self._save(tx, accounts, changes, taken, taken_before)
            orders.update((change.after.id, change.after) for change in changes)
        return Round(orders, taken, now, len(changes))

    async def _save(
        self,
        tx: Tx,
        accounts: Accounts,
        changes: Sequence[Change],
        taken: dict[str, Taken],
        taken_before: dict[str, Taken],
    ) -> None:
        moved = {symbol: one for symbol, one in taken.items() if one != taken_before.get(symbol)}
        if moved:
            await save_taken(tx, moved)
        await save(tx, accounts, changes)

    def _step(
        self,
        order: PaperOrder,
        accounts: Accounts,
        quote: Quote | None,
        taken: Taken | None,
        is_open: bool,
        now: int,
    ) -> Change | None:
        if order.is_over:
            return None
        working = order.working
        step = decide(working, quote, taken, is_open, now)
        book = accounts.books[order.account_number]
        if step.qty > 0:
            try:
                affordable = book.affordable(
                    working.symbol, working.side, step.qty, step.price, order.reserve_price
                )
                step = within_means(working, step, affordable)
            except ValueError:
                # A short elsewhere cannot be valued now. Nothing is guessed: the order waits, or ends if it may not.
                late = now >= working.live_at_us + IMMEDIATE_PATIENCE_US
                ends = working.time_in_force in IMMEDIATE and late
                step = Step(ends=OrderStatus.CANCELED, reason="no_fresh_quote") if ends else NOTHING
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
