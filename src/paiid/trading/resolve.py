"""What is left in doubt: found by sweeping the rows, settled by looking the order up, never by sending again.

Every second on every replica, and at start, orders DISPATCHING past their deadline become UNKNOWN, queued
orders of a dead call are skipped, and every order in doubt is looked up by our own id (contracts E12, E13).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from paiid.brokers import Broker, BrokerError, BrokerOrderView
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, Tx
from paiid.core.failpoints import FailPoint, Probe
from paiid.core.tracing import Span
from paiid.domain.calendar import MarketHours
from paiid.domain.orders import Reason, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.correction import halt_corrected
from paiid.trading.in_place import has_passed_on, load_chains, shown_terms
from paiid.trading.merge import accept, doubt
from paiid.trading.prints_of_views import believable
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.stages import Stages
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.trading.resolve")
_EASTERN = ZoneInfo("America/New_York")
_AT_ONCE = 16
_CLOCKS_US = 600_000_000
"""More than the broker's clock and ours may differ by."""
_DEAD_CALL = Reason("call_ended", "The call ended before this order's turn, so it was never sent.")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look-up has shown: the order, or nothing of it. `as_it_was`: the order that it was to change in place is
    there, with its old terms."""

    view: BrokerOrderView | None
    as_it_was: bool = False


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
        stages: Stages | None = None,
    ) -> None:
        self._stages = stages or Stages(clock)
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
            with self._stages.tracer.span("order.lookup", broker=broker.name) as span:
                await self._resolve(order, account, broker, span)

    async def _resolve(self, order: OrderRow, account: AccountRow, broker: Broker, span: Span) -> None:
        self._probe(FailPoint.BEFORE_LOOKUP)
        try:
            seen = await self._ask(order, account, broker)
        except (BrokerError, DatabaseUnavailable) as problem:
            self._told(broker, "unanswered", span)
            _log.info("lookup_unanswered", order=order.id, reason=str(problem))
            return
        self._told(broker, "absent" if seen.view is None else "found", span)
        self._probe(FailPoint.AFTER_LOOKUP)
        try:
            await self._settle(order, account, broker, seen)
        except DatabaseUnavailable as problem:
            _log.warning("lookup_not_recorded", order=order.id, reason=str(problem))

    def _told(self, broker: Broker, result: str, span: Span) -> None:
        self._stages.lookups.add(broker.name, result)
        span.set("result", result)

    async def _ask(self, order: OrderRow, account: AccountRow, broker: Broker) -> "_Seen":
        """What the broker shows of an order. One that changes another where it stands has no id of its own there: it is
        looked up by the other's, and the terms tell (ADR 0024). Raises BrokerError, DatabaseUnavailable."""
        can, timeout_s = broker.capabilities, self._timings.broker_deadline_s
        if order.replaces is None or not can.replaces_in_place:
            view = await broker.fetch_order(account.number, order.client_order_id, timeout_s)
            return _Seen(None if view is None else believable(view, can))
        async with self._db.read() as tx:
            (old,) = await store.load_orders(tx, [order.replaces])
        if old.broker_order_id is None or has_passed_on(old) or _goes_to_another(old, order):
            # Changed by another order since: what the broker shows now says nothing of this one.
            return _Seen(None)
        view = await broker.fetch_order_by_id(account.number, old.broker_order_id, timeout_s)
        shown = "none" if view is None else shown_terms(order, old, view)
        if view is None or shown == "old" or (shown == "other" and order.state is Submission.NOT_PLACED):
            return _Seen(None, as_it_was=view is not None)
        return _Seen(believable(view, can))

    async def _settle(self, order: OrderRow, account: AccountRow, broker: Broker, seen: "_Seen") -> None:
        view = seen.view
        async with self._db.begin() as tx:
            # The loud correction halts the account, which takes the gate first and alone (K3).
            correcting = order.state is Submission.NOT_PLACED and view is not None
            now_us = await tx.close_gate() if correcting else await tx.now_us()
            book = Book(tx, self._clock, now_us)
            await book.open([account.id])
            current = await self._reload(tx, book, order.id)
            doubted = current.state is Submission.UNKNOWN
            old = book.orders.get(current.replaces or "")
            if old is not None and broker.capabilities.replaces_in_place and _goes_to_another(old, current):
                view = None
            if view is not None:
                was = current.state
                accept(book, current, view, "lookup")
                if correcting and was is Submission.NOT_PLACED and current.state is Submission.ACCEPTED:
                    await halt_corrected(tx, self._clock, now_us, current)
            elif current.state is Submission.UNKNOWN:
                self._absent(book, current, broker, seen)
            elif current.state is Submission.NOT_PLACED and (current.watch_until or 0) < now_us:
                current.next_lookup_at = None
                book.change(current, "lookup")
            await book.flush()
            self._probe(FailPoint.IN_RESOLVE)
        if doubted and current.state is not Submission.UNKNOWN:
            self._stages.settled.add(broker.name, current.state.value)
        self._published(book)

    @staticmethod
    async def _reload(tx: Tx, book: Book, order_id: str) -> OrderRow:
        (order,) = await store.load_orders(tx, [order_id])
        if order.intent_id is not None:
            await book.load_intents([order.intent_id])
        found = book.register(order)
        await book.load_replaced()
        await load_chains(book)
        return found

    def _absent(self, book: Book, order: OrderRow, broker: Broker, seen: "_Seen") -> None:
        """The broker knows of none: proof only after the horizon, and only while its list is whole (E12)."""
        since = order.unknown_at or order.created_at
        if book.now_us - since < int(self._timings.horizon_s * 1_000_000):
            return
        listed = seen.as_it_was or not broker.capabilities.lists_end_with_day
        # It is listed under the day on which it was sent, which may have been over before anybody doubted it; and the
        # broker's midnight is not ours.
        sent_us, looked_us = min(order.created_at, since) - _CLOCKS_US, book.now_us + _CLOCKS_US
        if not listed and _eastern_day(sent_us) != _eastern_day(looked_us):
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


def _goes_to_another(old: OrderRow, order: OrderRow) -> bool:
    """Whether another order has been sent since to take the old one's place: terms that the two have in common are that
    one's."""
    return old.replaced_by not in (None, order.id)


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
