"""The owner's word that the broker's books are right: the ledger is brought to them, in one transaction, audited.

Nothing that is still on its way may be taken for a difference, for it would be booked a second time when it comes.
Hence what was missed is fetched first, the broker is read twice and must stand still, nothing may be left to book
after that, and the account must not have moved here between the reading and the booking; else all is done again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from paiid.brokers import BrokerActivity, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.identity import Actor
from paiid.domain.money import ZERO, money_from_int, plain, qty_from_int, qty_to_int, round_money
from paiid.domain.orders import CancelState, OrderStatus, Reason, ReplaceState, Submission
from paiid.trading.activities import adjustment, book_activities
from paiid.trading.answers import reason_text
from paiid.trading.book import Book
from paiid.trading.counters import is_spread
from paiid.trading.differences import NOTHING_THERE, Difference, Look, told_qty
from paiid.trading.executions import Prints
from paiid.trading.merge import learn, show
from paiid.trading.opening import open_balances
from paiid.trading.order_rows import from_money
from paiid.trading.reconcile import Reconciler, refresh_account
from paiid.trading.records import AccountRow, OrderRow

__all__ = ["Accepted", "Merge", "NotAccepted", "accept_books", "open_balances"]

Merge = Callable[[Sequence[BrokerUpdate]], Awaitable[object]]
"""Merges updates of the account's broker into the ledger."""

_SETTLE_S = 1.0
_TRIES = 5
_CHUNK = 128
_EVERY_ORDER = 10_000
_WHY = Reason(
    "not_at_broker", "The broker has no such order; the owner has accepted its books (`paiid reconcile`)."
)
_WORDS = "accepted from the broker's books"


class NotAccepted(Exception):
    """Why the books could not be accepted, in words for the owner."""


@dataclass(slots=True)
class Accepted:
    """What has been done. `problem` stood in the account's row before; `ended` are ids of orders."""

    account_id: str
    problem: str | None
    differences: tuple[Difference, ...]
    adjustments: list[BrokerActivity] = field(default_factory=list)
    prints: list[BrokerExecution] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    @property
    def nothing_to_do(self) -> bool:
        """The books agreed to the last cent, and no alarm stood."""
        return not self.differences and not self.adjustments and self.problem is None


async def accept_books(
    db: Database,
    clock: Clock,
    reconciler: Reconciler,
    merge: Merge,
    account_id: str,
    actor: Actor,
    reason: str,
    request_id: str | None = None,
) -> Accepted:
    """Bring the ledger of an account to its broker's books and clear the problem and the alarms.

    Raises NotAccepted: no such account at this broker, an order on the wire or in doubt, an order that works at the
    broker and not here, or an account that does not stand still. BrokerError, DatabaseUnavailable.
    """
    for _ in range(_TRIES):
        account = next((one for one in await reconciler.accounts() if one.id == account_id), None)
        if account is None:
            raise NotAccepted(f"there is no account {account_id} at {reconciler.broker.name}")
        await _catch_up(reconciler, merge, account)
        first = await reconciler.look(account, _EVERY_ORDER)
        await clock.sleep(_SETTLE_S)
        second = await reconciler.look(account, _EVERY_ORDER)
        still = first.theirs.standing_still(second.theirs) and first.ours.seq == second.ours.seq
        if not still or await _left_to_book(reconciler, account):
            continue
        found = second.differences()
        _refuse(second, found)
        done = await _Acceptance(db, clock, second, found).book(actor, reason, request_id)
        if done is not None:
            return done
    raise NotAccepted(
        f"account {account_id} does not stand still: orders fill while its books are read. Halt it, wait until "
        "nothing is on the wire, and accept again"
    )


async def _catch_up(reconciler: Reconciler, merge: Merge, account: AccountRow) -> None:
    updates = await reconciler.missed(account, 0)
    for start in range(0, len(updates), _CHUNK):
        await merge(updates[start : start + _CHUNK])


async def _left_to_book(reconciler: Reconciler, account: AccountRow) -> bool:
    updates = await reconciler.missed(account, 0)
    return any(one.execution is not None or one.activity is not None for one in updates)


def _refuse(look: Look, found: Sequence[Difference]) -> None:
    """Raises NotAccepted for what only the broker, or time, can put right."""
    for order in look.ours.orders:
        if order.open and order.state is not Submission.ACCEPTED:
            raise NotAccepted(
                f"order {order.id} is {order.state.value}: wait until it is known what has become of it, or settle "
                "it (`paiid orders settle`)"
            )
    rows = {order.id: order for order in look.ours.orders}
    for one in found:
        row = rows.get(one.subject)
        if one.kind == "order" and one.broker != NOTHING_THERE and (row is None or not row.open):
            raise NotAccepted(
                f"order {one.subject} is {one.broker} at the broker and {one.ours} here, which nothing here can "
                "follow: cancel it at the broker, then accept again"
            )


class _Acceptance:
    """One transaction that books what two equal looks have shown."""

    def __init__(self, db: Database, clock: Clock, look: Look, found: tuple[Difference, ...]) -> None:
        self._db = db
        self._clock = clock
        self._look = look
        self._found = found

    async def book(self, actor: Actor, reason: str, request_id: str | None) -> Accepted | None:
        """None where the account has moved since it was read."""
        seen = self._look.ours.account
        async with self._db.begin() as tx:
            book = Book(tx, self._clock, await tx.now_us())
            await book.open([seen.id])
            account = book.accounts[seen.id]
            if (account.number, account.event_seq) != (seen.number, seen.event_seq):
                return None
            done = Accepted(account.id, account.reconcile_problem, self._found)
            subjects = [one.subject for one in self._found if one.kind in ("order", "fills")]
            await book.load_with_group(subjects)
            prints = Prints(book)
            await prints.load(list(book.orders.values()))
            for one in self._found:
                order = book.orders.get(one.subject)
                if order is not None and one.kind == "fills":
                    await self._fill(book, prints, order, done)
                elif order is not None and one.kind == "order":
                    self._end(book, order, one, done)
            await self._adjust(book, prints, account, done)
            await prints.settle()
            await refresh_account(book, account, self._look.theirs.account, terms=not self._look.exact)
            account.reconcile_problem, account.reconciled_at = None, book.now_us
            book.touch_account(account)
            if not done.nothing_to_do:
                detail = _evidence(done, reason)
                book.audit(AuditEntry(actor, "account.reconcile_accept", account.id, detail, request_id))
            await book.flush()
        return done

    async def _fill(self, book: Book, prints: Prints, order: OrderRow, done: Accepted) -> None:
        """What the broker tells as filled and no print accounts for, as one print at the price that is left."""
        view = self._look.theirs.view_of(order)
        told = told_qty(order, view)
        missing = told - self._look.ours.booked_of(order)
        one = BrokerExecution(
            account_number=book.accounts[order.account_id].number,
            execution_id=f"accepted:{order.id}:{plain(told)}",
            broker_order_id=order.broker_order_id or "",
            symbol=order.symbol,
            side=order.side,
            qty=missing,
            price=self._price_left(order, view, missing),
            fee=ZERO,
            executed_at_us=book.now_us,
        )
        await prints.add(order, one)
        done.prints.append(one)
        if view is not None:
            learn(order, view)
        show(order, await prints.told_qty(order), book=book)
        book.change(order, "owner")
        spread = book.orders.get(order.parent_id or "")
        if spread is not None and is_spread(spread):
            show(spread, book=book)
            book.change(spread, "owner")

    def _price_left(self, order: OrderRow, view: BrokerOrderView | None, missing: Decimal) -> Decimal:
        """Dollars a share: what the broker's average leaves for it, else the order's own price, else what it was
        reckoned by. The account's cash is brought to the broker's anyway."""
        if view is not None and view.filled_avg_price is not None:
            left = view.filled_avg_price * view.filled_qty - money_from_int(order.filled_value)
            if left > 0:
                return round_money(left / missing)
        stored = order.filled_avg_price or order.limit_price or order.stop_price or order.reference_price
        return from_money(stored) or ZERO

    def _end(self, book: Book, order: OrderRow, one: Difference, done: Accepted) -> None:
        """An order that works here and not there: as the broker says it ended, or cancelled where it knows of none."""
        view = self._look.theirs.view_of(order)
        if one.broker != NOTHING_THERE and view is not None:
            learn(order, view)
            order.status = view.status
            book.change(order, "owner")
            done.ended.append(order.id)
            return
        for row in (order, *book.children_of(order.id)):
            if row.works and (row is order or self._look.theirs.view_of(row) is None):
                row.status = row.broker_status = OrderStatus.CANCELED
                row.reason = reason_text(_WHY)
                if row.cancel_state is not None:
                    row.cancel_state = CancelState.ACCEPTED.value
                if row.replace_state in (ReplaceState.REQUESTED.value, ReplaceState.UNKNOWN.value):
                    row.replace_state = ReplaceState.REFUSED.value
                book.change(row, "owner")
                done.ended.append(row.id)

    async def _adjust(self, book: Book, prints: Prints, account: AccountRow, done: Accepted) -> None:
        """What is still missing in positions and cash."""
        theirs, mine = self._look.theirs, book.held(account.id)
        for symbol in sorted(mine.keys() | theirs.positions.keys()):
            gap = qty_to_int(theirs.held(symbol)) - mine.get(symbol, 0)
            if gap:
                price = self._entry_price(book, account, symbol)
                activity = adjustment(
                    account, book.new_id("accept"), _WORDS, book.now_us,
                    symbol=symbol, qty=qty_from_int(gap), price=price,
                )  # fmt: skip
                done.adjustments.append(activity)
        cash = theirs.account.cash - money_from_int(account.cash)
        if cash:
            done.adjustments.append(
                adjustment(account, book.new_id("accept"), _WORDS, book.now_us, cash=round_money(cash))
            )
        await book_activities(book, prints, account, done.adjustments)

    def _entry_price(self, book: Book, account: AccountRow, symbol: str) -> Decimal:
        """The broker's average; of what it does not hold, our own, so that nothing is gained or lost by it."""
        held = self._look.theirs.positions.get(symbol)
        if held is not None:
            return round_money(held.avg_entry_price)
        return book.average_cost(account.id, symbol)


def _evidence(done: Accepted, reason: str) -> dict[str, object]:
    return {
        "reason": reason,
        "problem": done.problem,
        "differences": [one.evidence() for one in done.differences],
        "adjustments": [
            {
                "id": one.activity_id,
                "symbol": one.symbol,
                "qty": str(plain(one.qty)),
                "price": str(plain(one.price)),
                "cash": str(plain(one.cash)),
            }
            for one in done.adjustments
        ],
        "prints": [
            {
                "id": one.execution_id,
                "symbol": one.symbol,
                "side": one.side,
                "qty": str(plain(one.qty)),
                "price": str(plain(one.price)),
            }
            for one in done.prints
        ],
        "ended": done.ended,
    }
