"""One transaction of the matching engine: some orders against the quotes as they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paiid.brokers import BrokerExecution
from paiid.brokers.paper.desk import Desk, QuoteOf
from paiid.brokers.paper.group_store import legs_of, load_groups
from paiid.brokers.paper.groups import attach_legs, follow
from paiid.brokers.paper.records import PaperOrder, stepped
from paiid.brokers.paper.single_store import save_trails
from paiid.brokers.paper.spreads import fill_spread
from paiid.brokers.paper.store import (
    Accounts,
    Change,
    enter_accounts,
    orders_of,
    orders_read,
    save,
    save_taken,
    taken_of,
    taken_read,
)
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.core.leases import Held
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import Hours, Step, Taken, after_quote, applied, decide, moment_of, take
from paiid.domain.quotes import Quote

TELL_TRAIL_EVERY_US = 5_000_000
"""How often at most a trailing stop tells that its stop price has followed the market."""
_SOON_US = 1_000_000
"""More than the clock of the database and what this process takes it for differ by."""


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
        looked_at = {order.working.symbol for order in candidates}
        now, accounts, (found, gone) = await enter_accounts(
            tx,
            (order.account_number for order in candidates),
            self._desk.mark_of,
            [orders_read(order.id for order in candidates), taken_read(looked_at)],
            held=held,
        )
        orders = orders_of(found)
        asked = sorted(
            (one for one in orders.values() if one.group_role != "leg"),
            key=lambda one: (one.working.live_at_us, one.accepted_seq),
        )
        orders.update(await load_groups(tx, asked))
        symbols = sorted({order.working.symbol for order in (*candidates, *orders.values())})
        quotes = {symbol: self._quote_of(symbol) for symbol in symbols}
        taken_before = taken_of(gone)
        if more := [symbol for symbol in symbols if symbol not in looked_at]:
            taken_before |= taken_of(await tx.fetch(*taken_read(more)))
        taken: dict[str, Taken] = {}
        for symbol, quote in quotes.items():
            if quote is not None:
                left = after_quote(taken_before.get(symbol), quote)
                if left is not None:
                    taken[symbol] = left
        moment = moment_of(self._hours, now)
        changes: list[Change] = []
        used: dict[str, Taken] = {}
        trails: list[PaperOrder] = []
        again: set[str] = set()
        for order in (orders[one.id] for one in asked):
            # As it is by now: what another of its group did in this round counts.
            if order.is_over or order.status is OrderStatus.HELD:
                continue
            symbol = order.working.symbol
            if _early(order, now):
                again.add(order.id)
            if order.order_class == "mleg":
                legs = legs_of(order, orders.values())
                book = accounts.books[order.account_number]
                made = fill_spread(order, legs, book, quotes, taken, moment, self._clock)
                for one in made:
                    orders[one.after.id] = one.after
                    if one.execution is not None:
                        at, print_ = one.execution.symbol, one.execution
                        taken[at] = used[at] = take(taken[at], print_.side, print_.qty)
                changes.extend(made)
                continue
            terms = accounts.books[order.account_number].terms
            step = decide(order.working, quotes[symbol], taken.get(symbol), moment, terms)
            if _follows_quietly(order, step, now):
                orders[order.id] = replace(order, working=applied(order.working, step, order.reserve_price))
                trails.append(orders[order.id])
                continue
            change = self._step(order, step, accounts, quotes[symbol], now)
            if step.qty > 0 and (change is None or (change.execution is None and not change.after.is_over)):
                again.add(order.id)
            if change is None:
                continue
            changes.append(change)
            orders[order.id] = change.after
            for other in follow(change, orders, accounts.books[order.account_number], self._hours, now):
                changes.append(other)
                orders[other.after.id] = other.after
            if change.execution is not None or change.after.triggered_at_us != order.triggered_at_us:
                qty = ZERO if change.execution is None else change.execution.qty
                taken[symbol] = used[symbol] = take(taken[symbol], order.working.side, qty)
        if changes:
            if used:
                await save_taken(tx, used)
            attach_legs(changes, orders)
            await save(tx, accounts, changes)
            orders.update((change.after.id, change.after) for change in changes)
        if trails:
            # After the changes: what another of its group did to the order must not bring back its old stop.
            await save_trails(tx, trails)
        return Round(orders, now, len(changes), frozenset(again))

    def _step(
        self, order: PaperOrder, step: Step, accounts: Accounts, quote: Quote | None, now: int
    ) -> Change | None:
        working = order.working
        book = accounts.books[order.account_number]
        step = book.within_means(working, step, order.reserve_price, now)
        if not step.changes:
            return None
        fee = book.settle(working, step, order.reserve_price, counts=order.counts)
        after = stepped(order, step, now, fee)
        execution = None
        if step.qty > 0:
            execution = BrokerExecution(
                account_number=order.account_number,
                execution_id=new_id(self._clock, "px"),
                broker_order_id=order.id,
                symbol=working.symbol,
                side=working.side,
                qty=step.qty,
                price=step.price,
                fee=fee,
                executed_at_us=now,
            )
        return Change(order, after, execution, 0 if quote is None else quote.sequence)


def _follows_quietly(order: PaperOrder, step: Step, now_us: int) -> bool:
    """Whether a trailing stop only follows the market, and has told where it stands not long ago."""
    told = order.working.hwm is not None and now_us < order.updated_at_us + TELL_TRAIL_EVERY_US
    return step.hwm is not None and told


def _early(order: PaperOrder, now_us: int) -> bool:
    """Whether its time is still ahead, or its day ends so soon that it may have been asked about for that."""
    expires = order.working.expires_at_us
    return now_us < order.working.live_at_us or (
        expires is not None and now_us < expires <= now_us + _SOON_US
    )
