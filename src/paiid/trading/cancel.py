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
from paiid.trading.stages import Stages
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
        stages: Stages | None = None,
    ) -> None:
        self._stages = stages or Stages(clock)
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
        # What hangs together goes together: one member is asked to go, the others follow it.
        heads = heads_of(current)
        sent = await asyncio.gather(
            *(
                self._send(order, accounts[order.account_id])
                for order in current
                if heads[order.id] == order.id
            )
        )
        done = {one.order.id: one for one in sent}
        return [done.get(order.id) or _follows(order, done[heads[order.id]]) for order in current]

    def cancels_all(self, account: AccountRow) -> bool:
        """Whether the account's broker can be asked for everything in one request."""
        broker = self._brokers.get(account.broker)
        return broker is not None and broker.capabilities.cancels_all

    async def cancel_account(
        self, account: AccountRow, orders: Sequence[OrderRow], actor: Actor, request_id: str | None = None
    ) -> tuple[list[CancelOutcome], Mapping[str, str | None] | None]:
        """Cancel everything that is open in an account in one request, `orders` being what our ledger knows of it.

        One outcome for each of those, in their order, and what the broker has told of all: its id of an order -> why
        it was refused or None; None as a whole where it did not answer. What it has refused of ours is asked singly.
        Only for brokers that can (`capabilities.cancels_all`). Raises DatabaseUnavailable before anything is sent.
        """
        current: list[OrderRow] = []
        if orders:
            current, _ = await self._request([order.id for order in orders], actor, request_id)
        heads = heads_of(current)
        groups: dict[str, list[OrderRow]] = {}
        for order in current:
            groups.setdefault(heads[order.id], []).append(order)
        told: Mapping[str, str | None] | None = None
        words = ""
        async with self._slots:
            self._probe(FailPoint.BEFORE_CANCEL)
            try:
                told = await self._brokers[account.broker].cancel_all(
                    account.number, self._timings.broker_deadline_s
                )
            except BrokerRejected as problem:
                told, words = {}, problem.message
            except BrokerError as problem:
                words = str(problem)
            said = (
                CancelState.UNKNOWN
                if told is None
                else CancelState.REFUSED
                if words
                else CancelState.ACCEPTED
            )
            self._stages.cancels.add(account.broker, said.value)
            self._probe(FailPoint.AFTER_CANCEL)

        async def settle(group: Sequence[OrderRow]) -> CancelOutcome:
            head = next(order for order in group if heads[order.id] == order.id)
            at_broker = head.works and head.state is Submission.ACCEPTED and head.broker_order_id is not None
            if at_broker and told is None:
                return await self._try_record(head, CancelState.UNKNOWN, None, words)
            if at_broker and any(told.get(one.broker_order_id or "", "") is None for one in group if told):
                return await self._try_record(head, CancelState.ACCEPTED, None, None)
            return await self._send(head, account)

        sent = await asyncio.gather(*(settle(group) for group in groups.values()))
        done = {one.order.id: one for one in sent}
        return [done.get(order.id) or _follows(order, done[heads[order.id]]) for order in current], told

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
            self._stages.cancels.add(broker.name, state.value)
            self._probe(FailPoint.AFTER_CANCEL)
        return await self._try_record(order, state, view, message)

    async def _try_record(
        self, order: OrderRow, state: CancelState, view: BrokerOrderView | None, message: str | None
    ) -> CancelOutcome:
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


def heads_of(orders: Sequence[OrderRow]) -> dict[str, str]:
    """For each order the one to be asked of the broker: the first that works of all that hang together."""
    heads: dict[str, str] = {}
    first: dict[str, str] = {}
    for order in sorted(orders, key=lambda one: one.parent_id is not None):
        if not order.works or order.order_class == "simple":
            heads[order.id] = order.id
        else:
            heads[order.id] = first.setdefault(order.parent_id or order.id, order.id)
    return heads


def _follows(order: OrderRow, head: CancelOutcome) -> CancelOutcome:
    """An order that goes with another: what became of that is told soon."""
    outcome = "requested" if head.outcome == "done" else head.outcome
    return CancelOutcome(order, outcome, f"It goes with the order {head.order.id}.")


def _ended(order: OrderRow) -> CancelOutcome:
    """An order that works no more: as was wished, or too late."""
    if order.state is Submission.ACCEPTED and order.status in (OrderStatus.FILLED, OrderStatus.REPLACED):
        return CancelOutcome(order, "refused", f"It is too late: the order is {order.status.value} already.")
    return CancelOutcome(order, "done")
