"""Closing a position: never more than is left of it, once per version of it, short or long (contract E0)."""

import asyncio
from dataclasses import replace

import pytest

from tests.conftest import MakeApp
from tests.fakes import FakeBroker, waits_for
from tests.orders_world import QUICK, Trading
from tests.rows import every_row
from tests.world import fresh_key

PATHS = ["/api/portfolio/positions", "/api/positions"]


@pytest.mark.parametrize("path", PATHS)
async def test_E00_a_close_sells_what_is_held(trading: Trading, path: str) -> None:
    await trading.hold("AAPL", 10)
    answer = await trading.owner.delete(f"{path}/aapl")
    assert answer.status_code == 200, answer.text
    (order,) = answer.json()["orders"]
    assert (order["side"], order["qty"], order["type"], order["state"]) == ("sell", 10, "market", "ACCEPTED")
    assert answer.json()["accepted"] is True


async def test_E00_a_short_position_is_closed_by_buying(trading: Trading) -> None:
    await trading.hold("AAPL", -7)
    answer = await trading.owner.delete(f"{PATHS[0]}/AAPL")
    (order,) = answer.json()["orders"]
    assert (order["side"], order["qty"], order["state"]) == ("buy", 7, "ACCEPTED")


@pytest.mark.parametrize("held", [10, -10])
async def test_E00_parts_are_closed_and_together_never_more_than_is_held(trading: Trading, held: int) -> None:
    await trading.hold("AAPL", held)
    path = f"{PATHS[0]}/AAPL"
    first = await trading.owner.delete(path, params={"qty": "4"}, headers={"Idempotency-Key": fresh_key()})
    assert first.json()["orders"][0]["qty"] == 4
    before = await trading.everything()
    more = await trading.owner.delete(path, params={"qty": "7"}, headers={"Idempotency-Key": fresh_key()})
    assert more.status_code == 409, more.text
    assert (more.json()["measured"], more.json()["limit"]) == (7, 6)
    assert await trading.everything() == before
    rest = await trading.owner.delete(path, headers={"Idempotency-Key": fresh_key()})
    assert rest.json()["orders"][0]["qty"] == 6
    before = await trading.everything()
    nothing = await trading.owner.delete(path, headers={"Idempotency-Key": fresh_key()})
    assert nothing.status_code == 409
    assert await trading.everything() == before
    assert sum(one.qty for one in trading.broker.submitted[1:]) == 10


async def test_E00_a_limit_order_that_sells_counts_as_closing(trading: Trading) -> None:
    await trading.hold("AAPL", 10)
    resting = {"symbol": "AAPL", "side": "sell", "qty": 8, "type": "limit", "limit_price": 400}
    assert (await trading.owner.execute(resting)).json()["accepted"] is True
    answer = await trading.owner.delete(f"{PATHS[0]}/AAPL")
    assert answer.json()["orders"][0]["qty"] == 2


async def test_E00_without_a_key_closing_twice_is_one_order_and_the_same_answer(trading: Trading) -> None:
    await trading.hold("AAPL", 10)
    first = await trading.owner.delete(f"{PATHS[0]}/AAPL")
    again = await trading.owner.delete(f"{PATHS[1]}/AAPL")
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(trading.broker.submitted) == 2


async def test_E00_two_closes_at_once_are_one_order(make_app: MakeApp, broker: FakeBroker) -> None:
    # The test decides when the broker answers: its deadline must not come first on a slow machine.
    patient = replace(QUICK, broker_deadline_s=30.0, call_budget_s=60.0, horizon_s=90.0)
    app = await make_app(broker=broker, timings=patient)
    trading = Trading(app, broker, await app.owner())
    await trading.hold("AAPL", 10)
    gate = asyncio.Event()
    trading.broker.default = waits_for(gate)
    calls = [asyncio.create_task(trading.owner.delete(f"{path}/AAPL")) for path in (*PATHS, *PATHS)]
    while len(trading.broker.submitted) < 2:
        await asyncio.sleep(0.01)
    gate.set()
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert [answer.status_code for answer in answers].count(200) >= 1
    assert len(trading.broker.submitted) == 2


async def test_E00_a_close_that_came_to_nothing_may_be_tried_again_without_a_key(trading: Trading) -> None:
    """The version of the position moves when a closing order ends unfilled, so the derived key is a new one."""
    await trading.hold("AAPL", 10)
    (order,) = (await trading.owner.delete(f"{PATHS[0]}/AAPL")).json()["orders"]
    assert (await trading.owner.delete(f"/api/trading/orders/{order['id']}")).status_code in (200, 202)
    await trading.owner.wait_filled(order["id"], 15)
    again = await trading.owner.delete(f"{PATHS[0]}/AAPL")
    assert again.json()["orders"][0]["id"] != order["id"]
    assert again.json()["accepted"] is True


async def test_E00_after_it_is_closed_there_is_nothing_to_close(trading: Trading) -> None:
    await trading.hold("AAPL", 10)
    (order,) = (await trading.owner.delete(f"{PATHS[0]}/AAPL")).json()["orders"]
    trading.broker.fill(order["broker_order_id"], 10, "101")
    await trading.owner.wait_filled(order["id"], 15)

    before = await trading.everything()
    answer = await trading.owner.delete(f"{PATHS[0]}/AAPL")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:paiid:problem:not-found"
    assert await trading.everything() == before


_NO_CLOSES: list[tuple[str, dict[str, str], list[tuple[str, str]], int]] = [
    ("AAPL", {"qty": "0"}, [], 422),
    ("AAPL", {"qty": "-1"}, [], 422),
    ("AAPL", {"qty": "NaN"}, [], 422),
    ("AAPL", {"qty": "Infinity"}, [], 422),
    ("AAPL", {"qty": "1e309"}, [], 422),
    ("AAPL", {"qty": "1e-30"}, [], 422),
    ("AAPL", {"qty": "ten"}, [], 422),
    ("AAPL", {"qty": ""}, [], 422),
    ("AAPL", {"qty": "1" * 33}, [], 422),
    ("AAPL", {"account": "paper-of-somebody-else"}, [], 404),
    ("MSFT", {}, [], 404),
    ("MSFT", {}, [("Idempotency-Key", "close-with-a-key")], 404),
    ("\u0410APL", {}, [], 422),
    ("TOO-LONG", {}, [], 422),
    ("X" * 17, {}, [], 422),
    ("AAPL", {}, [("Idempotency-Key", "short")], 400),
    ("AAPL", {}, [("Idempotency-Key", "twice-the-same"), ("Idempotency-Key", "twice-the-same")], 400),
]


async def test_E00_a_close_that_makes_no_sense_does_nothing(trading: Trading) -> None:
    await trading.hold("AAPL", 10)
    before = await trading.everything()
    with every_row() as row:
        for symbol, params, headers, status in _NO_CLOSES:
            with row(symbol, params, headers):
                answer = await trading.app.http.delete(
                    f"{PATHS[0]}/{symbol}",
                    params=params,
                    headers=[*headers, ("Authorization", f"Bearer {trading.owner.token}")],
                )
                assert answer.status_code == status, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                assert await trading.everything() == before


async def test_E00_a_viewer_and_another_user_close_nothing(trading: Trading) -> None:
    order = await trading.hold("AAPL", 10)
    viewer, other = await trading.app.user("viewer"), await trading.app.user("trader")
    before = await trading.everything()
    named = {"account": order["account"]}
    assert (await viewer.delete(f"{PATHS[0]}/AAPL", params=named)).status_code == 403
    assert (await other.delete(f"{PATHS[0]}/AAPL", params=named)).status_code == 404
    assert (await other.delete(f"{PATHS[0]}/AAPL")).status_code == 404
    assert await trading.everything() == before


async def test_E00_a_close_under_a_halt_is_refused_and_under_reduce_only_it_goes(trading: Trading) -> None:
    await trading.hold("AAPL", 10)
    reduce_only = {"halt": True, "reason": "test", "scope": "global", "mode": "reduce_only"}
    assert (await trading.owner.post("/api/admin/kill", json=reduce_only)).status_code == 200
    part = await trading.owner.delete(
        f"{PATHS[0]}/AAPL", params={"qty": "4"}, headers={"Idempotency-Key": fresh_key()}
    )
    assert part.json()["accepted"] is True
    halted = {"halt": True, "reason": "test", "scope": "global"}
    assert (await trading.owner.post("/api/admin/kill", json=halted)).status_code == 200
    rest = await trading.owner.delete(f"{PATHS[0]}/AAPL", headers={"Idempotency-Key": fresh_key()})
    assert rest.status_code == 423
    assert len(trading.broker.submitted) == 2
