"""Where the books of an account begin that had a life at its broker before: with what it held then.

The beginning lies a little back, and everything since is taken out of the opening balance and booked as itself: a
print is told by its own id and time, so nothing depends on whose clock is right or on what is on its way meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from paiid.brokers import (
    Broker,
    BrokerAccount,
    BrokerActivity,
    BrokerError,
    BrokerExecution,
    BrokerOrderView,
    BrokerPosition,
)
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database, Tx
from paiid.domain.identity import SYSTEM
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import (
    ZERO,
    money_from_int,
    money_to_int,
    plain,
    qty_from_int,
    qty_to_int,
    round_money,
)
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.trading import store
from paiid.trading.activities import adjustment, book_activities
from paiid.trading.activity_store import find_booked_activities
from paiid.trading.book import Book
from paiid.trading.differences import is_alarm
from paiid.trading.executions import Prints
from paiid.trading.prints_of_views import first_print_of
from paiid.trading.reconcile_store import find_activity_at
from paiid.trading.records import AccountRow, value_of

ACTIVITY_OVERLAP_US = 7 * 86_400_000_000
"""Brokers may tell an assignment or a correction days after the day it counts for."""
OPENING_WORDS = "opening balance"

_BEFORE_US = 3_600_000_000
"""How far the prints that are booked as themselves go back: more than two clocks may differ by."""
_SETTLE_S = 1.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Since:
    """From when on prints and activities of an account count, in microseconds; what is before is in its opening
    balance. `opened_us` None: it has none, everything counts."""

    opened_us: int | None
    prints_us: int
    activities_us: int


async def counts_from(tx: Tx, account: AccountRow) -> Since:
    """From when on an account's history is booked here."""
    opened_us = await find_activity_at(tx, account.id, _marker(account.number))
    if opened_us is None:
        return Since(None, 0, 0)
    return Since(opened_us, opened_us + 1 + ACTIVITY_OVERLAP_US, opened_us + 1)


def is_before(view: BrokerOrderView, since: Since) -> bool:
    """Whether an order had ended before the books began: what it filled is in the opening balance."""
    return (
        since.opened_us is not None
        and view.status in TERMINAL_STATUSES
        and view.updated_at_us < since.prints_us
    )


def _marker(number: str) -> str:
    return f"opening:{number}"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a broker tells of an account at about one moment."""

    account: BrokerAccount
    positions: Mapping[str, BrokerPosition]
    prints: tuple[BrokerExecution, ...]
    activities: tuple[BrokerActivity, ...]

    def same_as(self, other: "_Snapshot") -> bool:
        return (
            self.account.cash == other.account.cash
            and {s: p.qty for s, p in self.positions.items()}
            == {s: p.qty for s, p in other.positions.items()}
            and [p.execution_id for p in self.prints] == [p.execution_id for p in other.prints]
            and [a.activity_id for a in self.activities] == [a.activity_id for a in other.activities]
        )


async def open_balances(
    db: Database, clock: Clock, broker: Broker, account_row: AccountRow, timeout_s: float
) -> bool:
    """Book what an account held when it first appeared, as adjustments; `starting_cash` becomes its equity then.
    True: done now; False: it was done before.

    Raises BrokerError (also where the account does not stand still: try again), DatabaseUnavailable.
    """
    async with db.read() as tx:
        if (await counts_from(tx, account_row)).opened_us is not None:
            return False
    number = account_row.number
    began = clock.now_us()
    if broker.capabilities.tells_prints:
        began -= _BEFORE_US
        for view in await broker.fetch_open_orders(number, timeout_s):
            # The prints of an order that has filled in part belong to that order.
            began = min([began, *(one.submitted_at_us for one in (view, *view.legs) if one.filled_qty > 0)])
    first = await _fetch(broker, number, began, timeout_s)
    for _ in range(_TRIES):
        await clock.sleep(_SETTLE_S)
        second = await _fetch(broker, number, began, timeout_s)
        if first.same_as(second):
            return await _book(db, clock, account_row, second, began)
        first = second
    raise BrokerError(
        f"account {account_row.id} does not stand still; its opening balances are not booked yet"
    )


async def _fetch(broker: Broker, number: str, began_us: int, timeout_s: float) -> _Snapshot:
    held = await broker.fetch_positions(number, timeout_s)
    if broker.capabilities.tells_prints:
        prints = await broker.fetch_executions(number, began_us, timeout_s)
        prints = [one for one in prints if one.executed_at_us >= began_us]
    else:
        prints = _filled_of(await broker.fetch_open_orders(number, timeout_s))
    activities = await broker.fetch_activities(number, began_us - ACTIVITY_OVERLAP_US, timeout_s)
    return _Snapshot(
        await broker.fetch_account(number, timeout_s),
        {one.symbol: one for one in held},
        tuple(prints),
        tuple(one for one in activities if one.at_us >= began_us - ACTIVITY_OVERLAP_US),
    )


def _filled_of(working: Sequence[BrokerOrderView]) -> list[BrokerExecution]:
    """What working orders have filled, of a broker that tells no prints: the merge books it with the order (ADR 0023)."""
    every = {one.broker_order_id: one for view in working for one in (view, *view.legs)}
    found = (first_print_of(one) for one in every.values())
    return sorted((one for one in found if one is not None), key=lambda one: one.execution_id)


async def _book(db: Database, clock: Clock, account_row: AccountRow, told: _Snapshot, began_us: int) -> bool:
    async with db.begin() as tx:
        book = Book(tx, clock, await tx.now_us())
        await book.open([account_row.id])
        account = book.accounts[account_row.id]
        if account.number != account_row.number or (await counts_from(tx, account)).opened_us is not None:
            return False
        booked = await store.find_booked(tx, [account.id], [p.execution_id for p in told.prints])
        prints = [one for one in told.prints if (account.id, one.execution_id) not in booked]
        known = await find_booked_activities(tx, [account.id], [a.activity_id for a in told.activities])
        activities = [one for one in told.activities if (account.id, one.activity_id) not in known]
        cash, qtys = to_come(prints, activities)
        opened_us = began_us - ACTIVITY_OVERLAP_US - 1
        opening = [
            adjustment(account, f"{_marker(account.number)}:{symbol}", OPENING_WORDS, opened_us,
                       symbol=symbol, qty=qty, price=_price(symbol, qty, told, prints))
            for symbol, qty in _missing(book, account, told, qtys)
        ]  # fmt: skip
        lacking = told.account.cash - money_from_int(account.cash) - money_from_int(cash)
        opening.append(
            adjustment(account, _marker(account.number), OPENING_WORDS, opened_us, cash=round_money(lacking))
        )
        booking = Prints(book)
        await book_activities(book, booking, account, opening)
        await booking.settle()
        account.starting_cash = money_to_int(round_money(_equity(told)))
        if not prints and not activities:
            # Else the books agree once these are booked, which the next comparison will see.
            account.reconciled_at = book.now_us
            if not is_alarm(account.reconcile_problem):
                account.reconcile_problem = None
        book.touch_account(account)
        book.audit(AuditEntry(SYSTEM, "account.opening_balances", account.id, _evidence(told, opening)))
        await book.flush()
    return True


def _missing(
    book: Book, account: AccountRow, told: _Snapshot, coming: Mapping[str, int]
) -> list[tuple[str, Decimal]]:
    """Symbol -> what neither the ledger has nor a print will bring."""
    mine = book.held(account.id)
    found: list[tuple[str, Decimal]] = []
    for symbol in sorted(mine.keys() | told.positions.keys() | coming.keys()):
        held = qty_to_int(told.positions[symbol].qty) if symbol in told.positions else 0
        qty = held - mine.get(symbol, 0) - coming.get(symbol, 0)
        if qty:
            found.append((symbol, qty_from_int(qty)))
    return found


def to_come(
    prints: Sequence[BrokerExecution], activities: Iterable[BrokerActivity]
) -> tuple[int, dict[str, int]]:
    """What booking these will do: scaled cash, and symbol -> scaled quantity; as `Prints` books them."""
    cash, qtys = 0, dict[str, int]()
    by_id = {one.execution_id: one for one in prints}
    for one in prints:
        rows = [(one, -1 if one.kind == "bust" else 1)]
        wrong = by_id.get(one.corrects or "") if one.kind == "correction" else None
        if wrong is not None:
            rows.append((wrong, -1))
        for row, sign in rows:
            signed = sign if row.side == "buy" else -sign
            qtys[row.symbol] = qtys.get(row.symbol, 0) + signed * qty_to_int(row.qty)
            value = value_of(qty_to_int(row.qty), money_to_int(row.price)) * multiplier_of(row.symbol)
            cash += -signed * value - sign * money_to_int(round_money(row.fee))
    for activity in activities:
        cash += money_to_int(round_money(activity.cash))
        if activity.qty:
            qtys[activity.symbol] = qtys.get(activity.symbol, 0) + qty_to_int(activity.qty)
    return cash, qtys


def _price(symbol: str, qty: Decimal, told: _Snapshot, prints: Sequence[BrokerExecution]) -> Decimal:
    """Dollars a share of what was there: the broker's average, or what it was first traded at since."""
    held = told.positions.get(symbol)
    if held is not None and (held.qty > 0) == (qty > 0):
        return round_money(held.avg_entry_price)
    return next((one.price for one in prints if one.symbol == symbol), ZERO)


def _equity(told: _Snapshot) -> Decimal:
    """The account's worth as the broker tells it; where it does not, its cash and what its positions have cost."""
    if told.account.equity is not None:
        return told.account.equity
    cost = (one.qty * one.avg_entry_price * multiplier_of(one.symbol) for one in told.positions.values())
    return told.account.cash + sum(cost, ZERO)


def _evidence(told: _Snapshot, opening: Sequence[BrokerActivity]) -> dict[str, object]:
    return {
        "number": told.account.number,
        "cash": str(plain(told.account.cash)),
        "equity": str(plain(_equity(told))),
        "positions": {s: str(plain(one.qty)) for s, one in told.positions.items()},
        "adjustments": [
            {"symbol": one.symbol, "qty": str(plain(one.qty)), "price": str(one.price), "cash": str(one.cash)}
            for one in opening
        ],
    }
