"""Brackets, spreads, replacements and trailing stops, told in every order there is: the same rows (contract E18)."""

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database
from paiid.domain.money import money_to_int, qty_to_int
from paiid.trading.book import Book
from paiid.trading.counters import is_spread
from paiid.trading.executions import Prints
from paiid.trading.merging import Merger
from paiid.trading.records import OrderRow
from tests.group_lives import LIVES, GroupLife, open_lives
from tests.ledger_world import Merging, books
from tests.planted_readers import BooksWhatIsToldAgain

_A_TRANSACTION = 60
"""Accounts in one transaction, so that one is never too large for the time a transaction has."""
_NOT_THE_SAME = {"parent_id", "replaces", "replaced_by", "dispatch_deadline_at", "client_order_id"}


@pytest.fixture
async def sqlite(sqlite_url: str, clock: SystemClock) -> AsyncIterator[Database]:
    """What decides here is arithmetic: all permutations run on the one kind, a few on both."""
    database = make_database(sqlite_url, clock)
    await database.start()
    yield database
    await database.stop()


def plain(account: str, found: dict[str, Any]) -> dict[str, Any]:
    """An account's rows without what names the account, orders by what they were called when they were asked for."""
    orders = {}
    for row in found["orders"]:
        name = row["client_order_id"].removeprefix(f"{account}:")
        orders[name] = {key: value for key, value in row.items() if key not in _NOT_THE_SAME}
    return found | {"orders": orders}


def assert_never_falls(before: dict[str, Any], after: dict[str, Any]) -> None:
    """What has filled, what the broker has told, and the best price of a trailing sale only ever grow."""
    for name, row in before["orders"].items():
        now = after["orders"][name]
        for field in ("filled_qty", "broker_filled_qty", "hwm"):
            assert row[field] is None or now[field] >= row[field], (name, field, row[field], now[field])
        assert row["status"] is None or not row["status"] == "FILLED" != now["status"], name


async def told(
    db: Database,
    clock: SystemClock,
    life: GroupLife,
    permutations: Sequence[Sequence[int]],
    *,
    accepted: bool,
    reading: type[Merger] = Merger,
) -> dict[str, dict[str, Any]]:
    """The rows of an account for each permutation, of which each transaction brings the next event."""
    merging = Merging(db, clock, reading=reading)
    names = [f"one-{n}" for n in range(len(permutations))]
    for start in range(0, len(names), _A_TRANSACTION):
        await open_lives(db, clock, names[start : start + _A_TRANSACTION], life, accepted=accepted)
    before: dict[str, dict[str, Any]] = {}
    for step in range(len(permutations[0])):
        for start in range(0, len(names), _A_TRANSACTION):
            some = range(start, min(start + _A_TRANSACTION, len(names)))
            await merging.merge([life.update(names[n], permutations[n][step]) for n in some])
        after = {name: plain(name, rows) for name, rows in (await books(db)).items()}
        for name, rows in before.items():
            assert_never_falls(rows, after[name])
        before = after
    assert not merging.alarms
    return before


def assert_same(
    life: GroupLife, ends: dict[str, dict[str, Any]], permutations: Sequence[Sequence[int]]
) -> None:
    straight = ends["one-0"]
    different = [name for name, rows in ends.items() if rows != straight]
    assert not different, (
        len(different),
        permutations[int(different[0].removeprefix("one-"))],
        ends[different[0]],
        straight,
    )
    said = {name: (row["status"], str(row["filled_qty"])) for name, row in straight["orders"].items()}
    assert said == life.orders
    assert {
        row["symbol"]: str(row["qty"])
        for row in straight["positions"]
        if row["qty"] or row["symbol"] in life.positions
    } == life.positions
    assert straight["cash"] == Decimal(life.cash)
    assert straight["open_orders"] == 0 == straight["open_combos"]
    for row in straight["positions"]:
        assert all(
            row[name] == 0 for name in ("open_buy_qty", "open_buy_value", "open_sell_qty", "open_sell_value")
        )


@pytest.mark.parametrize("life", LIVES)
async def test_E18_every_permutation_of_a_life_of_orders_that_hang_together_ends_in_the_same_rows(
    sqlite: Database, clock: SystemClock, life: str
) -> None:
    """720 of them (360 where one event is there twice), each in an account of its own, from orders on the wire."""
    one = LIVES[life]()
    permutations = sorted(set(itertools.permutations(one.numbers())))
    assert len(permutations) in (720, 360)
    assert_same(one, await told(sqlite, clock, one, permutations, accepted=False), permutations)


def some(one: GroupLife, count: int) -> list[tuple[int, ...]]:
    """In order, backwards, and a few others; always the same ones."""
    every = sorted(set(itertools.permutations(one.numbers())))
    return [every[0], every[-1], *random.Random(0).sample(every[1:-1], count - 2)]


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("accepted", [True, False], ids=["answered", "on-the-wire"])
async def test_E18_some_permutations_end_in_the_same_rows_on_either_database(
    db: Database, clock: SystemClock, life: str, accepted: bool
) -> None:
    one = LIVES[life]()
    permutations = some(one, 30)
    assert_same(one, await told(db, clock, one, permutations, accepted=accepted), permutations)


class TakesTheLastWord(Merger):
    """A late REPLACED or NEW is believed."""

    async def _apply(
        self, book: Book, prints: Prints, account: Any, view: Any, *more: Any, gate: bool
    ) -> bool:
        changed = await super()._apply(book, prints, account, view, *more, gate=gate)
        order = _named(book, view)
        order.status = view.status
        book.change(order, "broker")
        return changed


class LetsTheTrailGoBack(Merger):
    async def _apply(
        self, book: Book, prints: Prints, account: Any, view: Any, *more: Any, gate: bool
    ) -> bool:
        changed = await super()._apply(book, prints, account, view, *more, gate=gate)
        if view.hwm is not None:
            order = _named(book, view)
            order.hwm = money_to_int(view.hwm)
            book.change(order, "broker")
        return changed


class TakesTheLastSize(Merger):
    async def _apply(
        self, book: Book, prints: Prints, account: Any, view: Any, *more: Any, gate: bool
    ) -> bool:
        changed = await super()._apply(book, prints, account, view, *more, gate=gate)
        order = _named(book, view)
        order.qty = qty_to_int(view.qty)
        book.change(order, "broker")
        return changed


class SumsTheLegsTwice(Merger):
    async def _apply(
        self, book: Book, prints: Prints, account: Any, view: Any, *more: Any, gate: bool
    ) -> bool:
        changed = await super()._apply(book, prints, account, view, *more, gate=gate)
        for order in book.orders.values():
            if is_spread(order) and view.group_role == "leg" and order.id == _named(book, view).parent_id:
                order.filled_qty += sum(leg.filled_qty for leg in book.children_of(order.id))
                book.change(order, "broker")
        return changed


class ForgetsWhatItCannotPlace(Merger):
    """What comes before the order that it hangs on is dropped."""

    async def _apply(
        self,
        book: Book,
        prints: Prints,
        account: Any,
        view: Any,
        execution: Any,
        found: Any,
        *more: Any,
        gate: bool,
    ) -> bool:
        if view.parent_broker_order_id is None or (account.id, view.parent_broker_order_id) in found:
            return await super()._apply(book, prints, account, view, execution, found, *more, gate=gate)
        return False


def _named(book: Book, view: Any) -> OrderRow:
    return next(
        order
        for order in book.orders.values()
        if order.broker_order_id == view.broker_order_id and order.account_id == view.account_number
    )


@pytest.mark.parametrize(
    ("planted", "life"),
    [
        (TakesTheLastWord, "replaced"),
        (TakesTheLastWord, "bracket"),
        (LetsTheTrailGoBack, "trailing"),
        (TakesTheLastSize, "stopped-out"),
        (BooksWhatIsToldAgain, "replaced"),
        (SumsTheLegsTwice, "spread"),
        (ForgetsWhatItCannotPlace, "spread"),
        (ForgetsWhatItCannotPlace, "stopped-out"),
    ],
)
async def test_the_permutations_catch_each_planted_bug(
    sqlite: Database, clock: SystemClock, planted: type[Merger], life: str
) -> None:
    one = LIVES[life]()
    permutations = some(one, 20)
    with pytest.raises(AssertionError):
        assert_same(
            one, await told(sqlite, clock, one, permutations, accepted=False, reading=planted), permutations
        )
