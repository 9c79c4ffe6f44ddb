"""What is left in doubt: found by sweeping the rows, settled by looking the order up, never by sending again.

Every second on every replica, and at start, orders DISPATCHING past their deadline become UNKNOWN, queued
orders of a dead call are skipped, and every order in doubt is looked up by our own id (contracts E12, E13).
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from paiid.brokers import Broker, BrokerError, BrokerOrderView
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, Tx
from paiid.core.failpoints import FailPoint, Probe
from paiid.domain.calendar import MarketHours
from paiid.domain.orders import Reason, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.correction import halt_corrected
from paiid.trading.merge import accept, doubt
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.trading.resolve")
_EASTERN = ZoneInfo("America/New_York")
_AT_ONCE = 16
_DEAD_CALL = Reason("call_ended", "The call ended before this order's turn, so it was never sent.")


class Resolver:
    """Sweeps the ledger and settles orders in doubt. `published` is told of every committed book."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        timings: Timings,
        brokers: Mapping[str, Broker],
        hours: MarketHours,
        probe: Probe,
        published: Callable[[Book], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._timings = timings
        self._brokers = brokers
        self._hours = hours
        self._probe = probe
        self._published = published
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self.first_pass_done = False

    def wake(self) -> None:
        """An order has just become UNKNOWN here: do not wait for the next second."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep until cancelled; a database that is away is asked again at the next turn."""
        quick_until = 0.0
        while True:
            try:
                found = await self.sweep()
                self.first_pass_done = True
            except DatabaseUnavailable as problem:
                _log.warning("sweep_failed", reason=str(problem))
                found = 0
            now = self._clock.monotonic_s()
            if found or self._wake.is_set():
                quick_until = now + 10
            self._wake.clear()
            pause = 0.1 if now < quick_until else self._timings.sweep_s
            await self._pause(min(pause, self._timings.sweep_s))

    async def _pause(self, seconds: float) -> None:
        waiting = asyncio.ensure_future(self._wake.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()

    async def stop(self) -> None:
        """End the look-ups under way; the rows carry on at the next start."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=1.0)

    async def sweep(self) -> int:
        """One pass. Returns how many look-ups it began. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            overdue, abandoned, accounts = await store.find_overdue(tx, now_us)
        if accounts:
            await self._mark_doubtful(overdue, abandoned, accounts)
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            due = await store.find_due_lookups(tx, now_us)
            owners = await store.load_accounts(tx, [order.account_id for order in due]) if due else {}
        for order in due:
            await self._begin_lookup(order, owners[order.account_id], now_us)
        return len(due)

    async def _mark_doubtful(self, overdue: list[str], abandoned: list[str], accounts: list[str]) -> None:
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            book = Book(tx, self._clock, now_us)
            await book.open(accounts)
            loaded = await store.load_orders(tx, [*overdue, *abandoned])
            await book.load_intents(order.intent_id for order in loaded if order.intent_id is not None)
            for one in loaded:
                book.register(one)
            await book.load_replaced()
            for one in loaded:
                order = book.orders[one.id]
                late = order.dispatch_deadline_at is not None and order.dispatch_deadline_at < now_us
                if order.state is Submission.DISPATCHING and late:
                    doubt(book, order, 0, "the process that sent it did not record an answer")
                    self._skip_waiting(book, order)
                elif order.state is Submission.QUEUED and order.id in abandoned:
                    book.step(order, Submission.SKIPPED, _DEAD_CALL)
                    book.change(order, "ledger")
            await book.flush()
        self._published(book)

    @staticmethod
    def _skip_waiting(book: Book, order: OrderRow) -> None:
        """An order in doubt stops the rest of its call at once (contract E4)."""
        if order.intent_id is None:
            return
        for sibling in book.orders_of(order.intent_id):
            if sibling.state is Submission.QUEUED:
                book.step(sibling, Submission.SKIPPED, _DEAD_CALL)
                book.change(sibling, "ledger")

    async def _begin_lookup(self, order: OrderRow, account: AccountRow, now_us: int) -> None:
        watching = order.state is Submission.NOT_PLACED
        wait_us = (
            int(self._timings.watch_lookup_s * 1_000_000)
            if watching
            else self._timings.lookup_delay_us(order.lookup_count + 1)
        )
        async with self._db.begin() as tx:
            mine = await store.take_lookup(tx, order, now_us + wait_us)
        if not mine:
            return
        task = asyncio.create_task(self._look_up(order, account), name="paiid-lookup")
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("lookup_failed", error=type(error).__name__)

    async def _look_up(self, order: OrderRow, account: AccountRow) -> None:
        broker = self._brokers.get(account.broker)
        if broker is None:
            return
        async with self._slots:
            self._probe(FailPoint.BEFORE_LOOKUP)
            try:
                view = await broker.fetch_order(
                    account.number, order.client_order_id, self._timings.broker_deadline_s
                )
            except BrokerError as problem:
                _log.info("lookup_unanswered", order=order.id, reason=str(problem))
                return
            self._probe(FailPoint.AFTER_LOOKUP)
            try:
                await self._settle(order, account, broker, view)
            except DatabaseUnavailable as problem:
                _log.warning("lookup_not_recorded", order=order.id, reason=str(problem))

    async def _settle(
        self, order: OrderRow, account: AccountRow, broker: Broker, view: BrokerOrderView | None
    ) -> None:
        async with self._db.begin() as tx:
            # The loud correction halts the account, which takes the gate first and alone (K3).
            correcting = order.state is Submission.NOT_PLACED and view is not None
            now_us = await tx.close_gate() if correcting else await tx.now_us()
            book = Book(tx, self._clock, now_us)
            await book.open([account.id])
            current = await self._reload(tx, book, order.id)
            if view is not None:
                was = current.state
                accept(book, current, view, "lookup")
                if correcting and was is Submission.NOT_PLACED and current.state is Submission.ACCEPTED:
                    await halt_corrected(tx, self._clock, now_us, current)
            elif current.state is Submission.UNKNOWN:
                self._absent(book, current, broker)
            elif current.state is Submission.NOT_PLACED and (current.watch_until or 0) < now_us:
                current.next_lookup_at = None
                book.change(current, "lookup")
            await book.flush()
            self._probe(FailPoint.IN_RESOLVE)
        self._published(book)

    @staticmethod
    async def _reload(tx: Tx, book: Book, order_id: str) -> OrderRow:
        (order,) = await store.load_orders(tx, [order_id])
        if order.intent_id is not None:
            await book.load_intents([order.intent_id])
        found = book.register(order)
        await book.load_replaced()
        return found

    def _absent(self, book: Book, order: OrderRow, broker: Broker) -> None:
        """The broker knows of none: proof only after the horizon, and only while its list is whole (E12)."""
        since = order.unknown_at or order.created_at
        if book.now_us - since < int(self._timings.horizon_s * 1_000_000):
            return
        if broker.capabilities.lists_end_with_day and _eastern_day(since) != _eastern_day(book.now_us):
            return
        book.step(
            order,
            Submission.NOT_PLACED,
            Reason(
                "not_placed",
                "The broker has no such order; nothing was placed. It is watched for another day.",
            ),
        )
        order.watch_until = self._hours.next_trading_day_end_us(book.now_us)
        order.next_lookup_at = book.now_us + int(self._timings.watch_lookup_s * 1_000_000)
        book.change(order, "lookup")


def _eastern_day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, _EASTERN).date().isoformat()


async def settle_by_owner(
    db: Database, clock: Clock, order_id: str, placed: bool, book_audit: Callable[[Book, OrderRow], None]
) -> OrderRow | None:
    """The owner's word on an order in doubt (`paiid orders settle`); None where the order is not in doubt.

    Raises DatabaseUnavailable.
    """
    async with db.begin() as tx:
        found = await store.load_orders(tx, [order_id])
        if not found:
            return None
        now_us = await tx.now_us()
        book = Book(tx, clock, now_us)
        await book.open([found[0].account_id])
        order = await Resolver._reload(tx, book, order_id)
        if order.state is not Submission.UNKNOWN:
            return None
        wanted = Submission.ACCEPTED if placed else Submission.NOT_PLACED
        book.step(order, wanted, Reason("settled_by_owner", "The owner has settled this order by hand."))
        order.next_lookup_at = None
        book_audit(book, order)
        book.change(order, "owner")
        await book.flush()
        return order
