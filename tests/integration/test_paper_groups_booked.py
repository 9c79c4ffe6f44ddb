"""Brackets, one-triggers-other and one-cancels-other at the paper venue: live in time, ended together, never both."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus, StopLoss, TakeProfit
from tests.paper_floor import Floor, bracket, oco, order

D = Decimal


@pytest.fixture
async def floor(db: Database) -> Floor:
    return await Floor.opened(db)


async def refused(floor: Floor, one: BrokerOrder) -> str:
    with pytest.raises(BrokerRejected) as caught:
        await floor.submit(one)
    await floor.audit()
    return caught.value.code


async def test_a_bracket_is_told_with_its_exits_which_are_held(floor: Floor) -> None:
    view = await floor.place(bracket("a", "110", "95", price="99"))
    assert (view.order_class, view.group_role, view.parent_broker_order_id) == ("bracket", "entry", None)
    profit, loss = view.legs
    assert (profit.client_order_id, loss.client_order_id) == ("a.tp", "a.sl")
    assert (profit.type, profit.limit_price, profit.side) == ("limit", D(110), "sell")
    assert (loss.type, loss.stop_price, loss.side) == ("stop", D(95), "sell")
    for leg in (profit, loss):
        assert (leg.status, leg.qty, leg.parent_broker_order_id) == (
            OrderStatus.HELD,
            100,
            view.broker_order_id,
        )
    events = await floor.events()
    assert [one.order.client_order_id for one in events if one.order] == ["a", "a.tp", "a.sl"]
    assert events[0].order == view
    await floor.shown("120", "120.10")
    assert await floor.told("a.tp") == "HELD 0"
    await floor.audit()


async def test_the_exits_go_live_in_the_very_transaction_in_which_the_entry_is_filled_completely(
    floor: Floor,
) -> None:
    await floor.place(bracket("a", "110", "95", price="100.10"), ms=0)
    await floor.shown("99.90", "100.10", 60)
    await floor.tick()
    assert await floor.told("a") == "PARTIALLY_FILLED 60"
    assert (await floor.told("a.tp"), await floor.told("a.sl")) == ("HELD 0", "HELD 0")
    await floor.shown("99.90", "100.05", 40)
    assert await floor.told("a") == "FILLED 100"
    assert (await floor.told("a.tp"), await floor.told("a.sl")) == ("NEW 0", "NEW 0")
    events = await floor.events()
    at = next(n for n, one in enumerate(events) if one.order and one.order.status is OrderStatus.FILLED)
    assert [one.order.status for one in events[at:] if one.order] == ["FILLED", "NEW", "NEW"]
    book = await floor.audit()
    assert book.holding("AAPL").open_sell_qty == 100


async def test_one_exit_that_fills_ends_the_other(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95"))
    await floor.shown("110", "110.10")
    assert await floor.told("a.tp") == "FILLED 100"
    assert await floor.told("a.sl") == "CANCELED 0 (other_exit_filled)"
    assert await floor.position() == 0
    await floor.shown("94", "94.10")
    assert await floor.position() == 0
    await floor.audit()


async def test_the_stop_that_fills_ends_the_take_profit(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95"))
    await floor.shown("94.50", "94.60")
    assert await floor.told("a.sl") == "FILLED 100"
    assert await floor.told("a.tp") == "CANCELED 0 (other_exit_filled)"
    assert await floor.position() == 0
    await floor.audit()


async def test_a_part_of_one_exit_takes_as_much_from_the_other_even_with_the_stop_triggered(
    floor: Floor,
) -> None:
    await floor.place(bracket("a", "110", "95"))
    await floor.shown("110", "110.10", 30)
    assert (await floor.view("a.sl")).qty == 70
    await floor.shown("94", "94.10", 20)
    assert await floor.told("a.sl") == "PARTIALLY_FILLED 20"
    assert ((await floor.view("a.tp")).qty, (await floor.view("a.sl")).qty) == (80, 70)
    await floor.audit()
    # The stop is a market order now, and the price has come back to the take profit: both want the same quote.
    await floor.shown("110", "110.10", 40)
    assert await floor.position() == 10
    await floor.audit()
    await floor.shown("110", "110.10", 40)
    assert await floor.position() == 0
    assert sum(one.qty for one in await floor.prints() if one.side == "sell") == 100
    await floor.audit()


async def test_two_exits_that_one_quote_lets_fill_never_sell_more_than_there_is(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95"))
    await floor.shown("94", "94.10", 0)
    await floor.shown("110", "110.10", 10_000)
    assert await floor.position() == 0
    assert sorted([await floor.told("a.tp"), await floor.told("a.sl")]) == [
        "CANCELED 0 (other_exit_filled)",
        "FILLED 100",
    ]
    await floor.audit()


async def test_an_entry_that_is_canceled_takes_its_held_exits_along_though_a_part_has_filled(
    floor: Floor,
) -> None:
    await floor.place(bracket("a", "110", "95", price="100.10"), ms=0)
    await floor.shown("99.90", "100.10", 60)
    await floor.tick()
    await floor.cancel("me", "a")
    assert await floor.told("a") == "CANCELED 60 (canceled_by_user)"
    assert await floor.told("a.tp") == "CANCELED 0 (entry_ended)"
    assert await floor.told("a.sl") == "CANCELED 0 (entry_ended)"
    assert await floor.position() == 60
    await floor.audit()


@pytest.mark.parametrize("which", ["a.tp", "a.sl"])
async def test_canceling_a_held_exit_cancels_the_rest(floor: Floor, which: str) -> None:
    await floor.place(bracket("a", "110", "95", price="99"))
    await floor.cancel("me", which)
    told = [await floor.told(name) for name in ("a", "a.tp", "a.sl")]
    assert sorted(told) == sorted(
        ["CANCELED 0 (canceled_by_user)", *["CANCELED 0 (canceled_with_group)"] * 2]
    )
    with pytest.raises(BrokerRejected) as caught:
        await floor.cancel("me", "a")
    assert caught.value.code == "not_cancelable"
    book = await floor.audit()
    assert book.open_orders == 0


@pytest.mark.parametrize("which", ["a.tp", "a.sl"])
async def test_canceling_a_live_exit_cancels_the_other(floor: Floor, which: str) -> None:
    await floor.place(bracket("a", "110", "95"))
    await floor.cancel("me", which)
    assert await floor.told("a") == "FILLED 100"
    book = await floor.audit()
    assert book.open_orders == 0
    assert book.holding("AAPL").open_sell_qty == 0


async def test_day_exits_end_with_the_day_in_which_they_went_live(floor: Floor) -> None:
    floor.market.hours.roll_us = floor.market.clock.us + 1_000_000
    await floor.place(bracket("a", "110", "95", time_in_force="day"))
    assert await floor.told("a.tp") == "NEW 0"
    await floor.tick(1_000)
    assert await floor.told("a.tp") == "EXPIRED 0 (day_over)"
    assert await floor.told("a.sl") == "EXPIRED 0 (day_over)"
    await floor.audit()


async def test_a_day_entry_that_expires_takes_its_exits_along(floor: Floor) -> None:
    floor.market.hours.roll_us = floor.market.clock.us + 1_000_000
    await floor.place(bracket("a", "110", "95", price="99", time_in_force="day"))
    await floor.tick(1_000)
    assert await floor.told("a") == "EXPIRED 0 (day_over)"
    assert await floor.told("a.tp") == "CANCELED 0 (entry_ended)"
    await floor.audit()


async def test_a_trailing_exit_follows_from_the_moment_it_goes_live(floor: Floor) -> None:
    await floor.place(bracket("a", "130", StopLoss(trail_price=D(5)), price="100.10"), ms=0)
    await floor.shown("119.90", "120.10")
    await floor.shown("99.90", "100.10")
    await floor.tick()
    assert await floor.told("a") == "FILLED 100"
    await floor.tick()
    assert (await floor.view("a.sl")).stop_price == D("94.90")
    await floor.shown("104", "104.10")
    await floor.shown("98.50", "98.60")
    assert await floor.told("a.sl") == "FILLED 100"
    assert await floor.told("a.tp") == "CANCELED 0 (other_exit_filled)"
    await floor.audit()


async def test_a_bracket_of_a_short_sale_is_mirrored(floor: Floor) -> None:
    await floor.place(bracket("a", "90", "105", side="sell"))
    await floor.shown("105", "105.50")
    assert await floor.told("a.sl") == "FILLED 100"
    assert await floor.position() == 0
    await floor.audit()


async def test_an_oto_has_one_exit(floor: Floor) -> None:
    one = replace(order("a"), order_class="oto", stop_loss=StopLoss(D(95), D("94.50")))
    view = await floor.place(one)
    assert [(leg.group_role, leg.type) for leg in view.legs] == [("stop_loss", "stop_limit")]
    book = await floor.audit()
    assert book.holding("AAPL").open_sell_qty == 100
    await floor.shown("94.80", "94.90")
    assert await floor.told("a.sl") == "FILLED 100"
    assert await floor.position() == 0
    await floor.audit()


async def test_an_oco_is_the_exit_of_what_is_held_and_reserves_it_once(floor: Floor) -> None:
    assert await refused(floor, oco("x", "110", "95")) == "insufficient_qty"
    await floor.place(order("b"))
    view = await floor.place(oco("a", "110", "95"))
    assert (view.type, view.group_role, view.limit_price) == ("limit", "take_profit", D(110))
    assert [(leg.group_role, leg.status) for leg in view.legs] == [("stop_loss", OrderStatus.NEW)]
    book = await floor.audit()
    assert book.holding("AAPL").open_sell_qty == 100
    assert await refused(floor, oco("y", "111", "94", qty=1)) == "insufficient_qty"
    await floor.shown("94.50", "94.60", 40)
    assert await floor.told("a.sl") == "PARTIALLY_FILLED 40"
    assert (await floor.view("a")).qty == 60
    await floor.audit()
    await floor.shown("110", "110.10")
    assert await floor.position() == 0
    assert await floor.told("a") == "FILLED 60"
    await floor.audit()


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (bracket("a", "100", "95", price="100"), "bracket_prices"),
        (bracket("a", "100.01", "100", price="100"), "bracket_prices"),
        (bracket("a", "100.05", "95"), "bracket_prices"),
        (bracket("a", "110", "100.10"), "bracket_prices"),
        (bracket("a", "94", "95", price="93"), "bracket_prices"),
        (bracket("a", "110", "105", side="sell"), "bracket_prices"),
        (bracket("a", "110", "95.001", price="100"), "invalid_price"),
        (replace(bracket("a", "110", "95"), take_profit=None), "order_class_fields"),
        (replace(bracket("a", "110", "95"), order_class="oto"), "order_class_fields"),
        (replace(order("a"), order_class="oto"), "order_class_fields"),
        (replace(oco("a", "110", "95"), stop_loss=None), "order_class_fields"),
        (replace(oco("a", "110", "95"), take_profit=TakeProfit(D(111))), "order_class_fields"),
        (oco("a", "95", "96"), "bracket_prices"),
        (oco("a", "110", "100"), "stop_through_market"),
        (replace(bracket("a", "110", "95"), time_in_force="ioc"), "time_in_force_not_supported"),
        (replace(bracket("a", "110", "95", price="100"), extended_hours=True), "extended_hours_not_supported"),
        (replace(bracket("a", "110", "95"), qty=D("1.5")), "order_class_not_supported"),
        (replace(oco("a", "110", "95"), type="market", limit_price=None), "type_not_supported"),
        (bracket("a", "110", StopLoss(trail_percent=D(100))), "invalid_price"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
async def test_a_group_that_makes_no_sense_is_refused_whole(
    floor: Floor, one: BrokerOrder, code: str
) -> None:
    if one.order_class == "oco":
        await floor.place(order("b"))
    assert await refused(floor, one) == code


async def test_an_exit_may_be_a_cent_from_the_entry(floor: Floor) -> None:
    await floor.place(bracket("a", "100.01", "99.99", price="100"))
    assert await floor.told("a.sl") == "HELD 0"


async def test_the_ids_of_exits_are_taken_with_the_parent_s(floor: Floor) -> None:
    await floor.place(order("a.tp", price="90"))
    with pytest.raises(OutcomeUnknown, match="must be unique"):
        await floor.submit(bracket("a", "110", "95"))
    book = await floor.audit()
    assert book.open_orders == 1


async def test_the_matching_process_remembers_exits_after_a_restart(floor: Floor) -> None:
    await floor.place(bracket("a", "110", "95", price="99"))
    await floor.place(bracket("b", "110", "95"))
    again = Floor(floor.market, floor.db, floor.held, floor.terms)
    await again.look()
    await again.shown("110", "110.10")
    assert await again.told("b.tp") == "FILLED 100"
    await again.shown("98.80", "98.90")
    assert await again.told("a") == "FILLED 100"
    await again.shown("111", "111.10")
    assert await again.told("a.tp") == "FILLED 100"
    await again.audit()


async def test_cancel_and_fill_of_one_group_at_once_end_in_one_of_the_two(floor: Floor) -> None:
    for n in range(6):
        name = f"r{n}"
        floor.show("99.90", "100.10")
        await floor.place(bracket(name, "110", "95"))
        floor.show("110", "110.10")
        floor.market.clock.us += 1_000
        results = await asyncio.gather(floor.look(), floor.cancel("me", f"{name}.sl"), return_exceptions=True)
        assert results[0] is None
        assert await floor.position() in (0, 100)
        told = {await floor.told(f"{name}.tp"), await floor.told(f"{name}.sl")}
        assert told in (
            {"FILLED 100", "CANCELED 0 (other_exit_filled)"},
            {"CANCELED 0 (canceled_by_user)", "CANCELED 0 (canceled_with_group)"},
        )
        await floor.audit()
        if await floor.position():
            await floor.place(order(f"out{n}", "sell"))
