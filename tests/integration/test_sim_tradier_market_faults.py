"""The faults of the simulated Tradier's market stream, each as a client meets it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.tradier_ear import Ear, hearing
from tests.tradier_markets_world import PATIENCE_S, MarketsWorld, in_hand, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MarketsWorld]:
    async with in_hand(tmp_path) as one:
        yield one


async def bids(world: MarketsWorld, ear: Ear, *shown: int) -> list[float]:
    """Show quotes one after the other; the bids that arrive of them."""
    await world.shown(*shown, 7000)
    told: list[float] = []
    while 7000 not in told:
        told.append((await ear.next("quote"))["bid"])
    return told[:-1]


async def test_a_quote_is_duplicated_missing_or_overtaken(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.fault("quote_duplicated", params={"times": 3})
        assert await bids(world, ear, 10, 11) == [10, 10, 10, 11]
        world.fault("tick_missing", event="quote", next=2)
        assert await bids(world, ear, 10, 11, 12) == [12]
        world.fault("quote_reordered", params={"wait_ms": 600_000})
        assert await bids(world, ear, 10, 11, 12) == [11, 10, 12]
        world.fault("quote_reordered", params={"wait_ms": 1})
        world.show("13.00", "13.10")
        assert (await ear.next("quote"))["bid"] == 13


async def test_a_quote_is_crossed_without_prices_or_of_another_time(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.fault("quote_crossed")
        world.fault("quote_zero")
        world.fault("quote_zero", params={"bid": False})
        world.fault("quote_time", params={"shift_ms": -3_600_000})
        told = []
        for bid in (10, 20, 30, 40):
            await world.shown(bid)
            told.append(await ear.next("quote"))
        dates = world.stream.tape.told("AAPL")
    assert [(one["bid"], one["ask"]) for one in told] == [(10.11, 10), (0, 0), (30, 0), (40, 40.1)]
    assert [(one["bidsz"], one["asksz"]) for one in told[1:3]] == [(0, 0), (4, 0)]
    assert dates is not None
    assert told[3]["biddate"] == told[3]["askdate"] == str(dates.at_ms - 3_600_000)


async def test_many_quotes_come_at_once_and_the_true_one_last(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.fault("quote_burst", params={"quotes": 500})
        world.show("150.00", "150.10")
        told = [await ear.next("quote") for _ in range(501)]
    assert [int(one["biddate"]) for one in told] == sorted(int(one["biddate"]) for one in told)
    assert [one["bid"] for one in told[-2:]] == [150.01, 150]


async def test_garbage_and_messages_that_nobody_knows_come_between(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.fault("frame_garbage")
        world.fault("message_unknown", params={"type": "rumour"})
        await world.shown(10)
        with pytest.raises(json.JSONDecodeError):
            json.loads(await ear.frame())
        await world.shown(11)
        told = [await ear.hear(), await ear.hear()]
        assert [(one["type"], one["symbol"]) for one in told] == [("rumour", "AAPL"), ("quote", "AAPL")]


async def test_the_stream_is_cut_or_falls_silent(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.fault("disconnect", on="ticks", symbol="AAPL", event="quote")
        world.show("150.00", "150.10")
        with pytest.raises(ConnectionClosed):
            await ear.next("quote", bid=1)
    await until(lambda: world.stream.connections == {})
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.fault("silent", on="ticks")
        await world.shown(160, 170)
        # It answers pings, and has nothing to say: what was shown would have come before the answer to the ping.
        async with asyncio.timeout(PATIENCE_S):
            await (await ear.socket.ping())
        assert world.stream.disconnect() == 1
        with pytest.raises(ConnectionClosed):
            await ear.frame()


async def test_a_session_is_refused_or_lost_by_a_fault(world: MarketsWorld) -> None:
    world.fault("too_many_sessions")
    refused = await world.client.post("/v1/markets/events/session")
    assert (refused.status_code, refused.json()["errors"]["error"]) == (400, "too many sessions requested")
    world.fault("session_lost")
    async with hearing(world) as ear:
        assert await ear.error() == "invalid session"
        assert await ear.is_closed()
    async with hearing(world, events=["quote"]) as ear:
        assert (await ear.next("quote"))["bid"] == 99
    assert [one["fault_kind"] for one in world.book.of("fault")] == ["too_many_sessions", "session_lost"]
