"""Merges a broker's updates into the ledger, a chunk in one transaction with the cursor (contract E18)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from paiid.brokers import Broker, BrokerActivity, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, Tx, UniqueViolation
from paiid.core.failpoints import FailPoint, Probe
from paiid.core.leases import Held, LeaseLost
from paiid.domain.orders import Submission
from paiid.trading import in_place, store
from paiid.trading.activities import book_activities
from paiid.trading.book import Book
from paiid.trading.correction import halt_corrected
from paiid.trading.counters import is_spread
from paiid.trading.executions import Prints
from paiid.trading.first_reads import enter_merge, load_for_merge
from paiid.trading.merge import accept, alarm, as_told, learn, learn_size, show
from paiid.trading.opening import counts_from, is_before
from paiid.trading.prints_of_views import believable, print_of
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.told import (
    account_number,
    describe,
    external_order,
    hang,
    hang_successors,
    hangs,
    hung_on,
    named_ids,
    succeed,
)


class _GateNeeded(Exception):
    """An update corrects a `NOT_PLACED` order: do the chunk again with the gate closed first."""


class Merger:
    """Takes updates of one broker into the ledger. `published` is told of every committed book."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        broker: Broker,
        name: str,
        probe: Probe,
        published: Callable[[Book], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._broker = broker
        self._name = name
        self._probe = probe
        self._published = published
        self._accounts: dict[str, str] = {}

    async def merge(self, held: Held | None, chunk: Sequence[BrokerUpdate]) -> frozenset[str]:
        """Merge a chunk and move the cursor in one transaction: the broker's ids of the orders that it changed.

        Raises LeaseLost, DatabaseUnavailable.
        """
        for attempt in range(3):
            try:
                return await self._merge_once(held, chunk, gate=attempt > 0)
            except (_GateNeeded, UniqueViolation):
                continue
        raise DatabaseUnavailable("the updates could not be merged")

    async def _merge_once(
        self, held: Held | None, chunk: Sequence[BrokerUpdate], *, gate: bool
    ) -> frozenset[str]:
        changed: set[str] = set()
        accounts = await self._account_ids({account_number(update) for update in chunk})
        async with self._db.begin() as tx:
            if gate:
                await tx.close_gate()
            entered = await enter_merge(tx, held, accounts.values())
            if entered is None:
                raise LeaseLost("the lease ran out")
            book = Book(tx, self._clock, entered.now_us)
            # What the number of an account that was reset since still tells is of the past.
            accounts = {
                number: one for number, one in accounts.items() if entered.accounts[one].number == number
            }
            found, booked = await self._find(tx, book, chunk, accounts, entered.accounts)
            prints = Prints(book)
            await prints.load(list(book.orders.values()))
            for update in chunk:
                account_id = accounts.get(account_number(update))
                if account_id is not None and update.order is not None:
                    account = book.accounts[account_id]
                    if await self._apply(
                        book, prints, account, update.order, update.execution, found, booked, gate=gate
                    ):
                        changed.add(update.order.broker_order_id)
            await self._book_activities(book, prints, chunk, accounts)
            await prints.settle()
            await book.flush()
            await store.save_cursor(tx, self._name, max(update.cursor for update in chunk))
            self._probe(FailPoint.IN_MERGE)
        self._published(book)
        self._probe(FailPoint.AFTER_MERGE)
        # A view that the ledger has made of its own row may have no id: no stream will tell it.
        return frozenset(changed - {""})

    @staticmethod
    async def _book_activities(
        book: Book, prints: Prints, chunk: Sequence[BrokerUpdate], accounts: dict[str, str]
    ) -> None:
        told: dict[str, list[BrokerActivity]] = {}
        for update in chunk:
            account_id = accounts.get(account_number(update))
            if update.activity is not None and account_id is not None:
                told.setdefault(account_id, []).append(update.activity)
        for account_id, activities in told.items():
            await book_activities(book, prints, book.accounts[account_id], activities)

    async def _account_ids(self, numbers: set[str]) -> dict[str, str]:
        if not numbers <= self._accounts.keys():
            async with self._db.read() as tx:
                rows: list[AccountRow] = await store.load_all_accounts(tx)
            self._accounts = {row.number: row.id for row in rows if row.broker == self._broker.name}
        return {number: self._accounts[number] for number in numbers if number in self._accounts}

    async def _find(
        self,
        tx: Tx,
        book: Book,
        chunk: Sequence[BrokerUpdate],
        accounts: dict[str, str],
        locked: dict[str, AccountRow],
    ) -> tuple[dict[tuple[str, str], OrderRow], set[tuple[str, str]]]:
        """What the chunk is about, by account and the broker's id or ours; and the prints of it that are booked already."""
        views, ids = [update.order for update in chunk if update.order is not None], list(accounts.values())
        positions, loaded, booked = await load_for_merge(
            tx,
            locked,
            store.orders_at_broker(
                ids,
                [broker_id for view in views for broker_id in named_ids(view)],
                [view.client_order_id for view in views if view.client_order_id is not None],
            ),
            store.booked_prints(ids, [u.execution.execution_id for u in chunk if u.execution is not None]),
        )
        book.hold(locked, positions)
        await book.load_intents(order.intent_id for order in loaded if order.intent_id is not None)
        found: dict[tuple[str, str], OrderRow] = {}
        # Before they are in the book: of what is there already the group is there, too (those of an intent).
        await book.load_with_group([order.id for order in loaded if order.order_class != "simple"])
        for one in loaded:
            book.register(one)
        await book.load_replaced()
        await in_place.load_chains(book)
        await book.load_successors()
        if self._broker.capabilities.replaces_in_place:
            # What is told may be the answer to a replacement that is under way.
            under_way = (one for one in book.orders.values() if one.replaces is not None and not one.is_final)
            await book.load_intents([one.intent_id for one in under_way if one.intent_id is not None])
        for order in book.orders.values():
            found[(order.account_id, order.client_order_id)] = order
            if order.broker_order_id is not None:
                found[(order.account_id, order.broker_order_id)] = order
        return found, booked

    async def _apply(
        self,
        book: Book,
        prints: Prints,
        account: AccountRow,
        view: BrokerOrderView,
        execution: BrokerExecution | None,
        found: dict[tuple[str, str], OrderRow],
        booked: set[tuple[str, str]],
        *,
        gate: bool,
    ) -> bool:
        """Whether it changed what the ledger tells of the order."""
        can = self._broker.capabilities
        view = believable(view, can)
        parent = found.get((account.id, view.parent_broker_order_id or ""))
        order = found.get((account.id, view.broker_order_id))
        named = None if view.client_order_id is None else found.get((account.id, view.client_order_id))
        if order is None and named is not None and named.broker_order_id is None:
            # One that has an id at the broker is known by that: where names are not unique, as tags at Tradier, this one
            # is somebody else's order under the same name.
            order = named
        if order is None and parent is not None:
            order = hung_on(book, parent, view)
        if order is None and parent is None and hangs(view) and await self._group_in_doubt(book, account):
            # It may be an exit or leg of ours, whose row would never get the broker's id that this one had taken. It
            # comes again with what it hangs on, and its prints with the next look for what was missed.
            return False
        if order is None and not can.tells_prints and is_before(view, await counts_from(book.tx, account)):
            return False
        if order is None:
            own_name = None if named is not None else view.client_order_id
            order = external_order(book, account, view, execution, parent, own_name)
            found[(account.id, order.client_order_id)] = order
        if can.replaces_in_place:
            order = self._told_in_place(book, order, view)
        if view.broker_order_id:
            found[(account.id, view.broker_order_id)] = order
        if order.state is not Submission.ACCEPTED:
            correcting = order.state is Submission.NOT_PLACED
            if correcting and not gate:
                raise _GateNeeded
            if accept(book, order, view, "broker") and correcting:
                await halt_corrected(book.tx, self._clock, book.now_us, order)
            found.update(
                ((account.id, child.broker_order_id), child)
                for child in book.children_of(order.id)
                if child.broker_order_id is not None
            )
        before, successor = as_told(order), order.replaced_by
        whole, view = view, in_place.own_view(book.orders, order, view)
        if execution is None and not can.tells_prints:
            execution = print_of(order, view, whole)
        fresh = execution is not None and (account.id, execution.execution_id) not in booked
        if execution is not None and fresh:
            # Whatever the order may be, the shares have changed hands.
            booked.add((account.id, execution.execution_id))
            await prints.add(order, execution)
        if order.state is Submission.ACCEPTED:
            if order.broker_order_id is None:
                # A view that the ledger has made of its own row may not know it either.
                order.broker_order_id = view.broker_order_id or None
            if order.origin == "external":
                describe(order, view, execution)
            if parent is not None:
                hang(book, order, parent)
            touched = succeed(book, order, view, found)
            for leg in view.legs:
                child = found.get((account.id, leg.broker_order_id))
                if child is not None and child is not order:
                    touched += self._apply_leg(book, child, leg, order)
            for one in {one.id: one for one in touched if one is not order}.values():
                book.change(one, "broker")
            learn(order, view, book)
            show(order, await prints.told_qty(order), book=book)
        if order.filled_qty > order.qty and order.notional is None:
            alarm(book, order, "order.overfilled", {"filled": order.filled_qty, "qty": order.qty})
        changed = fresh or (before, successor) != (as_told(order), order.replaced_by)
        if changed:
            book.change(order, "broker")
            self._sum_up(book, order)
        if not can.tells_prints and order.state is Submission.ACCEPTED:
            # A leg may be told nowhere else, and what it has filled is told by no print.
            for leg in whole.legs:
                hung = replace(leg, parent_broker_order_id=whole.broker_order_id)
                await self._apply(book, prints, account, hung, None, found, booked, gate=gate)
        return changed

    @staticmethod
    def _told_in_place(book: Book, order: OrderRow, view: BrokerOrderView) -> OrderRow:
        """The row that a view means at a broker that changes orders where they stand: the replacement that is under way,
        if it can be taken for accepted."""
        meant = in_place.told_order(book, order, view)
        return meant if meant is not order and accept(book, meant, view, "broker") else order

    @staticmethod
    def _apply_leg(book: Book, child: OrderRow, leg: BrokerOrderView, parent: OrderRow) -> list[OrderRow]:
        """An order that may have been told before the one that it hangs on: what of it only that one's word tells. The
        orders that this changed."""
        before, size = as_told(child), child.qty
        hang(book, child, parent)
        if child.state is Submission.ACCEPTED:
            learn_size(child, leg, book)
            if child.qty != size:
                show(child, book=book)
        return [*([child] if before != as_told(child) else []), *hang_successors(book, child)]

    @staticmethod
    async def _group_in_doubt(book: Book, account: AccountRow) -> bool:
        """Whether the account has a bracket, spread or the like of ours that the broker has not answered yet."""
        return any(
            one.state is not Submission.ACCEPTED and one.order_class != "simple"
            for one in await store.load_open_orders(book.tx, account.id)
        )

    @staticmethod
    def _sum_up(book: Book, leg: OrderRow) -> None:
        """What a leg has filled, the spread has filled."""
        spread = book.orders.get(leg.parent_id or "")
        if spread is None or not is_spread(spread) or spread.state is not Submission.ACCEPTED:
            return
        before = as_told(spread)
        show(spread, book=book)
        if before != as_told(spread):
            book.change(spread, "broker")
