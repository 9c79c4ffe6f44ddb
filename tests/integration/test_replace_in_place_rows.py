"""The rows of a chain of orders that was changed where it stands, whatever comes in whatever order (ADR 0024, E18)."""

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

from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database
from paiid.domain.money import qty_to_int
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.merge import accept
from tests.in_place_world import QTY, InPlace
from tests.ledger_world import books

BOUNDED = settings(
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
D = Decimal
PRICES = [D(98), D(97), D("97.5")]
STEPS = st.one_of(
    st.tuples(st.just("fill"), st.integers(1, 6), st.integers(0, 40)),
    st.tuples(st.just("tell"), st.lists(st.integers(0, 40), min_size=1, max_size=4)),
    st.tuples(st.just("claim"), st.sampled_from(PRICES)),
    st.sampled_from([("change",), ("change",), ("answer",), ("answer",), ("lose",), ("look",), ("end",)]),
)


async def play(world: InPlace, steps: Sequence[tuple[Any, ...]]) -> None:
    """A history, with what must be true at every moment; then the last word, and what must be true in the end."""
    await world.open(PRICES[0])
    for step in steps:
        match step:
            case ("fill", qty, cents):
                world.fill(qty, D(97) - D(cents) / 100)
            case ("tell", which):
                await world.tell(which)
            case ("claim", price):
                await world.claim(price)
            case ("change",):
                world.change()
            case ("answer",):
                await world.answer(lost=False)
            case ("lose",):
                await world.answer(lost=True)
            case ("look",):
                await world.look()
            case ("end",):
                world.end()
        await assert_consistent(world)
    await world.answer(lost=False)
    await world.look()
    await world.tell([-1])
    await assert_as_counted(world)


async def assert_consistent(world: InPlace) -> None:
    """One row has the broker's id, those before it are over, and never more is booked than the broker has counted."""
    *before, last = (await world.rows())[: len(world.chain)]
    assert [row.broker_order_id for row in before] == [f"{world.name}~{n + 1}" for n in range(len(before))]
    assert {(row.status, row.open) for row in before} <= {(OrderStatus.REPLACED, 0)}
    assert all(row.broker_filled_qty == row.filled_qty for row in before)
    assert last.broker_order_id == world.name
    for row in (*before, last):
        # What is over is over, as it was.
        assert world.over.setdefault(row.id, None if row.open else row.status) in (None, row.status)
        world.over[row.id] = None if row.open else row.status
    counted, _ = world.broker.counted(world.name)
    assert sum(row.filled_qty for row in (*before, last)) <= qty_to_int(counted)
    assert not world.merging.alarms


async def assert_as_counted(world: InPlace) -> None:
    """Quantities, money, counters and the status, as the broker has them."""
    rows = await world.rows()
    counted, worth = world.broker.counted(world.name)
    assert sum(row.filled_qty for row in rows) == qty_to_int(counted)
    # Half a millionth a share is lost where a mean of several prints is no stored price.
    assert sum(row.filled_value for row in rows) == pytest.approx(float(worth * 10**6), abs=20)
    account = (await books(world.db))[world.account]
    held = {row["symbol"]: row for row in account["positions"]}.get("AAPL", {"qty": 0, "open_buy_qty": 0})
    assert held["qty"] == counted
    assert account["cash"] == -D(sum(row.filled_value for row in rows)) / 10**6
    assert sum(row["qty"] for row in account["executions"]) == counted
    last = rows[len(world.chain) - 1]
    told = world.broker.orders[world.name]
    if not world.ended or last.filled_qty:
        assert last.status in (told.status, OrderStatus.NEW), (last.status, told.status)
    assert bool(last.open) == (not world.ended)
    assert last.qty + sum(row.filled_qty for row in rows[: len(world.chain) - 1]) == qty_to_int(D(QTY))
    working = [row for row in rows if row.open]
    assert account["open_orders"] == len(working)
    assert held["open_buy_qty"] == sum(D(row.remaining) for row in working) / 10**9


@settings(BOUNDED, max_examples=150)
@given(st.lists(STEPS, min_size=4, max_size=30))
def test_E18_whatever_comes_in_whatever_order_the_chain_adds_up_to_what_the_broker_counts(
    runner: asyncio.Runner, template: Path, tmp_path: Path, steps: list[tuple[Any, ...]]
) -> None:
    async def one() -> None:
        path = tmp_path / "example.db"
        for old in tmp_path.glob("example.db*"):
            old.unlink()
        shutil.copy(template, path)
        database = make_database(f"sqlite:///{path}", SystemClock())
        await database.start()
        try:
            await play(InPlace(database, "a", tmp_path), steps)
        finally:
            await database.stop()

    runner.run(one())


async def test_E18_long_histories_of_changes_add_up_on_both_databases(db: Database, tmp_path: Path) -> None:
    """As above, each in an account of its own."""
    for seed in range(12):
        dice = random.Random(seed)
        steps: list[tuple[Any, ...]] = []
        for _ in range(8):
            steps += [("claim", dice.choice(PRICES)), ("fill", 1, dice.randrange(40)), ("change",)]
            steps += [("tell", [dice.randrange(40)]), ("fill", 1, dice.randrange(40))]
            steps += [dice.choice([("answer",), ("lose",)]), ("tell", [dice.randrange(40), -1]), ("look",)]
        await play(InPlace(db, f"account-{seed}", tmp_path), steps)


@pytest.mark.parametrize("seed", range(6))
async def test_E18_after_the_change_is_accepted_any_order_of_words_ends_in_the_same_rows(
    db: Database, tmp_path: Path, seed: int
) -> None:
    """Prices of which any few have a mean that is exact to the stored digit; some words are lost, some come twice."""
    dice = random.Random(seed)
    ends: list[dict[str, Any]] = []
    for turn in range(8):
        world = InPlace(db, f"account-{turn}", tmp_path)
        await world.open(D(98))
        world.fill(4, D("97.92"))
        await world.tell([-1])
        for price in (D("97.5"), D(97)):
            await world.claim(price)
            world.change()
            await world.answer(lost=False)
        for cents in (12, 24, 60):
            world.fill(4, D(96) + D(cents) / 100)
        world.end()
        late = list(range(len(world.words)))
        if turn:
            dice.shuffle(late)
            late = [one for one in late if dice.random() < 0.7] + [len(world.words) - 1] + late[:2]
        for at in late:
            await world.tell([at])
        account = (await books(db))[world.account]
        prints = account["executions"]
        account["executions"] = sum(one["qty"] * one["price"] for one in prints)
        for row in account["orders"]:
            for name in ("replaces", "replaced_by", "client_order_id", "intent_id", "dispatch_deadline_at"):
                row.pop(name, None)
        ends.append(account)
    assert all(one == ends[0] for one in ends), ends
    assert ends[0]["cash"] == -(4 * (D("97.92") + D("96.12") + D("96.24") + D("96.60")))


# -- the rows themselves ------------------------------------------------------------------------------------


async def test_the_id_is_free_before_it_is_given_whatever_order_the_rows_were_changed_in(
    db: Database, tmp_path: Path
) -> None:
    """It is unique in the database at every moment."""
    world = InPlace(db, "a", tmp_path)
    await world.open(D(98))
    await world.claim(D(97))
    assert world.pending is not None
    world.change()
    async with db.begin() as tx:
        book = Book(tx, world.clock, await tx.now_us())
        await book.open(["a"])
        await book.load_intents([world.pending.row.intent_id or ""])
        await book.load_replaced()
        new = book.orders[world.pending.row.id]
        # Written down before the old one is.
        book.change(new, "ledger")
        assert accept(book, new, world.broker.view(world.name), "broker")
        await book.flush()
    old, new = await world.rows()
    assert (old.broker_order_id, new.broker_order_id) == (f"{world.name}~1", world.name)


async def test_fills_of_the_answer_are_not_taken_for_those_that_the_old_order_had(
    db: Database, tmp_path: Path
) -> None:
    """The answer tells of the end, and of four more; they are booked with the next word, and until then it goes on."""
    world = InPlace(db, "a", tmp_path)
    await world.open(D(98))
    world.fill(4, D("97.5"))
    await world.tell([-1])
    await world.claim(D(97))
    world.change()
    world.fill(4, D(97))
    world.end()
    await world.answer(lost=False)
    _, new = await world.rows()
    assert (new.status, new.open, new.filled_qty) == (OrderStatus.NEW, 1, 0)
    await world.tell([-1])
    _, new = await world.rows()
    assert (new.status, new.open, new.filled_qty) == (OrderStatus.CANCELED, 0, qty_to_int(D(4)))


async def test_what_was_told_of_an_order_and_not_booked_yet_is_the_next_ones(
    db: Database, tmp_path: Path
) -> None:
    world = InPlace(db, "a", tmp_path)
    await world.open(D(98))
    for price in (D(97), D("97.5")):
        await world.claim(price)
        world.change()
        world.fill(3, price)
        await world.answer(lost=False)
    first, second, third = await world.rows()
    assert [(row.filled_qty, row.broker_filled_qty) for row in (first, second)] == [(0, 0), (0, 0)]
    assert (third.filled_qty, third.broker_filled_qty, third.qty) == (0, qty_to_int(D(6)), qty_to_int(D(QTY)))
    await world.tell([-1])
    await assert_as_counted(world)


async def test_E07_an_order_that_has_filled_by_every_word_stays_filled_when_a_change_of_it_is_answered(
    db: Database, tmp_path: Path
) -> None:
    """98, 97, and 98 again: a word with the last terms may be an old one, so its fills are the second order's."""
    world = InPlace(db, "a", tmp_path)
    await world.open(D(98))
    for price in (D(97), D(98)):
        await world.claim(price)
        world.change()
        if price == D(97):
            await world.answer(lost=False)
    assert world.pending is not None
    third = world.pending.row.id
    world.fill(QTY, D("97.5"))
    await world.tell([-1])
    await world.answer(lost=False)
    first, second = await world.rows()
    assert (first.status, second.status, second.filled_qty) == (
        OrderStatus.REPLACED,
        OrderStatus.FILLED,
        second.qty,
    )
    async with db.read() as tx:
        (refused,) = await store.load_orders(tx, [third])
    assert (refused.state, refused.open, refused.filled_qty) == (Submission.REJECTED, 0, 0)
    assert not world.merging.alarms
