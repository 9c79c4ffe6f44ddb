"""What every broker promises about orders that hang together."""

from dataclasses import replace

import pytest

from paiid.brokers import BrokerOrderView, BrokerRejected
from paiid.domain.orders import OrderStatus
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
        assert (leg.client_order_id is not None) == stage.manners.names_exits
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
    view = await stage.broker.submit(oco(stage, "a"), S)
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


async def test_a_group_whose_entry_is_a_market_order_is_taken_or_refused_as_the_table_says(
    stage: Stage,
) -> None:
    rows = [row for row in stage.broker.capabilities.rows if "bracket" in row.order_classes]
    asked = replace(bracket("a"), type="market", limit_price=None, time_in_force="day")
    if any("market" in row.order_types for row in rows):
        assert (await stage.broker.submit(asked, S)).group_role == "entry"
        return
    with pytest.raises(BrokerRejected):
        await stage.broker.submit(asked, S)
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
    held = {one.symbol: (one.qty, one.avg_entry_price) for one in await stage.broker.fetch_positions("me", S)}
    assert held == {C100: (2, 4), C105: (-2, D("2.5"))}
    await its_prints_are_told(stage, partly)
    await stage.execute_spread(view, 1, ("4.00", "2.50"))
    done = await found(stage.broker, "s")
    assert {one.status for one in (done, *done.legs)} == {OrderStatus.FILLED}


async def its_prints_are_told(stage: Stage, view: BrokerOrderView) -> None:
    """Those of two units of the spread, or none by a broker that tells none."""
    # Both at one instant: which is told first is nobody's promise.
    prints = sorted(await stage.broker.fetch_executions("me", 0, S), key=lambda one: one.symbol)
    if not stage.broker.capabilities.tells_prints:
        assert prints == []
        assert [leg.last_fill for leg in view.legs] == [(2, 4), (2, D("2.5"))]
        return
    assert [(one.symbol, one.side, one.qty, one.price) for one in prints] == [
        (C100, "buy", 2, 4),
        (C105, "sell", 2, D("2.5")),
    ]
    assert [one.broker_order_id for one in prints] == [leg.broker_order_id for leg in view.legs]


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
