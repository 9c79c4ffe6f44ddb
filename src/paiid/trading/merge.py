"""What the broker tells, merged into the ledger so that order, duplicates and gaps do not matter (E18).

Two things only ever grow: the set of prints booked by execution id, and the furthest status and cumulative
quantity the broker has told. Everything shown is derived from both, so any permutation of the same events ends
in the same rows. A terminal status is shown only once the prints behind it are booked.
"""

from paiid.brokers import BrokerOrderView
from paiid.core.audit import AuditEntry
from paiid.domain.identity import SYSTEM
from paiid.domain.money import money_from_int, qty_from_int, qty_to_int
from paiid.domain.orders import TERMINAL_STATUSES, CancelState, OrderStatus, Reason, Submission
from paiid.trading.answers import reason_text
from paiid.trading.book import Book
from paiid.trading.records import OrderRow

_STANDING = frozenset({"order.mismatch", "order.alive_after_refusal", "order.overfilled"})
_RANKS = {OrderStatus.HELD: 0, OrderStatus.NEW: 1, OrderStatus.PARTIALLY_FILLED: 2}


def differs(order: OrderRow, view: BrokerOrderView) -> str | None:
    """The first field in which the broker's order is not the one we placed, None where they are equal (E12)."""
    limit = None if order.limit_price is None else money_from_int(order.limit_price)
    stop = None if order.stop_price is None else money_from_int(order.stop_price)
    pairs = (
        ("symbol", order.symbol, view.symbol),
        ("side", order.side, view.side),
        ("qty", qty_from_int(order.qty), view.qty),
        ("type", order.type, view.type),
        ("limit_price", limit, view.limit_price),
        ("stop_price", stop, view.stop_price),
    )
    return next((name for name, ours, theirs in pairs if ours != theirs), None)


def accept(book: Book, order: OrderRow, view: BrokerOrderView, source: str) -> bool:
    """The broker has the order. Equal to ours: adopt it, True; else leave it in doubt and raise the alarm."""
    field = differs(order, view)
    if field is not None:
        alarm(book, order, "order.mismatch", {"field": field, "broker_order_id": view.broker_order_id})
        if order.state is Submission.DISPATCHING:
            doubt(book, order, 0, f"the broker shows another {field}")
        return False
    if order.state is Submission.REJECTED or order.state in (Submission.REFUSED, Submission.SKIPPED):
        # Final, and yet it lives: nothing may be hidden, so the account does not count as reconciled until a
        # person has looked.
        alarm(book, order, "order.alive_after_refusal", {"broker_order_id": view.broker_order_id})
        return False
    corrected = order.state is Submission.NOT_PLACED
    if order.state is not Submission.ACCEPTED:
        book.step(order, Submission.ACCEPTED)
        order.reason = None
        order.next_lookup_at = None
        order.watch_until = None
        order.submitted_at = view.submitted_at_us
    order.broker_order_id = view.broker_order_id
    learn(order, view)
    show(order)
    book.change(order, source)
    if corrected:
        alarm(book, order, "order.corrected", {"from": "NOT_PLACED", "to": "ACCEPTED"})
        if order.intent_id is not None:
            book.finish_again(order.intent_id)
    return True


def reject(book: Book, order: OrderRow, reason: Reason, source: str) -> None:
    """Definitely refused, or definitely not sent."""
    if order.state is Submission.ACCEPTED:
        alarm(book, order, "order.refused_after_acceptance", {"code": reason.code})
        return
    if order.state in (Submission.DISPATCHING, Submission.UNKNOWN):
        book.step(order, Submission.REJECTED, reason)
        order.next_lookup_at = None
        book.change(order, source)


def doubt(book: Book, order: OrderRow, first_lookup_us: int, words: str) -> None:
    """It may or may not have happened: UNKNOWN, with a look-up to come."""
    if order.state is not Submission.DISPATCHING:
        return
    book.step(
        order, Submission.UNKNOWN, Reason("outcome_unknown", f"The outcome is being looked up: {words}.")
    )
    order.unknown_at = book.now_us
    order.next_lookup_at = book.now_us + first_lookup_us
    if order.intent_id is not None:
        intent = book.intents.get(order.intent_id)
        if intent is not None and intent.unknown_at is None:
            intent.unknown_at = book.now_us
            book.touch_intent(intent)
    book.change(order, "ledger")


def learn(order: OrderRow, view: BrokerOrderView) -> None:
    """Keep the furthest the broker has told; nothing here ever goes back."""
    order.broker_filled_qty = max(order.broker_filled_qty, qty_to_int(view.filled_qty))
    if order.broker_status is None or _rank(view.status) > _rank(order.broker_status):
        order.broker_status = view.status
    if view.reason is not None and view.status in TERMINAL_STATUSES and order.reason is None:
        order.reason = reason_text(Reason(view.status.value.lower(), view.reason))


def _rank(status: OrderStatus) -> int:
    """How far in its life an order of this status is; terminal statuses are level, so the first one stays."""
    return _RANKS.get(status, len(_RANKS))


def show(order: OrderRow, booked_qty: int | None = None) -> bool:
    """Derive the status shown; False while prints are missing that the broker has told of.

    `booked_qty` is what was booked before busts took any of it back; without it the order has had none.
    """
    complete = max(order.filled_qty, booked_qty or 0) >= order.broker_filled_qty
    ended = order.broker_status in TERMINAL_STATUSES
    if ended and (complete or order.status is order.broker_status):
        # A bust after the end takes quantity back, never the end.
        order.status = order.broker_status
    elif order.filled_qty >= order.qty:
        order.status = OrderStatus.FILLED
    elif order.filled_qty > 0:
        order.status = OrderStatus.PARTIALLY_FILLED
    elif order.broker_status is OrderStatus.HELD:
        order.status = OrderStatus.HELD
    else:
        order.status = OrderStatus.NEW
    if order.cancel_state is not None and order.status in TERMINAL_STATUSES:
        canceled = order.status is OrderStatus.CANCELED
        order.cancel_state = (CancelState.ACCEPTED if canceled else CancelState.REFUSED).value
    return complete


def alarm(book: Book, order: OrderRow, action: str, detail: dict[str, object]) -> None:
    """Something that must not happen has happened: audited, and the account no longer counts as reconciled,
    which keeps a halt of it from being lifted (K8)."""
    account = book.accounts[order.account_id]
    problem = f"{action} {order.id}"
    if account.reconcile_problem == problem and action in _STANDING:
        # Every look-up and every late update finds it again; it is told once.
        return
    account.reconcile_problem = problem
    book.touch_account(account)
    book.audit(AuditEntry(SYSTEM, action, order.id, {"account": account.id, **detail}))
    book.alarms.append((account.id, order.id, action))
