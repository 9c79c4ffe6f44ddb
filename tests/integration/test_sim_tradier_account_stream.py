"""The account stream of the simulated Tradier: sessions, thin events, heartbeats, and what goes wrong on the way."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from paiid.sim.tradier.account_stream import AccountStreamOptions
from tests.sim_tradier_forms import LIMIT, OTOCO, spread
from tests.sim_tradier_world import PATIENCE_S, Listener, TradierWorld, noon, simulated, until


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as world:
        yield world


async def test_a_session_names_the_stream_and_an_id(sim: TradierWorld) -> None:
    stream = await sim.session()
    assert stream["url"] == sim.url.replace("http", "ws") + "/v1/accounts/events"
    assert str(uuid.UUID(stream["sessionid"])) == stream["sessionid"]
    sim.client.headers.pop("Authorization")
    assert (await sim.send("POST", "/v1/accounts/events/session")).status_code == 401


async def test_an_events_fields_are_those_of_the_documents_and_neither_symbol_nor_side(
    sim: TradierWorld,
) -> None:
    async with sim.listening() as one:
        order_id = await sim.place(type="market", price=None, tag="r1-0001")
        opened, filled = await one.hear(), await one.hear()
        assert (opened["status"], filled["status"]) == ("open", "filled")
        assert set(filled) == {
            "id", "event", "status", "type", "price", "stop_price", "avg_fill_price", "exec_quantity",
            "last_fill_quantity", "remaining_quantity", "transaction_date", "create_date", "account", "tag",
        }  # fmt: skip
        assert (filled["id"], filled["event"], filled["type"], filled["tag"]) == (
            order_id, "order", "market", "r1-0001",
        )  # fmt: skip
        assert (filled["avg_fill_price"], filled["exec_quantity"], filled["remaining_quantity"]) == (
            101.0,
            10.0,
            0.0,
        )
        assert (filled["price"], filled["stop_price"], filled["account"]) == (0.0, 0.0, "VA00000001")


async def test_a_change_in_place_is_an_event_of_the_same_number(sim: TradierWorld) -> None:
    async with sim.listening() as one:
        order_id = await sim.place()
        await one.order("open")
        await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"price": "99.00"})
        changed = await one.order("open")
        assert (changed["id"], changed["price"]) == (order_id, 99.0)
        await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
        assert (await one.order("canceled"))["remaining_quantity"] == 0.0


async def test_the_legs_of_a_group_name_their_parent(sim: TradierWorld) -> None:
    async with sim.listening() as one:
        parent = await sim.taken(OTOCO)
        events = [await one.hear() for _ in range(3)]
        assert {event["id"]: event["parent_id"] for event in events} == {
            parent + 1: parent, parent + 2: parent, parent + 3: parent,
        }  # fmt: skip


async def test_a_spread_tells_its_net_and_its_legs(sim: TradierWorld) -> None:
    async with sim.listening() as one:
        order_id = await sim.taken(spread(sim, "credit", "0.10"))
        filled: dict[int, dict[str, Any]] = {}
        while len(filled) < 3:
            event = await one.order("filled")
            filled[event["id"]] = event
        assert filled[order_id]["avg_fill_price"] == pytest.approx(-0.4)
        assert (filled[order_id]["type"], filled[order_id]["price"]) == ("credit", 0.1)
        assert filled[order_id + 1]["parent_id"] == order_id
        assert "parent_id" not in filled[order_id]


async def test_a_late_rejection_is_told_twice(sim: TradierWorld) -> None:
    await sim.fault("late_rejection", params={"delay_ms": 100})
    async with sim.listening() as one:
        order_id = await sim.place()
        assert (await one.hear())["status"] in ("open", "rejected")
        assert (await one.order("rejected"))["id"] == order_id


async def test_a_wrong_session_gets_an_error_and_the_end(sim: TradierWorld) -> None:
    for session in ("not-a-session", None, 7, ["x"]):
        async with sim.connected() as one:
            await one.socket.send(json.dumps({"events": ["order"], "sessionid": session}))
            assert set(await one.hear()) == {"error"}
            with pytest.raises(ConnectionClosed):
                await one.hear()


@pytest.mark.parametrize("payload", ["{", "[]", "7", '{"events":"order"}', '{"events":[1]}', "\x00", '"x"'])
async def test_a_payload_that_is_none_gets_an_error_and_the_end(sim: TradierWorld, payload: str) -> None:
    async with sim.connected() as one:
        await one.socket.send(payload)
        assert set(await one.hear()) == {"error"}
        with pytest.raises(ConnectionClosed):
            await one.hear()


async def test_a_session_is_good_for_a_while_and_a_stream_outlives_it(sim: TradierWorld) -> None:
    session = await sim.session()
    async with sim.listening() as one:
        sim.clock.set(sim.clock.now_us() + 301_000_000)
        await sim.place(price="90.00")
        await one.order("open")
    async with connect(session["url"], proxy=None) as socket:
        await socket.send(json.dumps({"events": ["order"], "sessionid": session["sessionid"]}))
        assert set(await Listener(socket).hear()) == {"error"}


async def test_heartbeats_come_while_nothing_happens(sqlite_url: str, tmp_path: Path) -> None:
    options = AccountStreamOptions(heartbeat_s=0.05)
    async with (
        simulated(sqlite_url, tmp_path / "sim", clock=noon(), stream=options) as sim,
        sim.listening() as one,
    ):
        for _ in range(3):
            beat = await one.hear()
            assert (beat["event"], beat["status"], beat["timestamp"][-1]) == ("heartbeat", "active", "Z")


async def test_accounts_that_are_excluded_are_not_heard_of(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        token = sim.sim.exchange.accounts.users()[0].token
        await sim.sim.exchange.open(sim.sim.exchange.accounts.add(token, "VA00000002"))
        session = await sim.session()
        async with connect(session["url"], proxy=None) as socket:
            payload = {
                "events": ["order"],
                "sessionid": session["sessionid"],
                "excludeAccounts": ["VA00000001"],
            }
            await socket.send(json.dumps(payload))

            async def is_heard() -> bool:
                return sim.sim.stream.connections == {"VA00000002": 1}

            await until(is_heard)
            await sim.place(price="90.00")
            sim.account = "VA00000002"
            order_id = await sim.place(price="91.00")
            event = await Listener(socket).hear()
            assert (event["id"], event["account"]) == (order_id, "VA00000002")


async def test_two_listeners_hear_the_same(sim: TradierWorld) -> None:
    async with sim.listening() as one, sim.listening() as other:

        async def both() -> bool:
            return sim.sim.stream.connections[sim.account] == 2

        await until(both)
        await sim.place()
        assert await one.order("open") == await other.order("open")


async def test_updates_are_lost_doubled_and_late(sim: TradierWorld) -> None:
    async with sim.listening() as one:
        await sim.fault("update_missing", event="open")
        first = await sim.place(price="90.00")
        await sim.fault("update_duplicated", event="open", params={"times": 2})
        second = await sim.place(price="91.00")
        assert [(await one.hear())["id"] for _ in range(2)] == [second, second]
        await sim.fault("update_late", event="canceled", params={"delay_ms": 200})
        for order_id in (first, second):
            await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
            await sim.until_status(order_id, "canceled")
        assert {(await one.order("canceled"))["id"] for _ in range(2)} == {first, second}


async def test_a_disconnect_cuts_the_socket_and_a_new_one_hears_again(sim: TradierWorld) -> None:
    async with sim.listening() as one:
        await sim.fault("disconnect")
        await sim.place(price="90.00")
        with pytest.raises(ConnectionClosed):
            await one.order("never")

        async def nobody() -> bool:
            return not sim.sim.stream.connections

        # Else the one that was cut might be taken for the new one.
        await until(nobody)
    async with sim.listening() as one:
        order_id = await sim.place(price="91.00")
        assert (await one.order("open"))["id"] == order_id


async def test_a_silent_stream_stays_and_tells_nothing_not_even_a_heartbeat(
    sqlite_url: str, tmp_path: Path
) -> None:
    options = AccountStreamOptions(heartbeat_s=0.02)
    async with (
        simulated(sqlite_url, tmp_path / "sim", clock=noon(), stream=options) as sim,
        sim.listening() as one,
    ):
        await sim.fault("silent")
        await sim.place(price="90.00")
        await sim.place(price="91.00")
        await until(sim.sim.stream.caught_up)
        # Behind its answer to a ping comes nothing that was sent before.
        await (await one.socket.ping())
        async for _ in drained(one):
            """What was sent before it fell silent."""
        assert [text async for text in drained(one)] == []
        assert sim.sim.stream.connections == {sim.account: 1}


async def drained(one: Listener) -> AsyncIterator[str]:
    """What has come so far, and in a moment more; not for ever. A slow machine leaves many heartbeats until then."""
    for _ in range(1000):
        try:
            async with asyncio.timeout(0.3):
                yield str(await one.socket.recv())
        except TimeoutError:
            return


async def test_an_answer_can_wait_until_the_fill_was_told(sim: TradierWorld) -> None:
    async with sim.listening() as one:
        order_id = await sim.taken({**LIMIT, "type": "market"})
        assert await sim.sim.stream.told_fill(str(order_id), PATIENCE_S)
        await one.order("filled")
        assert await until(sim.sim.stream.caught_up)


async def test_a_stop_of_the_simulator_says_goodbye(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim, sim.listening() as one:
        sim.sim.stream.close_all()
        with pytest.raises(ConnectionClosed) as ended:
            await one.hear()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1001
