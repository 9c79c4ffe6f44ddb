"""Cancelling one order, all, or those of a key, in every state an order can be in (contracts E0, K1)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from paiid.brokers import BrokerRejected, NotSent, OutcomeUnknown
from paiid.domain.orders import OrderStatus
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer, waits_for
from tests.orders_world import BUY, QUICK, Trading, final_answer, id_of, until
from tests.world import fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}
PATIENT = replace(QUICK, broker_deadline_s=30.0, call_budget_s=60.0, horizon_s=90.0)
"""Where the test itself decides when the broker answers: no deadline may come before it on a slow machine."""


async def placed(trading: Trading) -> dict[str, Any]:
    """One resting order."""
    (order,) = (await trading.owner.execute(LIMIT)).json()["orders"]
    assert order["state"] == "ACCEPTED"
    found: dict[str, Any] = order
    return found


async def seen(trading: Trading, order: dict[str, Any]) -> dict[str, Any]:
    """The order as it is now."""
    found: dict[str, Any] = (await trading.owner.get(f"/api/trading/orders/{order['id']}")).json()
    return found


async def test_E00_a_resting_order_is_cancelled_once_however_often_it_is_asked_for(trading: Trading) -> None:
    order = await placed(trading)
    first = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert first.status_code == 200
    assert first.json()["outcome"] == "done"
    assert first.json()["order"]["status"] == "CANCELED"
    assert first.json()["order"]["cancel_state"] == "ACCEPTED"
    again = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert (again.status_code, again.json()["outcome"]) == (200, "done")
    assert trading.broker.canceled == [order["broker_order_id"]]


async def test_E00_a_filled_order_cannot_be_cancelled_and_says_so(trading: Trading) -> None:
    order = await trading.hold("AAPL", 3)
    answer = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "refused")
    assert "FILLED" in answer.json()["message"]
    assert trading.broker.canceled == []


async def test_E00_a_cancel_that_the_broker_refuses_is_told_and_the_order_goes_on(trading: Trading) -> None:
    order = await placed(trading)
    trading.broker.cancel_error = BrokerRejected("not_cancelable", "it is being executed")
    answer = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "refused")
    assert answer.json()["message"] == "it is being executed"
    now = await seen(trading, order)
    assert (now["status"], now["cancel_state"]) == ("NEW", "REFUSED")


@pytest.mark.parametrize("error", [OutcomeUnknown("no answer"), NotSent("refused connection")])
async def test_E00_a_cancel_whose_answer_is_lost_is_told_and_asked_again(
    trading: Trading, error: Exception
) -> None:
    order = await placed(trading)
    trading.broker.cancel_error = error
    answer = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    assert answer.headers["Retry-After"] == "1"
    assert (await seen(trading, order))["cancel_state"] == "UNKNOWN"
    trading.broker.cancel_error = None
    now = await trading.owner.wait_filled(order["id"], 15)
    assert (now["status"], now["cancel_state"]) == ("CANCELED", "ACCEPTED")


class Deliberate(FakeBroker):
    """Grants a cancel at once and carries it out later, as a broker with an exchange behind it."""

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> None:
        self.canceled.append(broker_order_id)
        if self.cancel_error is not None:
            raise self.cancel_error


async def test_E00_what_the_broker_has_granted_no_second_asking_takes_back(make_app: MakeApp) -> None:
    """Brokers grant a cancel and refuse the next one, because the first is under way."""
    broker = Deliberate()
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    order = await placed(trading)
    first = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert (first.status_code, first.json()["outcome"]) == (202, "requested")
    broker.cancel_error = BrokerRejected("pending_cancel", "it is being cancelled")
    again = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert again.json()["outcome"] == "refused"
    assert (await seen(trading, order))["cancel_state"] == "ACCEPTED"
    broker.end(order["broker_order_id"], OrderStatus.CANCELED)
    now = await trading.owner.wait_filled(order["id"], 15)
    assert (now["status"], now["cancel_state"]) == ("CANCELED", "ACCEPTED")


async def test_E00_a_queued_order_is_skipped_and_so_are_those_behind_it(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    """It is not accepted, so what comes after it in the call is not sent either (E4)."""
    app = await make_app(broker=broker, timings=PATIENT)
    trading = Trading(app, broker, await app.owner())
    gate = asyncio.Event()
    trading.broker.default = waits_for(gate)
    key = fresh_key()
    call = asyncio.create_task(trading.owner.execute(BUY, LIMIT, {**LIMIT, "qty": 2}, key=key))
    while not trading.broker.submitted:
        await asyncio.sleep(0.01)
    intent = (await trading.owner.get("/api/trading/intents", params={"key": key})).json()
    assert [order["state"] for order in intent["orders"]] == ["DISPATCHING", "QUEUED", "QUEUED"]
    answer = await trading.owner.delete(f"/api/trading/orders/{intent['orders'][1]['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "done")
    gate.set()
    final = await call
    assert [order["state"] for order in final.json()["orders"]] == ["ACCEPTED", "SKIPPED", "SKIPPED"]
    assert final.json()["orders"][1]["reason"]["code"] == "canceled"
    assert len(trading.broker.submitted) == 1


async def test_E00_an_order_on_the_wire_is_cancelled_as_soon_as_it_is_at_the_broker(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    """Not only when a cancel that was sent would count as lost, for it was never sent."""
    app = await make_app(broker=broker, timings=PATIENT)
    trading = Trading(app, broker, await app.owner())
    gate = asyncio.Event()
    trading.broker.default = waits_for(gate)
    key = fresh_key()
    call = asyncio.create_task(trading.owner.execute(BUY, key=key))
    while not trading.broker.submitted:
        await asyncio.sleep(0.01)
    intent = (await trading.owner.get("/api/trading/intents", params={"key": key})).json()
    answer = await trading.owner.delete(f"/api/trading/orders/{intent['orders'][0]['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "requested")
    assert trading.broker.canceled == []
    gate.set()
    assert (await call).json()["orders"][0]["cancel_state"] == "REQUESTED"
    now = await trading.owner.wait_filled(intent["orders"][0]["id"])
    assert (now["status"], now["cancel_state"]) == ("CANCELED", "ACCEPTED")


async def test_E00_an_order_in_doubt_is_cancelled_as_soon_as_it_is_found(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    # With the short horizon it could count as not placed before a slow machine has asked for the cancel.
    app = await make_app(broker=broker, timings=replace(QUICK, horizon_s=90.0))
    trading = Trading(app, broker, await app.owner())
    trading.broker.hidden = True
    trading.broker.scripts.append(loses_answer(placed=True))
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    (order,) = first.json()["orders"]
    assert order["state"] == "UNKNOWN"
    answer = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "requested")
    trading.broker.hidden = False
    now = await trading.owner.wait_filled(order["id"])
    assert (now["state"], now["status"]) == ("ACCEPTED", "CANCELED")
    assert (await final_answer(trading.owner, key, BUY)).status_code == 200


async def test_E00_all_open_orders_of_an_account_are_cancelled_and_no_others(trading: Trading) -> None:
    mine = [await placed(trading) for _ in range(3)]
    other = await trading.app.user("trader")
    theirs = (await other.execute(LIMIT)).json()["orders"][0]
    filled = await trading.hold("AAPL", 2)
    answer = await trading.owner.delete("/api/trading/orders")
    assert answer.status_code == 200
    assert sorted(one["id"] for one in answer.json()["data"]) == sorted(one["id"] for one in mine)
    assert {one["outcome"] for one in answer.json()["data"]} == {"done"}
    assert (await seen(trading, filled))["status"] == "FILLED"
    assert (await other.get(f"/api/trading/orders/{theirs['id']}")).json()["status"] == "NEW"


async def test_E00_the_orders_of_a_key_are_cancelled_and_no_others(trading: Trading) -> None:
    key = fresh_key()
    asked = await trading.owner.execute(LIMIT, {**LIMIT, "qty": 2}, key=key)
    bystander = await placed(trading)
    answer = await trading.owner.delete("/api/trading/orders", params={"key": key})
    assert [one["id"] for one in answer.json()["data"]] == [one["id"] for one in asked.json()["orders"]]
    assert {one["outcome"] for one in answer.json()["data"]} == {"done"}
    assert (await seen(trading, bystander))["status"] == "NEW"


async def test_K01_a_halt_blocks_no_cancel(trading: Trading) -> None:
    one, other = await placed(trading), await placed(trading)
    halt = {"halt": True, "reason": "test", "scope": "global"}
    assert (await trading.owner.post("/api/admin/kill", json=halt)).status_code == 200
    answer = await trading.owner.delete(f"/api/trading/orders/{one['id']}")
    assert answer.json()["outcome"] == "done"
    rest = await trading.owner.delete("/api/trading/orders")
    assert [(one["id"], one["outcome"]) for one in rest.json()["data"]] == [(other["id"], "done")]


async def test_E00_nobody_cancels_what_is_not_his(trading: Trading) -> None:
    order = await placed(trading)
    key = fresh_key()
    await trading.owner.execute(LIMIT, key=key)
    viewer, other = await trading.app.user("viewer"), await trading.app.user("trader")
    before = await trading.everything()
    assert (await other.delete(f"/api/trading/orders/{order['id']}")).status_code == 404
    assert (await other.delete("/api/trading/orders", params={"key": key})).status_code == 404
    assert (
        await other.delete("/api/trading/orders", params={"account": order["account"]})
    ).status_code == 404
    assert (await viewer.delete(f"/api/trading/orders/{order['id']}")).status_code == 403
    assert (await viewer.delete("/api/trading/orders")).status_code == 403
    assert (await other.delete("/api/trading/orders/ord_nothing")).status_code == 404
    both = {"account": order["account"], "key": key}
    assert (await trading.owner.delete("/api/trading/orders", params=both)).status_code == 422
    assert (await trading.owner.delete("/api/trading/orders", params={"key": "short"})).status_code == 422
    assert await trading.everything() == before


async def test_E00_a_grant_to_view_is_none_to_cancel(trading: Trading) -> None:
    order = await placed(trading)
    other = await trading.app.user("trader")
    user_id = await id_of(other)
    granted = await trading.owner.request(
        "PUT", f"/api/accounts/{order['account']}/grants/{user_id}", json={"access": "view"}
    )
    assert granted.status_code in (200, 201), granted.text

    async def visible() -> bool:
        return (await other.get(f"/api/trading/orders/{order['id']}")).status_code == 200

    await until(visible)
    assert (await other.delete(f"/api/trading/orders/{order['id']}")).status_code == 403
    assert trading.broker.canceled == []
