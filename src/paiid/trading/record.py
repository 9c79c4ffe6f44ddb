"""Recording what the broker said, and marking the next order of the call, in one transaction (contract E9)."""

from collections.abc import Sequence
from dataclasses import dataclass

from paiid.brokers import BrokerOrderView
from paiid.core.clock import Clock
from paiid.core.db import Tx
from paiid.core.failpoints import FailPoint, Probe
from paiid.domain.errors import Problem
from paiid.domain.halts import HaltSet
from paiid.domain.identity import Principal
from paiid.domain.money import qty_from_int
from paiid.domain.orders import Reason, Submission
from paiid.trading.book import Book
from paiid.trading.checks import Gate, as_proposal, refuse
from paiid.trading.claim import refuse_caller
from paiid.trading.commands import Surroundings
from paiid.trading.first_reads import Standings, enter_record
from paiid.trading.in_place import load_chains
from paiid.trading.latch import Latch
from paiid.trading.merge import accept, doubt, reject
from paiid.trading.order_rows import request_of
from paiid.trading.records import OrderRow
from paiid.trading.timings import Timings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What sending an order came to: a view (accepted), a reason (rejected), or words (unknown)."""

    view: BrokerOrderView | None = None
    rejected: Reason | None = None
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One outcome to record. `goes_on`: orders of the same call come after it, whose check needs `principal` and
    `around`."""

    order_id: str
    intent_id: str
    account_id: str
    outcome: Outcome
    principal: Principal
    around: Surroundings
    goes_on: bool


_CLOSED = Gate(HaltSet(), "no order is marked without the gate")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The next order to send, marked DISPATCHING, with its stamp; or the end of the call."""

    next_order: OrderRow | None
    next_children: tuple[OrderRow, ...]
    stamp_s: float
    final: tuple[int, str] | None
    alarms: tuple[tuple[str, str, str], ...]


class Recorder:
    """Records outcomes in groups."""

    def __init__(self, clock: Clock, latch: Latch, timings: Timings, probe: Probe) -> None:
        self._clock = clock
        self._latch = latch
        self._timings = timings
        self._probe = probe

    async def batch(self, tx: Tx, items: Sequence[Recording]) -> Sequence[Recorded | Exception]:
        """Results in order. Where a next order is to be marked, the gate is passed again (K3)."""
        stamp_s = self._clock.monotonic_s()
        going_on = [item for item in items if item.goes_on]
        entered = await enter_record(
            tx, [item.principal for item in going_on], (item.account_id for item in items)
        )
        gate = Gate(entered.halts, self._latch.holds()) if going_on else _CLOSED
        book = Book(tx, self._clock, entered.now_us)
        await book.open_for_record(entered.accounts, [item.intent_id for item in items])
        await book.load_combos()
        await book.load_replaced()
        await load_chains(book)
        marked: list[OrderRow | None] = []
        for item in items:
            order = book.orders[item.order_id]
            self._apply(book, order, item.outcome)
            marked.append(
                self._mark_next(book, order, item, gate, entered.standing) if item.goes_on else None
            )
        await book.flush()
        self._probe(FailPoint.IN_RECORD)
        return [
            Recorded(
                order,
                () if order is None else tuple(book.children_of(order.id)),
                stamp_s,
                book.final.get(item.intent_id),
                tuple(alarm for alarm in book.alarms if alarm[1] == item.order_id),
            )
            for item, order in zip(items, marked, strict=True)
        ]

    def _apply(self, book: Book, order: OrderRow, outcome: Outcome) -> None:
        if outcome.view is not None and order.state is Submission.NOT_PLACED:
            # So late that it was declared not placed. The loud correction halts the account, for which the gate
            # must be closed: the resolver finds it at once.
            order.next_lookup_at = book.now_us
            book.change(order, "ledger")
        elif outcome.view is not None:
            accept(book, order, outcome.view, "broker")
        elif outcome.rejected is not None:
            reject(book, order, outcome.rejected, "broker")
        else:
            doubt(book, order, self._timings.lookup_delay_us(0), outcome.unknown or "no answer")

    def _mark_next(
        self,
        book: Book,
        order: OrderRow,
        item: Recording,
        gate: Gate,
        standing: Standings,
    ) -> OrderRow | None:
        waiting = [o for o in book.orders_of(item.intent_id) if o.state is Submission.QUEUED]
        if not waiting:
            return None
        following = waiting[0]
        stop = self._why_stop(book, following, item, gate, standing)
        if stop is None:
            book.step(following, Submission.DISPATCHING)
            following.dispatch_deadline_at = book.now_us + self._timings.dispatch_us
            book.change(following, "ledger")
            return following
        state, reason = stop
        book.step(following, state, reason)
        book.change(following, "ledger")
        for later in waiting[1:]:
            book.step(later, Submission.SKIPPED, _after(order if state is Submission.SKIPPED else following))
            book.change(later, "ledger")
        return None

    def _why_stop(
        self,
        book: Book,
        following: OrderRow,
        item: Recording,
        gate: Gate,
        standing: Standings,
    ) -> tuple[Submission, Reason] | None:
        """Why the next order must not go, and the state that says so (contract E4)."""
        before = [o for o in book.orders_of(item.intent_id) if o.position < following.position]
        broken = next((o for o in before if o.state is not Submission.ACCEPTED), None)
        if broken is not None:
            # Not always the order that is recorded here: one between may have been cancelled while it waited, or
            # marked by a commit of which nobody heard.
            return Submission.SKIPPED, _after(broken)
        intent = book.intents[item.intent_id]
        if book.now_us > intent.expires_at:
            return Submission.SKIPPED, Reason(
                "call_budget", "The call's time was used up before this order's turn."
            )
        try:
            refuse_caller(item.principal, standing)
        except Problem as problem:
            return Submission.REFUSED, Reason("caller", problem.detail)
        request = request_of(following, book.children_of(following.id))
        proposal = as_proposal(request, qty_from_int(following.qty), item.around)
        state = book.standing(
            item.account_id,
            item.around.mark,
            without=[o for o in book.rows_of(item.intent_id) if o.state is Submission.QUEUED],
        )
        reason = refuse(
            request,
            proposal,
            item.account_id,
            item.principal.user_id,
            gate,
            state,
            item.around,
            item.around.limits,
        )
        return None if reason is None else (Submission.REFUSED, reason)


def _after(order: OrderRow) -> Reason:
    return Reason(
        "skipped", f"Order {order.position} of the same call was not accepted, so this one was not sent."
    )
