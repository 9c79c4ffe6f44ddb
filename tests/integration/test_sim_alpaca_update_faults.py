"""Every scripted fault of the simulated Alpaca's order stream, once, as a client on a real socket meets it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.sim_world import SimWorld, simulated


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path) as one:
        yield one


async def played(world: SimWorld) -> list[str]:
    """The kinds that the ledger says have been played."""
    return [one["fault_kind"] for one in await world.ledger("fault")]


async def test_an_update_comes_twice(world: SimWorld) -> None:
    await world.fault("update_duplicated", event="fill", params={"times": 3})
    async with world.listening() as one:
        await world.post("twice")
        events = [await one.next() for _ in range(4)]
    assert [each["event"] for each in events] == ["new", "fill", "fill", "fill"]
    assert len({each["execution_id"] for each in events[1:]}) == 1


async def test_an_update_comes_behind_the_next_one(world: SimWorld) -> None:
    await world.fault("update_reordered", event="new", params={"wait_ms": 600_000})
    async with world.listening() as one:
        await world.post("turned")
        assert await one.events(2) == ["fill", "new"]


async def test_an_update_that_nothing_overtakes_comes_all_the_same(world: SimWorld) -> None:
    await world.fault("update_reordered", event="new", params={"wait_ms": 50})
    async with world.listening() as one:
        await world.post("alone", limit_price="50")
        assert await one.events(1) == ["new"]


async def test_an_update_comes_late(world: SimWorld) -> None:
    # Longer than a slow machine takes to fill the order.
    await world.fault("update_late", event="new", params={"delay_ms": 4000})
    async with world.listening() as one:
        await world.post("late")
        assert await one.events(2) == ["fill", "new"]


async def test_an_update_never_comes(world: SimWorld) -> None:
    await world.fault("update_missing", event="new")
    async with world.listening() as one:
        await world.post("gone")
        assert await one.events(1) == ["fill"]
        await world.quiesce()
        await world.post("next")
        assert await one.events(2) == ["new", "fill"]


async def test_a_socket_is_cut_instead_of_an_update(world: SimWorld) -> None:
    await world.fault("disconnect", event="fill")
    async with world.listening() as one:
        await world.post("cut")
        assert await one.events(1) == ["new"]
        with pytest.raises(ConnectionClosed) as closed:
            await one.hear()
        assert closed.value.rcvd is None
    async with world.listening() as again:
        await world.post("again")
        assert await again.events(2) == ["new", "fill"]


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_socket_that_stays_open_and_says_nothing(world: SimWorld, deaf: bool) -> None:
    await world.fault("silent", params={"deaf": deaf})
    async with world.listening() as one:
        await world.post("unheard")
        await world.has_status("unheard", "filled")
        await world.quiesce()
        pong = await one.socket.ping()
        if deaf:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pong, 0.2)
            one.socket.transport.abort()
        else:
            await pong
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(one.socket.recv(), 0.2)


async def test_an_update_with_a_status_that_nobody_knows_or_without_fields(world: SimWorld) -> None:
    await world.fault("unknown_status", on="stream", event="new")
    await world.fault(
        "missing_fields", on="stream", event="fill", params={"remove": ["filled_qty"], "set": {}}
    )
    async with world.listening() as one:
        await world.post("odd")
        new, fill = await one.next(), await one.next()
    assert new["order"]["status"] == "under_consideration"
    assert "filled_qty" not in fill["order"]


async def test_the_script_can_cut_all_who_listen(world: SimWorld) -> None:
    async with world.listening() as one:
        assert (await world.client.post("/sim/stream/disconnect")).json() == {"disconnected": 1}
        with pytest.raises(ConnectionClosed):
            await one.hear()
