"""Every scripted fault of the simulated Alpaca's answers and orders, once, as a client on a real socket meets it."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.sim.alpaca.fault_kinds import KINDS
from tests.sim_world import KEYS, SimWorld, simulated, until


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path) as one:
        yield one


async def played(world: SimWorld) -> list[str]:
    """The kinds that the ledger says have been played."""
    return [one["fault_kind"] for one in await world.ledger("fault")]


# -- the answer to a request ------------------------------------------------------------------------


async def test_a_lost_answer_is_of_an_order_that_is_live(world: SimWorld) -> None:
    await world.fault("answer_lost")
    with pytest.raises(httpx2.TransportError):
        await world.post("lost")
    assert await world.booked("lost")
    assert (await world.post("next")).status_code == 200
    (told,) = await world.ledger("fault")
    assert (told["fault_kind"], told["client_order_id"], told["status"]) == ("answer_lost", "lost", 200)


async def test_a_refusal_before_handling_places_nothing(world: SimWorld) -> None:
    await world.fault("refuse_before", params={"status": 502})
    assert (await world.post("none")).status_code == 502
    assert not await world.booked("none")
    assert await played(world) == ["refuse_before"]


async def test_a_failure_after_handling_is_of_an_order_that_is_live(world: SimWorld) -> None:
    await world.fault("fail_after", params={"status": 504})
    assert (await world.post("live")).status_code == 504
    assert await world.booked("live")


async def test_a_rate_limit_says_when_it_ends(world: SimWorld) -> None:
    await world.fault("rate_limited", params={"reset_s": 7})
    answer = await world.post("none")
    assert (answer.status_code, answer.json()["code"]) == (429, 42910000)
    assert answer.headers["x-ratelimit-remaining"] == "0"
    now_s = world.sim.exchange.clock.now_us() // 1_000_000
    assert now_s < int(answer.headers["x-ratelimit-reset"]) <= now_s + 7
    assert not await world.booked("none")


async def test_a_slow_request_is_handled_late_and_answered_later(world: SimWorld) -> None:
    await world.fault("slow", params={"before_ms": 600_000})
    waiting = asyncio.create_task(world.post("early"))

    async def is_played() -> bool:
        return await played(world) == ["slow"]

    await until(is_played)
    assert not await world.booked("early")
    waiting.cancel()
    await world.fault("slow", params={"after_ms": 600_000})
    waiting = asyncio.create_task(world.post("late"))

    async def is_booked() -> bool:
        return await world.booked("late")

    await until(is_booked)
    assert not waiting.done()
    waiting.cancel()
    await world.fault("slow", params={"before_ms": 1, "after_ms": 1})
    assert (await world.post("soon")).status_code == 200


async def test_half_of_an_answer_is_followed_by_a_reset(world: SimWorld) -> None:
    await world.fault("reset_mid_body")
    port = int(world.url.rpartition(":")[2])
    body = json.dumps(
        {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", "client_order_id": "half"}
    )  # fmt: skip
    head = [
        f"{name}: {value}" for name, value in {**KEYS, "host": "sim", "content-length": len(body)}.items()
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(("\r\n".join(["POST /v2/orders HTTP/1.1", *head, "", body])).encode())
    got = b""

    async def read() -> None:
        nonlocal got
        while chunk := await reader.read(10_000):
            got += chunk

    with pytest.raises(ConnectionResetError):
        await read()
    writer.close()
    top, _, some = got.partition(b"\r\n\r\n")
    length = int(top.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert b" 200 " in top
    assert 0 < len(some) < length
    assert await world.booked("half")


@pytest.mark.parametrize("kind", ["garbage", "html"])
@pytest.mark.parametrize("handled", [True, False])
async def test_a_yes_that_cannot_be_read(world: SimWorld, kind: str, handled: bool) -> None:
    await world.fault(kind, params={"handled": handled})
    answer = await world.post("yes")
    assert answer.status_code == 200
    with pytest.raises(ValueError):
        answer.json()
    assert ("html" in answer.headers["content-type"]) == (kind == "html")
    assert await world.booked("yes") == handled


async def test_a_late_accept_comes_behind_a_gateway_timeout(world: SimWorld) -> None:
    await world.fault("late_accept", params={"delay_ms": 150})
    assert (await world.post("late")).status_code == 504
    await world.quiesce()
    assert await world.booked("late")
    (done,) = await world.ledger("fault_done")
    assert done["status"] == 200


async def test_a_late_accept_is_not_lost_by_a_clean_stop(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path) as world:
        await world.fault("late_accept", params={"delay_ms": 600_000})
        assert (await world.post("late")).status_code == 504
        assert not await world.booked("late")
    async with simulated(sqlite_url, tmp_path) as world:
        assert await world.booked("late")


async def test_a_young_order_is_neither_found_nor_listed(world: SimWorld) -> None:
    fault = await world.fault("lookup_lag", next=1, params={"lag_ms": 600_000})
    made = (await world.post("young", limit_price="50")).json()
    await world.post("other", limit_price="50")
    assert await world.order("young") is None
    assert (await world.client.get(f"/v2/orders/{made['id']}")).status_code == 404
    listed = (await world.client.get("/v2/orders")).json()
    assert [one["client_order_id"] for one in listed] == ["other"]
    (told,) = await world.ledger("fault")
    assert told["order_id"] == made["id"]
    await world.client.delete(f"/sim/faults/{fault['id']}")
    assert await world.order("young") is not None


async def test_a_lag_ends_by_itself(world: SimWorld) -> None:
    # Longer than a busy machine takes to ask for it.
    await world.fault("lookup_lag", rate=1, params={"lag_ms": 2500})
    await world.post("young", limit_price="50")
    assert await world.order("young") is None

    async def is_there() -> bool:
        return await world.order("young") is not None

    await until(is_there)


async def test_an_order_is_not_found_once_and_then_it_is(world: SimWorld) -> None:
    await world.post("shy", limit_price="50")
    await world.fault("not_found_once")
    assert await world.order("shy") is None
    assert await world.order("shy") is not None
    assert await played(world) == ["not_found_once"]


async def test_a_redirect_points_to_another_place(world: SimWorld) -> None:
    await world.fault("redirect", params={"location": "http://127.0.0.1:9/elsewhere"})
    answer = await world.post("away")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert not await world.booked("away")


async def test_a_huge_answer_is_as_long_as_it_says(world: SimWorld) -> None:
    await world.fault("huge", on="list", params={"bytes": 3_000_000})
    answer = await world.client.get("/v2/orders")
    assert answer.status_code == 200
    assert len(answer.content) == 3_000_000
    assert KINDS["huge"].params["bytes"].default == 50_000_000


async def test_a_trickling_answer_comes_byte_by_byte(world: SimWorld) -> None:
    await world.fault("trickle", on="any", params={"every_ms": 1})
    async with world.client.stream("GET", "/v2/clock") as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert b"is_open" in b"".join(chunks)
    assert len(chunks) > 20


async def test_a_status_that_nobody_knows(world: SimWorld) -> None:
    await world.post("odd", limit_price="50")
    await world.fault("unknown_status", on="lookup")
    await world.fault("unknown_status", on="list", params={"status": "mislaid"})
    found = await world.order("odd")
    assert found is not None
    assert found["status"] == "under_consideration"
    assert [one["status"] for one in (await world.client.get("/v2/orders")).json()] == ["mislaid"]
    async with asyncio.timeout(20):
        # It is pending_new until it is live.
        while (found := await world.order("odd")) is None or found["status"] == "pending_new":
            await asyncio.sleep(0.02)
    assert found["status"] == "new"


async def test_fields_that_are_gone_or_of_another_type(world: SimWorld) -> None:
    await world.fault("missing_fields", on="submit", params={"remove": ["id"], "set": {"qty": [1], "odd": 1}})
    answer = (await world.post("bare")).json()
    assert "id" not in answer
    assert "odd" not in answer
    assert answer["qty"] == [1]
    await world.fault("missing_fields", on="account", params={"remove": ["cash"], "set": {}})
    assert "cash" not in (await world.client.get("/v2/account")).json()


async def test_a_fault_of_any_request_fits_what_no_other_name_fits(world: SimWorld) -> None:
    await world.fault("refuse_before", on="any", next=2)
    assert (await world.client.get("/v2/assets")).status_code == 503
    assert (await world.client.get("/v2/nothing")).status_code == 503
    assert (await world.client.get("/v2/assets")).status_code == 200
    assert (await world.client.get("/sim")).status_code == 200


REQUESTS = [
    ("replace", "PATCH", "/v2/orders/00000000-0000-4000-8000-000000000000"),
    ("cancel", "DELETE", "/v2/orders/00000000-0000-4000-8000-000000000000"),
    ("cancel_all", "DELETE", "/v2/orders"),
    ("close", "DELETE", "/v2/positions/AAPL"),
    ("lookup", "GET", "/v2/orders/00000000-0000-4000-8000-000000000000"),
    ("lookup", "GET", "/v2/orders:by_client_order_id?client_order_id=a"),
    ("list", "GET", "/v2/orders"),
    ("account", "GET", "/v2/account"),
    ("positions", "GET", "/v2/positions"),
    ("activities", "GET", "/v2/account/activities/FILL"),
]


async def test_a_fault_is_played_on_its_own_kind_of_request(world: SimWorld) -> None:
    for on, method, path in REQUESTS:
        await world.fault("refuse_before", on=on, params={"status": 599})
        assert (await world.client.get("/v2/clock")).status_code == 200
        assert (await world.client.request(method, path)).status_code == 599, path
        assert (await world.client.request(method, path)).status_code != 599, path


# -- orders -----------------------------------------------------------------------------------------


async def test_a_slow_cancel_leaves_the_order_pending(world: SimWorld) -> None:
    made = (await world.post("slow", limit_price="50")).json()
    await world.has_status("slow", "new")
    await world.fault("cancel_slow", params={"delay_ms": 600_000})
    assert (await world.client.delete(f"/v2/orders/{made['id']}")).status_code == 204
    found = await world.order("slow")
    assert found is not None
    assert found["status"] == "pending_cancel"
    assert await played(world) == ["cancel_slow"]


@pytest.mark.parametrize(
    "prices",
    [{"limit_price": "50"}, {"side": "sell", "limit_price": "150"}, {"type": "stop", "stop_price": "150"}],
)
async def test_a_cancel_that_was_accepted_loses_against_a_fill(
    world: SimWorld, prices: dict[str, str]
) -> None:
    await world.post("hold")
    await world.has_status("hold", "filled")
    made = (await world.post("race", **prices)).json()
    await world.has_status("race", "new")
    await world.fault("cancel_fill_race")
    assert (await world.client.delete(f"/v2/orders/{made['id']}")).status_code == 204
    order = await world.has_status("race", "filled", "canceled")
    price = prices.get("limit_price") or prices["stop_price"]
    assert (order["status"], order["filled_avg_price"]) == ("filled", price)
    await world.quiesce()
    quote = world.sim.market.newest("AAPL")
    assert quote is not None
    assert (quote.bid, quote.ask) == (Decimal("99.00"), Decimal("101.00"))


async def test_the_fill_is_told_before_the_answer_comes(world: SimWorld) -> None:
    # Longer than it waits by default: a busy machine may take its time to fill it.
    await world.fault("fill_before_answer", params={"timeout_ms": 20_000})
    async with world.listening() as one:
        waiting = asyncio.create_task(world.post("early"))
        heard = []
        while not heard or heard[-1] != "fill":
            heard.append((await one.next())["event"])
        answer = await waiting
    assert answer.json()["status"] == "pending_new"
    (told,) = await world.ledger("fault")
    assert told["fill_sent"] is True
    await world.fault("fill_before_answer", params={"timeout_ms": 50})
    assert (await world.post("never", limit_price="50")).status_code == 200
    assert [one["fill_sent"] for one in await world.ledger("fault")] == [True, False]


async def test_a_burst_fills_an_order_in_many_prints(world: SimWorld) -> None:
    await world.fault("partial_fill_burst", params={"prints": 5})
    async with world.listening() as one:
        await world.post("burst", qty="23")
        events = [await one.next() for _ in range(6)]
    assert [each["event"] for each in events] == ["new", *["partial_fill"] * 4, "fill"]
    assert [each["qty"] for each in events[1:]] == ["4", "4", "4", "4", "7"]
    assert [each["position_qty"] for each in events[1:]] == ["4", "8", "12", "16", "23"]
    assert (await world.post("whole")).status_code == 200
    await world.has_status("whole", "filled")
    assert len({one["id"] for one in await fills(world, "whole")}) == 1


async def fills(world: SimWorld, name: str) -> list[dict[str, Any]]:
    order = await world.order(name)
    assert order is not None
    found = (await world.client.get("/v2/account/activities/FILL")).json()
    return [one for one in found if one["order_id"] == order["id"]]


async def test_some_orders_fill_in_part_at_random_and_the_same_ones_under_a_seed(
    sqlite_url: str, tmp_path: Path
) -> None:
    counts = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        async with simulated(sqlite_url, tmp_path / run, partial_rate=0.5, seed=3) as world:
            for n in range(5):
                await world.post(f"{run}{n}")
                await world.has_status(f"{run}{n}", "filled")
            counts.append([len(await fills(world, f"{run}{n}")) for n in range(5)])
    assert counts[0] == counts[1]
    assert set(counts[0]) == {1, 2}
