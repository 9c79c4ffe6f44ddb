"""What becomes of an order once it is claimed: sending, outcomes, doubt, answers (E9 to E19), on both databases."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from paiid.brokers import ORDER_WAIT_S, NotSent, OutcomeUnknown
from paiid.core.db import statement
from paiid.core.tables import orders
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer, raises, rejects, waits_for
from tests.orders_world import BUY, QUICK, Trading, final_answer, settled, until
from tests.world import fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}


PATIENT = replace(QUICK, broker_deadline_s=20.0, call_budget_s=25.0, horizon_s=30.0)
"""A broker's answer may take as long as a test has it take, and a slow machine besides."""


async def test_E09_nothing_is_sent_before_the_claim_is_committed(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    seen: list[int] = []
    app = await make_app(broker=broker, timings=PATIENT)
    trading = Trading(app, broker, await app.owner())

    async def look(broker: FakeBroker, order: Any) -> Any:
        async with trading.db.read() as tx:
            rows = await tx.fetch(statement(select(orders.c.state, orders.c.client_order_id)))
        seen.extend(
            1
            for row in rows
            if row["client_order_id"] == order.client_order_id and row["state"] == "DISPATCHING"
        )
        return broker.place(order)

    trading.broker.default = look
    await trading.owner.execute(BUY)
    assert seen == [1]


async def test_E09_one_key_a_hundred_times_at_once_is_one_order(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    # The one of them that sends has to do it while a slow machine is busy with the others.
    app = await make_app(broker=broker, timings=replace(PATIENT, send_window_s=20.0, horizon_s=60.0))
    trading = Trading(app, broker, await app.owner())
    key = fresh_key()
    answers = await asyncio.gather(*(trading.owner.execute(BUY, key=key) for _ in range(100)))
    # On a slow machine the last of a hundred may not have their turn at the database in time.
    assert {a.status_code for a in answers} <= {200, 409, 503}
    final = await final_answer(trading.owner, key, BUY)
    assert final.status_code == 200, final.text
    assert all(a.content == final.content for a in answers if a.status_code == 200)
    assert len(trading.broker.submitted) == 1


async def test_E09_n_orders_cost_n_plus_1_commits(trading: Trading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at the database seam: a claim, and a record for each order."""
    commits = 0
    begin = trading.db.begin

    def counting(**kw: Any) -> Any:
        nonlocal commits
        commits += 1
        return begin(**kw)

    writer = trading.db._writer  # type: ignore[attr-defined]
    monkeypatch.setattr(writer, "_begin", counting)
    await trading.owner.execute(BUY, LIMIT, {**LIMIT, "qty": 2})
    assert commits == 4


@pytest.mark.parametrize("window_s", [-1.0, ORDER_WAIT_S], ids=["past", "no-time-to-wait-for-a-place"])
async def test_E10_past_the_send_window_no_byte_is_written(
    make_app: MakeApp, broker: FakeBroker, window_s: float
) -> None:
    """The stamp is older than the transaction, so a slow commit uses the window up. An order that could no longer wait
    for its place in the broker's budget does not go either."""
    app = await make_app(broker=broker, timings=replace(QUICK, send_window_s=window_s))
    owner = await app.owner()
    answer = await owner.execute(BUY)
    assert answer.json()["orders"][0]["state"] == "REJECTED"
    assert answer.json()["orders"][0]["reason"]["code"] == "not_sent"
    assert broker.submitted == []


async def test_E11_a_definite_refusal_is_rejected_and_looked_up_once(trading: Trading) -> None:
    trading.broker.scripts.append(rejects("insufficient_buying_power"))
    answer = await trading.owner.execute(BUY)
    (order,) = answer.json()["orders"]
    assert order["state"] == "REJECTED"
    assert order["reason"]["code"] == "insufficient_buying_power"
    assert trading.broker.looked_up == [order["client_order_id"]]


async def test_E11_what_was_not_sent_is_rejected(trading: Trading) -> None:
    trading.broker.scripts.append(raises(NotSent("connection refused"), placed=False))
    (order,) = (await trading.owner.execute(BUY)).json()["orders"]
    assert (order["state"], order["reason"]["code"]) == ("REJECTED", "not_sent")


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknown("timeout"),
        RuntimeError("a defect"),
        ConnectionResetError("reset"),
        asyncio.CancelledError(),
        ValueError("an unreadable answer"),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_E11_everything_else_is_unknown_and_settled_by_a_lookup_never_by_sending_again(
    trading: Trading, error: BaseException, placed: bool
) -> None:
    trading.broker.scripts.append(raises(error, placed=placed))
    answer = await settled(trading, fresh_key_of(trading), BUY)
    (order,) = answer.json()["orders"]
    assert order["state"] == ("ACCEPTED" if placed else "NOT_PLACED")
    assert len(trading.broker.submitted) == 1


def fresh_key_of(trading: Trading) -> str:
    """A key; named so that the call reads as one line."""
    return fresh_key()


async def test_E12_absence_is_no_proof_before_the_horizon(make_app: MakeApp, broker: FakeBroker) -> None:
    # A slow machine must come to ask before it has passed.
    app = await make_app(broker=broker, timings=replace(QUICK, horizon_s=8.0))
    trading = Trading(app, broker, await app.owner())
    broker.scripts.append(loses_answer(placed=False))
    key = fresh_key()
    answer = await trading.owner.execute(BUY, key=key)
    assert answer.status_code == 202

    async def looked_up_twice() -> bool:
        return len(broker.looked_up) >= 2

    await until(looked_up_twice)
    await asyncio.sleep(0.5)
    assert (await trading.owner.execute(BUY, key=key)).status_code == 202
    final = await settled(trading, key, BUY)
    assert final.json()["orders"][0]["state"] == "NOT_PLACED"


async def test_E12_an_order_that_is_not_ours_is_not_adopted_and_stays_in_doubt(trading: Trading) -> None:
    async def other(broker: FakeBroker, order: Any) -> Any:
        broker.place(replace(order, qty=order.qty + 1))
        raise OutcomeUnknown("no answer")

    trading.broker.scripts.append(other)
    key = fresh_key()
    answer = await trading.owner.execute(BUY, key=key)
    assert answer.status_code == 202
    await asyncio.sleep(QUICK.horizon_s + 0.5)
    assert (await trading.owner.execute(BUY, key=key)).status_code == 202


async def test_E13_the_order_path_outlives_its_client(trading: Trading) -> None:
    gate = asyncio.Event()
    trading.broker.default = waits_for(gate)
    key = fresh_key()
    call = asyncio.create_task(trading.owner.execute(BUY, key=key))
    while not trading.broker.submitted:
        await asyncio.sleep(0.01)
    call.cancel()
    gate.set()
    answer = await settled(trading, key, BUY)
    assert answer.json()["orders"][0]["state"] == "ACCEPTED"
    assert len(trading.broker.submitted) == 1


async def test_E13_a_draining_service_refuses_new_claims_with_503(trading: Trading) -> None:
    before = await trading.counts()
    trading.app.state.trading.begin_draining()
    answer = await trading.owner.execute(BUY)
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:paiid:problem:shutting-down"
    assert await trading.counts() == before


async def test_E14_in_flight_is_409_unknown_is_202_with_an_address_final_is_replayed(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    app = await make_app(broker=broker, timings=PATIENT)
    trading = Trading(app, broker, await app.owner())
    gate = asyncio.Event()

    async def is_lost(broker: FakeBroker, order: Any) -> Any:
        await gate.wait()
        raise OutcomeUnknown("no answer in time")

    trading.broker.default = is_lost
    trading.broker.hidden = True
    key = fresh_key()
    call = asyncio.create_task(trading.owner.execute(BUY, key=key))
    while not trading.broker.submitted:
        await asyncio.sleep(0.01)
    flying = await trading.owner.execute(BUY, key=key)
    assert flying.status_code == 409
    assert flying.json()["type"] == "urn:paiid:problem:idempotency-in-flight"
    assert flying.headers["Retry-After"] == "1"
    gate.set()
    first = await call
    assert first.status_code == 202
    location = first.headers["Location"]
    assert int(first.headers["Retry-After"]) >= 1
    seen = await trading.owner.get(location)
    assert seen.status_code == 200
    assert seen.json()["status"] == "unknown"
    assert seen.json()["orders"][0]["state"] == "UNKNOWN"


async def test_E15_after_its_time_the_answer_is_a_summary_and_the_key_never_executes_again(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    app = await make_app({"idmp_ttl_seconds": 1}, broker=broker, timings=QUICK)
    owner = await app.owner()
    key = fresh_key()
    first = await owner.execute(BUY, key=key)
    await asyncio.sleep(1.1)
    again = await owner.execute(BUY, key=key)
    assert again.status_code == 200
    assert again.headers["Idempotency-Replayed"] == "summary"
    assert again.json()["orders"][0]["id"] == first.json()["orders"][0]["id"]
    assert (await owner.execute({**BUY, "qty": 1}, key=key)).status_code == 422
    assert len(broker.submitted) == 1


async def test_E16_a_dry_run_says_what_would_happen_and_keeps_nothing(trading: Trading) -> None:
    before = await trading.counts()
    yes = await trading.owner.post("/api/trading/execute", json={"dryRun": True, "orders": [BUY]})
    assert yes.status_code == 200
    assert yes.json()["accepted"] is True
    assert yes.json()["dryRun"] is True
    assert yes.json()["orders"][0]["estimated_value"] > 0
    no = await trading.owner.post(
        "/api/trading/execute", json={"dryRun": True, "orders": [{**BUY, "symbol": "SPY", "qty": 1000}]}
    )
    assert no.json()["accepted"] is False
    assert no.json()["orders"][0]["reason"]["code"] == "buying_power"
    assert trading.broker.submitted == []
    assert await trading.counts() == before


async def test_E16_under_a_halt_a_dry_run_answers_200_and_no(trading: Trading) -> None:
    await trading.owner.post("/api/admin/kill", params={"state": "true"})
    answer = await trading.owner.post("/api/trading/execute", json={"dryRun": True, "orders": [BUY]})
    assert answer.status_code == 200
    assert answer.json()["accepted"] is False
    assert answer.json()["orders"][0]["reason"]["code"] == "trading_halted"


async def test_E19_what_the_broker_cannot_hold_is_refused_never_imitated(make_app: MakeApp) -> None:
    broker = FakeBroker()
    rows = tuple(replace(row, order_types=frozenset({"market", "limit"})) for row in broker.capabilities.rows)
    broker.capabilities = replace(broker.capabilities, rows=rows)
    app = await make_app(broker=broker, timings=QUICK)
    owner = await app.owner()
    answer = await owner.execute(
        {"symbol": "AAPL", "side": "sell", "qty": 1, "type": "stop", "stop_price": 200}
    )
    (order,) = answer.json()["orders"]
    assert (order["state"], order["reason"]["code"]) == ("REFUSED", "type_not_supported")
    assert "limit" in order["reason"]["limit"]
    assert broker.submitted == []
