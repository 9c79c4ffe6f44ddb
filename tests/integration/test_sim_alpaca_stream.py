"""What the simulated Alpaca tells of orders as they live: on its WebSocket, and as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.stream import StreamOptions
from tests.sim_world import KEYS, SimWorld, simulated, until

LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
CALL, PUT = "AAPL291221C00100000", "AAPL291221C00110000"


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path) as one:
        yield one


async def _filled_and_told(world: SimWorld, name: str) -> None:
    """Until the order is filled and whoever listens has heard of it: it is booked first, and told a moment later."""
    await world.has_status(name, "filled")
    await world.quiesce()


async def test_both_messages_of_authentication_are_understood(world: SimWorld) -> None:
    good = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
    async with world.connected() as one:
        data = {"key_id": DEFAULT_KEY_ID, "secret_key": DEFAULT_SECRET}
        assert await one.say(action="authenticate", data=data) == good
    async with world.connected() as one:
        assert await one.say(action="auth", key=DEFAULT_KEY_ID, secret=DEFAULT_SECRET) == good


async def test_keys_in_the_headers_are_enough(world: SimWorld) -> None:
    async with world.connected(**KEYS) as one:
        assert (await one.say(**LISTEN))["stream"] == "listening"


BAD_KEYS: list[dict[str, Any]] = [
    {"action": "auth", "key": DEFAULT_KEY_ID, "secret": "wrong"},
    {"action": "auth", "key": DEFAULT_KEY_ID},
    {"action": "auth", "key": 7, "secret": [1]},
    {"action": "authenticate", "data": None},
    {"action": "authenticate", "data": {"key_id": "", "secret_key": ""}},
]


async def test_bad_keys_are_told_so_and_the_socket_is_closed(world: SimWorld) -> None:
    for message in BAD_KEYS:
        async with world.connected() as one:
            answer = await one.say(**message)
            assert answer == {
                "stream": "authorization",
                "data": {"status": "unauthorized", "action": "authenticate"},
            }
            with pytest.raises(ConnectionClosed):
                await one.hear()


async def test_wrong_keys_in_the_headers_refuse_the_handshake(world: SimWorld) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with world.connected(**{**KEYS, "APCA-API-SECRET-KEY": "wrong"}):
            pass
    assert refused.value.response.status_code == 401


async def test_listening_before_authentication_is_refused_and_the_socket_stays(world: SimWorld) -> None:
    async with world.connected() as one:
        refused = {"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}}
        assert await one.say(**LISTEN) == refused
        await one.say(action="auth", key=DEFAULT_KEY_ID, secret=DEFAULT_SECRET)
        assert (await one.say(**LISTEN))["stream"] == "listening"


async def test_listen_replaces_the_set_and_leaves_out_what_nobody_knows(world: SimWorld) -> None:
    async with world.connected(**KEYS) as one:
        answer = await one.say(action="listen", data={"streams": ["trade_updates", "weather", 7]})
        assert answer["data"] == {"streams": ["trade_updates"]}
        assert (await one.say(action="listen", data={"streams": []}))["data"] == {"streams": []}
        await world.post("unheard")
        await _filled_and_told(world, "unheard")
        await one.say(**LISTEN)
        await world.post("heard")
        assert (await one.next())["order"]["client_order_id"] == "heard"


async def test_a_message_that_says_nothing_is_answered_and_does_no_harm(world: SimWorld) -> None:
    async with world.connected(**KEYS) as one:
        for text in ("", "[", "7", '"listen"', '{"action":"dance"}', "\x00", b"", b"\xc1", b"\xff{"):
            await one.socket.send(text)
            assert (await one.hear())["stream"] == "error"
        assert (await one.say(**LISTEN))["stream"] == "listening"


async def test_frames_are_binary_and_text_where_that_is_wanted(sqlite_url: str, tmp_path: Path) -> None:
    for text_frames, kind in ((False, bytes), (True, str)):
        data = tmp_path / kind.__name__
        data.mkdir()
        async with simulated(sqlite_url, data, stream=StreamOptions(text_frames=text_frames)) as world:
            async with world.connected(**KEYS) as one:
                await one.socket.send(json.dumps(LISTEN))
                assert isinstance(await one.socket.recv(), kind)


async def test_a_client_of_messagepack_is_answered_in_it(world: SimWorld) -> None:
    async with world.connected(Content_Type="application/msgpack", **KEYS) as one:
        await one.socket.send(msgspec.msgpack.encode(LISTEN))
        assert msgspec.msgpack.decode(await one.socket.recv()) == {
            "stream": "listening",
            "data": {"streams": ["trade_updates"]},
        }
        await world.post("packed")
        update = msgspec.msgpack.decode(await one.socket.recv())
        assert update["data"]["order"]["client_order_id"] == "packed"


async def test_an_account_has_so_many_sockets_and_no_more(world: SimWorld) -> None:
    async with world.connected(**KEYS):
        async with world.connected(**KEYS):
            for headers in (KEYS, {}):
                with pytest.raises(InvalidStatus) as refused:
                    async with world.connected(**headers):
                        pass
                assert refused.value.response.status_code == 429

        async def is_free() -> bool:
            return world.sim.stream.connections == {world.sim.exchange.accounts.all()[0].number: 1}

        await until(is_free)
        async with world.connected(**KEYS) as again:
            assert (await again.say(**LISTEN))["stream"] == "listening"


async def test_an_order_is_new_once_it_is_live_and_then_fills(world: SimWorld) -> None:
    async with world.listening() as one:
        answer = (await world.post("mine")).json()
        assert answer["status"] == "pending_new"
        new, fill = await one.next(), await one.next()
    assert (new["event"], fill["event"]) == ("new", "fill")
    assert "qty" not in new
    assert "price" not in new
    assert (new["order"]["id"], new["order"]["status"]) == (answer["id"], "new")
    assert (fill["qty"], fill["price"], fill["position_qty"]) == ("10", "101", "10")
    order = fill["order"]
    assert (order["status"], order["filled_qty"], order["filled_avg_price"]) == ("filled", "10", "101")
    assert order["legs"] is None
    assert order == await world.order("mine")
    assert new["execution_id"] != fill["execution_id"]
    assert new["timestamp"] <= fill["timestamp"]


async def test_a_cancel_and_a_replacement_are_told(world: SimWorld) -> None:
    async with world.listening() as one:
        first = (await world.post("first", limit_price="50")).json()
        assert (await one.next())["event"] == "new"
        answer = await world.client.patch(
            f"/v2/orders/{first['id']}", json={"limit_price": "51", "client_order_id": "second"}
        )
        second = answer.json()
        replaced, new = await one.next(), await one.next()
        assert (replaced["event"], replaced["order"]["id"]) == ("replaced", first["id"])
        assert replaced["order"]["replaced_by"] == second["id"]
        assert (new["event"], new["order"]["replaces"]) == ("new", first["id"])
        assert (await world.client.delete(f"/v2/orders/{second['id']}")).status_code == 204
        canceled = await one.next()
    assert (canceled["event"], canceled["order"]["client_order_id"]) == ("canceled", "second")
    assert canceled["order"]["canceled_at"] is not None


async def test_a_sale_tells_the_position_that_is_left(world: SimWorld) -> None:
    await world.post("in")
    await _filled_and_told(world, "in")
    async with world.listening() as one:
        await world.post("out", side="sell", qty="4")
        await one.next()
        assert (await one.next())["position_qty"] == "6"


async def test_the_exits_of_a_bracket_are_told_when_they_go_live(world: SimWorld) -> None:
    async with world.listening() as one:
        made = await world.post(
            "entry", order_class="bracket", take_profit={"limit_price": "120"}, stop_loss={"stop_price": "90"}
        )
        assert made.status_code == 200, made.text
        entry = [await one.next(), await one.next()]
        assert [each["event"] for each in entry] == ["new", "fill"]
        assert {each["order"]["group_role"] for each in entry} == {"entry"}
        exits = [await one.next(), await one.next()]
        assert [each["event"] for each in exits] == ["new", "new"]
        assert {each["order"]["group_role"] for each in exits} == {"take_profit", "stop_loss"}
        world.show("121.00", "122.00")
        ends = [await one.next(), await one.next()]
    told = {(each["event"], each["order"]["group_role"]) for each in ends}
    assert told == {("fill", "take_profit"), ("canceled", "stop_loss")}
    assert {each["order"]["group_id"] for each in (*entry, *exits, *ends)} == {entry[0]["order"]["group_id"]}


async def test_an_order_that_fills_in_part_and_ends_is_two_events(world: SimWorld) -> None:
    await world.client.post("/sim/quotes", json={"symbol": "AAPL", "bid": 99, "ask": 101, "ask_size": 4})
    async with world.listening() as one:
        await world.post("ioc", time_in_force="ioc")
        events = [await one.next() for _ in range(3)]
    assert [each["event"] for each in events] == ["new", "partial_fill", "canceled"]
    assert [each["order"]["status"] for each in events] == ["new", "partially_filled", "canceled"]
    assert events[1]["qty"] == "4"
    assert events[2]["order"]["filled_qty"] == "4"


@pytest.mark.parametrize("legs", [True, False])
async def test_a_spread_is_told_as_a_whole_and_by_its_legs(
    sqlite_url: str, tmp_path: Path, legs: bool
) -> None:
    async with simulated(sqlite_url, tmp_path, stream=StreamOptions(leg_updates=legs)) as world:
        world.show("9.90", "10.00", CALL)
        world.show("4.00", "4.10", PUT)
        async with world.listening() as one:
            made = await world.post(
                "spread", symbol=None, side=None, qty="2", order_class="mleg", limit_price="6.00",
                legs=[
                    {"symbol": CALL, "ratio_qty": "1", "side": "buy", "position_intent": "buy_to_open"},
                    {"symbol": PUT, "ratio_qty": "1", "side": "sell", "position_intent": "sell_to_open"},
                ],
            )  # fmt: skip
            assert made.status_code == 200, made.text
            events = [await one.next() for _ in range(6 if legs else 2)]
        whole = [each for each in events if each["order"]["symbol"] == ""]
        assert [each["event"] for each in whole] == ["new", "fill"]
        assert (whole[1]["qty"], whole[1]["price"]) == ("2", "6")
        assert "position_qty" not in whole[1]
        parts = {each["order"]["symbol"]: each for each in events if each["event"] == "fill"}
        if legs:
            assert (parts[CALL]["position_qty"], parts[PUT]["position_qty"]) == ("2", "-2")
            assert (parts[CALL]["price"], parts[PUT]["price"]) == ("10", "4")


async def test_whoever_does_not_listen_misses_it(world: SimWorld) -> None:
    await world.post("before")
    await _filled_and_told(world, "before")
    async with world.listening() as one:
        await world.post("after")
        assert (await one.next())["order"]["client_order_id"] == "after"


async def test_updates_of_one_account_do_not_reach_another(world: SimWorld) -> None:
    made = (
        await world.client.post("/sim/accounts", json={"key_id": "PKTESTTWO", "secret": "test-secret-2"})
    ).json()
    other = {"APCA-API-KEY-ID": made["key_id"], "APCA-API-SECRET-KEY": made["secret"]}
    async with world.listening() as mine, world.listening(other) as theirs:
        await world.post("mine")
        await mine.events(2)
        body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        answer = await world.client.post(
            "/v2/orders", json={**body, "client_order_id": "theirs"}, headers=other
        )
        assert answer.status_code == 200
        assert (await theirs.next())["order"]["client_order_id"] == "theirs"
        assert (await theirs.next())["position_qty"] == "1"


async def test_many_updates_come_in_the_order_in_which_things_happened(world: SimWorld) -> None:
    async with world.listening() as one:
        await asyncio.gather(*(world.post(f"n{n}", qty="1") for n in range(20)))
        events = [await one.next() for _ in range(40)]
    fills = [each for each in events if each["event"] == "fill"]
    assert [Decimal(each["position_qty"]) for each in fills] == list(range(1, 21))
    assert len({each["execution_id"] for each in events}) == 40
    for each in fills:
        told = [e["event"] for e in events if e["order"]["id"] == each["order"]["id"]]
        assert told == ["new", "fill"]


# -- server-sent events -----------------------------------------------------------------------------


async def sse(world: SimWorld, count: int, **query: str) -> list[dict[str, Any]]:
    """The first events of the stream."""
    found: list[dict[str, Any]] = []
    if count == 0:
        answer = await world.client.get("/v2/events/trades", params=query)
        return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    async with world.client.stream("GET", "/v2/events/trades", params=query) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    return found


async def test_server_sent_events_replay_what_was_missed_and_go_on_live(world: SimWorld) -> None:
    await world.post("one")
    await world.has_status("one", "filled")
    await world.post("two", side="sell", qty="3")
    await world.has_status("two", "filled")
    await world.quiesce()
    reading = asyncio.create_task(sse(world, 6, since="2020-01-01"))

    async def joined() -> bool:
        return bool(world.sim.hub.audience.counts)

    await until(joined)
    await world.post("three")
    events = await reading
    told = [(each["order"]["client_order_id"], each["event"]) for each in events]
    assert sorted(told) == sorted(
        (name, event) for name in ("one", "two", "three") for event in ("new", "fill")
    )
    assert told[-2:] == [("three", "new"), ("three", "fill")]
    fills = {
        each["order"]["client_order_id"]: each["position_qty"] for each in events if each["event"] == "fill"
    }
    assert fills == {"one": "10", "two": "7", "three": "17"}
    ids = [each["event_id"] for each in events]
    assert ids == sorted(set(ids))
    assert all(each["at"] == each["timestamp"] for each in events)
    assert [each["event_id"] for each in await sse(world, 2, since_id=ids[3])] == ids[4:]


async def test_server_sent_events_with_an_end_end(world: SimWorld) -> None:
    await world.post("one")
    await world.has_status("one", "filled")
    await world.quiesce()
    events = await sse(world, 2, since="2020-01-01T00:00:00Z")
    first = await sse(world, 0, since="2020-01-01", until=events[0]["timestamp"])
    assert [each["event"] for each in first] == ["new"]


UNREADABLE: list[dict[str, str]] = [
    {"since": "yesterday"},
    {"since": "2020-13-01"},
    {"since": "2020-01-01T00:00:00"},
    {"since_id": "1"},
    {"since": "2020-01-01", "since_id": "0" * 26},
    {"until": "2020-01-01"},
]


async def test_a_window_that_cannot_be_read_is_refused(world: SimWorld) -> None:
    for query in UNREADABLE:
        answer = await world.client.get("/v2/events/trades", params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, 40010000), query


async def test_server_sent_events_want_keys(world: SimWorld) -> None:
    answer = await world.client.get("/v2/events/trades", headers={"APCA-API-SECRET-KEY": "wrong"})
    assert answer.status_code == 401
