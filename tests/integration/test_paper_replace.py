"""Replacing at the paper venue: the old order ends and the new one stands in one transaction, or nothing has changed."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerRejected, BrokerReplace, OutcomeUnknown
from paiid.brokers.paper.records import Placed
from paiid.brokers.paper.replace import Replacer, ReplaceRequest
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus, StopLoss
from tests.paper_floor import Floor, bracket, oco, order, spread

D = Decimal
C100, C105 = "AAPL270319C00100000", "AAPL270319C00105000"
BULL_CALL = f"+{C100} -{C105}"


@pytest.fixture
async def floor(db: Database) -> Floor:
    return await Floor.opened(db)


async def refused(floor: Floor, name: str, **change: Any) -> str:
    before, told = await floor.audit(), len(await floor.events())
    with pytest.raises(BrokerRejected) as caught:
        await floor.replace(name, "never", **change)
    after = await floor.audit()
    assert (before.holdings, before.cash, before.combos) == (after.holdings, after.cash, after.combos)
    assert len(await floor.events()) == told, "something was done"
    return caught.value.code


async def test_the_new_order_names_the_old_which_is_replaced(floor: Floor) -> None:
    old = await floor.place(order("a", price="99"))
    new = await floor.replace("a", "b", limit_price=D("98.50"), qty=D(80))
    assert (new.client_order_id, new.replaces, new.status) == ("b", old.broker_order_id, OrderStatus.NEW)
    assert (new.qty, new.limit_price, new.time_in_force) == (80, D("98.50"), "gtc")
    gone = await floor.view("a")
    assert (gone.status, gone.replaced_by, gone.reason) == (
        "REPLACED",
        new.broker_order_id,
        "replaced_by_user",
    )
    told = [(e.order.client_order_id, e.order.status) for e in await floor.events() if e.order]
    assert told[-2:] == [("a", "REPLACED"), ("b", "NEW")]
    book = await floor.audit()
    assert (book.open_orders, book.holding("AAPL").open_buy_value) == (1, 80 * D("98.50"))
    await floor.shown("98.40", "98.50")
    await floor.tick()
    assert await floor.told("b") == "FILLED 80"


async def test_what_has_filled_counts_in_the_new_total(floor: Floor) -> None:
    await floor.place(order("a", price="99"))
    await floor.shown("98.90", "99", 40)
    assert await refused(floor, "a", qty=D(40)) == "invalid_qty"
    new = await floor.replace("a", "b", qty=D(70))
    assert (new.qty, new.filled_qty) == (30, 0)
    assert await floor.told("a") == "REPLACED 40 (replaced_by_user)"
    await floor.tick()
    await floor.shown("98.90", "99", 400)
    assert await floor.told("b") == "FILLED 30"
    assert await floor.position() == 70
    await floor.audit()


async def test_the_new_order_is_checked_as_if_the_old_one_were_not_there(floor: Floor) -> None:
    await floor.place(order("a", qty=1000, price="99"))
    assert await refused(floor, "a", qty=D(1011)) == "insufficient_buying_power"
    assert await refused(floor, "a", limit_price=D("99.005")) == "invalid_price"
    assert await refused(floor, "a", limit_price=D(120)) == "price_band"
    assert (await floor.replace("a", "b", qty=D(1010))).qty == 1010
    await floor.audit()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "nothing_to_change"),
        ({"qty": D(100)}, "nothing_to_change"),
        ({"limit_price": D(99)}, "nothing_to_change"),
        ({"qty": D("99.5")}, "invalid_qty"),
        ({"qty": D(0)}, "invalid_qty"),
        ({"stop_price": D(90)}, "invalid_price"),
        ({"trail_price": D(1)}, "invalid_price"),
        ({"time_in_force": "ioc"}, "not_replaceable"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_the_order_goes_on(
    floor: Floor, change: dict[str, Any], code: str
) -> None:
    await floor.place(order("a", price="99"))
    assert await refused(floor, "a", **change) == code
    assert await floor.told("a") == "NEW 0"


async def test_gtc_may_become_day(floor: Floor) -> None:
    floor.market.hours.roll_us = floor.market.clock.us + 1_000_000
    await floor.place(order("a", price="99"))
    await floor.replace("a", "b", time_in_force="day")
    await floor.tick(1_000)
    assert await floor.told("b") == "EXPIRED 0 (day_over)"


@pytest.mark.parametrize("end", ["FILLED", "CANCELED", "REPLACED"])
async def test_what_is_over_cannot_be_replaced(floor: Floor, end: str) -> None:
    await floor.place(order("a", price="99"))
    if end == "FILLED":
        await floor.shown("98", "98.10")
    elif end == "CANCELED":
        await floor.cancel("me", "a")
    else:
        await floor.replace("a", "b", qty=D(90))
    with pytest.raises(BrokerRejected, match=f"already in {end} state") as caught:
        await floor.replace("a", "c", qty=D(80))
    assert caught.value.code == "not_replaceable"


async def test_notional_fractional_and_unknown_orders_are_refused(floor: Floor) -> None:
    await floor.place(replace(order("n", time_in_force="day"), qty=None, notional=D(500)), ms=0)
    assert await refused(floor, "n", qty=D(2)) == "not_replaceable"
    await floor.place(replace(order("f", price="99", time_in_force="day"), qty=D("1.5")))
    assert await refused(floor, "f", qty=D(2)) == "invalid_qty"
    assert (await floor.replace("f", "g", limit_price=D(98))).qty == D("1.5")


async def test_an_order_of_another_account_is_not_found(floor: Floor) -> None:
    await floor.place(order("a", price="99", account_number="bob"))
    view = await floor.view("a", "bob")
    request = ReplaceRequest("me", view.broker_order_id, BrokerReplace("b", qty=D(1)))
    with pytest.raises(BrokerRejected) as caught:
        await floor.db.commit_with(Replacer(floor.desk).replace, request)
    assert caught.value.code == "not_found"


async def test_a_refused_replacement_leaves_no_trace_on_one_that_shares_its_commit(floor: Floor) -> None:
    floor.show("4.95", "5.05", 50, C100)
    floor.show("2.95", "3.05", 50, C105)
    await floor.place(order("a", price="99"))
    await floor.place(spread("s", BULL_CALL, "1.00", qty=2))
    await floor.place(order("b", qty=10, price="98"))
    requests = [
        ReplaceRequest(
            "me", (await floor.view(name)).broker_order_id, BrokerReplace(f"{name}.new", qty=D(qty))
        )
        for name, qty in (("a", 2_000), ("s", 2_000), ("b", 20))
    ]
    async with floor.db.begin() as tx:
        one, other, third = await Replacer(floor.desk).replace(tx, requests)
    assert isinstance(one, BrokerRejected)
    assert isinstance(other, BrokerRejected)
    assert {one.code, other.code} == {"insufficient_buying_power"}
    assert isinstance(third, Placed)
    assert await floor.told("a") == "NEW 0"
    book = await floor.audit()
    assert (book.holding("AAPL").open_buy_qty, len(book.combos), book.open_orders) == (120, 1, 5)


async def test_a_client_order_id_used_before_is_an_unknown_outcome(floor: Floor) -> None:
    await floor.place(order("a", price="99"))
    await floor.place(order("b", price="98"))
    with pytest.raises(OutcomeUnknown, match="must be unique"):
        await floor.replace("a", "b", qty=D(5))
    assert await floor.told("a") == "NEW 0"


async def test_a_trailing_stop_keeps_its_peak_unless_the_trail_changes(floor: Floor) -> None:
    await floor.place(order("b"))
    trail = replace(order("a", "sell"), type="trailing_stop", trail_price=D(5))
    await floor.place(trail)
    await floor.shown("110", "110.10")
    await floor.shown("107", "107.10")
    same = await floor.replace("a", "c", qty=D(60))
    assert (same.hwm, same.stop_price, same.qty) == (110, 105, 60)
    other = await floor.replace("c", "d", trail_price=D(4))
    assert (other.hwm, other.stop_price, other.trail_price) == (None, None, 4)
    await floor.tick()
    await floor.tick()
    assert (await floor.view("d")).stop_price == 103
    percent = await floor.replace("d", "e", trail_percent=D(10))
    assert (percent.trail_price, percent.trail_percent) == (None, 10)
    await floor.audit()


async def test_a_triggered_stop_limit_is_a_limit_order_and_goes_on_as_one(floor: Floor) -> None:
    await floor.place(order("b"))
    one = replace(order("a", "sell", price="96"), type="stop_limit", stop_price=D(97))
    await floor.place(one)
    await floor.shown("95", "95.10")
    assert await refused(floor, "a", stop_price=D(94)) == "not_replaceable"
    await floor.replace("a", "c", limit_price=D("94.50"))
    await floor.tick()
    assert await floor.told("c") == "FILLED 100"


async def test_an_entry_that_is_replaced_takes_its_exits_along(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95", price="100.10"), ms=0)
    await floor.shown("99.90", "100.10", 30)
    await floor.tick()
    assert await refused(floor, "a", limit_price=D("94.99")) == "bracket_prices"
    new = await floor.replace("a", "b", limit_price=D(99), qty=D(80))
    assert (new.qty, new.group_role, [leg.qty for leg in new.legs]) == (50, "entry", [80, 80])
    assert {leg.parent_broker_order_id for leg in new.legs} == {new.broker_order_id}
    assert (await floor.view("a")).legs == ()
    await floor.tick()
    await floor.shown("98.90", "99")
    assert await floor.told("b") == "FILLED 50"
    assert await floor.told("a.tp") == "NEW 0"
    await floor.shown("110", "110.10")
    assert await floor.position() == 0
    await floor.audit()


async def test_a_held_exit_changes_its_price_and_stays_held(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95", price="99"))
    assert await refused(floor, "a.sl", stop_price=D("99")) == "bracket_prices"
    assert await refused(floor, "a.tp", qty=D(50)) == "not_replaceable"
    new = await floor.replace("a.sl", "b", stop_price=D(96))
    assert (new.status, new.stop_price, new.group_role) == ("HELD", 96, "stop_loss")
    assert [leg.client_order_id for leg in (await floor.view("a")).legs] == ["a.tp", "b"]
    await floor.shown("98.90", "99")
    await floor.shown("96", "96.10")
    assert await floor.told("b") == "FILLED 100"
    assert await floor.told("a.tp") == "CANCELED 0 (other_exit_filled)"
    await floor.audit()


async def test_live_exits_stay_in_step(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95"))
    assert await refused(floor, "a.tp", limit_price=D("95")) == "bracket_prices"
    assert await refused(floor, "a.tp", qty=D(101)) == "invalid_qty"
    assert await refused(floor, "a.sl", time_in_force="day") == "not_replaceable"
    new = await floor.replace("a.tp", "b", limit_price=D(108), qty=D(60))
    assert (new.qty, (await floor.view("a.sl")).qty) == (60, 60)
    book = await floor.audit()
    assert (book.holding("AAPL").open_sell_qty, book.holding("AAPL").open_sell_value) == (60, 60 * 108)
    assert await refused(floor, "a.sl", qty=D(90)) == "invalid_qty", (
        "an exit never grows, though more is held"
    )
    await floor.replace("a.sl", "c", stop_price=D(96), qty=D(50))
    assert (await floor.view("b")).qty == 50
    await floor.audit()
    await floor.tick()
    await floor.shown("95.50", "95.60")
    assert await floor.told("c") == "FILLED 50"
    assert await floor.told("b") == "CANCELED 0 (other_exit_filled)"
    await floor.audit()


async def test_the_take_profit_of_an_oco_stays_its_parent(floor: Floor) -> None:
    await floor.place(order("b"))
    await floor.place(oco("a", "110", "95"))
    new = await floor.replace("a", "c", limit_price=D(108))
    assert (new.group_role, [leg.client_order_id for leg in new.legs]) == ("take_profit", ["a.sl"])
    assert (await floor.view("a.sl")).parent_broker_order_id == new.broker_order_id
    await floor.tick()
    await floor.shown("108", "108.10")
    assert await floor.told("c") == "FILLED 100"
    assert await floor.told("a.sl") == "CANCELED 0 (other_exit_filled)"
    await floor.audit()


async def test_an_oto_cannot_be_replaced(floor: Floor) -> None:
    await floor.place(replace(order("a", price="99"), order_class="oto", stop_loss=StopLoss(D(95))))
    assert await refused(floor, "a", limit_price=D(98)) == "not_replaceable"
    assert await refused(floor, "a.sl", stop_price=D(94)) == "not_replaceable"


async def test_a_spread_is_replaced_with_its_legs(floor: Floor) -> None:
    floor.show("4.95", "5.05", 3, C100)
    floor.show("2.95", "3.05", 50, C105)
    await floor.place(spread("s", BULL_CALL, "2.10", qty=10))
    assert await floor.told("s") == "PARTIALLY_FILLED 3"
    assert await refused(floor, "s", qty=D(3)) == "invalid_qty"
    assert await refused(floor, "s", limit_price=D("2.105")) == "invalid_price"
    assert await refused(floor, "s.leg1", qty=D(5)) == "not_replaceable"
    assert await refused(floor, "s", time_in_force="day") == "not_replaceable"
    new = await floor.replace("s", "t", limit_price=D("2.00"), qty=D(8))
    assert (new.qty, new.limit_price, [leg.qty for leg in new.legs]) == (5, 2, [5, 5])
    assert [leg.client_order_id for leg in new.legs] == ["t.leg1", "t.leg2"]
    assert await floor.told("s.leg1") == "REPLACED 3 (replaced_by_user)"
    book = await floor.audit()
    assert [one.net for one in book.combos.values()] == [1_000]
    floor.show("4.85", "4.95", 50, C100)
    await floor.tick()
    assert await floor.told("t") == "FILLED 5"
    assert await floor.position(C100) == 8
    await floor.audit()


async def test_replace_cancel_and_fill_of_one_group_at_once_leave_the_books_whole(floor: Floor) -> None:
    for n in range(5):
        name = f"r{n}"
        floor.show("99.90", "100.10")
        await floor.place(bracket(name, "110", "95"))
        floor.show("110", "110.10")
        floor.market.clock.us += 1_000
        await asyncio.gather(
            floor.replace(f"{name}.tp", f"{name}.new", limit_price=D(109)),
            floor.look(),
            floor.cancel("me", f"{name}.sl"),
            return_exceptions=True,
        )
        await floor.audit()
        await floor.tick()
        await floor.audit()
        sold = sum(one.qty for one in await floor.prints() if one.side == "sell")
        bought = sum(one.qty for one in await floor.prints() if one.side == "buy")
        assert bought - sold == await floor.position() in (0, 100)
        if await floor.position():
            await floor.place(order(f"out{n}", "sell"))
            assert await floor.position() == 0
