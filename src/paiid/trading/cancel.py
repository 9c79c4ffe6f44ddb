"""Cancelling: a wish that is written down before it is sent, and that a halt never blocks.

A cancel may be asked for at any time. An order that is not at the broker yet is skipped, or cancelled as soon as
it is known to be there; a cancel whose answer was lost is asked again, for asking twice does no harm.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from paiid.brokers import Broker, BrokerError, BrokerOrderView, BrokerRejected, NotSent
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.failpoints import FailPoint, Probe
from paiid.domain.identity import Actor
from paiid.domain.orders import CancelState, OrderStatus, Reason, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.merge import learn, show
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.trading.cancel")
_AT_ONCE = 8
_BEFORE_SEND = Reason("canceled", "It was cancelled before it was sent.")


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """What a cancel came to: `done` (no longer works), `requested` (will be), `refused`, `unknown`."""

    order: OrderRow
    outcome: str
    message: str | None = None


class Cancels:
    """Asks brokers to cancel, and keeps what they said."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        timings: Timings,
        brokers: Mapping[str, Broker],
        probe: Probe,
        published: Callable[[Book], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._timings = timings
        self._brokers = brokers
        self._probe = probe
        self._published = published
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def cancel(
        self, orders: Sequence[OrderRow], actor: Actor, request_id: str | None = None
    ) -> list[CancelOutcome]:
        """Cancel orders of any accounts; one outcome each, in their order. Raises DatabaseUnavailable before
        anything is sent."""
        if not orders:
            return []
        current, accounts = await self._request([order.id for order in orders], actor, request_id)
        return list(
            await asyncio.gather(*(self._send(order, accounts[order.account_id]) for order in current))
        )

    async def sweep(self) -> int:
        """Ask again where the answer was lost or the asking died; how many. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            stuck_us = now_us - int(2 * self._timings.broker_deadline_s * 1_000_000)
            due = await store.find_due_cancels(tx, stuck_us)
            accounts = await store.load_accounts(tx, [order.account_id for order in due]) if due else {}
        await asyncio.gather(*(self._send(order, accounts[order.account_id]) for order in due))
        return len(due)

    async def _request(
        self, ids: Sequence[str], actor: Actor, request_id: str | None
    ) -> tuple[list[OrderRow], dict[str, AccountRow]]:
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            book = Book(tx, self._clock, now_us)
            before = await store.load_orders(tx, ids)
            await book.open(order.account_id for order in before)
            # Read again behind the accounts' locks: what was seen before them may have moved.
            loaded = await store.load_orders(tx, ids)
            await book.load_intents(order.intent_id for order in loaded if order.intent_id is not None)
            place = {order_id: n for n, order_id in enumerate(ids)}
            current = sorted((book.register(order) for order in loaded), key=lambda order: place[order.id])
            for order in current:
                if order.works:
                    self._mark(book, order)
                    book.audit(
                        AuditEntry(actor, "order.cancel", order.id, {"account": order.account_id}, request_id)
                    )
            await book.flush()
        self._published(book)
        return current, book.accounts

    @staticmethod
    def _mark(book: Book, order: OrderRow) -> None:
        if order.state is Submission.QUEUED:
            book.step(order, Submission.SKIPPED, _BEFORE_SEND)
        elif order.cancel_state not in (CancelState.REQUESTED, CancelState.ACCEPTED):
            order.cancel_state = CancelState.REQUESTED.value
            # None: the broker cannot be asked yet, and the sweep asks it as soon as it has the order.
            order.cancel_requested_at = book.now_us if order.broker_order_id is not None else None
        book.change(order, "ledger")

    async def _send(self, order: OrderRow, account: AccountRow) -> CancelOutcome:
        if not order.works:
            return _ended(order)
        if order.state is not Submission.ACCEPTED or order.broker_order_id is None:
            return CancelOutcome(order, "requested", "It is cancelled as soon as it is known at the broker.")
        broker = self._brokers.get(account.broker)
        if broker is None:
            return CancelOutcome(order, "unknown", f"The broker {account.broker} is not configured here.")
        async with self._slots:
            self._probe(FailPoint.BEFORE_CANCEL)
            view: BrokerOrderView | None = None
            message: str | None = None
            try:
                view = await broker.cancel(
                    account.number, order.broker_order_id, self._timings.broker_deadline_s
                )
                state = CancelState.ACCEPTED
            except BrokerRejected as problem:
                state, message = CancelState.REFUSED, problem.message
            except NotSent as problem:
                state, message = CancelState.UNKNOWN, str(problem)
            except BrokerError as problem:
                state, message = CancelState.UNKNOWN, str(problem)
            self._probe(FailPoint.AFTER_CANCEL)
        try:
            return await self._record(order, state, view, message)
        except DatabaseUnavailable:
            return CancelOutcome(
                order, "unknown", "The broker was asked, but the answer could not be recorded yet."
            )

    async def _record(
        self, order: OrderRow, state: CancelState, view: BrokerOrderView | None, message: str | None
    ) -> CancelOutcome:
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            book = Book(tx, self._clock, now_us)
            await book.open([order.account_id])
            (loaded,) = await store.load_orders(tx, [order.id])
            if loaded.intent_id is not None:
                await book.load_intents([loaded.intent_id])
            current = book.register(loaded)
            if current.works:
                if current.cancel_state != CancelState.ACCEPTED.value:
                    # The broker may well refuse to be asked twice; what it has granted it has granted.
                    current.cancel_state = state.value
                current.cancel_requested_at = now_us
                if view is not None:
                    learn(current, view)
                    show(current)
                book.change(current, "broker")
                await book.flush()
        self._published(book)
        if not current.works:
            return _ended(current)
        outcome = {"ACCEPTED": "requested", "REFUSED": "refused", "UNKNOWN": "unknown"}[state.value]
        return CancelOutcome(current, outcome, message)


def _ended(order: OrderRow) -> CancelOutcome:
    """An order that works no more: as was wished, or too late."""
    if order.state is Submission.ACCEPTED and order.status in (OrderStatus.FILLED, OrderStatus.REPLACED):
        return CancelOutcome(order, "refused", f"It is too late: the order is {order.status.value} already.")
    return CancelOutcome(order, "done")
