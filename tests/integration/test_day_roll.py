"""The equity kept at each roll of the day, from real rows."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update

from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.leases import Leases
from paiid.core.tables import accounts, activities, executions, positions
from paiid.domain.calendar import hours_of
from paiid.domain.occ import OptionContract
from paiid.domain.quotes import Quote
from paiid.portfolio.dayroll import DayRoll, ended_day
from paiid.portfolio.store import Day, load_books, load_prints_since

D = Decimal
_ACCOUNT, _POSITION = statement(insert(accounts)), statement(insert(positions))
_EXECUTION, _ACTIVITY = statement(insert(executions)), statement(insert(activities))


class Market:
    """Quotes as given."""

    def __init__(self) -> None:
        self.hours = hours_of("always")
        self.known: dict[str, Quote] = {}

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return {symbol: self.known[symbol] for symbol in symbols if symbol in self.known}


class Books:
    """One account's rows around the last roll, and the task that writes the day."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.market = Market()
        self.now = SystemClock().now_us()
        self.roll = self.market.hours.previous_roll_us(self.now)
        self.day = date.fromisoformat(ended_day(self.market.hours, self.roll))
        self._rows = 0

    async def open(self, cash: int, **changes: int) -> None:
        """The account, with its cash of now in dollars."""
        row: dict[str, Any] = {
            "id": "paper-1", "broker": "paper", "mode": "paper", "number": "1", "owner_user_id": "u", "name": "n",
            "status": "active", "cash": cash * 10**6, "starting_cash": 100_000_000_000, "open_orders": 0,
            "event_seq": 0, "event_epoch": 1, "version": 0, "reconciled_at": None, "reconcile_problem": None,
            "created_at": self.roll - 1_000_000, "margin": 0, "options_level": 3, "open_combos": 0, "reset_at": 0,
        }  # fmt: skip
        await self._add(_ACCOUNT, row | changes)

    async def holds(self, symbol: str, qty: int) -> None:
        """What is held now."""
        row = {
            "account_id": "paper-1", "symbol": symbol, "asset_class": "stock", "qty": qty * 10**9,
            "cost_basis": 0, "realized_pl": 0, "open_buy_qty": 0, "open_buy_value": 0, "open_sell_qty": 0,
            "open_sell_value": 0, "version": 1, "updated_at": self.now,
        }  # fmt: skip
        await self._add(_POSITION, row)

    async def bought(self, symbol: str, qty: int, price: int, at_us: int) -> None:
        """A print."""
        self._rows += 1
        row = {
            "id": f"exe_{self._rows}", "account_id": "paper-1", "order_id": "o", "execution_id": f"x{self._rows}",
            "kind": "fill", "corrects": None, "symbol": symbol, "side": "buy", "qty": qty * 10**9,
            "price": price * 10**6, "fee": 0, "executed_at": at_us, "booked_at": at_us,
        }  # fmt: skip
        await self._add(_EXECUTION, row)

    async def moved(self, kind: str, symbol: str, qty: int, cash: int, at_us: int) -> None:
        """An activity: what was added to the position, and the dollars that the account got."""
        self._rows += 1
        row = {
            "id": f"act_{self._rows}", "account_id": "paper-1", "activity_id": f"a{self._rows}", "kind": kind,
            "symbol": symbol, "qty": qty * 10**9, "price": 0, "cash": cash * 10**6, "description": "",
            "executed_at": at_us, "booked_at": at_us,
        }  # fmt: skip
        await self._add(_ACTIVITY, row)

    async def _add(self, stmt: Any, row: dict[str, Any]) -> None:
        async with self.db.begin() as tx:
            await tx.execute(stmt, row)

    def quote(self, symbol: str, close: str, bid: str = "1", ask: str = "2", *, after: bool = True) -> None:
        """The newest quote, from after the roll or from before it."""
        at_us = self.roll + (5 if after else -5)
        self.market.known[symbol] = Quote(
            symbol, D(bid), D(ask), D(1), D(1), D(ask), D(close), at_us, 1, "simulated"
        )

    def task(self) -> DayRoll:
        """A process that watches for rolls."""
        return DayRoll(self.db, SystemClock(), self.market, Leases(self.db, "one"))  # type: ignore[arg-type]

    async def kept(self) -> Day | None:
        """The newest day of the account."""
        async with self.db.read() as tx:
            return (await load_books(tx, ["paper-1"]))[3].get("paper-1")

    def option(self, kind: str, strike: int, expiration: date | None = None) -> str:
        """A contract on AAPL; by default it expired with the day."""
        return OptionContract.of("AAPL", kind, D(strike), expiration or self.day).symbol


@pytest.fixture
def books(db: Database) -> Books:
    """No rows yet."""
    return Books(db)


async def test_a_late_roll_keeps_what_the_account_was_worth_at_the_roll(books: Books) -> None:
    await books.open(88_000)
    await books.holds("AAPL", 120)
    # 20 of the 120 shares were bought after the roll, at 100.
    await books.bought("AAPL", 20, 100, books.roll + 1)
    task = books.task()
    assert await task.look() == 0, "without a price nothing is made up"
    books.quote("AAPL", "105", "129", "131")
    assert await task.look() == 1
    assert await task.look() == 0
    assert await books.task().look() == 0, "a restart adds nothing"
    assert await books.kept() == Day("paper-1", books.day.isoformat(), D(100_500), D(90_000), books.roll)


async def test_a_contract_counts_a_hundred_times_its_close(books: Books) -> None:
    """Five now, two of them bought after the roll at 3; the close was 4."""
    await books.open(10_000)
    symbol = books.option("call", 100, books.day + timedelta(days=30))
    await books.holds(symbol, 5)
    await books.bought(symbol, 2, 3, books.roll + 1)
    books.quote(symbol, "4")
    assert await books.task().look() == 1
    day = await books.kept()
    assert day is not None
    assert (day.cash, day.equity) == (D(10_600), D(10_600 + 1200))


async def test_what_was_no_order_is_taken_back_out_as_well(books: Books) -> None:
    """A dividend of 50 and a split that came at the roll: before, there were 100 shares and 50 dollars fewer."""
    await books.open(1_050)
    await books.holds("AAPL", 400)
    await books.moved("dividend", "AAPL", 0, 50, books.roll)
    await books.moved("split", "AAPL", 300, 0, books.roll)
    await books.moved("dividend", "AAPL", 0, 1_000, books.roll - 1)
    books.quote("AAPL", "40")
    assert await books.task().look() == 1
    day = await books.kept()
    assert day is not None
    assert (day.cash, day.equity) == (D(1_000), D(1_000 + 100 * 40))


@pytest.mark.parametrize(
    ("kind", "strike", "worth"), [("call", 100, 500), ("call", 110, 0), ("put", 110, 500), ("put", 100, 0)]
)
async def test_what_expired_with_the_day_was_worth_its_intrinsic_value(
    books: Books, kind: str, strike: int, worth: int
) -> None:
    """The underlying closed at 105. Nobody quotes the contract any more, whether it is booked away yet or not."""
    await books.open(1_000)
    symbol = books.option(kind, strike)
    await books.holds(symbol, 1)
    assert await books.task().look() == 0, "the close of the underlying is needed"
    books.quote("AAPL", "105")
    assert await books.task().look() == 1
    day = await books.kept()
    assert day is not None
    assert day.equity == D(1_000 + worth)


async def test_an_exercise_at_the_roll_changes_the_form_and_not_the_equity(books: Books) -> None:
    """One call at 100 became 100 shares for 10,000; they closed at 105."""
    await books.open(0)
    await books.holds("AAPL", 100)
    symbol = books.option("call", 100)
    await books.moved("exercise", symbol, -1, 0, books.roll)
    await books.moved("exercise", "AAPL", 100, -10_000, books.roll)
    books.quote("AAPL", "105")
    assert await books.task().look() == 1
    day = await books.kept()
    assert day is not None
    assert (day.cash, day.equity) == (D(10_000), D(10_500))


async def test_an_account_that_was_reset_after_the_roll_has_no_such_day(books: Books) -> None:
    await books.open(100_000, reset_at=books.roll + 1)
    assert await books.task().look() == 0
    assert await books.kept() is None


async def test_what_was_booked_before_a_reset_is_history(books: Books) -> None:
    await books.open(100_000, reset_at=books.roll - 10)
    await books.bought("AAPL", 20, 100, books.roll - 20)
    await books.moved("dividend", "AAPL", 0, 50, books.roll - 20)
    await books.bought("AAPL", 1, 100, books.roll - 10)
    async with books.db.read() as tx:
        found = await load_prints_since(tx, ["paper-1"], books.roll - 30)
    assert [(one.symbol, one.qty, one.cash) for one in found["paper-1"]] == [("AAPL", D(1), D(-100))]


async def test_days_from_before_a_reset_are_no_base_any_more(books: Books) -> None:
    await books.open(100_000, reset_at=books.roll)
    assert await books.task().look() == 1, "one that was reset before the roll has its day"
    assert await books.kept() is not None
    again = statement(update(accounts), columns=["reset_at"])
    async with books.db.begin() as tx:
        await tx.execute(again, {"reset_at": books.roll + 1})
    assert await books.kept() is None
