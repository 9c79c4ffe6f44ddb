"""Three replicas of `make cluster` behind their balancer: one key once, a halt everywhere, leaders killed, a roll under load."""

import asyncio
import json
import os
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.cluster_load import Load, loading
from tests.cluster_world import ClusterWorld, built, until
from tests.fault.books import NOTHING_SENT, Books, opened
from tests.fault.hammer import hammering
from tests.fault.meddling import read_submits
from tests.fault.nursery import Nursery
from tests.fault.processes import execute, settle
from tests.fault.stream_listeners import SocketListener
from tests.world import fresh_key

KILL = "/api/admin/kill"
ONE = {"orders": [{"symbol": "KO", "side": "buy", "qty": 1}]}
PER_S = float(os.environ.get("CLUSTER_ORDERS_PER_S", "200"))
ROLL_S = float(os.environ.get("CLUSTER_ROLL_S", "0"))
"""By hand: it rolls again and again for so long."""
MOST = 160 if ROLL_S == 0 else 10**9
"""Orders at that rate; then there are ten a second until the roll is over, however long a busy machine takes for it."""


@pytest.fixture(scope="module")
def cluster_of_module(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterWorld]:
    """One start for all tests."""
    with built(nursery, tmp_path_factory.mktemp("cluster")) as world:
        yield world


@pytest.fixture
async def world(cluster_of_module: ClusterWorld) -> ClusterWorld:
    """All replicas ready, somebody signed in, and the bus up."""
    await cluster_of_module.all_ready()
    await cluster_of_module.sign_in()
    return cluster_of_module


@asynccontextmanager
async def books_of(world: ClusterWorld) -> AsyncIterator[Books]:
    """Both sides' books, which agree in the end."""
    async with opened(world.database_url) as books:
        yield books
        await books.assert_agree()


async def get(world: ClusterWorld, at: int, path: str) -> Any:
    """An answer of one replica."""
    async with world.servers[at].client() as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def buses_are(world: ClusterWorld, up: bool) -> None:
    """All replicas hear each other, or all know that they do not."""

    async def hold() -> bool:
        found = await asyncio.gather(*(get(world, at, "/api/stream/status") for at in range(3)))
        return all(one["bus"]["up"] is up for one in found)

    await until(hold, f"the bus of all is up: {up}")


@asynccontextmanager
async def listening(world: ClusterWorld, *ports: int) -> AsyncIterator[list[SocketListener]]:
    """A WebSocket on each replica named, or through the balancer if none is; judged in the end."""
    account = (await get(world, 0, "/api/accounts"))[0]["id"]
    doors = [[world.servers[at]] for at in ports] or [[world.door]]
    found = [
        SocketListener(one, 0, world.door.token, account, f"socket {at}", symbols=("KO", "PEP"))
        for at, one in enumerate(doors)
    ]
    for one in found:
        one.begin()
    try:
        for one in found:
            await one.until(lambda it: it.subscribed and {"KO", "PEP"} <= it.referee.quotes.keys())
        yield found
    finally:
        await asyncio.gather(*(one.end() for one in found))
    for one in found:
        assert one.referee.faults == []
        assert one.referee.log_resets() == []


# -- one key ----------------------------------------------------------------------------------------------


async def test_E02_one_key_at_three_replicas_at_once_is_one_execution_and_one_answer(
    world: ClusterWorld,
) -> None:
    clients = [one.client() for one in world.servers]
    run = secrets.token_hex(4)
    answers: dict[str, set[bytes]] = {}
    try:
        for number in range(12):
            key = f"same-{run}-{number:03d}"
            first = await asyncio.gather(*(execute(one, key, ONE) for one in clients * 2))
            # A busy machine may keep the answer of the broker (202) or a turn at the database (503): neither is final.
            assert {one.status_code for one in first} <= {200, 202, 409, 503}
            final = await asyncio.gather(*(settle(one, key, ONE) for one in clients))
            answers[key] = {one.content for one in (*first, *final) if one.status_code == 200}
    finally:
        for client in clients:
            await client.aclose()
    assert {len(one) for one in answers.values()} == {1}
    async with books_of(world) as books:
        ids = [
            order["client_order_id"]
            for one in answers.values()
            for order in json.loads(one.copy().pop())["orders"]
        ]
        placed = Counter(row["client_order_id"] for row in await books.venue_orders())
        assert [placed[one] for one in ids] == [1] * 12


# -- the halt ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bus", [True, False], ids=["bus", "no-bus"])
async def test_K05_after_drained_none_of_three_replicas_sends_and_all_of_them_know(
    world: ClusterWorld, bus: bool
) -> None:
    async with listening(world, 0, 1, 2) as sockets, books_of(world) as books:
        if not bus:
            world.valkey.stop()
        try:
            await buses_are(world, bus)
            async with hammering(*world.servers, body=ONE, clients=2, name=fresh_key()) as hammer:
                await hammer.wait_for(12, status=200)
                armed = await halt(world, 1, halt=True)
                assert armed["level"] == "drained"
                since = len(hammer.answers)
                known = [(await get(world, at, KILL))["epoch"] for at in range(3)]
                assert known == [armed["epoch"]] * 3
                for one in sockets:
                    await one.until(lambda it: it.referee.halts.get("tradingHalted") is True, 5)
                await hammer.wait_for(9, since=since, status=423)
            receipt = (await books.receipts())[armed["epoch"]]
            drained_us = receipt["updated_at"]
            assert [one for one in read_submits(world.submits) if one[0] > drained_us] == []
            assert [row for row in await books.venue_orders() if row["submitted_at"] > drained_us] == []
            set_at_us = (await books.halts())["global"]["set_at"]
            late = [row for row in await books.our_orders() if row["created_at"] > set_at_us]
            assert {row["state"] for row in late} <= NOTHING_SENT
            assert late
        finally:
            if not bus:
                world.valkey.start()
            await halt(world, 2, halt=False, epoch=(await get(world, 2, KILL))["epoch"])
        for one in sockets:
            await one.until(lambda it: it.referee.halts.get("tradingHalted") is False, 5)
        await buses_are(world, True)


async def halt(world: ClusterWorld, at: int, **wish: object) -> dict[str, Any]:
    """Arm or resume at one replica."""
    async with world.servers[at].client() as client:
        answer = await client.post(KILL, json={"reason": "test", "scope": "global", **wish})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- leaders that die -------------------------------------------------------------------------------------

LEADERS = ("market-data", "paper-matching")


async def leaders(world: ClusterWorld) -> dict[str, int]:
    """Who holds which lease, as each replica tells of itself."""
    found: dict[str, int] = {}
    for at in range(3):
        for one in (await get(world, at, "/api/health/detailed"))["leases"]:
            if one["mine"]:
                found[one["name"]] = at
    return found


@pytest.mark.timeout(300)
async def test_S06_E18_when_those_that_lead_are_killed_another_does_and_no_order_is_lost_or_doubled(
    world: ClusterWorld,
) -> None:
    await buses_are(world, True)
    await until(lambda: lead_all(world), "somebody leads")
    lead = await leaders(world)
    killed = sorted({lead[one] for one in LEADERS})
    others = [at for at in range(3) if at not in killed]
    async with listening(world, *others) as sockets, books_of(world) as books:
        before = await books.leases()
        resets = [len(one.of("quotes:*")) for one in sockets]
        placed = await venue_ids(books)
        async with loading(world.door.port, world.door.token, 100, fresh_key(), 80) as load:
            await until(lambda: len(load.asked) > 20, "orders on their way")
            # Just before the kill: on a busy machine the market would come to all of them meanwhile.
            rest = await rest_orders(world)
            resting, placed = [one["id"] for one in rest], placed | {one["client_order_id"] for one in rest}
            pids = {at: world.pid(at) for at in killed}
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
            # Nobody matches now, so what is not filled yet is filled by another replica or never.
            resting = [one for one in resting if not await some_filled(books, [one])]
            for one, count in zip(sockets, resets, strict=True):
                await one.until(lambda it, count=count: len(it.of("quotes:*")) > count)  # type: ignore[misc]
                await one.until(lambda it: {"KO", "PEP"} <= it.referee.quotes.keys())
            # They are started again by themselves.
            for at, pid in pids.items():
                await until(lambda at=at, pid=pid: world.pid(at) != pid, "a new process")  # type: ignore[misc]
            await world.all_ready()
            await until(lambda: some_filled(books, resting), "an order that rested is filled")
        after = await books.leases()
        for name in LEADERS:
            assert after[name][0] != before[name][0]
            assert after[name][1] > before[name][1]
        assert_settled(load)
        print(f"{len(load.asked)} orders, {len(load.retried)} of them asked again: {load.statuses()}")
        await assert_once(world, load, books, placed)
        assert any("starts again" in line for line in world.said)


async def lead_all(world: ClusterWorld) -> bool:
    """Whether each of the leases has a holder."""
    return set(LEADERS) <= (await leaders(world)).keys()


async def rest_orders(world: ClusterWorld) -> list[dict[str, Any]]:
    """Orders on both sides of a market that moves much: some come to be filled soon, wherever it goes."""
    async with world.door.client() as client:
        quote = (await client.get("/api/market/quotes?symbols=TSLA")).json()[0]
        orders = []
        for cents in (4, 10, 18, 28, 40):
            below, above = quote["bid"] - cents / 100, quote["ask"] + cents / 100
            orders.append({"type": "limit", "limit_price": round(below, 2)})
            orders.append({"type": "stop", "stop_price": round(above, 2)})
        body = {"orders": [{"symbol": "TSLA", "side": "buy", "qty": 1, **one} for one in orders]}
        answer = await settle(client, fresh_key(), body)
    assert answer.json()["accepted"], answer.text
    found: list[dict[str, Any]] = answer.json()["orders"]
    return found


async def some_filled(books: Books, ids: list[str]) -> bool:
    """Whether the market has come to one of these orders."""
    return any(row["status"] == "FILLED" for row in await books.our_orders() if row["id"] in ids)


# -- a roll -----------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
async def test_E14_S02_a_roll_under_load_fails_no_retried_call_and_every_key_is_one_order(
    world: ClusterWorld,
) -> None:
    build = f"test-{secrets.token_hex(4)}"
    async with listening(world) as (socket,), books_of(world) as books:
        pids = [world.pid(at) for at in range(3)]
        placed = await venue_ids(books)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + ROLL_S
        async with loading(world.door.port, world.door.token, PER_S, fresh_key(), MOST) as load:
            # First one of them as a careless operator would.
            await until(lambda: len(load.asked) > 20, "orders on their way")
            os.kill(pids[0], signal.SIGTERM)
            await until(lambda: world.pid(0) != pids[0], "a new process")
            while True:
                await world.run(roll_to(world, build))
                if loop.time() >= end_s:
                    break
        assert set(pids) & {world.pid(at) for at in range(3)} == set()
        print(f"{len(load.asked)} orders, {len(load.retried)} of them asked again: {load.statuses()}")
        assert_settled(load)
        await assert_once(world, load, books, placed)
        # One session and one socket went on over all replicas.
        assert len(socket.closed) >= 1
        ids = {one["id"] for asked in load.asked for one in asked.orders}
        await socket.until(lambda it: ids <= it.referee.orders.keys())
        assert (await get(world, 0, "/auth/me"))["role"] == "owner"
    # A replica that was killed is counted for 15 s.
    await until(lambda: one_build(world), "all are of one build")


async def roll_to(world: ClusterWorld, build: str) -> None:
    """Another build on each replica, as an upgrade."""
    for one in world.cluster.replicas:
        one.environ = {**one.environ, "BUILD_ID": build}
    await world.cluster.roll()


def assert_settled(load: Load) -> None:
    """Every key has a final answer, and it is no error."""
    assert load.asked
    wrong = [
        (one.key, one.statuses, one.answer) for one in load.asked if not one.final or one.statuses[-1] != 200
    ]
    assert wrong == []


async def venue_ids(books: Books) -> set[str]:
    """Our ids of all orders at the venue."""
    return {row["client_order_id"] for row in await books.venue_orders()}


async def assert_once(world: ClusterWorld, load: Load, books: Books, before: set[str]) -> None:
    """The ledger has one intent for each key, the venue one order for each that was accepted and no other; asked once more, every
    replica says the same to the byte."""
    told = {one["client_order_id"]: one["state"] for asked in load.asked for one in asked.orders}
    assert len(told) == len(load.asked)
    placed = Counter(row["client_order_id"] for row in await books.venue_orders())
    assert set(placed) - before == {one for one, state in told.items() if state == "ACCEPTED"}
    assert set(placed.values()) == {1}
    intents = [row["intent_id"] for row in await books.our_orders() if row["client_order_id"] in told]
    assert len(set(intents)) == len(intents) == len(told)
    for at, one in enumerate((load.retried or load.asked)[-9:]):
        async with world.servers[at % 3].client() as client:
            again = await execute(client, one.key, one.body)
        assert (again.status_code, again.content) == (200, one.answer)


# -- builds -----------------------------------------------------------------------------------------------


async def builds_check(world: ClusterWorld, at: int) -> dict[str, Any]:
    """What one replica says of all."""
    found: dict[str, Any] = (await get(world, at, "/api/health/ready/full"))["checks"]["replicas"]
    return found


async def one_build(world: ClusterWorld) -> bool:
    """Whether every replica says so."""
    return {(await builds_check(world, at))["status"] for at in range(3)} == {"up"}


async def test_a_replica_of_another_build_is_told_by_all_and_stays_ready(world: ClusterWorld) -> None:
    build = f"test-{secrets.token_hex(4)}"
    await world.run(world.replica(2).restart(BUILD_ID=build))

    async def told() -> bool:
        found = [await builds_check(world, at) for at in range(3)]
        return all(one["status"] == "degraded" and "different builds" in one["detail"] for one in found)

    await until(told, "all tell of the other build")
    await world.all_ready()
    async with httpx2.AsyncClient(verify=False) as client:
        for one in world.servers:
            assert (await client.get(f"{one.url}/api/health/ready")).status_code == 200
