"""The broker's update stream, merged into the ledger by one replica at a time (contract E18)."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from paiid.brokers import Broker, BrokerError, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, DatabaseUnavailable, Tx, UniqueViolation
from paiid.core.failpoints import FailPoint, Probe
from paiid.core.leases import Held, Leases, still_held
from paiid.domain.money import money_to_int, qty_to_int
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.correction import halt_corrected
from paiid.trading.executions import Prints
from paiid.trading.merge import accept, alarm, learn, show
from paiid.trading.reconcile import Reconciler
from paiid.trading.records import AccountRow, OrderRow

_log = structlog.get_logger("paiid.trading.updates")
_LEASE_S = 3.0
_RENEW_S = 1.0
_CHUNK = 128
_RETRY_S = 0.5
_COMPARE_S = 60.0


class _GateNeeded(Exception):
    """An update corrects a `NOT_PLACED` order: do the chunk again with the gate closed first."""


class LeaseLost(Exception):
    """Another replica reads the stream now."""


class UpdateReader:
    """Reads one broker's updates. `published` is told of every committed book."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        broker: Broker,
        leases: Leases,
        reconciler: Reconciler,
        probe: Probe,
        published: Callable[[Book], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._broker = broker
        self._leases = leases
        self._reconciler = reconciler
        self._probe = probe
        self._published = published
        self._name = f"updates:{broker.name}"
        self._accounts: dict[str, str] = {}

    async def run(self) -> None:
        """Hold the lease and merge, until cancelled."""
        try:
            while True:
                try:
                    held = await self._leases.take(self._name, _LEASE_S)
                    if held is not None:
                        await self._read(held)
                except (DatabaseUnavailable, BrokerError, LeaseLost) as problem:
                    _log.warning("updates_interrupted", broker=self._broker.name, reason=str(problem))
                await self._clock.sleep(_RETRY_S)
        finally:
            with suppress(DatabaseUnavailable):
                await self._leases.release(self._name)

    async def _read(self, held: Held) -> None:
        async with self._db.read() as tx:
            cursor = await store.load_cursor(tx, self._name)
        queue: asyncio.Queue[BrokerUpdate] = asyncio.Queue(maxsize=4 * _CHUNK)
        # Listening begins before the catch-up, so that nothing falls between the two.
        pump = asyncio.create_task(self._pump(cursor, queue), name="paiid-updates")
        renewed = self._clock.monotonic_s()
        comparing: asyncio.Task[None] | None = None
        try:
            await self._catch_up(held, cursor)
            comparing = asyncio.create_task(self._compare(), name="paiid-reconcile")
            while True:
                chunk = await self._gather(queue, pump)
                if chunk:
                    await self.merge(held, chunk)
                if self._clock.monotonic_s() - renewed > _RENEW_S:
                    renewed = self._clock.monotonic_s()
                    again = await self._leases.take(self._name, _LEASE_S)
                    if again is None or again.token != held.token:
                        raise LeaseLost("the lease went to another replica")
        finally:
            pump.cancel()
            if comparing is not None:
                comparing.cancel()
            with suppress(asyncio.CancelledError, BrokerError, DatabaseUnavailable):
                await pump

    async def _catch_up(self, held: Held, cursor: int) -> None:
        """By REST what the stream may have lost while nobody read it (contract E18)."""
        for account in await self._reconciler.accounts():
            missed = await self._reconciler.missed(account, cursor)
            for start in range(0, len(missed), _CHUNK):
                await self.merge(held, missed[start : start + _CHUNK])

    async def _compare(self) -> None:
        """Every minute the ledger's positions against the broker's."""
        while True:
            try:
                for account in await self._reconciler.accounts():
                    await self._reconciler.compare(account)
            except (BrokerError, DatabaseUnavailable) as problem:
                _log.warning("reconcile_failed", broker=self._broker.name, reason=str(problem))
            await self._clock.sleep(_COMPARE_S)

    async def _pump(self, cursor: int, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        async for update in self._broker.updates(cursor):
            await queue.put(update)

    async def _gather(
        self, queue: "asyncio.Queue[BrokerUpdate]", pump: "asyncio.Task[None]"
    ) -> list[BrokerUpdate]:
        getter = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait({getter, pump}, timeout=_RENEW_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getter.done():
                getter.cancel()
        if pump.done():
            if not getter.cancelled() and getter.done():
                getter.exception()
            pump.result()
            raise BrokerError("the update stream ended")
        if not getter.done() or getter.cancelled():
            return []
        chunk = [getter.result()]
        while len(chunk) < _CHUNK and not queue.empty():
            chunk.append(queue.get_nowait())
        return chunk

    async def merge(self, held: Held | None, chunk: Sequence[BrokerUpdate]) -> None:
        """Merge a chunk and move the cursor in one transaction. Raises LeaseLost, DatabaseUnavailable."""
        for attempt in range(3):
            try:
                await self._merge_once(held, chunk, gate=attempt > 0)
                return
            except (_GateNeeded, UniqueViolation):
                continue
        raise DatabaseUnavailable("the updates could not be merged")

    async def _merge_once(self, held: Held | None, chunk: Sequence[BrokerUpdate], *, gate: bool) -> None:
        accounts = await self._account_ids({update.order.account_number for update in chunk})
        async with self._db.begin() as tx:
            now_us = await tx.close_gate() if gate else await tx.now_us()
            if held is not None and not await still_held(tx, held):
                raise LeaseLost("the lease ran out")
            book = Book(tx, self._clock, now_us)
            await book.open(accounts.values())
            found = await self._find(tx, book, chunk, accounts)
            booked = await store.find_booked(
                tx,
                list(accounts.values()),
                [u.execution.execution_id for u in chunk if u.execution is not None],
            )
            prints = Prints(book)
            await prints.load(list(book.orders.values()))
            for update in chunk:
                account_id = accounts.get(update.order.account_number)
                if account_id is not None:
                    account = book.accounts[account_id]
                    await self._apply(book, prints, account, update, found, booked, gate=gate)
            await prints.settle()
            await book.flush()
            await store.save_cursor(tx, self._name, max(update.cursor for update in chunk))
            self._probe(FailPoint.IN_MERGE)
        self._published(book)
        self._probe(FailPoint.AFTER_MERGE)

    async def _account_ids(self, numbers: set[str]) -> dict[str, str]:
        if not numbers <= self._accounts.keys():
            async with self._db.read() as tx:
                rows: list[AccountRow] = await store.load_all_accounts(tx)
            self._accounts = {row.number: row.id for row in rows if row.broker == self._broker.name}
        return {number: self._accounts[number] for number in numbers if number in self._accounts}

    async def _find(
        self, tx: Tx, book: Book, chunk: Sequence[BrokerUpdate], accounts: dict[str, str]
    ) -> dict[tuple[str, str], OrderRow]:
        loaded = await store.find_orders_at_broker(
            tx,
            list(accounts.values()),
            [update.order.broker_order_id for update in chunk],
            [update.order.client_order_id for update in chunk if update.order.client_order_id is not None],
        )
        await book.load_intents(order.intent_id for order in loaded if order.intent_id is not None)
        found: dict[tuple[str, str], OrderRow] = {}
        for one in loaded:
            order = book.register(one)
            found[(order.account_id, order.client_order_id)] = order
            if order.broker_order_id is not None:
                found[(order.account_id, order.broker_order_id)] = order
        return found

    async def _apply(
        self,
        book: Book,
        prints: Prints,
        account: AccountRow,
        update: BrokerUpdate,
        found: dict[tuple[str, str], OrderRow],
        booked: set[tuple[str, str]],
        *,
        gate: bool,
    ) -> None:
        view, execution = update.order, update.execution
        order = found.get((account.id, view.broker_order_id))
        if order is None and view.client_order_id is not None:
            order = found.get((account.id, view.client_order_id))
        if order is None:
            order = external_order(book, account, update)
            found[(account.id, view.broker_order_id)] = order
        if order.state is not Submission.ACCEPTED:
            correcting = order.state is Submission.NOT_PLACED
            if correcting and not gate:
                raise _GateNeeded
            if accept(book, order, view, "broker") and correcting:
                await halt_corrected(book.tx, self._clock, book.now_us, order)
        before = _told(order)
        fresh = execution is not None and (account.id, execution.execution_id) not in booked
        if execution is not None and fresh:
            # Whatever the order may be, the shares have changed hands.
            booked.add((account.id, execution.execution_id))
            await prints.add(order, execution)
        if order.state is Submission.ACCEPTED:
            if order.broker_order_id is None:
                order.broker_order_id = view.broker_order_id
            if order.origin == "external":
                describe(order, view, execution)
            learn(order, view)
            show(order, await prints.told_qty(order))
        if order.filled_qty > order.qty:
            alarm(book, order, "order.overfilled", {"filled": order.filled_qty, "qty": order.qty})
        if fresh or before != _told(order):
            book.change(order, "broker")


def _told(order: OrderRow) -> tuple[object, ...]:
    """What an update can change in an order beside its prints."""
    return (
        order.broker_order_id,
        order.status,
        order.broker_status,
        order.broker_filled_qty,
        order.cancel_state,
        order.reason,
        order.qty,
        order.type,
        order.time_in_force,
        order.limit_price,
        order.stop_price,
        order.reserve_price,
    )


def describe(order: OrderRow, view: BrokerOrderView, execution: BrokerExecution | None) -> None:
    """What an order that is not ours is, as the broker tells it now: others may have replaced it. Without a price of
    its own it ties up what its dearest print cost."""
    order.qty = qty_to_int(view.qty)
    order.type = view.type
    order.time_in_force = view.time_in_force
    order.limit_price = None if view.limit_price is None else money_to_int(view.limit_price)
    order.stop_price = None if view.stop_price is None else money_to_int(view.stop_price)
    own = order.limit_price or order.stop_price
    paid = 0 if execution is None else money_to_int(execution.price)
    order.reserve_price = max(order.reserve_price, paid) if own is None else own


def external_order(book: Book, account: AccountRow, update: BrokerUpdate) -> OrderRow:
    """An order at the broker that is not ours, taken into the ledger (contract E18)."""
    view = update.order
    order = OrderRow(
        id=new_id(book.clock, "ord"),
        account_id=account.id,
        user_id=None,
        intent_id=None,
        position=0,
        origin="external",
        client_order_id=view.client_order_id or f"ext-{view.broker_order_id}",
        broker_order_id=view.broker_order_id,
        state=Submission.ACCEPTED,
        status=OrderStatus.NEW,
        symbol=view.symbol,
        asset_class="stock",
        side=view.side,
        type=view.type,
        time_in_force=view.time_in_force,
        qty=qty_to_int(view.qty),
        limit_price=None,
        stop_price=None,
        reference_price=None,
        reserve_price=0,
        filled_qty=0,
        filled_value=0,
        filled_avg_price=None,
        fees=0,
        broker_status=None,
        broker_filled_qty=0,
        reason=None,
        cancel_state=None,
        cancel_requested_at=None,
        open=0,
        dispatch_deadline_at=None,
        unknown_at=None,
        lookup_count=0,
        next_lookup_at=None,
        watch_until=None,
        version=1,
        created_at=book.now_us,
        updated_at=book.now_us,
        submitted_at=view.submitted_at_us,
    )
    describe(order, view, update.execution)
    book.add_order(order)
    return order
