"""Streams while the bus or the database is away, and after a kill -9 of a process that is alone; orders go on wherever they can."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from paiid.market.leadership import Pace
from tests.fault.conftest import MakeServer
from tests.fault.outages import FrozenPostgres, Outage, StoppedPostgres
from tests.fault.stream_fleet import HEARTBEAT_S, Fleet
from tests.fault.stream_listeners import SocketListener
from tests.fault.stream_trader import Tried

WITHOUT_BUS_S = 2.0
LEASE_S = Pace().lease_s
NOISE_S = 1.5
"""Of a busy machine, and of the second order of a pair that waits for the first."""


async def bus_is(fleet: Fleet, up: bool) -> None:
    """Until every replica says so: a frozen one is noticed within 3 s."""
    async with asyncio.timeout(15):
        for at in range(len(fleet.servers)):
            while (await fleet.status(at))["bus"]["up"] is not up:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def without_bus(fleet: Fleet, how: str) -> AsyncIterator[None]:
    """Valkey is killed, or frozen, and comes back."""
    if how == "killed":
        fleet.valkey.stop()
    else:
        fleet.valkey.pause()
    try:
        yield
    finally:
        if how == "killed":
            await asyncio.to_thread(fleet.valkey.start)
        else:
            fleet.valkey.resume()


async def feed_says(one: SocketListener, status: str, *, up: bool) -> None:
    """Until the channel `feed` says so of market data and of the bus; the contract gives it 5 s."""
    await one.until(
        lambda it: (it.referee.feed["feed"]["status"], it.referee.feed["bus"]["up"]) == (status, up), 5
    )


async def quotes_again(one: SocketListener, since_s: float) -> None:
    """Until it has heard of quotes."""
    await one.until(lambda it: it.of("quotes:", since_s) != [])


def found_no_turn(one: Tried) -> bool:
    """Whether the database was late, and nothing was done."""
    return one.status == 503 and one.body["type"] == "urn:paiid:problem:database-unavailable"


def slowest_news_s(fleet: Fleet, since_s: float, until_s: float) -> float:
    """From the answer to an order until the last client has heard of it, the longest of all."""
    slowest_s = 0.0
    for one in fleet.listeners:
        first_s: dict[str, float] = {}
        for at_s, message in one.of(one.log):
            if message["type"] == "order_update":
                data = message["data"]
                first_s.setdefault(data["id"] if data["event"] == "order" else data["order_id"], at_s)
        for tried in fleet.tried:
            if tried.status == 200 and since_s <= tried.at_s < until_s:
                for order in tried.body["orders"]:
                    slowest_s = max(slowest_s, first_s[order["id"]] - tried.at_s)
    return slowest_s


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_S5_without_the_bus_orders_are_answered_and_heard_of_and_quotes_come(
    fleet: Fleet, how: str
) -> None:
    sockets = await fleet.everywhere()
    leader = await fleet.leader()
    # Through one only: the others hear of orders from nobody then, not even from those that they were given themselves.
    async with fleet.trading([leader] if how == "killed" else range(len(sockets))):
        await fleet.final_answers(5)
        lost_s = time.monotonic()
        async with without_bus(fleet, how):
            await bus_is(fleet, False)
            for at, one in enumerate(sockets):
                wanted = "up" if at == leader else "degraded"
                await feed_says(one, wanted, up=False)
                assert (await fleet.status(at))["feed"]["status"] == wanted
            alone_s = time.monotonic()
            for one in sockets:
                await one.until(lambda it: len(it.of("quotes:", alone_s)) > 3 * len(it.symbols))
            await fleet.final_answers(10)
            # Heard of without the bus, not when it is back.
            answered = fleet.orders_answered()
            for one in fleet.listeners:
                await one.until(lambda it: answered <= it.referee.orders.keys(), WITHOUT_BUS_S + NOISE_S)
        back_s = time.monotonic()
        await bus_is(fleet, True)
        await fleet.leader()
        for one in sockets:
            await feed_says(one, "up", up=True)
        fleet.valkey.say("FLUSHALL")
        await fleet.final_answers(5)
    # What finds no turn at the database of a busy machine is asked again; the bus has no part in that.
    asked = [one for one in fleet.tried if not found_no_turn(one)]
    assert {one.status for one in asked} == {200}
    took_s = slowest_news_s(fleet, lost_s, back_s)
    print(f"{how}: the slowest order was heard of {took_s:.2f} s after its answer")
    assert took_s < WITHOUT_BUS_S + NOISE_S
    assert all(one.closed == [] for one in fleet.listeners)
    # Followers ask by themselves for a while and then follow again; the leader has led all the time.
    for at, one in enumerate(sockets):
        begun = len(one.of("quotes:*", lost_s))
        assert begun == 0 if at == leader else begun >= 2


@pytest.mark.parametrize("kind", [FrozenPostgres, StoppedPostgres])
async def test_S2_S5_without_the_database_quotes_go_on_and_afterwards_no_event_is_missing(
    fleet: Fleet, kind: type[FrozenPostgres] | type[StoppedPostgres]
) -> None:
    sockets = await fleet.everywhere()
    await fleet.leader()
    outage: Outage = kind(fleet.postgres)
    async with fleet.trading():
        await fleet.final_answers(5)
        async with outage.during(fleet.servers[0]):
            began_s = time.monotonic()
            # Longer than the lease: nobody may lead any more, and everybody has to see for himself.
            await asyncio.sleep(LEASE_S + 0.5)
            alone_s = time.monotonic()
            for one in sockets:
                await one.until(lambda it: set(it.symbols) <= it.symbols_heard(alone_s), 10)
            ended_s = time.monotonic()
            tried = [one for one in fleet.tried if began_s + 2 < one.at_s < ended_s]
        await fleet.final_answers(10)
        await fleet.leader()
    assert {one.status for one in tried} <= {503}
    for one in sockets:
        times = [at_s for at_s, _ in one.of("quotes:", began_s) if at_s < ended_s]
        longest_s = max(b - a for a, b in zip([began_s, *times], [*times, ended_s], strict=True))
        print(f"{kind.__name__}: quotes at {one.referee.name} stood still for {longest_s:.2f} s at most")
        assert longest_s < 10
    assert all(one.closed == [] for one in fleet.listeners)


async def test_S2_a_process_that_is_alone_is_killed_and_its_clients_go_on_where_they_were(
    sqlite_url: str, make_server: MakeServer
) -> None:
    server = make_server(sqlite_url, BROKER_DEADLINE_S="3", STREAM_HEARTBEAT_S=HEARTBEAT_S)
    fleet = Fleet([server])
    await fleet.start()
    sockets = await fleet.everywhere()
    try:
        async with fleet.trading():
            for _ in range(2):
                await fleet.final_answers(10)
                killed_s = time.monotonic()
                await server.kill()
                await server.start()
                for one in sockets:
                    await quotes_again(one, killed_s)
            await fleet.final_answers(10)
            for one in sockets:
                # Nobody else knows where this market was: it is numbered anew.
                quotes = [why for channel, why in one.referee.resets if channel.startswith("quotes:")]
                assert len(quotes) >= 2 * len(one.symbols)
    finally:
        await fleet.hang_up()
