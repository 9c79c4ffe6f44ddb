"""An account whose books do not agree, or that its broker has blocked, opens nothing, and says why."""

from dataclasses import replace

import pytest
from sqlalchemy import bindparam, update

from paiid.core.db import statement
from paiid.core.tables import accounts
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import QUICK, Trading, until

_ROW = statement(
    update(accounts).where(accounts.c.id == bindparam("b_id")), columns=["reconcile_problem", "status"]
)


@pytest.fixture
async def trading(make_app: MakeApp, broker: FakeBroker) -> Trading:
    """An app that has compared its books, and does not do so again: the books and the broker do agree, so that a comparison would
    take back what a test says of them."""
    timings = replace(QUICK, compare_s=3600.0, recompare_s=3600.0)
    app = await make_app(broker=broker, timings=timings)
    made = Trading(app, broker, await app.owner())

    async def compared() -> bool:
        return (await made.owner.get("/api/account")).json()["reconciled_at"] is not None

    await until(compared)
    return made


async def _say(trading: Trading, account: str, problem: str | None, status: str = "active") -> None:
    async with trading.db.begin() as tx:
        await tx.execute(_ROW, {"b_id": account, "reconcile_problem": problem, "status": status})


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        ("position MSFT: ours 10, broker 12", "active", "account_not_reconciled"),
        ("order.overfilled ord_1", "active", "account_not_reconciled"),
        (None, "blocked", "account_blocked"),
    ],
)
async def test_an_account_in_a_bad_state_opens_nothing_and_everything_else_goes_on(
    trading: Trading, problem: str | None, status: str, code: str
) -> None:
    held_order = await trading.hold("MSFT", 10)
    account = held_order["account"]
    resting = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1}
    answer = await trading.owner.execute(resting)
    (order,) = answer.json()["orders"]
    await _say(trading, account, problem, status)

    sent = len(trading.broker.submitted)
    for asked in (
        {"symbol": "MSFT", "side": "buy", "qty": 1},
        {"symbol": "MSFT", "side": "sell", "qty": 11},
        {"symbol": "TSLA", "side": "buy", "qty": 1},
    ):
        refused = (await trading.owner.execute(asked)).json()
        assert refused["accepted"] is False
        assert refused["orders"][0]["reason"]["code"] == code
        assert (problem or "blocked") in refused["orders"][0]["reason"]["message"]
    dry = await trading.owner.execute({"symbol": "TSLA", "side": "buy", "qty": 1}, dryRun=True)
    assert (dry.json()["dryRun"], dry.json()["accepted"]) == (True, False)
    assert code in dry.text
    assert len(trading.broker.submitted) == sent

    assert (await trading.owner.execute({"symbol": "MSFT", "side": "sell", "qty": 4})).json()["accepted"]
    canceled = await trading.owner.delete(f"/api/trading/orders/{order['id']}")
    assert canceled.status_code in (200, 202)

    await _say(trading, account, None)
    assert (await trading.owner.execute({"symbol": "TSLA", "side": "buy", "qty": 1})).json()["accepted"]
