"""What the broker tells, merged into the ledger so that order, duplicates and gaps do not matter (E18).

Two things only ever grow: the set of prints booked by execution id, and the furthest status and cumulative
quantity the broker has told. Everything shown is derived from both, so any permutation of the same events ends
in the same rows. A terminal status is shown only once the prints behind it are booked.
"""

from collections.abc import Sequence
from decimal import Decimal

from paiid.brokers import BrokerOrderView
from paiid.core.audit import AuditEntry
from paiid.domain.identity import SYSTEM
from paiid.domain.money import money_to_int, qty_from_int, qty_to_int
from paiid.domain.orders import TERMINAL_STATUSES, CancelState, OrderStatus, Reason, Submission
from paiid.trading import in_place
from paiid.trading.answers import reason_text
from paiid.trading.book import Book
from paiid.trading.counters import is_spread
from paiid.trading.order_rows import from_money
from paiid.trading.records import OrderRow, average_price

_STANDING = frozenset({"order.mismatch", "order.alive_after_refusal", "order.overfilled"})
_RANKS = {OrderStatus.HELD: 0, OrderStatus.NEW: 1, OrderStatus.PARTIALLY_FILLED: 2}


def differs(order: OrderRow, view: BrokerOrderView, children: Sequence[OrderRow] = ()) -> str | None:
    """The first field in which the broker's order is not the one we placed, None where they are equal (E12).

    The quantity of a replacement is what was left when the broker took it, which only the broker knows.
    """
    # What is left of an exit, too, is the broker's to say: it shrinks as the other one fills.
    told = order.notional is not None or order.replaces is not None or order.parent_id is not None
    pairs = (
        ("symbol", order.symbol, view.symbol),
        ("side", order.side, view.side),
        ("order_class", order.order_class, view.order_class),
        ("notional", from_money(order.notional), view.notional),
        ("qty", qty_from_int(order.qty), qty_from_int(order.qty) if told else view.qty),
        *_type_and_limit(order, view),
        *_stops(order, view),
    )
    for name, ours, theirs in pairs:
        if ours != theirs:
            return name
    for child in children:
        leg = leg_view(child, view)
        if leg is None or (field := _leg_differs(child, leg)):
            return f"legs.{child.group_role or ''}.{'' if leg is None else field}".rstrip(".")
    return None


def _type_and_limit(order: OrderRow, view: BrokerOrderView) -> tuple[tuple[str, object, object], ...]:
    # Alpaca turns a stop to buy into a stop-limit with a limit of its own, and may tell it as that.
    if (order.type, order.side, view.type) == ("stop", "buy", "stop_limit"):
        return ()
    return (
        ("type", order.type, view.type),
        ("limit_price", from_money(order.limit_price), view.limit_price),
    )


def _stops(order: OrderRow, view: BrokerOrderView) -> tuple[tuple[str, object, object], ...]:
    if order.type == "trailing_stop":
        # Where the stop of a trailing order stands is the broker's to say.
        return (
            ("trail_price", from_money(order.trail_price), view.trail_price),
            ("trail_percent", from_money(order.trail_percent), view.trail_percent),
        )
    return (("stop_price", from_money(order.stop_price), view.stop_price),)


def _leg_differs(child: OrderRow, leg: BrokerOrderView) -> str | None:
    pairs: list[tuple[str, object, object]] = [
        ("symbol", child.symbol, leg.symbol),
        ("side", child.side, leg.side),
    ]
    if child.group_role != "leg":
        pairs += [
            *_type_and_limit(child, leg),
            *_stops(child, leg),
        ]
    return next((name for name, ours, theirs in pairs if ours != theirs), None)


def leg_view(child: OrderRow, view: BrokerOrderView) -> BrokerOrderView | None:
    """What the broker tells of an exit by its role, of a spread's leg by its contract; None where it tells none."""
    for leg in view.legs:
        if child.broker_order_id is not None:
            if leg.broker_order_id == child.broker_order_id:
                return leg
        elif child.group_role == "leg":
            if leg.symbol == child.symbol:
                return leg
        elif leg.group_role == child.group_role:
            return leg
    return None


def accept(book: Book, order: OrderRow, view: BrokerOrderView, source: str) -> bool:
    """The broker has the order. Equal to ours: adopt it, True; else leave it in doubt and raise the alarm."""
    if in_place.has_passed_on(order):
        # An answer or look-up from before: what the broker shows under the id is the successor's by now.
        return False
    children = book.children_of(order.id)
    old = in_place.holder(book, order, view)
    if old is not None and not _may_take_over(book, old, order, view, source):
        return False
    field = differs(order, view, children)
    if field is None and old is not None:
        field = in_place.odd_term(order, old, view)
    if field is not None and in_place.is_changing(order, view):
        return False
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
    before = (order.state, *as_told(order))
    if old is not None:
        in_place.hand_over(book, old, order, source)
    if order.state is not Submission.ACCEPTED:
        order.reason = None
        for child in children:
            child.reason = None
        book.step(order, Submission.ACCEPTED)
        order.next_lookup_at = None
        order.watch_until = None
        order.submitted_at = view.submitted_at_us
    order.broker_order_id = view.broker_order_id
    view = in_place.own_view(book.orders, order, view)
    if order.replaces is not None and view.qty is not None:
        order.qty = qty_to_int(view.qty)
    learn(order, view)
    show(order, book=book)
    for child in children:
        leg = leg_view(child, view)
        if leg is not None:
            was = as_told(child)
            child.broker_order_id = leg.broker_order_id
            child.submitted_at = leg.submitted_at_us
            learn(child, leg)
            show(child)
            if was != as_told(child):
                book.change(child, source)
    if before != (order.state, *as_told(order)):
        # Told a second time, as by the answer behind the stream: nothing has happened.
        book.change(order, source)
    if corrected:
        alarm(book, order, "order.corrected", {"from": "NOT_PLACED", "to": "ACCEPTED"})
        if order.intent_id is not None:
            book.finish_again(order.intent_id)
    return True


def _may_take_over(book: Book, old: OrderRow, new: OrderRow, view: BrokerOrderView, source: str) -> bool:
    """Whether the new order can take the old one's place under its id (ADR 0024): not while the broker still shows the
    old terms, and not where the old one has ended in the meantime, for then there is nothing left to change."""
    if in_place.has_ended(old):
        if new.state is Submission.NOT_PLACED:
            alarm(book, new, "order.mismatch", {"field": "replaces", "broker_order_id": view.broker_order_id})
        status = "" if old.status is None else old.status.value
        words = f"The order had ended as {status} before it could be changed."
        reject(book, new, Reason("not_replaceable", words, status, field="status"), source)
        return False
    if in_place.shown_terms(new, old, view) == "old":
        doubt(book, new, 0, "the broker still shows the order as it was")
        return False
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


def as_told(order: OrderRow) -> tuple[object, ...]:
    """What the broker's word can change in an order."""
    return (
        order.filled_qty,
        order.filled_value,
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
        order.hwm,
        order.parent_id,
    )


def learn(order: OrderRow, view: BrokerOrderView, book: Book | None = None) -> None:
    """Keep the furthest the broker has told; nothing here ever goes back."""
    learn_size(order, view, book)
    order.broker_filled_qty = max(order.broker_filled_qty, qty_to_int(view.filled_qty))
    if order.broker_status is None or _rank(view.status) > _rank(order.broker_status):
        order.broker_status = view.status
    if view.reason is not None and view.status in TERMINAL_STATUSES and order.reason is None:
        order.reason = reason_text(Reason(view.status.value.lower(), view.reason))
    if view.hwm is not None:
        _learn_trail(order, view.hwm, view.stop_price)


def learn_size(order: OrderRow, view: BrokerOrderView, book: Book | None = None) -> None:
    """The size of a member of a group, or of a replacement, as far as this word is not older than what is known.

    A held exit has the size of the entry that it hangs on, larger or smaller than that of the entry before: the word that
    names the youngest entry counts. Once live an exit only shrinks, as the other one fills or by a replace: the smallest
    counts. With its end its size is final.
    """
    if (order.group_role is None and order.replaces is None) or view.qty is None:
        return
    if order.broker_status is not None and _rank(view.status) < _rank(order.broker_status):
        return
    told = qty_to_int(view.qty)
    if view.status is OrderStatus.HELD:
        if not _names_another_parent(order, view, book):
            order.qty = told
    elif order.broker_status in (None, OrderStatus.HELD):
        order.qty = told
    else:
        order.qty = min(order.qty, told)


def _names_another_parent(order: OrderRow, view: BrokerOrderView, book: Book | None) -> bool:
    """Whether the view has the order hang on one that is not the youngest it is known to hang on. One that is not in the
    ledger yet counts as old: if it is younger, its own first word names the exits with their sizes."""
    parent = None if book is None else book.orders.get(order.parent_id or "")
    return parent is not None and view.parent_broker_order_id not in (None, parent.broker_order_id)


def _learn_trail(order: OrderRow, hwm: Decimal, stop: Decimal | None) -> None:
    """A trailing stop's best price only ever gets better, and its stop follows it."""
    told = money_to_int(hwm)
    better = order.hwm is None or (told > order.hwm if order.side == "sell" else told < order.hwm)
    if better:
        order.hwm = told
        order.stop_price = None if stop is None else money_to_int(stop)


def _rank(status: OrderStatus) -> int:
    """How far in its life an order of this status is; terminal statuses are level, so the first one stays."""
    return _RANKS.get(status, len(_RANKS))


def show(order: OrderRow, booked_qty: int | None = None, *, book: Book | None = None) -> bool:
    """Derive the status shown; False while prints are missing that the broker has told of.

    `booked_qty` is what was booked before busts took any of it back; without it the order has had none. A spread has
    no prints of its own: what has filled of it is what all its legs have filled.
    """
    if is_spread(order) and book is not None:
        _sum_legs(order, book.children_of(order.id))
    booked = max(order.filled_qty, booked_qty or 0)
    complete = booked + _replaced_qty(order, book) >= order.broker_filled_qty
    ended = order.broker_status in TERMINAL_STATUSES
    if ended and (complete or order.status is order.broker_status):
        # A bust after the end takes quantity back, never the end.
        order.status = order.broker_status
    elif order.filled_qty >= order.qty and order.notional is None:
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


def _replaced_qty(order: OrderRow, book: Book | None) -> int:
    """What the order had filled whose place this one took: a broker may count it to this one, too."""
    old = None if book is None else book.orders.get(order.replaces or "")
    # Of an order that was replaced in place the views are the order's own already.
    return 0 if old is None or in_place.passed_to(old, order) else old.filled_qty


def _sum_legs(order: OrderRow, legs: Sequence[OrderRow]) -> None:
    """Whole units that all legs have filled, and what they came to: price a share, debit positive."""
    if not legs:
        return
    units = min(leg.filled_qty // (leg.ratio_qty or 1) for leg in legs)
    order.filled_qty = units
    order.fees = sum(leg.fees for leg in legs)
    value = sum(leg.filled_value if leg.side == "buy" else -leg.filled_value for leg in legs)
    even = all(leg.filled_qty == units * (leg.ratio_qty or 1) for leg in legs)
    if even:
        order.filled_value = value
        order.filled_avg_price = average_price(value, units)


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
