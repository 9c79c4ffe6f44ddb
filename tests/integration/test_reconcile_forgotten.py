"""Orders that a broker forgets with the day end where its positions show that nothing filled, and nowhere else (E12, ADR 0025)."""

from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import Database
from paiid.domain.orders import Side
from tests.reconcile_world import ACCOUNT, Books, held

D = Decimal
_DAY_US = 86_400_000_000


@pytest.fixture
async def both(db: Database) -> Books:
    """A ledger and a broker that agree, whose list of orders ends with the day."""
    books = await Books(db).open()
    books.broker.capabilities = replace(books.broker.capabilities, lists_end_with_day=True)
    return books


async def working(both: Books, side: Side = "buy", symbol: str = "AAPL") -> tuple[str, str]:
    """An order that works on both sides: (our id, the broker's id)."""
    name = f"pd-{symbol}-{side}-{len(both.broker.orders)}"
    view = both.place(name, symbol, side)
    ours = await both.add_order(
        client_order_id=name, broker_order_id=view.broker_order_id, side=side, symbol=symbol
    )
    return ours, view.broker_order_id


def forget(both: Books, *broker_ids: str) -> None:
    """Midnight has passed, and the broker knows nothing of these."""
    both.clock.at_us = SystemClock().now_us() + 2 * _DAY_US
    for one in broker_ids:
        del both.broker.orders[one]


async def order(both: Books, broker_id: str) -> dict[str, object]:
    rows = (await both.shown())["orders"]
    return next(row for row in rows if row["broker_order_id"] == broker_id)


async def test_E12_an_order_of_yesterday_ends_where_the_positions_agree(both: Books) -> None:
    _, theirs = await working(both)
    await both.merge([both.broker.fill(theirs, 4, "100")])
    forget(both, theirs)
    await both.catch_up()
    found = await order(both, theirs)
    assert (found["status"], found["filled_qty"]) == ("EXPIRED", 4)
    assert "forgot" in str(found["reason"])
    assert held(await both.shown()) == {"AAPL": D(4)}
    assert await both.compare() == []


async def test_E12_one_of_today_is_left_alone_however_long_the_broker_shows_none(both: Books) -> None:
    ours, theirs = await working(both)
    # It was taken an hour ago, which in the first hour of a day is yesterday: now is a second behind that.
    both.clock.at_us = SystemClock().now_us() - 3_599_000_000
    del both.broker.orders[theirs]
    await both.catch_up()
    assert (await order(both, theirs))["status"] == "NEW"
    await both.set(reconciled_at=1)
    assert await both.compare() == [f"order {ours}: ours NEW, broker none"]


async def test_E12_a_fill_that_nobody_saw_keeps_the_order_open_and_is_told(both: Books) -> None:
    ours, theirs = await working(both)
    both.broker.fill(theirs, 10, "100")
    both.broker.executions.clear()
    forget(both, theirs)
    await both.catch_up()
    assert (await order(both, theirs))["status"] == "NEW"
    found = await both.compare(heal=True)
    assert "position AAPL: ours 0, broker 10" in found
    assert f"order {ours}: ours NEW, broker none" in found


async def test_E12_a_purchase_and_a_sale_that_could_both_have_filled_need_the_cash_to_agree(
    both: Books,
) -> None:
    _, bought = await working(both, "buy")
    _, sold = await working(both, "sell")
    both.broker.fill(bought, 10, "100")
    both.broker.fill(sold, 10, "101")
    both.broker.executions.clear()
    both.broker.cash_before[ACCOUNT] = D(10)
    forget(both, bought, sold)
    await both.catch_up()
    assert {(await order(both, one))["status"] for one in (bought, sold)} == {"NEW"}


async def test_E12_a_purchase_and_a_sale_of_which_neither_filled_both_end(both: Books) -> None:
    _, bought = await working(both, "buy")
    _, sold = await working(both, "sell")
    forget(both, bought, sold)
    await both.catch_up()
    assert {(await order(both, one))["status"] for one in (bought, sold)} == {"EXPIRED"}


async def test_E12_another_symbol_that_differs_does_not_keep_an_order_open(both: Books) -> None:
    _, kept = await working(both, symbol="TSLA")
    _, ends = await working(both, symbol="AAPL")
    both.broker.fill(kept, 10, "7")
    both.broker.executions.clear()
    forget(both, kept, ends)
    await both.catch_up()
    assert (await order(both, ends))["status"] == "EXPIRED"
    assert (await order(both, kept))["status"] == "NEW"


async def test_E12_a_broker_whose_list_does_not_end_is_not_believed(both: Books) -> None:
    both.broker.capabilities = replace(both.broker.capabilities, lists_end_with_day=False)
    _, theirs = await working(both)
    forget(both, theirs)
    await both.catch_up()
    assert (await order(both, theirs))["status"] == "NEW"
