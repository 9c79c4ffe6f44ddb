"""What happened at the venue, merged into the ledger in any order, is what the ledger has; and its events rebuild it."""

import asyncio
import random
import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from paiid.brokers import BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database, statement
from paiid.core.tables import accounts, activities, executions, orders, positions
from paiid.domain.money import money_from_int, qty_from_int, qty_to_int
from paiid.domain.terms import DEFAULT_TERMS
from paiid.trading.activities import activity_view
from paiid.trading.activity_store import activity_from
from paiid.trading.book import Book
from paiid.trading.executions import Prints
from paiid.trading.merging import Merger
from paiid.trading.records import account_from, execution_from, order_from, position_from
from tests.event_replay import Account, as_told, replayed, stored
from tests.ledger_world import Merging, account_row
from tests.paper_floor import Floor
from tests.paper_world import Market
from tests.planted_readers import BooksWhatIsToldAgain
from tests.venue_days import (
    Action,
    Ask,
    DayEnds,
    Move,
    Replace,
    Wait,
    days,
    in_parts,
    only,
    replaced_groups,
    round_trips,
    spread_in_parts,
)
from tests.venue_judge import ENDED, Books, read_books
from tests.venue_player import Day, DayHours

BOUNDED = settings(
    phases=[Phase.generate],
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# A planted fault ends the search that meets it: there are as many examples as the unluckiest search may need.
PATIENT = settings(BOUNDED, max_examples=400)
_ACCOUNTS = statement(insert(accounts))
_ROWS = {
    name: statement(select(table))
    for name, table in (
        ("accounts", accounts),
        ("orders", orders),
        ("executions", executions),
        ("positions", positions),
        ("activities", activities),
    )
}


async def rows_of(db: Database) -> dict[str, list[Any]]:
    """All rows of the ledger."""
    async with db.read() as tx:
        return {name: list(await tx.fetch(question)) for name, question in _ROWS.items()}


async def played(actions: Sequence[Action], db: Database) -> tuple[list[BrokerUpdate], Books]:
    """A day at the venue: what it told, and how it ended."""
    floor = await Floor.open(Market(hours=DayHours()), db, DEFAULT_TERMS)
    assert isinstance(floor, Floor)
    day = Day(floor)
    await day.open()
    for action in actions:
        await day.ask(action)
        await day.look(action)
    async with floor.db.read() as tx:
        return await floor.events(), await read_books(tx)


def shuffled(told: list[BrokerUpdate], seed: int) -> list[list[BrokerUpdate]]:
    """The updates in chunks; but for the seed 0 late ones, some twice, and some long after."""
    dice = random.Random(seed)
    mixed = list(told)
    if seed:
        mixed += dice.sample(told, len(told) // 5)
        dice.shuffle(mixed)
    chunks, at = [], 0
    while at < len(mixed):
        size = dice.choice([1, 2, 7, 40])
        chunks.append(mixed[at : at + size])
        at += size
    return chunks


async def merged(db: Database, chunks: Sequence[Sequence[BrokerUpdate]], reading: type[Merger]) -> Merging:
    """A ledger that knew of none of it."""
    merging = Merging(db, SystemClock(), reading=reading)
    async with db.begin() as tx:
        await tx.execute(_ACCOUNTS, account_row("me", 0, await tx.now_us()))
    for chunk in chunks:
        await merging.merge(chunk)
    return merging


def assert_as_at_the_venue(ledger: dict[str, list[Any]], books: Books) -> None:
    """Orders, prints, positions, what is open, and cash, of the ledger and of the venue."""
    (row,) = ledger["accounts"]
    account = account_from(row)
    assert Decimal(100_000) + money_from_int(account.cash) == books.cash, "cash"
    known = {one.broker_order_id: one for one in map(order_from, ledger["orders"])}
    assert set(known) == {one.id for one in books.orders}, "orders"
    for one in books.orders:
        ours, working = known[one.id], one.working
        what = f"{one.order_class} {one.group_role} {one.client_order_id}: "
        assert ours.status is one.status, f"{what}status {ours.status} for {one.status}"
        assert qty_from_int(ours.filled_qty) == working.filled_qty, f"{what}filled"
        assert money_from_int(ours.filled_value) == one.filled_value, f"{what}value"
        spread = one.order_class == "mleg" and one.parent_id is None
        assert spread or money_from_int(ours.fees) == one.fees, f"{what}fees"
        if working.notional is None:
            assert qty_from_int(ours.qty) == working.qty, f"{what}qty {ours.qty} for {working.qty}"
        assert bool(ours.open) == (one.status.value not in ENDED), f"{what}open"
        parent = known.get(one.parent_id or "")
        assert ours.parent_id == (None if parent is None else parent.id), f"{what}parent"
    assert {one.execution_id for one in map(execution_from, ledger["executions"])} == books.print_ids, (
        "prints"
    )
    assert {one["activity_id"] for one in ledger["activities"]} == {
        one.activity_id for one in books.activities
    }
    held = {one.symbol: one for one in map(position_from, ledger["positions"])}
    by_dollars = {
        one.working.symbol
        for one in books.orders
        if one.working.notional is not None and one.status.value not in ENDED
    }
    for symbol in {*held, *books.held}:
        ours, theirs = held.get(symbol), books.holding(symbol)
        mine = (0, 0, 0) if ours is None else (ours.qty, ours.open_buy_qty, ours.open_sell_qty)
        assert qty_from_int(mine[0]) == theirs.qty, f"{symbol} held"
        if symbol not in by_dollars:
            assert qty_from_int(mine[1]) == theirs.buys, f"{symbol} open buys"
            assert qty_from_int(mine[2]) == theirs.sells, f"{symbol} open sales"
    assert account.open_orders == books.open_orders, "open orders"
    assert account.open_combos == books.open_combos, "open spreads"


def as_stored(ledger: dict[str, list[Any]]) -> Account:
    """The account from the rows, as its events should tell it."""
    (row,) = ledger["accounts"]
    told = {one.symbol for one in map(execution_from, ledger["executions"])}
    told |= {one["symbol"] for one in ledger["activities"] if one["qty"]}
    return stored(
        [order_from(one) for one in ledger["orders"]],
        [execution_from(one) for one in ledger["executions"]],
        {one["activity_id"]: as_told(activity_view(activity_from(one))) for one in ledger["activities"]},
        [position_from(one) for one in ledger["positions"] if one["symbol"] in told],
        money_from_int(row["cash"]),
    )


async def judge(
    actions: Sequence[Action], seed: int, path: Path, reading: type[Merger] = Merger
) -> tuple[list[dict[str, Any]], Account]:
    """Play, merge, compare, replay; the events, and what they must come to. Raises AssertionError."""
    db = make_database(f"sqlite:///{path}", SystemClock())
    await db.start()
    try:
        told, books = await played(actions, db)
        merging = await merged(db, shuffled(told, seed), reading)
        ledger = await rows_of(db)
        assert_as_at_the_venue(ledger, books)
        assert not merging.alarms, merging.alarms
        events = await merging.events("me")
        wanted = as_stored(ledger)
        again = replayed(events)
        for name, rows in vars(wanted).items():
            assert getattr(again, name) == rows, f"replayed {name}"
        return events, wanted
    finally:
        await db.stop()


def fresh(template: Path, folder: Path) -> Path:
    """A copy for one example."""
    path = folder / "example.db"
    for old in folder.glob("example.db*"):
        old.unlink()
    shutil.copy(template, path)
    return path


@BOUNDED
@given(days())
def test_a_day_at_the_venue_merged_as_it_was_told_is_the_same_in_the_ledger_and_in_its_events(
    runner: asyncio.Runner, template: Path, tmp_path: Path, actions: list[Action]
) -> None:
    runner.run(judge(actions, 0, fresh(template, tmp_path)))


@settings(BOUNDED, max_examples=60)
@given(
    st.one_of(days(), only(replaced_groups()), only(replaced_groups()), only(round_trips())),
    st.integers(1, 1_000),
)
def test_E18_a_day_at_the_venue_told_late_twice_and_in_any_order_is_the_same_in_the_ledger(
    runner: asyncio.Runner, template: Path, tmp_path: Path, actions: list[Action], seed: int
) -> None:
    runner.run(judge(actions, seed, fresh(template, tmp_path)))


WAITS: list[Action] = [Move(10_100, 0), Ask("bracket", "buy", 6, -150, 60)]
FILLS: list[Action] = [Move(10_000, 0), Ask("bracket", "buy", 6, 0, 60), Wait(20)]
CHANGED: dict[str, list[Action]] = {
    "a waiting entry shrinks": [*WAITS, Replace(3, 1, 0)],
    "a waiting entry grows": [*WAITS, Replace(3, 9, 0)],
    "a waiting entry grows and shrinks": [*WAITS, Replace(3, 9, 0), Replace(3, 4, 0)],
    "the rest of an entry shrinks": [Move(10_000, 0, 2), *FILLS[1:], Replace(3, 4, 0)],
    "a held exit gets another price": [*WAITS, Replace(2, None, 1)],
    "a held exit twice": [*WAITS, Replace(1, None, 1), Replace(1, None, 1)],
    "a live exit gets another price": [*FILLS, Replace(1, None, 1)],
    "a live exit shrinks": [*FILLS, Replace(2, 4, 1)],
    "the entry, then a held exit": [*WAITS, Replace(3, 4, 0), Replace(2, None, 2)],
    "a held exit, then the entry": [*WAITS, Replace(2, None, 2), Replace(4, 9, 0)],
}


@pytest.mark.parametrize("actions", CHANGED.values(), ids=CHANGED)
def test_E18_what_replaces_in_a_group_is_the_same_in_the_ledger_in_whichever_order_it_is_told(
    runner: asyncio.Runner, template: Path, tmp_path: Path, actions: list[Action]
) -> None:
    """Days on which the order of the words once made a difference: an old word on the size of a held exit undid the new
    one, and an exit that took another's place was told before its entry and never hung on it."""
    for seed in range(1, 5):
        runner.run(judge(actions, seed, fresh(template, tmp_path)))


@settings(BOUNDED, max_examples=8)
@given(only(round_trips()))
def test_events_of_which_one_was_never_written_come_to_something_else(
    runner: asyncio.Runner, template: Path, tmp_path: Path, actions: list[Action]
) -> None:
    """Of every thing the last event, and every fill: without a hole in the numbers, as if it had been forgotten."""
    events, wanted = runner.run(judge(actions, 0, fresh(template, tmp_path)))
    last: dict[tuple[str, str], int] = {}
    for at, event in enumerate(events):
        data = event["data"]
        name = data.get("execution_id") or data.get("id") or data.get("symbol") or "cash"
        last[event["kind"], name] = at
    for at in last.values():
        rest = [*events[:at], *events[at + 1 :]]
        if at + 1 < len(events):
            with pytest.raises(AssertionError, match="missing"):
                replayed(rest)
        assert replayed([event | {"seq": n} for n, event in enumerate(rest, 1)]) != wanted, events[at]


class TakesTheLastSize(Merger):
    """An exit that shrank is as large again as a late word says."""

    async def _apply(
        self, book: Book, prints: Prints, account: Any, view: Any, *more: Any, gate: bool
    ) -> bool:
        changed = await super()._apply(book, prints, account, view, *more, gate=gate)
        for order in book.orders.values():
            if order.broker_order_id == view.broker_order_id and view.qty is not None:
                order.qty = qty_to_int(view.qty)
                book.change(order, "broker")
        return changed


class KnowsNoActivities(Merger):
    @staticmethod
    async def _book_activities(*_: Any) -> None:
        """Nothing but orders changes an account."""


class ForgetsTheSpread(Merger):
    """What the legs have filled, the spread has not."""

    @staticmethod
    def _sum_up(*_: Any) -> None:
        """Nothing is summed up."""


DAY_ENDS = only(st.builds(lambda one, brings: [*one, DayEnds(brings)], in_parts(), st.just("dividend")))
PLANTED: list[tuple[type[Merger], str, st.SearchStrategy[list[Action]]]] = [
    (BooksWhatIsToldAgain, "cash", only(in_parts())),
    (TakesTheLastSize, "qty", only(round_trips())),
    (KnowsNoActivities, "cash", DAY_ENDS),
    (ForgetsTheSpread, "status|filled|value|open", only(spread_in_parts())),
]


@pytest.mark.parametrize(("planted", "words", "asked"), PLANTED, ids=[one.__name__ for one, *_ in PLANTED])
def test_the_ledger_that_goes_another_way_is_told_apart(
    planted: type[Merger],
    words: str,
    asked: st.SearchStrategy[list[Action]],
    runner: asyncio.Runner,
    template: Path,
    tmp_path: Path,
) -> None:
    @PATIENT
    @given(asked, st.integers(1, 1_000))
    def play(actions: list[Action], seed: int) -> None:
        runner.run(judge(actions, seed, fresh(template, tmp_path), planted))

    with pytest.raises(AssertionError, match=words):
        play()
