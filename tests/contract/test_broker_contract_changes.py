"""What every broker promises of orders that are changed: another order takes the old one's place (ADR 0012), or, where the table
says so, the order is changed where it stands (ADR 0024)."""

import asyncio

import pytest

from paiid.brokers import BrokerOrder, BrokerOrderView, BrokerRejected, BrokerReplace, OutcomeUnknown
from paiid.domain.orders import OrderStatus
from tests.contract.readers import reading
from tests.contract.stages import D, S, Stage, bracket, spread
from tests.contract.test_broker_contract import stage
from tests.paper_live import found, order

__all__ = ["stage"]

TO_98 = BrokerReplace("b", limit_price=D(98))


async def placed(stage: Stage, asked: BrokerOrder) -> BrokerOrderView:
    """An order that may be replaced."""
    view = await stage.broker.submit(asked, S)
    await stage.settle(view)
    return view


async def is_refused(stage: Stage, view: BrokerOrderView, change: BrokerReplace) -> None:
    """The broker says no, and the order goes on as it was."""
    with pytest.raises(BrokerRejected):
        await stage.broker.replace("me", view.broker_order_id, change, S)
    assert await stage.broker.fetch_order("me", change.client_order_id, S) is None
    assert await found(stage.broker, view.client_order_id or "") == view


async def test_a_replacement_takes_the_old_order_s_place(stage: Stage) -> None:
    old = await placed(stage, order("a"))
    new = await stage.broker.replace("me", old.broker_order_id, TO_98, S)
    assert (new.qty, new.filled_qty, new.limit_price, new.side, new.type) == (10, 0, 98, "buy", "limit")
    assert new.status == OrderStatus.NEW
    assert list(await stage.broker.fetch_open_orders("me", S)) == [new]
    if stage.broker.capabilities.replaces_in_place:
        # It is the old one: the broker hears nothing of a new name.
        assert (new.broker_order_id, new.client_order_id) == (old.broker_order_id, "a")
        assert (new.replaces, new.replaced_by) == (None, None)
        assert await found(stage.broker, "a") == new
        assert await stage.broker.fetch_order("me", "b", S) is None
        return
    assert (new.client_order_id, new.replaces) == ("b", old.broker_order_id)
    assert await found(stage.broker, "b") == new
    gone = await found(stage.broker, "a")
    assert (gone.status, gone.filled_qty, gone.replaced_by) == (OrderStatus.REPLACED, 0, new.broker_order_id)
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", old.broker_order_id, S)


async def test_how_many_is_changed_or_refused_as_the_table_says(stage: Stage) -> None:
    old = await placed(stage, order("a"))
    change = BrokerReplace("b", qty=D(9), limit_price=D(98))
    if not stage.broker.capabilities.replaces_qty:
        await is_refused(stage, old, change)
        assert list(await stage.broker.fetch_open_orders("me", S)) == [old]
        return
    new = await stage.broker.replace("me", old.broker_order_id, change, S)
    assert (new.qty, new.filled_qty, new.limit_price) == (9, 0, 98)
    assert await found(stage.broker, "b") == new
    assert list(await stage.broker.fetch_open_orders("me", S)) == [new]


async def test_what_takes_the_place_of_a_part_that_has_filled_is_told_with_what_was_left(
    stage: Stage,
) -> None:
    old = await placed(stage, order("a"))
    await stage.execute(old, 4, "99.00")
    new = await stage.broker.replace("me", old.broker_order_id, TO_98, S)
    if stage.broker.capabilities.replaces_in_place:
        # Its quantities go on: what is the new row's of them the ledger knows.
        assert (new.qty, new.filled_qty, new.filled_avg_price, new.limit_price) == (10, 4, 99, 98)
        assert new.status == OrderStatus.PARTIALLY_FILLED
        await stage.execute(new, 6, "97.00")
        done = await found(stage.broker, "a")
        assert (done.status, done.filled_qty, done.filled_avg_price) == (OrderStatus.FILLED, 10, D("97.8"))
        assert done.last_fill == (6, 97)
    else:
        assert (new.qty, new.filled_qty, new.limit_price) == (6, 0, 98)
        gone = await found(stage.broker, "a")
        assert (gone.status, gone.filled_qty) == (OrderStatus.REPLACED, 4)
        await stage.execute(new, 6, "97.00")
        assert (await found(stage.broker, "b")).status == OrderStatus.FILLED
    (held,) = await stage.broker.fetch_positions("me", S)
    assert held.qty == 10


async def test_the_quantity_of_a_part_is_changed_in_total_or_not_at_all_where_the_table_says_so(
    stage: Stage,
) -> None:
    can = stage.broker.capabilities
    old = await placed(stage, order("a"))
    await stage.execute(old, 4, "99.00")
    partly = await found(stage.broker, "a")
    change = BrokerReplace("b", qty=D(9), limit_price=D(98))
    if "replace_partly_filled" in can.notes or not can.replaces_qty:
        await is_refused(stage, partly, change)
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
        new = await stage.broker.replace("me", old.broker_order_id, TO_98, S)
        told = await reader.until(
            lambda told: bool(told) and told[-1].order is not None and told[-1].order.limit_price == 98
        )
    if stage.broker.capabilities.replaces_in_place:
        assert {update.order.broker_order_id for update in told if update.order} == {old.broker_order_id}
        assert told[-1].order == new
        return
    assert [update.order for update in told[-2:]] == [await found(stage.broker, "a"), new]


async def test_what_is_over_unknown_or_another_s_is_not_replaced(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    await is_refused(stage, view, BrokerReplace("b"))
    for broker, account, broker_order_id in (
        (stage.of("bob"), "bob", view.broker_order_id),
        (stage.broker, "me", "no-such-order"),
    ):
        with pytest.raises(BrokerRejected):
            await broker.replace(account, broker_order_id, TO_98, S)
    assert await found(stage.broker, "a") == view
    await stage.execute(view, 10, "99.00")
    done = await found(stage.broker, "a")
    assert done.status == OrderStatus.FILLED
    await is_refused(stage, done, TO_98)
    await is_refused(stage, done, BrokerReplace("b", qty=D(12)))


async def test_the_new_total_is_more_than_what_has_filled(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    await stage.execute(view, 4, "99.00")
    await is_refused(stage, await found(stage.broker, "a"), BrokerReplace("b", qty=D(4)))
    assert (await found(stage.broker, "a")).status == OrderStatus.PARTIALLY_FILLED


async def test_E11_a_replacement_under_an_id_used_before_is_an_unknown_outcome(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    other = await stage.broker.submit(order("b", price="90.00"), S)
    if stage.broker.capabilities.replaces_in_place:
        # The broker is not told of the id, and the order that has it has nothing to do with this.
        new = await stage.broker.replace("me", view.broker_order_id, TO_98, S)
        assert (new.broker_order_id, new.client_order_id) == (view.broker_order_id, "a")
        assert await found(stage.broker, "b") == other
        return
    with pytest.raises(OutcomeUnknown, match=r"must be unique|used before"):
        await stage.broker.replace("me", view.broker_order_id, TO_98, S)
    assert await found(stage.broker, "a") == view


async def test_one_replacement_many_times_at_once_happens_once(stage: Stage) -> None:
    view = await placed(stage, order("a"))
    answers = await asyncio.gather(
        *(stage.broker.replace("me", view.broker_order_id, TO_98, S) for _ in range(8)),
        return_exceptions=True,
    )
    still_open = await stage.broker.fetch_open_orders("me", S)
    assert [one.limit_price for one in still_open] == [98]
    left = still_open[0]
    if stage.broker.capabilities.replaces_in_place:
        # As often as it is said, there is one order, and it has these terms.
        assert answers == [left] * 8
        assert left.broker_order_id == view.broker_order_id
        return
    assert sum(isinstance(one, BrokerOrderView) for one in answers) == 1
    assert left.client_order_id == "b"


async def test_an_entry_that_is_replaced_keeps_its_exits(stage: Stage) -> None:
    old = await placed(stage, bracket("a"))
    if "bracket" not in stage.broker.capabilities.replaceable:
        for one in (old, *old.legs):
            with pytest.raises(BrokerRejected):
                await stage.broker.replace("me", one.broker_order_id, TO_98, S)
        assert list(await stage.broker.fetch_open_orders("me", S)) == [old, *old.legs]
        return
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
    if "mleg" not in stage.broker.capabilities.replaceable:
        await is_refused(stage, old, change)
        assert list(await stage.broker.fetch_open_orders("me", S)) == [old, *old.legs]
        return
    new = await stage.broker.replace("me", old.broker_order_id, change, S)
    assert (new.qty, new.limit_price) == (2, D("1.50"))
    assert [(leg.symbol, leg.qty, leg.replaces) for leg in new.legs] == [
        (leg.symbol, 2, leg.broker_order_id) for leg in old.legs
    ]
    assert {one.status for one in await stage.broker.fetch_open_orders("me", S)} == {OrderStatus.NEW}
    assert len(await stage.broker.fetch_open_orders("me", S)) == 3
