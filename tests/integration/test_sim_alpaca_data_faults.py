"""The faults of the simulated market data stream: each one as a client meets it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from paiid.sim.alpaca.fault_kinds import ALL_KINDS
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.values import instant_of
from tests.sim_data_world import AUTH, AUTHENTICATED, DataListener, greeted, refused, subscribed
from tests.sim_world import SimWorld, simulated, until


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path, data=DataOptions(poll_s=0.005)) as one:
        yield one


async def bids(world: SimWorld, one: DataListener, *shown: int) -> list[float]:
    """Show quotes one after the other; the bids that arrive of them."""
    await show(world, *shown)
    return await arrived(world, one)


async def show(world: SimWorld, *shown: int) -> None:
    """Show quotes one after the other, each as a tick of its own."""
    for bid in shown:
        before = world.sim.data.tape.told("sip", "AAPL")
        world.show(f"{bid}.00", f"{bid}.10")
        await until(lambda before=before: _looked(world, before))


async def arrived(world: SimWorld, one: DataListener) -> list[float]:
    """The bids that have come, up to one that is shown now."""
    await show(world, 7000)
    told: list[float] = []
    while 7000 not in told:
        told += [quote["bp"] for quote in await one.hear() if quote["T"] == "q"]
    return told[: told.index(7000)]


async def _looked(world: SimWorld, before: Any) -> bool:
    return world.sim.data.tape.told("sip", "AAPL") is not before


async def test_a_quote_is_duplicated(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("quote_duplicated", params={"times": 3})
        assert await bids(world, one, 10, 11) == [10, 10, 10, 11]


async def test_a_quote_is_overtaken_by_the_next_one(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("quote_reordered", params={"wait_ms": 60_000})
        assert await bids(world, one, 10, 11, 12) == [11, 10, 12]
        await world.fault("quote_reordered", params={"wait_ms": 1})
        world.show("13.00", "13.10")
        assert [quote["bp"] for quote in await one.next("q")] == [13]


async def test_a_quote_is_missing(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("tick_missing", event="quote", next=2)
        assert await bids(world, one, 10, 11, 12) == [12]


async def test_a_quote_is_crossed_without_prices_or_of_another_time(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("quote_crossed")
        await world.fault("quote_zero")
        await world.fault("quote_zero", params={"bid": False})
        await world.fault("quote_time", params={"shift_ms": -3_600_000})
        await world.fault("quote_time", params={"shift_ms": 3_600_000_000})
        told = []
        for bid in (10, 20, 30, 40, 50, 60):
            world.show(f"{bid}.00", f"{bid}.10")
            told += await one.next("q")
        assert [(quote["bp"], quote["ap"]) for quote in told[:3]] == [(10.11, 10), (0, 0), (30, 0)]
        assert (told[1]["bs"], told[1]["as"], told[2]["as"]) == (0, 0, 0)
        times = [instant_of(quote["t"], "t") for quote in told]
        assert times[3] < times[0] < times[5] < times[4]


async def test_a_burst_ends_with_the_true_quote(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("quote_burst", params={"quotes": 1000})
        world.show("10.00", "10.10")
        told = await one.next("q", 1001)
        assert len(told) == 1001
        assert (told[-1]["bp"], told[-2]["bp"]) == (10, 10.01)
        times = [instant_of(quote["t"], "t") for quote in told]
        assert times == [*range(times[0], times[0] + 1001)]


@pytest.mark.parametrize("packs", [False, True])
async def test_a_frame_is_garbage_and_a_message_of_no_known_type(world: SimWorld, packs: bool) -> None:
    async with subscribed(world, packs=packs, quotes=["AAPL"]) as one:
        await world.fault("frame_garbage")
        await world.fault("message_unknown", params={"type": "quux"})
        world.show("10.00", "10.10")
        with pytest.raises(ValueError, match=r"extra data|Expecting"):
            await one.hear()
        world.show("11.00", "11.10")
        assert [told["T"] for told in await one.hear()] == ["quux", "q"]


async def test_a_silent_socket_answers_pings_and_a_deaf_one_does_not(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("silent", on="ticks")
        world.show("10.00", "10.10")
        await until(lambda: _played(world, "silent"))
        world.show("11.00", "11.10")
        await asyncio.wait_for(await one.socket.ping(), 10)
        await one.send({"action": "subscribe", "quotes": ["MSFT"]})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.socket.recv(), 0.1)
    async with subscribed(world, "iex", quotes=["AAPL"]) as one:
        await world.fault("silent", on="ticks", params={"deaf": True})
        world.show("12.00", "12.10")
        await until(lambda: _played(world, "silent", 2))
        pong = await one.socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.2)
        one.socket.transport.abort()


async def _played(world: SimWorld, kind: str, count: int = 1) -> bool:
    return bool((await world.client.get("/sim")).json()["faults_played"].get(kind, 0) >= count)


async def test_a_socket_is_cut_and_its_place_stays_taken_for_a_while(world: SimWorld) -> None:
    # Longer than a busy machine takes to come back and be refused.
    await world.fault("slot_held", params={"hold_ms": 2500})
    async with subscribed(world, quotes=["AAPL"]) as one:
        await world.fault("disconnect", on="ticks", event="quote")
        world.show("10.00", "10.10")
        with pytest.raises(ConnectionClosed):
            await one.hear()
    await until(lambda: _played(world, "slot_held"))
    async with greeted(world) as second:
        assert await second.say(**AUTH) == refused(406, "connection limit exceeded")

    async def admitted() -> bool:
        async with greeted(world) as again:
            return await again.say(**AUTH) == AUTHENTICATED

    await until(admitted)


async def test_an_authentication_meets_the_connection_limit(world: SimWorld) -> None:
    await world.fault("connection_limit", next=2)
    for _ in range(2):
        async with greeted(world) as one:
            assert await one.say(**AUTH) == refused(406, "connection limit exceeded")
    async with greeted(world) as one:
        assert await one.say(**AUTH) == AUTHENTICATED


async def test_a_script_cuts_the_data_sockets_of_one_account(world: SimWorld) -> None:
    number = world.sim.exchange.accounts.all()[0].number
    async with subscribed(world, quotes=["AAPL"]) as one:
        answer = await world.client.post("/sim/data/disconnect", json={"account": number})
        assert answer.json() == {"disconnected": 1}
        with pytest.raises(ConnectionClosed):
            await one.hear()
    assert (await world.client.post("/sim/data/disconnect", json={"account": "x"})).status_code == 422


async def test_a_seed_makes_the_same_choices_again(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        rounds = []
        for _ in range(2):
            await world.fault("tick_missing", rate=0.5, seed=4)
            await show(world, *range(10, 26))
            assert (await world.client.delete("/sim/faults")).status_code == 200
            rounds.append(await arrived(world, one))
        assert rounds[0] == rounds[1]
        assert 2 < len(rounds[0]) < 14


async def test_a_fault_of_quotes_is_played_on_nothing_else(world: SimWorld) -> None:
    for kind in (one for one in ALL_KINDS.values() if one.event == "quote"):
        answer = await world.client.post("/sim/faults", json={"kind": kind.name, "event": "trade"})
        assert answer.json()["errors"][0]["field"] == "event"
    await world.fault("quote_crossed")
    async with subscribed(world, trades=["AAPL"]) as one:
        world.show("10.00", "10.10")
        [trade] = await one.next("t")
        assert trade["p"] == 10
    assert not await _played(world, "quote_crossed")


async def test_no_fault_of_every_request_reaches_the_stream(world: SimWorld) -> None:
    await world.fault("refuse_before", on="any", next=1)
    async with subscribed(world, quotes=["AAPL"]) as one:
        world.show("10.00", "10.10")
        assert (await one.next("q"))[0]["bp"] == 10
    assert (await world.client.get("/v2/stocks/AAPL/quotes/latest")).status_code == 503
