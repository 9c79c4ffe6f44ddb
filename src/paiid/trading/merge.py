"""What the broker tells, merged into the ledger so that order, duplicates and gaps do not matter (E18).

Two things only ever grow: the set of prints booked by execution id, and the furthest status and cumulative
quantity the broker has told. Everything shown is derived from both, so any permutation of the same events ends
in the same rows. A terminal status is shown only once the prints behind it are booked.
"""

from paiid.brokers import BrokerExecution, BrokerOrderView
from paiid.core.audit import AuditEntry
from paiid.domain.identity import SYSTEM
from paiid.domain.money import money_from_int, money_to_int, qty_from_int, qty_to_int, round_money
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus, Reason, Submission
from paiid.trading.answers import execution_view, money, quantity, reason_text
from paiid.trading.book import Book
from paiid.trading.records import ExecutionRow, OrderRow, PositionRow, average_price, value_of


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
        # Final, and yet it lives: nothing may be hidden, so the account stops until a person has looked.
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
    if order.broker_status not in TERMINAL_STATUSES:
        order.broker_status = view.status
    if view.reason is not None and view.status in TERMINAL_STATUSES and order.reason is None:
        order.reason = reason_text(Reason(view.status.value.lower(), view.reason))


def show(order: OrderRow) -> bool:
    """Derive the status shown; False while prints are missing that the broker has told of."""
    complete = order.filled_qty >= order.broker_filled_qty
    if order.broker_status in TERMINAL_STATUSES and complete:
        order.status = order.broker_status
        if order.cancel_state is not None and order.status is not OrderStatus.CANCELED:
            order.cancel_state = "REFUSED"
    elif order.filled_qty >= order.qty:
        order.status = OrderStatus.FILLED
    elif order.filled_qty > 0:
        order.status = OrderStatus.PARTIALLY_FILLED
    elif order.broker_status is OrderStatus.HELD:
        order.status = OrderStatus.HELD
    else:
        order.status = OrderStatus.NEW
    return complete


def book_print(book: Book, order: OrderRow, execution: BrokerExecution) -> None:
    """Book one print that is not booked yet: order, position, cash. Busts and corrections are loud."""
    sign = -1 if execution.kind == "bust" else 1
    qty = qty_to_int(execution.qty) * sign
    price = money_to_int(execution.price)
    fee = money_to_int(round_money(execution.fee)) * sign
    row = ExecutionRow(
        id=book.new_id("exe"),
        account_id=order.account_id,
        order_id=order.id,
        execution_id=execution.execution_id,
        kind=execution.kind,
        corrects=execution.corrects,
        symbol=order.symbol,
        side=order.side,
        qty=qty,
        price=price,
        fee=fee,
        executed_at=execution.executed_at_us,
        booked_at=book.now_us,
    )
    book.book_execution(row)
    value = value_of(qty, price)
    order.filled_qty += qty
    order.filled_value += value
    order.filled_avg_price = average_price(order.filled_value, order.filled_qty)
    order.fees += fee
    account = book.accounts[order.account_id]
    account.cash += (-value if order.side == "buy" else value) - fee
    book.touch_account(account)
    position = book.position(order.account_id, order.symbol)
    _move(position, qty if order.side == "buy" else -qty, price)
    position.version += 1
    book.touch_position(position)
    book.tell(order.account_id, "fill", "broker", execution_view(row))
    book.tell(order.account_id, "position", "ledger", position_event(position))
    if execution.kind != "fill":
        order.broker_filled_qty = min(order.broker_filled_qty, max(order.filled_qty, 0))
        alarm(book, order, f"execution.{execution.kind}", {"execution_id": execution.execution_id})


def _move(position: PositionRow, signed_qty: int, price: int) -> None:
    """Average cost: what opens adds its cost, what closes takes its share of the cost and realises the rest."""
    held = position.qty
    if held == 0 or (held > 0) == (signed_qty > 0):
        position.qty += signed_qty
        position.cost_basis += _signed_value(signed_qty, price)
        return
    closing = min(abs(held), abs(signed_qty))
    # The last share takes the whole remaining cost, so a flat position never keeps a fraction of a cent.
    share = position.cost_basis * closing // abs(held) if closing < abs(held) else position.cost_basis
    proceeds = value_of(closing, price) * (1 if held > 0 else -1)
    position.realized_pl += proceeds - share
    position.cost_basis -= share
    position.qty += closing if held < 0 else -closing
    rest = abs(signed_qty) - closing
    if rest:
        opening = rest if signed_qty > 0 else -rest
        position.qty += opening
        position.cost_basis += _signed_value(opening, price)


def _signed_value(signed_qty: int, price: int) -> int:
    value = value_of(abs(signed_qty), price)
    return value if signed_qty > 0 else -value


def position_event(position: PositionRow) -> dict[str, object]:
    """A position as its event shows it."""
    return {
        "account": position.account_id,
        "symbol": position.symbol,
        "qty": quantity(position.qty),
        "cost_basis": money(position.cost_basis),
        "realized_pl": money(position.realized_pl),
        "version": position.version,
    }


def alarm(book: Book, order: OrderRow, action: str, detail: dict[str, object]) -> None:
    """Something that must not happen has happened: audited, and the account no longer counts as reconciled,
    which keeps a halt of it from being lifted (K8)."""
    account = book.accounts[order.account_id]
    account.reconcile_problem = f"{action} {order.id}"
    book.touch_account(account)
    book.audit(AuditEntry(SYSTEM, action, order.id, {"account": account.id, **detail}))
    book.alarms.append((account.id, order.id, action))
