"""What every broker promises of its update stream, with a replay or without (contract E18)."""

import asyncio

from paiid.brokers import BrokerUpdate
from paiid.domain.orders import OrderStatus
from tests.contract.readers import ended, ends, prints, reading, take
from tests.contract.stages import S, Stage, canceled, spread
from tests.contract.test_broker_contract import stage
from tests.paper_live import found, order, until

__all__ = ["stage"]


async def test_updates_tell_every_print_and_every_end_in_order(stage: Stage) -> None:
    async with reading(stage) as reader:
        view = await stage.broker.submit(order("a-1", qty=10), S)
        await stage.execute(view, 4, "99.00")
        await stage.execute(view, 5, "98.00")
        await stage.broker.cancel("me", view.broker_order_id, S)
        told = await reader.until(ended("a-1"))
    assert [update.cursor for update in told] == sorted({update.cursor for update in told})
    assert {update.order.account_number for update in told if update.order} == {"me"}
    assert told[-1].order == await found(stage.broker, "a-1")
    if not stage.broker.capabilities.tells_prints:
        assert {update.execution for update in told} == {None}
        # Steps between two looks may come as one; what is told of a step is its quantity with its average.
        steps = [(update.order.filled_qty, update.order.filled_avg_price) for update in told if update.order]
        assert set(steps) <= {(0, None), (4, 99), (9, steps[-1][1])}
        assert [qty for qty, _ in steps] == sorted(qty for qty, _ in steps)
        assert steps[-1][0] == 9
        return
    fills = [update for update in told if update.execution is not None]
    assert [update.order.filled_qty for update in fills if update.order] == [4, 9]
    assert [update.execution for update in fills] == list(await stage.broker.fetch_executions("me", 0, S))


async def test_updates_go_on_behind_any_cursor_without_a_gap_or_say_what_must_be_fetched(
    stage: Stage,
) -> None:
    async with reading(stage) as reader:
        for n in range(6):
            await canceled(stage, await stage.broker.submit(order(f"a-{n}"), S))
        whole = await reader.until(ended("a-5"))
    if stage.broker.replays_updates:
        for index, update in enumerate(whole[:-1]):
            rest = whole[index + 1 :]
            assert await take(stage.broker, update.cursor, len(rest)) == rest
        return
    missed = await stage.broker.submit(order("a-6"), S)
    await stage.execute(missed, 10, "99.00")
    async with reading(stage, whole[0].cursor) as reader:
        assert set(reader.marks) == stage.own_accounts
        await canceled(stage, await stage.broker.submit(order("a-7"), S))
        told = await reader.until(ended("a-7"))
    names = {update.order.client_order_id for update in told if update.order}
    if stage.manners.tells_what_has_ended:
        assert {"a-6", "a-7"} <= names
    else:
        assert names == {"a-7"}
    assert all(update.cursor > whole[-1].cursor for update in told)
    assert (await found(stage.broker, "a-6")).status == OrderStatus.FILLED
    prints = [one.qty for one in await stage.broker.fetch_executions("me", 0, S)]
    assert prints == ([10] if stage.broker.capabilities.tells_prints else [])


async def test_a_stream_without_replay_tells_nothing_before_it_says_that_it_begins(stage: Stage) -> None:
    first: list[BrokerUpdate] = []

    async def read() -> None:
        async for update in stage.broker.updates(0):
            first.append(update)

    reader = asyncio.create_task(read())
    count = 0

    async def something() -> bool:
        nonlocal count
        count += 1
        await canceled(stage, await stage.broker.submit(order(f"a-{count}"), S))
        return bool(first)

    try:
        await until(something)
    finally:
        reader.cancel()
    replays = stage.broker.replays_updates
    assert (first[0].resync is None, first[0].order is not None) == (replays, replays)
    assert first[0].resync in ({None} if replays else stage.own_accounts)


async def test_a_reader_of_updates_waits_for_what_is_not_there_yet(stage: Stage) -> None:
    async with reading(stage) as reader:
        view = await stage.broker.submit(order("a-1"), S)
        await asyncio.sleep(0.05)
        assert not ended("a-1")(reader.told)
        await stage.broker.cancel("me", view.broker_order_id, S)
        told = await reader.until(ended("a-1"))
    assert told[-1].order is not None
    assert told[-1].order.broker_order_id == view.broker_order_id


async def test_two_readers_of_updates_do_not_take_from_each_other(stage: Stage) -> None:
    async with reading(stage) as one, reading(stage) as other:
        # A spread is more than one order: what is told of it may have to be looked up first.
        view = await stage.broker.submit(spread(stage), S)
        await stage.execute_spread(view, 1, ("4.00", "2.50"))
        over = await canceled(stage, view)
        booked = {print_.execution_id for print_ in await stage.broker.fetch_executions("me", 0, S)}
        all_over = {(one.broker_order_id, one.status) for one in (over, *over.legs)}

        def is_whole(told: list[BrokerUpdate]) -> bool:
            return ends(told) == all_over and prints(told) == booked

        await asyncio.gather(one.until(is_whole), other.until(is_whole))
    assert len(booked) == (2 if stage.broker.capabilities.tells_prints else 0)
