"""Two server processes on one PostgreSQL: halt, latch, kill -9 and the leases hold across both."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fault.books import NOTHING_SENT, Books, opened
from tests.fault.conftest import MakeServer
from tests.fault.hammer import Hammer, hammering
from tests.fault.meddling import read_submits
from tests.fault.processes import Server, settle

ONE = {"orders": [{"symbol": "KO", "side": "buy", "qty": 1}]}
TWO = {"orders": [{"symbol": symbol, "side": "buy", "qty": 1} for symbol in ("KO", "PEP")]}
KILL = "/api/admin/kill"


@pytest.fixture
async def pair(postgres_url: str, make_server: MakeServer, tmp_path: Path) -> tuple[Server, Server]:
    """Two replicas with data directories of their own, ready; the first has the leases."""
    log = str(tmp_path / "submits")
    first = make_server(postgres_url, "first", SUBMIT_LOG=log)
    second = make_server(postgres_url, "second", SUBMIT_LOG=log)
    await first.start()
    await first.sign_in()
    await second.start()
    second.token = first.token
    return first, second


async def arm(server: Server, **wish: Any) -> dict[str, Any]:
    """Halt; what was answered."""
    async with server.client() as client:
        answer = await client.post(KILL, json={"halt": True, "reason": "test", **wish})
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def state(server: Server) -> dict[str, Any]:
    """The global halt as this process tells it."""
    async with server.client() as client:
        view: dict[str, Any] = (await client.get(KILL)).json()
    return view


async def order(server: Server, key: str) -> httpx2.Response:
    """One order, settled."""
    async with server.client() as client:
        return await settle(client, key, ONE)


async def assert_claimed_before(books: Books, scope: str) -> None:
    """No order that was claimed behind the halt's row may be anything but refused."""
    set_at_us = (await books.halts())[scope]["set_at"]
    late = [
        (row["id"], row["state"])
        for row in await books.our_orders()
        if row["state"] not in NOTHING_SENT and row["created_at"] > set_at_us
    ]
    assert not late


async def test_K02_K03_a_halt_armed_at_one_replica_stops_the_claims_of_the_other_at_once(
    pair: tuple[Server, Server], postgres_url: str
) -> None:
    first, second = pair
    async with hammering(second, body=ONE) as hammer:
        await hammer.wait_for(20, status=200)
        await arm(first)
        told_s = time.monotonic()
        await hammer.wait_for(20, since=len(hammer.answers), status=423)
    asked_after = [one for one in hammer.answers if one.asked_s > told_s]
    assert len([one for one in asked_after if one.status == 423]) >= 10
    # Who finds no turn at the database of a busy machine has claimed nothing either.
    assert {one.status for one in asked_after} <= {423, 503}
    async with opened(postgres_url) as books:
        await assert_claimed_before(books, "global")
        await books.assert_agree()


async def test_K02_a_halt_survives_kill_9_of_both_replicas_with_the_same_epoch(
    pair: tuple[Server, Server], postgres_url: str
) -> None:
    first, second = pair
    before = await order(second, "before-the-halt")
    epoch = (await arm(first))["epoch"]
    refused = await order(second, "under-the-halt")
    assert (before.status_code, refused.status_code) == (200, 423)
    await asyncio.gather(first.kill(), second.kill())
    await asyncio.gather(first.start(), second.start())
    for number, server in enumerate(pair):
        view = await state(server)
        assert (view["tradingHalted"], view["mode"], view["epoch"]) == (True, "halted", epoch)
        assert (await order(server, f"after-the-kill-{number}")).status_code == 423
        assert (await order(server, "before-the-halt")).content == before.content
        # E6: the refusal is final, whatever becomes of the halt.
        assert (await order(server, "under-the-halt")).content == refused.content
    async with opened(postgres_url) as books:
        await books.assert_truthful([before.json(), refused.json()])
        await books.assert_agree()


async def test_K09_a_latch_file_holds_only_the_process_of_its_directory_and_through_kill_9(
    pair: tuple[Server, Server], postgres_url: str
) -> None:
    first, second = pair
    latch = second.data_dir / "halt.latch"
    latch.touch()
    assert (await order(second, "latched-1")).status_code == 423
    assert (await order(first, "not-latched-1")).status_code == 200
    assert (await state(second))["latch"] is not None
    assert (await state(first))["latch"] is None
    await second.kill()
    await second.start()
    assert (await order(second, "latched-2")).status_code == 423
    assert (await order(first, "not-latched-2")).status_code == 200
    latch.unlink()
    assert (await order(second, "no-longer-latched")).status_code == 200
    assert (await order(second, "latched-1")).status_code == 423
    async with opened(postgres_url) as books:
        # The latch is this host's own word: the table knows nothing of it.
        assert await books.halts() == {}
        await books.assert_agree()


async def assert_nothing_after(books: Books, epoch: int, log: Path) -> None:
    """Neither handed over nor placed behind the instant at which the receipt says `drained`."""
    receipt = (await books.receipts())[epoch]
    assert receipt["level"] == "drained"
    drained_us = receipt["updated_at"]
    assert [one for one in read_submits(log) if one[0] > drained_us] == []
    late = [r["client_order_id"] for r in await books.venue_orders() if r["submitted_at"] > drained_us]
    assert late == []


async def assert_every_answer_stands(hammer: Hammer, server: Server, books: Books) -> None:
    """Whatever was answered finally is answered again, byte for byte, and is true."""
    final = await hammer.settle_all(server)
    assert {answer.status_code for answer in final.values()} <= {200, 423}
    for one in hammer.answers:
        if one.response is not None and one.status in (200, 423):
            assert final[one.key].content == one.response.content
    await books.assert_agree()
    await books.assert_truthful(answer.json() for answer in final.values())


async def test_K05_after_drained_no_process_of_two_under_fire_sends_anything(
    pair: tuple[Server, Server], postgres_url: str, tmp_path: Path
) -> None:
    # Slow sends and two orders a call: at the halt there are orders on the wire and orders waiting for their turn.
    for server in pair:
        await server.kill()
        await server.start(SUBMIT_DELAY_S="0.25", BROKER_DEADLINE_S="3")
    async with hammering(*pair, body=TWO, clients=8) as hammer:
        await hammer.wait_for(16, status=200)
        view = await arm(pair[0])
        acknowledged_us = time.time_ns() // 1000
        assert view["level"] == "drained"
        await hammer.wait_for(30, since=len(hammer.answers))
    async with opened(postgres_url) as books:
        await assert_claimed_before(books, "global")
        await assert_nothing_after(books, view["epoch"], tmp_path / "submits")
        assert (await books.receipts())[view["epoch"]]["updated_at"] <= acknowledged_us
        await assert_every_answer_stands(hammer, pair[1], books)
        states = {row["state"] for row in await books.our_orders()}
        assert {"ACCEPTED", "REFUSED"} <= states


async def lease_holders(books: Books) -> dict[str, str]:
    """Who matches and who reads the updates."""
    found = await books.leases()
    return {name: found[name][0] for name in ("paper-matching", "updates:paper") if name in found}


async def test_E13_E18_when_the_process_that_matches_and_reads_updates_is_killed_the_other_goes_on(
    pair: tuple[Server, Server], postgres_url: str
) -> None:
    first, second = pair
    async with opened(postgres_url) as books:
        async with asyncio.timeout(30):
            while len(before := await lease_holders(books)) < 2:
                await asyncio.sleep(0.1)
        async with hammering(first, second, body=TWO, clients=2, pause_s=0.1) as hammer:
            await hammer.wait_for(20, status=200)
            # It has both leases, for it was the first.
            assert await lease_holders(books) == before
            await first.kill()
            async with asyncio.timeout(30):
                while set((await lease_holders(books)).values()) & set(before.values()):
                    await asyncio.sleep(0.1)
            since = len(hammer.answers)
            await hammer.wait_for(10, since=since, status=200)
        await assert_every_answer_stands(hammer, second, books)
        filled = [row for row in await books.our_orders() if row["status"] == "FILLED"]
        assert filled
        async with second.client() as client:
            assert (await settle(client, "one-more-order", ONE)).json()["accepted"]
        await books.assert_agree()
