"""What every broker promises about orders that hang together, replacements and activities."""

import asyncio
from dataclasses import replace

import pytest

from paiid.brokers import BrokerOrder, BrokerOrderView, BrokerRejected, BrokerReplace, OutcomeUnknown
from paiid.domain.orders import OrderStatus
from tests.contract.readers import reading, take
from tests.contract.stages import (
    C100,
    C105,
    D,
    S,
    Stage,
    bracket,
    canceled,
    now,
    oco,
    spread,
)
from tests.contract.test_broker_contract import stage
from tests.paper_live import found, order

__all__ = ["stage"]


async def status(stage: Stage, name: str) -> OrderStatus:
    return (await found(stage.broker, name)).status


async def exits(stage: Stage, name: str) -> dict[str | None, BrokerOrderView]:
    return {leg.group_role: leg for leg in (await found(stage.broker, name)).legs}


async def test_a_bracket_is_told_with_its_exits_each_of_them_an_order_of_its_own(stage: Stage) -> None:
    view = await stage.broker.submit(bracket("a"), S)
    assert (view.order_class, view.group_role, view.parent_broker_order_id) == ("bracket", "entry", None)
    assert [(leg.group_role, leg.side, leg.qty, leg.status) for leg in view.legs] == [
        ("take_profit", "sell", 10, OrderStatus.HELD),
        ("stop_loss", "sell", 10, OrderStatus.HELD),
    ]
    assert (view.legs[0].limit_price, view.legs[1].stop_price) == (110, 95)
    assert await found(stage.broker, "a") == view
    told = await stage.broker.fetch_open_orders("me", S)
    assert [one.broker_order_id for one in told] == [
        view.broker_order_id,
        *(leg.broker_order_id for leg in view.legs),
    ]
    assert told[0] == view
    assert tuple(told[1:]) == view.legs
    assert {leg.parent_broker_order_id for leg in told[1:]} == {view.broker_order_id}
    for leg in view.legs:
        assert leg.client_order_id
        assert await now(stage.broker, leg) == leg


async def test_exits_wait_for_the_whole_entry_and_one_ends_the_other(stage: Stage) -> None:
    view = await stage.broker.submit(bracket("a"), S)
    await stage.execute(view, 4, "100.00")
    assert {leg.status for leg in (await exits(stage, "a")).values()} == {OrderStatus.HELD}
    await stage.execute(view, 6, "100.00")
    live = await exits(stage, "a")
    assert {leg.status for leg in live.values()} == {OrderStatus.NEW}
    await stage.execute(live["take_profit"], 3, "110.00")
    after = await exits(stage, "a")
    assert (after["take_profit"].filled_qty, after["stop_loss"].qty) == (3, 7)
    await stage.execute(live["stop_loss"], 7, "95.00")
    ended = await exits(stage, "a")
    assert (ended["stop_loss"].status, ended["stop_loss"].filled_qty) == (OrderStatus.FILLED, 7)
    assert (ended["take_profit"].status, ended["take_profit"].filled_qty) == (OrderStatus.CANCELED, 3)
    assert await stage.broker.fetch_positions("me", S) == []
    assert await stage.broker.fetch_open_orders("me", S) == []


@pytest.mark.parametrize("which", ["entry", "take_profit", "stop_loss"])
async def test_canceling_one_of_a_bracket_cancels_the_rest(stage: Stage, which: str) -> None:
    view = await stage.broker.submit(bracket("a"), S)
    chosen = next(one for one in (view, *view.legs) if one.group_role == which)
    await canceled(stage, chosen)
    assert await status(stage, "a") == OrderStatus.CANCELED
    assert {leg.status for leg in (await exits(stage, "a")).values()} == {OrderStatus.CANCELED}
    assert await stage.broker.fetch_open_orders("me", S) == []


async def test_an_entry_that_ends_early_takes_its_exits_along(stage: Stage) -> None:
    view = await stage.broker.submit(bracket("a"), S)
    await stage.execute(view, 4, "100.00")
    await canceled(stage, view)
    assert {leg.status for leg in (await exits(stage, "a")).values()} == {OrderStatus.CANCELED}
    (held,) = await stage.broker.fetch_positions("me", S)
    assert held.qty == 4


async def test_an_oco_is_its_own_take_profit(stage: Stage) -> None:
    buy = await stage.broker.submit(order("b"), S)
    await stage.execute(buy, 10, "100.00")
    view = await stage.broker.submit(oco("a"), S)
    assert (view.group_role, view.status, view.limit_price) == ("take_profit", OrderStatus.NEW, 110)
    (stop,) = view.legs
    assert (stop.group_role, stop.status, stop.stop_price) == ("stop_loss", OrderStatus.NEW, 95)
    await stage.execute(view, 10, "110.00")
    assert (await exits(stage, "a"))["stop_loss"].status == OrderStatus.CANCELED


async def test_a_group_that_misses_a_part_is_refused_and_nothing_is_placed(stage: Stage) -> None:
    with pytest.raises(BrokerRejected):
        await stage.broker.submit(replace(bracket("a"), stop_loss=None), S)
    assert await stage.broker.fetch_order("me", "a", S) is None
    assert await stage.broker.fetch_open_orders("me", S) == []


async def test_a_spread_is_told_with_its_legs_and_fills_in_whole_units(stage: Stage) -> None:
    view = await stage.broker.submit(spread(stage), S)
    assert (view.order_class, view.symbol, view.side, view.qty, view.limit_price) == (
        "mleg",
        "AAPL",
        "buy",
        3,
        2,
    )
    assert [(leg.symbol, leg.side, leg.qty, leg.ratio_qty, leg.position_intent) for leg in view.legs] == [
        (C100, "buy", 3, 1, "buy_to_open"),
        (C105, "sell", 3, 1, "sell_to_open"),
    ]
    await stage.execute_spread(view, 2, ("4.00", "2.50"))
    partly = await found(stage.broker, "s")
    assert (partly.status, partly.filled_qty, partly.filled_avg_price) == (
        OrderStatus.PARTIALLY_FILLED, 2, D("1.5"),
    )  # fmt: skip
    assert [(leg.filled_qty, leg.filled_avg_price) for leg in partly.legs] == [(2, 4), (2, D("2.5"))]
    # Both at one instant: which is told first is nobody's promise.
    prints = sorted(await stage.broker.fetch_executions("me", 0, S), key=lambda one: one.symbol)
    assert [(one.symbol, one.side, one.qty, one.price) for one in prints] == [
        (C100, "buy", 2, 4),
        (C105, "sell", 2, D("2.5")),
    ]
    assert [one.broker_order_id for one in prints] == [leg.broker_order_id for leg in view.legs]
    held = {one.symbol: (one.qty, one.avg_entry_price) for one in await stage.broker.fetch_positions("me", S)}
    assert held == {C100: (2, 4), C105: (-2, D("2.5"))}
    await stage.execute_spread(view, 1, ("4.00", "2.50"))
    done = await found(stage.broker, "s")
    assert {one.status for one in (done, *done.legs)} == {OrderStatus.FILLED}


async def test_a_spread_moves_cash_a_hundredfold(stage: Stage) -> None:
    before = (await stage.broker.fetch_account("me", S)).cash
    view = await stage.broker.submit(spread(stage), S)
    await stage.execute_spread(view, 3, ("4.00", "2.50"))
    assert (await stage.broker.fetch_account("me", S)).cash == before - 450


async def test_a_leg_cannot_be_canceled_alone_and_goes_with_its_spread(stage: Stage) -> None:
    view = await stage.broker.submit(spread(stage), S)
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", view.legs[0].broker_order_id, S)
    over = await canceled(stage, view)
    assert {one.status for one in (over, *over.legs)} == {OrderStatus.CANCELED}


async def placed(stage: Stage, asked: BrokerOrder) -> BrokerOrderView:
    """An order that may be replaced."""
    view = await stage.broker.submit(asked, S)
    await stage.settle(view)
    return view


async def test_a_replacement_takes_the_old_order_s_place(stage: Stage) -> None:
    old = await placed(stage, order("a"))
    change = BrokerReplace("b", qty=D(9), limit_price=D(98))
    new = await stage.broker.replace("me", old.broker_order_id, change, S)
    assert (new.client_order_id, new.replaces, new.status) == ("b", old.broker_order_id, OrderStatus.NEW)
    assert (new.qty, new.filled_qty, new.limit_price, new.side, new.type) == (9, 0, 98, "buy", "limit")
    assert await found(stage.broker, "b") == new
    gone = await found(stage.broker, "a")
    assert (gone.status, gone.filled_qty, gone.replaced_by) == (OrderStatus.REPLACED, 0, new.broker_order_id)
    assert list(await stage.broker.fetch_open_orders("me", S)) == [new]
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", old.broker_order_id, S)


async def test_what_takes_the_place_of_a_part_that_has_filled_is_told_with_what_was_left(
    stage: Stage,
) -> None:
    old = await placed(stage, order("a"))
    await stage.execute(old, 4, "99.00")
    new = await stage.broker.replace("me", old.broker_order_id, BrokerReplace("b", limit_price=D(98)), S)
    assert (new.qty, new.filled_qty, new.limit_price) == (6, 0, 98)
    gone = await found(stage.broker, "a")
    assert (gone.status, gone.filled_qty) == (OrderStatus.REPLACED, 4)
    await stage.execute(new, 6, "97.00")
    assert await status(stage, "b") == OrderStatus.FILLED
    (held,) = await stage.broker.fetch_positions("me", S)
    assert held.qty == 10


async def test_the_quantity_of_a_part_is_changed_in_total_or_not_at_all_where_the_table_says_so(
    stage: Stage,
) -> None:
    old = await placed(stage, order("a"))
    await stage.execute(old, 4, "99.00")
    partly = await found(stage.broker, "a")
    change = BrokerReplace("b", qty=D(9), limit_price=D(98))
    if "replace_partly_filled" in stage.broker.capabilities.notes:
        with pytest.raises(BrokerRejected):
            await stage.broker.replace("me", old.broker_order_id, change, S)
        assert await found(stage.broker, "a") == partly
        assert list(await stage.broker.fetch_open_orders("me", S)) == [partly]
        return
    new = await stage.broker.replace("me", old.broker_order_id, change, S)
    assert (new.qty, new.filled_qty, new.limit_price) == (5, 0, 98)
    assert await found(stage.broker, "b") == new
    gone = await found(stage.broker, "a")
    assert (gone.status, gone.filled_qty) == (OrderStatus.REPLACED, 4)


async def test_both_orders_of_a_replacement_are_told_on_the_update_stream(stage: Stage) -> None:
    async with reading(stage) as reader:
        old = await placed(stage, order("a"))
        new = await stage.broker.replace("me", old.broker_order_id, BrokerReplace("b", qty=D(9)), S)
        told = await reader.until(
            lambda told: bool(told) and told[-1].order is not None and told[-1].order.client_order_id == "b"
        )
    assert [update.order for update in told[-2:]] == [await found(stage.broker, "a"), new]


async def test_what_is_over_unknown_or_another_s_is_not_replaced(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    with pytest.raises(BrokerRejected):
        await stage.broker.replace("bob", view.broker_order_id, BrokerReplace("b", qty=D(9)), S)
    with pytest.raises(BrokerRejected):
        await stage.broker.replace("me", "no-such-order", BrokerReplace("b", qty=D(9)), S)
    with pytest.raises(BrokerRejected):
        await stage.broker.replace("me", view.broker_order_id, BrokerReplace("b"), S)
    await stage.execute(view, 10, "99.00")
    with pytest.raises(BrokerRejected):
        await stage.broker.replace("me", view.broker_order_id, BrokerReplace("b", qty=D(12)), S)
    assert await stage.broker.fetch_order("me", "b", S) is None
    assert await status(stage, "a") == OrderStatus.FILLED


async def test_the_new_total_is_more_than_what_has_filled(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    await stage.execute(view, 4, "99.00")
    with pytest.raises(BrokerRejected):
        await stage.broker.replace("me", view.broker_order_id, BrokerReplace("b", qty=D(4)), S)
    assert await status(stage, "a") == OrderStatus.PARTIALLY_FILLED


async def test_E11_a_replacement_under_an_id_used_before_is_an_unknown_outcome(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    await stage.broker.submit(order("b", price="90.00"), S)
    with pytest.raises(OutcomeUnknown, match=r"must be unique|used before"):
        await stage.broker.replace("me", view.broker_order_id, BrokerReplace("b", qty=D(9)), S)
    assert await found(stage.broker, "a") == view


async def test_one_replacement_many_times_at_once_happens_once(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    change = BrokerReplace("b", qty=D(9))
    answers = await asyncio.gather(
        *(stage.broker.replace("me", view.broker_order_id, change, S) for _ in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, BrokerOrderView) for one in answers) == 1
    (left,) = await stage.broker.fetch_open_orders("me", S)
    assert left.client_order_id == "b"


async def test_an_entry_that_is_replaced_keeps_its_exits(stage: Stage) -> None:
    old = await placed(stage, bracket("a"))
    new = await stage.broker.replace("me", old.broker_order_id, BrokerReplace("b", qty=D(8)), S)
    assert (new.group_role, new.qty) == ("entry", 8)
    assert [(leg.client_order_id, leg.qty) for leg in new.legs] == [
        (leg.client_order_id, 8) for leg in old.legs
    ]
    assert {leg.parent_broker_order_id for leg in new.legs} == {new.broker_order_id}
    assert (await found(stage.broker, "a")).legs == ()


async def test_a_spread_is_replaced_with_its_legs(stage: Stage) -> None:
    old = await placed(stage, spread(stage))
    change = BrokerReplace("t", limit_price=D("1.50"), qty=D(2))
    new = await stage.broker.replace("me", old.broker_order_id, change, S)
    assert (new.qty, new.limit_price) == (2, D("1.50"))
    assert [(leg.symbol, leg.qty, leg.replaces) for leg in new.legs] == [
        (leg.symbol, 2, leg.broker_order_id) for leg in old.legs
    ]
    assert {one.status for one in await stage.broker.fetch_open_orders("me", S)} == {OrderStatus.NEW}
    assert len(await stage.broker.fetch_open_orders("me", S)) == 3


async def test_activities_are_listed_once_each_oldest_first_and_change_the_account(stage: Stage) -> None:
    assert list(await stage.broker.fetch_activities("me", 0, S)) == []
    buy = await stage.broker.submit(order("b"), S)
    await stage.execute(buy, 10, "99.00")
    cash = (await stage.broker.fetch_account("me", S)).cash
    await stage.pay_dividend("me", "AAPL", "0.50")
    (one,) = await stage.broker.fetch_activities("me", 0, S)
    assert (one.account_number, one.kind, one.symbol, one.qty, one.price, one.cash) == (
        "me", "dividend", "AAPL", 0, D("0.5"), 5,
    )  # fmt: skip
    assert one.activity_id
    assert (await stage.broker.fetch_account("me", S)).cash == cash + 5
    assert list(await stage.broker.fetch_activities("me", one.at_us, S)) == [one]
    assert list(await stage.broker.fetch_activities("me", one.at_us + 1, S)) == []
    assert list(await stage.broker.fetch_activities("bob", 0, S)) == []
    if not stage.broker.replays_updates:
        # There is nothing more to ask: what a stream without replay keeps silent is fetched.
        return
    async with reading(stage) as reader:
        told = await reader.until(lambda told: any(update.activity is not None for update in told))
    assert told[-1].activity == one
    assert (told[-1].order, told[-1].execution) == (None, None)
    assert await take(stage.broker, told[-2].cursor, 1) == [told[-1]]
