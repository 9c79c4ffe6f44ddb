"""Every scripted fault of the simulated Tradier's answers and orders, once, as a client on a real socket meets it."""

import asyncio
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT
from paiid.sim.tradier.fault_kinds import operation_of
from tests.sim_tradier_running import HOME, ORDERS, TradierWorld, rows, tradier
from tests.sim_world import until

OUTAGE = "An error occurred while communicating with the backend."


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with tradier(tmp_path) as one:
        yield one


# -- the answer to a request ------------------------------------------------------------------------


async def test_a_lost_answer_is_of_an_order_that_is_live(world: TradierWorld) -> None:
    await world.fault("answer_lost")
    with pytest.raises(httpx2.TransportError):
        await world.post("lost")
    assert await world.booked("lost")
    assert (await world.post("next")).status_code == 200
    (told,) = await world.ledger("fault")
    assert (told["fault_kind"], told["tag"], told["status"]) == ("answer_lost", "lost", 200)
    assert [one["tag"] for one in await world.orders()] in (["next", "lost"], ["lost", "next"])


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_refusal_before_handling_places_nothing(world: TradierWorld, status: int) -> None:
    await world.fault("refuse_before", params={"status": status})
    answer = await world.post("none")
    assert answer.status_code == status
    # A gateway's fault, nothing at all, a page (tradier.md, section 4).
    assert {500: "fault" in answer.text, 502: answer.text == "", 504: "<html>" in answer.text}[status]
    assert not await world.booked("none")


async def test_a_failure_after_handling_is_of_an_order_that_is_live(world: TradierWorld) -> None:
    await world.fault("fail_after")
    assert (await world.post("live")).status_code == 500
    assert await world.booked("live")


async def test_an_outage_of_the_backend_is_a_text_and_places_nothing_unless_told_to(
    world: TradierWorld,
) -> None:
    await world.fault("backend_down")
    await world.fault("backend_down", params={"handled": True})
    for tag, booked in (("none", False), ("live", True)):
        answer = await world.post(tag)
        assert (answer.status_code, answer.text) == (500, OUTAGE)
        assert answer.headers["content-type"].startswith("text/plain")
        assert await world.booked(tag) == booked


async def test_a_failure_that_placed_nothing(world: TradierWorld) -> None:
    await world.fault("not_placed_500")
    answer = await world.post("none")
    assert (answer.status_code, answer.json()["fault"]["faultstring"]) == (500, "Datastore Error")
    assert not await world.booked("none")


async def test_a_rate_limit_is_a_fault_of_the_gateway_and_says_when_it_ends(world: TradierWorld) -> None:
    await world.fault("rate_limited", params={"reset_s": 7})
    answer = await world.post("none")
    detail = answer.json()["fault"]["detail"]
    assert (answer.status_code, detail["errorcode"]) == (429, "policies.ratelimit.QuotaViolation")
    told = [answer.headers[f"x-ratelimit-{name}"] for name in ("allowed", "used", "available")]
    assert told == ["60", "60", "0"]
    now_ms = world.sim.exchange.clock.now_us() // 1000
    assert now_ms < int(answer.headers["x-ratelimit-expiry"]) <= now_ms + 7000
    assert not await world.booked("none")


async def test_a_slow_request_is_handled_late(world: TradierWorld) -> None:
    await world.fault("slow", params={"before_ms": 600_000})
    waiting = asyncio.create_task(world.post("early"))

    async def is_played() -> bool:
        return await world.played() == ["slow"]

    await until(is_played)
    assert not await world.booked("early")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_half_of_an_answer_is_followed_by_a_reset(world: TradierWorld) -> None:
    await world.fault("reset_mid_body")
    with pytest.raises(httpx2.TransportError):
        await world.post("half")
    assert await world.booked("half")


@pytest.mark.parametrize("kind", ["garbage", "html"])
@pytest.mark.parametrize("handled", [True, False])
async def test_a_yes_that_cannot_be_read(world: TradierWorld, kind: str, handled: bool) -> None:
    await world.fault(kind, params={"handled": handled})
    answer = await world.post("yes")
    assert answer.status_code == 200
    with pytest.raises(ValueError):
        answer.json()
    assert await world.booked("yes") == handled


async def test_a_late_accept_comes_behind_a_gateway_timeout(world: TradierWorld) -> None:
    await world.fault("late_accept", params={"delay_ms": 150})
    assert (await world.post("late")).status_code == 504
    await world.quiesce()
    assert await world.booked("late")
    (done,) = await world.ledger("fault_done")
    assert done["status"] == 200


async def test_a_redirect_points_to_another_place(world: TradierWorld) -> None:
    await world.fault("redirect", params={"location": "http://127.0.0.1:9/elsewhere"})
    answer = await world.post("away")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert not await world.booked("away")


async def test_a_huge_answer_and_a_trickling_one(world: TradierWorld) -> None:
    await world.fault("huge", params={"bytes": 3_000_000})
    assert len((await world.client.get(ORDERS)).content) == 3_000_000
    await world.fault("trickle", on="account", params={"every_ms": 1})
    async with world.client.stream("GET", "/v1/user/profile") as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert DEFAULT_ACCOUNT.encode() in b"".join(chunks)
    assert len(chunks) > 20


async def test_an_answer_of_200_that_is_a_no(world: TradierWorld) -> None:
    await world.fault("errors_200")
    await world.fault("errors_200", params={"errors": ["InitialMargin"]})
    first, second = await world.post("none"), await world.post("none")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == {
        "errors": {"error": ["Backoffice rejected override of the order.", "DayTradingBuyingPowerExceeded"]}
    }
    assert second.json() == {"errors": {"error": "InitialMargin"}}
    assert not await world.booked("none")


async def test_a_preview_fails_while_orders_are_taken(world: TradierWorld) -> None:
    await world.fault("preview_down")
    assert (await world.post("real")).json()["order"]["status"] == "ok"
    answer = await world.post(None, preview="true")
    assert (answer.status_code, answer.text) == (400, "Unexpected server error")
    assert (await world.post(None, preview="true")).status_code == 200
    assert await world.played() == ["preview_down"]


async def test_an_answer_is_xml_though_json_was_asked_for(world: TradierWorld) -> None:
    await world.placed("odd")
    await world.fault("xml_answer", on="list")
    answer = await world.client.get(ORDERS)
    assert "xml" in answer.headers["content-type"]
    root = ElementTree.fromstring(answer.text)
    assert root.tag == "orders"
    assert len(await world.orders()) == 1


async def test_an_empty_collection_is_null_or_the_text(world: TradierWorld) -> None:
    assert (await world.client.get(ORDERS)).json() == {"orders": "null"}
    await world.fault("empty_as_text", params={"text": False})
    assert (await world.client.get(ORDERS)).json() == {"orders": None}


async def test_the_text_null_comes_from_a_simulator_that_says_null(tmp_path: Path) -> None:
    async with tradier(tmp_path, null_text=False) as world:
        assert (await world.client.get(f"{HOME}/positions")).json() == {"positions": None}
        await world.fault("empty_as_text", on="positions")
        assert (await world.client.get(f"{HOME}/positions")).json() == {"positions": "null"}


REQUESTS = [
    ("submit", "POST", ORDERS),
    ("preview", "POST", f"{ORDERS}?preview=true"),
    ("replace", "PUT", f"{ORDERS}/1"),
    ("cancel", "DELETE", f"{ORDERS}/1"),
    ("lookup", "GET", f"{ORDERS}/1"),
    ("list", "GET", ORDERS),
    ("account", "GET", f"{HOME}/balances"),
    ("account", "GET", "/v1/user/profile"),
    ("positions", "GET", f"{HOME}/positions"),
    ("activities", "GET", f"{HOME}/history"),
    ("activities", "GET", f"{HOME}/gainloss"),
    ("session", "POST", "/v1/accounts/events/session"),
    ("session", "POST", "/v1/markets/events/session"),
    ("data", "GET", "/v1/markets/clock"),
]


async def test_a_fault_is_played_on_its_own_kind_of_request(world: TradierWorld) -> None:
    for on, method, path in REQUESTS:
        await world.fault("refuse_before", on=on, params={"status": 599})
        assert (await world.client.get("/v1/nothing")).status_code != 599
        assert (await world.client.request(method, path)).status_code == 599, path
        assert (await world.client.request(method, path)).status_code != 599, path
    await world.fault("refuse_before", on="any")
    assert (await world.client.get("/sim")).status_code == 200
    assert (await world.client.get("/v1/nothing")).status_code == 503


def test_a_path_that_is_none_is_about_nothing() -> None:
    for path in ("", "/", "/v2/accounts/A/orders", "/v1/accounts", "/v1/accounts/A", "/v1/accounts/A/other"):
        assert operation_of("GET", path) == "other"


async def test_a_fault_of_one_account_meets_only_it(world: TradierWorld) -> None:
    made = await world.client.post("/sim/accounts", json={"token": "test-token-2", "account": "VA00000009"})
    assert made.status_code == 201
    await world.fault("backend_down", on="account", account="VA00000009", next=2)
    assert (await world.client.get("/v1/user/profile")).status_code == 200
    other = {"authorization": "Bearer test-token-2"}
    for path in ("/v1/user/profile", "/v1/accounts/VA00000009/balances"):
        assert (await world.client.get(path, headers=other)).status_code == 500
    refused = await world.client.post("/sim/faults", json={"kind": "backend_down", "account": "VA99999999"})
    assert refused.status_code == 422


# -- orders -----------------------------------------------------------------------------------------


async def test_an_order_is_taken_and_rejected_a_moment_later(world: TradierWorld) -> None:
    await world.fault("late_rejection", symbol="AAPL", params={"reason": "InitialMargin"})
    order_id = await world.placed("late")
    found = await world.has_status(order_id, "rejected", "filled")
    assert (found["status"], found["reason_description"]) == ("rejected", "InitialMargin")
    assert (await world.client.get(f"{HOME}/positions")).json() == {"positions": "null"}
    assert (await world.has_status(await world.placed("next"), "rejected", "filled"))["status"] == "filled"


async def test_an_order_is_filled_before_it_says_for_how_much(world: TradierWorld) -> None:
    fault = await world.fault("filled_without_price", next=1, params={"lag_ms": 600_000})
    order_id = await world.placed("soon")
    found = await world.has_status(order_id, "filled")
    assert (found["avg_fill_price"], found["exec_quantity"]) == (0.0, 0.0)
    assert [(one["avg_fill_price"], one["exec_quantity"]) for one in await world.orders()] == [(0.0, 0.0)]
    await world.client.delete(f"/sim/faults/{fault['id']}")
    found = await world.order(order_id)
    assert (found["avg_fill_price"], found["exec_quantity"]) == (101.0, 10.0)


async def test_an_order_that_is_there_is_answered_as_if_it_were_anothers(world: TradierWorld) -> None:
    order_id = await world.placed("mine", price="50")
    for on, method in (("lookup", "GET"), ("cancel", "DELETE"), ("replace", "PUT")):
        await world.fault("unauthorized_order", on=on)
        answer = await world.client.request(method, f"{ORDERS}/{order_id}")
        assert (answer.status_code, answer.text) == (401, f"Unauthorized Account: {DEFAULT_ACCOUNT}")
    assert (await world.order(order_id))["status"] in ("pending", "open")


async def test_a_young_order_is_neither_found_nor_listed(world: TradierWorld) -> None:
    fault = await world.fault("lookup_lag", next=1, params={"lag_ms": 600_000})
    young = await world.placed("young", price="50")
    await world.placed("other", price="50")
    assert (await world.client.get(f"{ORDERS}/{young}")).status_code == 401
    assert [one["tag"] for one in await world.orders()] == ["other"]
    await world.client.delete(f"/sim/faults/{fault['id']}")
    assert len(await world.orders()) == 2


async def test_an_order_is_not_found_once_and_then_it_is(world: TradierWorld) -> None:
    order_id = await world.placed("shy", price="50")
    await world.fault("not_found_once")
    answer = await world.client.get(f"{ORDERS}/{order_id}")
    assert (answer.status_code, answer.text) == (401, f"Unauthorized Account: {DEFAULT_ACCOUNT}")
    assert (await world.client.get(f"{ORDERS}/{order_id}")).status_code == 200


async def test_a_status_that_nobody_knows_and_fields_that_are_gone(world: TradierWorld) -> None:
    order_id = await world.placed("odd", price="50")
    await world.fault("unknown_status", on="list")
    assert [one["status"] for one in await world.orders()] == ["under_consideration"]
    await world.fault("unknown_status", params={"status": "mislaid"})
    assert (await world.order(order_id))["status"] == "mislaid"
    await world.fault("missing_fields", on="list", params={"remove": ["id"], "set": {"quantity": "ten"}})
    (bare,) = await world.orders()
    assert ("id" in bare, bare["quantity"]) == (False, "ten")
    await world.fault("missing_fields", on="account", params={"remove": ["total_cash"], "set": {}})
    assert "total_cash" not in (await world.client.get(f"{HOME}/balances")).json()["balances"]


async def test_a_slow_cancel_is_answered_and_the_order_still_works(world: TradierWorld) -> None:
    order_id = await world.placed("slow", price="50")
    await world.has_status(order_id, "open")
    await world.fault("cancel_slow", symbol="AAPL", params={"delay_ms": 600_000})
    answer = await world.client.delete(f"{ORDERS}/{order_id}")
    assert answer.json()["order"] == {"id": order_id, "status": "ok"}
    assert (await world.order(order_id))["status"] not in ("canceled", "filled")
    assert await world.played() == ["cancel_slow"]


async def test_a_cancel_that_was_accepted_loses_against_a_fill(world: TradierWorld) -> None:
    order_id = await world.placed("race", price="50")
    await world.has_status(order_id, "open")
    await world.fault("cancel_fill_race")
    answer = await world.client.delete(f"{ORDERS}/{order_id}")
    assert answer.json()["order"] == {"id": order_id, "status": "ok"}
    found = await world.has_status(order_id, "filled", "canceled")
    assert (found["status"], found["avg_fill_price"]) == ("filled", 50.0)
    await world.quiesce()
    (done,) = await world.ledger("fault_done")
    assert done["order_ended"] is True


async def test_a_burst_fills_an_order_in_many_prints(world: TradierWorld) -> None:
    await world.fault("partial_fill_burst", params={"prints": 5})
    order_id = await world.placed("burst", quantity="23")
    found = await world.has_status(order_id, "filled")
    assert (found["exec_quantity"], found["last_fill_quantity"]) == (23.0, 7.0)


async def test_some_orders_fill_in_part_at_random(tmp_path: Path) -> None:
    async with tradier(tmp_path, partial_fills=1.0) as world:
        order_id = await world.placed("parts", quantity="100")
        found = await world.has_status(order_id, "filled")
        assert 0 < found["last_fill_quantity"] < found["exec_quantity"] == 100.0


async def test_another_day_begins_and_the_list_is_empty(world: TradierWorld) -> None:
    filled = await world.placed("filled")
    await world.has_status(filled, "filled")
    await world.fault("day_rollover")
    assert await world.orders() == []
    assert rows((await world.client.get(f"{HOME}/positions")).json()["positions"], "position") != []
    await world.placed("today", price="50")
    assert [one["tag"] for one in await world.orders()] == ["today"]


async def test_a_sandbox_drops_what_is_open_at_the_end_of_its_day(tmp_path: Path) -> None:
    async with tradier(tmp_path, sandbox=True) as world:
        await world.placed("open", price="50", duration="gtc")
        assert (await world.client.post("/sim/day", json={})).status_code == 200
        assert await world.orders() == []
        await world.pin("49.00", "50.00")
        await world.placed("today")

        async def is_held() -> Any:
            return rows((await world.client.get(f"{HOME}/positions")).json()["positions"], "position")

        assert [one["quantity"] for one in await until(is_held)] == [10.0]


# -- the account's stream ---------------------------------------------------------------------------


async def heard(world: TradierWorld, socket: Any, count: int) -> list[dict[str, Any]]:
    """The next updates of orders."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            message = httpx2.Response(200, content=await socket.recv()).json()
            if message.get("event") == "order":
                found.append(message)
    return found


async def listening(world: TradierWorld) -> tuple[str, str]:
    """URL of the stream, and what to send first."""
    answer = await world.client.post("/v1/accounts/events/session")
    stream = answer.json()["stream"]
    return stream["url"], f'{{"events":["order"],"sessionid":"{stream["sessionid"]}"}}'


async def test_an_update_comes_twice_and_another_one_never(world: TradierWorld) -> None:
    url, hello = await listening(world)
    async with connect(url) as socket:
        await socket.send(hello)
        await until(lambda: _listens(world))
        await world.fault("update_duplicated", event="filled")
        order_id = await world.placed("twice")
        told = await heard(world, socket, 2)
        while [one["status"] for one in told[-2:]] != ["filled", "filled"]:
            told += await heard(world, socket, 1)
        assert {one["id"] for one in told} == {order_id}
        await world.fault("update_missing", event="filled")
        await world.has_status(await world.placed("never"), "filled")
        await world.quiesce()
        last = await world.placed("after")
        told = await heard(world, socket, 1)
        while told[-1]["id"] != last or told[-1]["status"] != "filled":
            told += await heard(world, socket, 1)
        assert [one["id"] for one in told if one["status"] == "filled"] == [last]
        assert await world.played() == ["update_duplicated", "update_missing"]


async def test_the_fill_is_told_before_the_answer_comes(world: TradierWorld) -> None:
    url, hello = await listening(world)
    await world.fault("fill_before_answer")
    async with connect(url) as socket:
        await socket.send(hello)
        await until(lambda: _listens(world))
        assert (await world.post("early")).json()["order"]["status"] == "ok"
        (told,) = await world.ledger("fault")
        assert told["fill_sent"] is True


async def _listens(world: TradierWorld) -> bool:
    return bool((await world.client.get("/sim")).json()["stream_connections"])


async def test_a_disconnect_instead_of_an_update(world: TradierWorld) -> None:
    url, hello = await listening(world)
    async with connect(url) as socket:
        await socket.send(hello)
        await until(lambda: _listens(world))
        await world.fault("disconnect", event="filled")
        await world.placed("cut")

        async def is_over() -> bool:
            return not await _listens(world)

        await until(is_over)
    assert await world.played() == ["disconnect"]


# -- the market's stream ----------------------------------------------------------------------------


async def test_a_session_of_the_market_is_refused_as_one_too_many(world: TradierWorld) -> None:
    await world.fault("too_many_sessions")
    refused = await world.client.post("/v1/markets/events/session")
    assert refused.status_code >= 400
    assert "too many sessions requested" in refused.text
    assert (await world.client.post("/v1/markets/events/session")).status_code == 200
    assert await world.played() == ["too_many_sessions"]


async def test_a_session_is_lost_when_the_stream_opens(world: TradierWorld) -> None:
    await world.fault("session_lost")
    for outcome in ("error", "type"):
        stream = (await world.client.post("/v1/markets/events/session")).json()["stream"]
        async with connect(f"{world.url.replace('http', 'ws', 1)}/v1/markets/events") as socket:
            await socket.send(json.dumps({"symbols": ["AAPL"], "sessionid": stream["sessionid"]}))
            async with asyncio.timeout(20):
                assert outcome in json.loads(await socket.recv())
    assert await world.played() == ["session_lost"]


async def test_a_stream_over_http_is_no_request_that_a_fault_may_hold(world: TradierWorld) -> None:
    stream = (await world.client.post("/v1/markets/events/session")).json()["stream"]
    await world.fault("garbage", on="any", rate=1)
    asked = {"sessionid": stream["sessionid"], "symbols": "AAPL", "linebreak": "true"}
    async with world.client.stream("GET", "/v1/markets/events", params=asked) as answer:
        async with asyncio.timeout(20):
            line = await anext(answer.aiter_lines())
    assert json.loads(line)["symbol"] == "AAPL"
    assert await world.played() == []


async def test_ticks_go_wrong_for_whoever_listens(world: TradierWorld) -> None:
    stream = (await world.client.post("/v1/markets/events/session")).json()["stream"]
    async with connect(f"{world.url.replace('http', 'ws', 1)}/v1/markets/events") as socket:
        hello = {"symbols": ["AAPL"], "sessionid": stream["sessionid"], "filter": ["quote"]}
        await socket.send(json.dumps(hello))
        await socket.recv()
        await world.fault("quote_crossed", symbol="AAPL")
        await world.pin("98.00", "102.00")
        async with asyncio.timeout(20):
            told = json.loads(await socket.recv())
            while told["bid"] <= told["ask"]:
                told = json.loads(await socket.recv())
    assert await world.played() == ["quote_crossed"]
