"""A halt while the broker's budget is spent: what is wished comes late, and is never given up or told wrongly (K6, ADR 0026)."""

import asyncio
from collections.abc import Sequence
from typing import Any

from paiid.brokers import BrokerPosition, NotSent
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import QUICK, Trading, until


class Counting(FakeBroker):
    """It counts how often its positions are asked for, and at some point has no place for that any more."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.asked = 0

    @property
    def budget_left(self) -> int | None:  # type: ignore[override]
        return 60

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        self.asked += 1
        if self.left is not None:
            if self.left == 0:
                raise NotSent("the budget is spent")
            self.left -= 1
        return await super().fetch_positions(account_number, timeout_s)


async def flatten(trading: Trading) -> dict[str, Any]:
    wish = {"halt": True, "reason": "out", "scope": "global", "flatten": True}
    return dict((await trading.owner.post("/api/admin/kill", json=wish)).json())


async def test_K06_a_close_for_which_the_broker_has_no_place_is_put_off_and_not_given_up(
    make_app: MakeApp,
) -> None:
    broker = FakeBroker()
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    await trading.hold("AAPL", 5)
    broker.order_free = broker.close_free = 30.0
    arming = asyncio.create_task(flatten(trading))

    async def put_off() -> bool:
        told = (await trading.owner.get("/api/admin/kill")).json()
        return [one["outcome"] for one in told["closes"]] == ["put_off"]

    await until(put_off)
    assert [one.side for one in broker.submitted] == ["buy"]
    broker.order_free = broker.close_free = None

    async def closing() -> bool:
        return [one.side for one in broker.submitted] == ["buy", "sell"]

    await until(closing)
    (close,) = [one for one in broker.orders.values() if one.side == "sell"]
    broker.fill(close.broker_order_id, "5", "100")
    answer = await arming
    assert answer["mode"] == "halted"
    assert [one["outcome"] for one in answer["closes"]] == ["closed"]


async def test_K06_waiting_for_positions_to_be_gone_spends_no_budget_and_loses_no_outcome(
    make_app: MakeApp,
) -> None:
    """At a broker that counts requests; and once it takes none, what was placed is told as placed."""
    broker = Counting()
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    await trading.hold("AAPL", 5)
    broker.asked, broker.left = 0, 3
    answer = await flatten(trading)
    assert [(one["symbol"], one["outcome"]) for one in answer["closes"]] == [("AAPL", "placed")]
    assert broker.asked < 20
