"""The owner's word that the broker is right brings the ledger to its books, once and audited (contracts E18, K8, K11)."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerError
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from paiid.trading.accept import NotAccepted, open_balances
from tests.fakes import FakeBroker
from tests.reconcile_world import ACCOUNT, Books, held, place, rows_of

D = Decimal


@pytest.fixture
async def both(db: Database) -> Books:
    """A ledger and a broker that agree."""
    return await Books(db).open()


async def bought(both: Books, qty: int = 10, price: str = "100") -> None:
    """A position on both sides."""
    _, theirs = await both.placed()
    await both.merge([both.broker.fill(theirs, qty, price)])


async def agrees(both: Books) -> None:
    """The books agree, and say so."""
    assert await both.compare() == []
    row = await both.row()
    assert row.reconcile_problem is None
    assert row.open_orders == len(await both.broker.fetch_open_orders(ACCOUNT, 1.0))


# -- what is brought in step -------------------------------------------------------------------------


async def test_positions_and_cash_are_adjusted_to_the_brokers_and_the_account_opens_again(
    both: Books,
) -> None:
    await bought(both)
    both.broker.positions[ACCOUNT] = {"AAPL": D(12), "TSLA": D(-3)}
    both.broker.cash_before[ACCOUNT] = D("-55.5")
    assert len(await both.compare()) == 3
    done = await both.accept("a transfer that was never told")
    await agrees(both)
    assert sorted(await both.activities(), key=str) == [
        ("adjustment", "", D(0), D(0), D("-55.5")),
        ("adjustment", "AAPL", D(2), D(100), D(0)),
        ("adjustment", "TSLA", D(-3), D(1), D(0)),
    ]
    (told,) = await both.audited("account.reconcile_accept")
    assert told["reason"] == "a transfer that was never told"
    assert told["problem"] == done.problem is not None
    assert [one["kind"] for one in told["differences"]] == ["position", "position", "cash"]
    assert len(told["adjustments"]) == 3


async def test_what_the_broker_does_not_hold_goes_for_what_it_has_cost(both: Books) -> None:
    await bought(both, 10, "123.45")
    both.broker.positions[ACCOUNT] = {}
    await both.accept()
    await agrees(both)
    (position,) = (await both.shown())["positions"]
    assert (position["qty"], position["cost_basis"], position["realized_pl"]) == (0, 0, 0)
    ((_, symbol, qty, price, cash),) = await both.activities()
    assert (symbol, qty, price, cash) == ("AAPL", D(-10), D("123.45"), D(0))


async def test_an_order_that_the_broker_does_not_know_is_canceled_with_what_hangs_on_it(both: Books) -> None:
    entry = await both.add_order(broker_order_id="gone", order_class="bracket", group_role="entry")
    exit_ = await both.add_order(
        parent_id=entry, order_class="bracket", group_role="stop_loss", status="HELD", broker_order_id=None
    )
    done = await both.accept()
    assert sorted(done.ended) == sorted([entry, exit_])
    await agrees(both)
    shown = (await both.shown())["orders"]
    assert {one["status"] for one in shown} == {"CANCELED"}
    assert all("not_at_broker" in one["reason"] for one in shown)


async def test_what_has_filled_without_a_print_is_booked_as_one_at_the_price_that_is_left(
    both: Books,
) -> None:
    ours, theirs = await both.placed()
    await both.merge([both.broker.fill(theirs, 4, "100")])
    both.broker._filled(theirs, D(6), D(90))
    both.broker.positions[ACCOUNT]["AAPL"] = D(10)
    both.broker.cash_before[ACCOUNT] = D(-540)
    both.broker.end(theirs, OrderStatus.FILLED)
    await both.catch_up()
    assert await both.compare() == [
        "position AAPL: ours 4, broker 10",
        "cash: ours -400, broker -940",
        f"fills {ours}: ours 4, broker 10",
    ]
    done = await both.accept()
    assert [(one.qty, one.price) for one in done.prints] == [(D(6), D(90))]
    assert done.adjustments == [], "the print has brought position and cash in step"
    await agrees(both)
    assert rows_of(await both.shown()) == {theirs: ("FILLED", 10)}


async def test_alarms_are_cleared_and_nothing_else_is_touched(both: Books) -> None:
    await bought(both)
    await both.set(reconcile_problem="order.corrected ord_1")
    before = await both.shown()
    done = await both.accept()
    assert (done.differences, done.adjustments, done.problem) == ((), [], "order.corrected ord_1")
    assert await both.shown() == before | {"reconciled_at": (await both.row()).reconciled_at}
    assert (await both.row()).reconcile_problem is None
    assert len(await both.audited("account.reconcile_accept")) == 1


async def test_accepting_twice_does_nothing_the_second_time(both: Books) -> None:
    both.broker.cash_before[ACCOUNT] = D(7)
    await both.accept()
    assert (await both.accept()).nothing_to_do
    assert len(await both.activities()) == 1
    assert len(await both.audited("account.reconcile_accept")) == 1


async def test_what_was_only_missed_is_booked_as_itself_and_not_adjusted(both: Books) -> None:
    _, theirs = await both.placed()
    late = both.broker.fill(theirs, 10, "100")
    both.act("dividend", "div-1", "3")
    done = await both.accept()
    assert done.nothing_to_do
    await both.merge([late])
    await agrees(both)
    assert held(await both.shown()) == {"AAPL": D(10)}


# -- what moves meanwhile ----------------------------------------------------------------------------


async def test_a_fill_between_the_two_reads_makes_it_read_again(both: Books) -> None:
    both.broker.cash_before[ACCOUNT] = D(5)
    _, theirs = await both.placed()
    late = []

    async def fills_once() -> None:
        if not late:
            late.append(both.broker.fill(theirs, 10, "100"))

    both.clock.meanwhile = fills_once
    await both.accept()
    await both.merge(late)
    await agrees(both)
    assert held(await both.shown()) == {"AAPL": D(10)}
    assert await both.activities() == [("adjustment", "", D(0), D(0), D(5))]


def _moves_here(both: Books) -> Callable[[], Awaitable[None]]:
    async def moves() -> None:
        await both.set(event_seq=(await both.row()).event_seq + 1)

    return moves


def _moves_there(both: Books) -> Callable[[], Awaitable[None]]:
    async def moves() -> None:
        both.broker.cash_before[ACCOUNT] += 1

    return moves


@pytest.mark.parametrize("moving", [_moves_here, _moves_there])
async def test_an_account_that_does_not_stand_still_is_not_accepted_and_says_so(
    both: Books, moving: Any
) -> None:
    both.broker.cash_before[ACCOUNT] = D(5)
    both.clock.meanwhile = moving(both)
    with pytest.raises(NotAccepted, match="does not stand still"):
        await both.accept()
    assert await both.activities() == []
    assert await both.audited("account.reconcile_accept") == []


async def test_a_print_that_comes_between_reading_and_booking_is_not_booked_twice(both: Books) -> None:
    """It comes over the stream in the last moment, when both reads were equal already."""
    both.broker.cash_before[ACCOUNT] = D(5)
    _, theirs = await both.placed()
    reads = both.reconciler.missed
    asked = 0

    async def missed(account: Any, cursor: int) -> Any:
        nonlocal asked
        asked += 1
        found = await reads(account, cursor)
        if asked == 2:
            await both.merge([both.broker.fill(theirs, 10, "100")])
        return found

    both.reconciler.missed = missed  # type: ignore[method-assign]
    await both.accept()
    assert asked > 2, "the account had moved, so all was done again"
    await agrees(both)
    assert held(await both.shown()) == {"AAPL": D(10)}


# -- what cannot be accepted -------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["QUEUED", "DISPATCHING", "UNKNOWN"])
async def test_nothing_is_accepted_while_an_order_is_in_doubt(both: Books, state: str) -> None:
    both.broker.cash_before[ACCOUNT] = D(5)
    await both.compare()
    await both.add_order(state=state, status=None)
    with pytest.raises(NotAccepted, match=f"is {state}"):
        await both.accept()
    assert (await both.row()).reconcile_problem is not None


async def test_an_order_that_works_only_at_the_broker_has_to_be_canceled_there(both: Books) -> None:
    ours, theirs = await both.placed(state="REJECTED", status=None, open=0)
    await both.set(open_orders=0)
    with pytest.raises(NotAccepted, match=f"order {ours} is NEW at the broker and REJECTED here"):
        await both.accept()
    both.broker.end(theirs, OrderStatus.CANCELED)
    await both.accept()
    await agrees(both)


async def test_an_account_of_another_broker_is_not_found(both: Books) -> None:
    await both.set(broker="elsewhere")
    with pytest.raises(NotAccepted, match="no account"):
        await both.accept()


# -- the beginning -----------------------------------------------------------------------------------


async def _found(db: Database, broker: FakeBroker) -> Books:
    """An account that has just appeared, as the environment opens it."""
    both = await Books(db, broker).open(reconciled_at=None, reconcile_problem="not booked yet")
    both.clock.at_us = 1_800_000_000_000_000 + broker.later_us
    return both


async def _open(both: Books) -> bool:
    return await open_balances(both.db, both.clock, both.broker, await both.row(), 1.0)


def _stranger(broker: FakeBroker, name: str, fill: int = 0, price: str = "10") -> str:
    theirs = place(broker, name).broker_order_id
    if fill:
        broker.fill(theirs, fill, price)
    return theirs


async def test_what_an_account_held_when_it_appeared_is_its_opening_balance(db: Database) -> None:
    broker = FakeBroker("fake")
    broker.cash_before[ACCOUNT] = D(5000)
    _stranger(broker, "long ago", 10, "20")
    broker.later_us = 40 * 86_400_000_000
    both = await _found(db, broker)
    assert await both.reconciler.missed(await both.row(), 0) == [], "history is no news"
    assert await _open(both) is True
    await agrees(both)
    row = await both.row()
    assert (row.cash, row.starting_cash) == (4800 * 10**6, 5000 * 10**6)
    assert sorted(await both.activities(), key=str) == [
        ("adjustment", "", D(0), D(0), D(4800)),
        ("adjustment", "AAPL", D(10), D(20), D(0)),
    ]
    assert await _open(both) is False
    await both.catch_up()
    await agrees(both)
    assert (await both.shown())["executions"] == []


async def test_an_order_that_had_filled_in_part_before_keeps_its_prints(db: Database) -> None:
    broker = FakeBroker("fake")
    broker.cash_before[ACCOUNT] = D(5000)
    _stranger(broker, "long ago", 10, "20")
    broker.later_us = 40 * 86_400_000_000
    resting = _stranger(broker, "resting", 4, "30")
    broker.later_us = 50 * 86_400_000_000
    both = await _found(db, broker)
    await _open(both)
    await both.catch_up()
    await agrees(both)
    assert rows_of(await both.shown()) == {resting: ("PARTIALLY_FILLED", 4)}
    assert [(s, q) for _, s, q, _, _ in await both.activities() if s] == [("AAPL", D(10))]
    await both.merge([broker.fill(resting, 6, "31")])
    await agrees(both)
    assert rows_of(await both.shown()) == {resting: ("FILLED", 10)}


async def test_prints_around_the_opening_count_once_whoever_books_them_first(db: Database) -> None:
    broker = FakeBroker("fake")
    broker.cash_before[ACCOUNT] = D(5000)
    broker.later_us = 40 * 86_400_000_000
    order = _stranger(broker, "busy", 1, "20")
    both = await _found(db, broker)
    await both.merge([broker.fill(order, 2, "21")])
    both.act("fee", "fee-1", "-0.02")
    both.act("dividend", "div-1", "1")
    assert await _open(both) is True
    both.clock.meanwhile = None
    late = broker.fill(order, 3, "22")
    await both.merge([late])
    await both.catch_up()
    await both.merge([late])
    await agrees(both)
    assert held(await both.shown()) == {"AAPL": D(6)}
    assert (await both.shown())["cash"] == (await broker.fetch_account(ACCOUNT, 1.0)).cash


async def test_while_the_account_moves_its_opening_is_put_off(db: Database) -> None:
    broker = FakeBroker("fake")
    both = await _found(db, broker)

    async def moves() -> None:
        broker.cash_before[ACCOUNT] += 1

    both.clock.meanwhile = moves
    with pytest.raises(BrokerError, match="does not stand still"):
        await _open(both)
    assert await both.activities() == []
    both.clock.meanwhile = None
    assert await _open(both) is True
    await agrees(both)
