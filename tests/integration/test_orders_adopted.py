"""A key that was forgotten, as by a restore from a backup, while its orders live on at the broker (contract E8)."""

from typing import Any

from sqlalchemy import bindparam

from paiid.core.db import statement
from paiid.core.tables import intents, orders
from tests.halt_world import audit_actions
from tests.orders_world import BUY, Trading
from tests.world import fresh_key

HALF: dict[str, Any] = {"symbol": "SPY", "side": "buy", "qty": 90}
"""It fits the account's buying power once and not twice."""
LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}
_FORGET_KEYS = statement(intents.delete())
_FORGET_ORDER = statement(orders.delete().where(orders.c.id == bindparam("b_id")))
_ESTRANGE = statement(orders.update().values(intent_id=None, user_id=None, origin="external", position=0))


async def forget(trading: Trading, *lost: dict[str, Any]) -> None:
    """The keys are gone, and `lost` orders too; the others came back from the broker as external ones."""
    async with trading.db.begin() as tx:
        await tx.execute(_FORGET_KEYS)
        for one in lost:
            await tx.execute(_FORGET_ORDER, {"b_id": one["id"]})
        await tx.execute(_ESTRANGE)
    for one in lost:
        trading.broker.orders.pop(one["broker_order_id"])


async def test_E08_an_adopted_order_is_not_counted_twice(trading: Trading) -> None:
    """It is in the account's open orders already: checked again beside itself it would not fit."""
    key = fresh_key()
    first = (await trading.owner.execute(HALF, key=key)).json()["orders"][0]
    await forget(trading)
    again = await trading.owner.execute(HALF, key=key)
    assert again.status_code == 200, again.text
    assert again.json()["accepted"] is True
    (order,) = again.json()["orders"]
    assert (order["id"], order["origin"], order["state"]) == (first["id"], "adopted", "ACCEPTED")
    assert len(trading.broker.submitted) == 1
    assert "order.refuse" not in [action for action, _, _ in await audit_actions(trading.db)]
    replay = await trading.owner.execute(HALF, key=key)
    assert replay.content == again.content


async def test_E08_of_a_call_only_what_is_missing_is_sent(trading: Trading) -> None:
    key = fresh_key()
    asked = (HALF, LIMIT, {**LIMIT, "qty": 2})
    first = (await trading.owner.execute(*asked, key=key)).json()["orders"]
    await forget(trading, first[1], first[2])
    again = await trading.owner.execute(*asked, key=key)
    made = again.json()["orders"]
    assert [one["state"] for one in made] == ["ACCEPTED"] * 3
    assert [one["origin"] for one in made] == ["adopted", "ours", "ours"]
    assert [one["client_order_id"] for one in made] == [one["client_order_id"] for one in first]
    assert [one.symbol for one in trading.broker.submitted[3:]] == ["MSFT", "MSFT"]


async def test_E08_where_the_rest_is_refused_the_adopted_order_stays_and_the_refusal_is_told(
    trading: Trading,
) -> None:
    key = fresh_key()
    first = (await trading.owner.execute(BUY, LIMIT, key=key)).json()["orders"]
    await forget(trading, first[1])
    halt = {"halt": True, "reason": "test", "scope": "symbol:MSFT"}
    assert (await trading.owner.post("/api/admin/kill", json=halt)).status_code == 200
    again = await trading.owner.execute(BUY, LIMIT, key=key)
    assert again.status_code == 200
    assert again.json()["accepted"] is False
    made = again.json()["orders"]
    assert [one["state"] for one in made] == ["ACCEPTED", "REFUSED"]
    assert made[1]["reason"]["code"] == "trading_halted"
    assert len(trading.broker.submitted) == 2


async def test_E08_a_forgotten_key_under_another_request_is_a_422_and_nothing_is_sent(
    trading: Trading,
) -> None:
    """Its id is made of the key, so the order that is there proves that the key was used for something else."""
    key = fresh_key()
    await trading.owner.execute(BUY, key=key)
    await forget(trading)
    before = await trading.everything()
    for other in ({**BUY, "qty": 11}, {**BUY, "side": "sell"}, {**BUY, "symbol": "MSFT"}):
        answer = await trading.owner.execute(other, key=key)
        assert answer.status_code == 422, answer.text
        assert answer.json()["type"] == "urn:paiid:problem:idempotency-key-reused"
    assert await trading.everything() == before


async def test_E08_a_forgotten_close_is_adopted_and_closes_nothing_more(trading: Trading) -> None:
    key = fresh_key()
    await trading.hold("AAPL", 10)
    close = {"headers": {"Idempotency-Key": key}}
    first = (await trading.owner.delete("/api/portfolio/positions/AAPL", **close)).json()["orders"][0]
    await forget(trading)
    again = await trading.owner.delete("/api/portfolio/positions/AAPL", **close)
    assert again.status_code == 200, again.text
    assert again.json()["orders"][0]["id"] == first["id"]
    assert len(trading.broker.submitted) == 2
