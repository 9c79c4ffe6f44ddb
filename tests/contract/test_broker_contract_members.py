"""What every broker promises of its own ids, its own accounts, its own stop, and what it can be asked all at once."""

import asyncio
from decimal import Decimal

import pytest

from paiid.brokers import BrokerRejected
from paiid.domain.orders import OrderStatus
from tests.contract.stages import S, Stage, bracket, canceled, has_status, now, said, spread
from tests.contract.test_broker_contract import stage
from tests.paper_live import found, order, until

__all__ = ["stage"]


async def test_an_order_is_found_by_the_broker_s_id_as_by_ours(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    assert await now(stage.broker, view) == await found(stage.broker, "a-1") == view
    over = await canceled(stage, view)
    assert await found(stage.broker, "a-1") == over


async def test_exits_and_legs_are_found_by_the_broker_s_id(stage: Stage) -> None:
    for asked in (bracket("a"), spread(stage, "s")):
        view = await stage.broker.submit(asked, S)
        assert len(view.legs) == 2
        for leg in view.legs:
            assert await now(stage.broker, leg) == leg
            assert leg.parent_broker_order_id == view.broker_order_id


async def test_no_order_is_found_by_an_id_that_nobody_has_or_that_is_another_account_s(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    unknown = view.broker_order_id[:-4] + ("0000" if not view.broker_order_id.endswith("0000") else "1111")
    for broker_order_id in (unknown, "no-such-order", ""):
        assert await stage.broker.fetch_order_by_id("me", broker_order_id, S) is None
    assert await stage.of("bob").fetch_order_by_id("bob", view.broker_order_id, S) is None


async def test_the_accounts_that_are_there_by_themselves_are_told_once_each_and_whole(stage: Stage) -> None:
    told = await stage.broker.fetch_accounts(S)
    assert sorted(one.number for one in told) == sorted(stage.own_accounts)
    for one in told:
        assert await stage.broker.fetch_account(one.number, S) == one


async def test_everything_open_in_an_account_is_canceled_at_once_where_the_table_says_so(
    stage: Stage,
) -> None:
    broker = stage.broker
    one = await broker.submit(order("a-1", qty=10), S)
    await stage.execute(one, 4, "99.00")
    two = await broker.submit(order("a-2", price="90.00"), S)
    group = await broker.submit(bracket("a-3"), S)
    others = await stage.of("bob").submit(order("b-1", price="90.00", account="bob"), S)
    if not broker.capabilities.cancels_all:
        with pytest.raises(BrokerRejected):
            await broker.cancel_all("me", S)
        assert len(await broker.fetch_open_orders("me", S)) == 5
        return
    outcomes = await broker.cancel_all("me", S)
    assert set(outcomes.values()) == {None}
    family = {view.broker_order_id for view in (one, two, group, *group.legs)}
    assert {one.broker_order_id, two.broker_order_id, group.broker_order_id} <= set(outcomes) <= family
    for name in ("a-1", "a-2", "a-3"):
        await has_status(broker, name, OrderStatus.CANCELED)
    assert (await found(broker, "a-1")).filled_qty == 4
    assert await broker.fetch_open_orders("me", S) == []
    assert list(await stage.of("bob").fetch_open_orders("bob", S)) == [others]
    assert await broker.cancel_all("me", S) == {}


async def test_a_broker_s_own_stop_stops_orders_but_no_cancels_where_the_table_says_so(stage: Stage) -> None:
    broker = stage.broker
    view = await broker.submit(order("a-1"), S)
    if not broker.capabilities.own_stop:
        with pytest.raises(BrokerRejected):
            await broker.set_own_stop("me", True, S)
        await broker.submit(order("a-2"), S)
        return
    assert await broker.set_own_stop("me", False, S) is False
    assert await broker.set_own_stop("me", True, S) is False
    assert await broker.set_own_stop("me", True, S) is True
    told = await broker.fetch_account("me", S)
    assert (told.suspended, told.status) == (True, "active")
    with pytest.raises(BrokerRejected) as caught:
        await broker.submit(order("a-2"), S)
    assert caught.value.code == "account_suspended"
    assert await broker.fetch_order("me", "a-2", S) is None
    await canceled(stage, view)
    assert (await stage.of("bob").fetch_account("bob", S)).suspended is False
    await stage.of("bob").submit(order("b-1", account="bob"), S)
    assert await broker.set_own_stop("me", False, S) is True
    assert (await broker.fetch_account("me", S)).suspended is False
    await broker.submit(order("a-3"), S)


async def test_the_budget_is_none_for_ever_or_a_number_that_requests_make_less(stage: Stage) -> None:
    broker = stage.broker
    # Only an answer can tell what the limit is.
    await broker.fetch_account("me", S)
    before = broker.budget_left
    await asyncio.gather(*(broker.fetch_account("me", S) for _ in range(3)))
    after = broker.budget_left
    if before is None:
        assert after is None
        return
    assert after is not None
    assert 0 <= after <= before - 3


async def test_a_sale_of_what_is_held_is_told_alike_by_both_look_ups_and_the_list(stage: Stage) -> None:
    buy = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(buy, 10, "99.00")
    asked = said(stage, order("a-2", "sell", 10, "105.00"), "sell_to_close")
    await stage.execute(await stage.broker.submit(asked, S), 3, "106.00")
    told = await found(stage.broker, "a-2")
    assert (told.side, told.filled_qty, told.filled_avg_price) == ("sell", 3, Decimal(106))

    async def listed() -> bool:
        return list(await stage.broker.fetch_open_orders("me", S)) == [told]

    await until(listed)
    assert await now(stage.broker, told) == told
