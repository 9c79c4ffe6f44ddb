"""What happens at a broker while nobody listens is in the ledger after the reconnect (contract E18)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerActivity, BrokerOrder, BrokerUpdate, OutcomeUnknown
from paiid.domain.orders import OrderStatus
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.ledger_world import books
from tests.orders_world import QUICK, Trading, until

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 10, "type": "limit", "limit_price": 100.25}


class Forgetful(FakeBroker):
    """Tells only what happens while somebody listens, as the streams of most brokers do."""

    def __init__(self) -> None:
        super().__init__()
        self._connected = True
        self._listening = False

    async def disconnect(self) -> None:
        """The stream breaks, and no new one can be had."""
        self._connected = False
        self._news.set()
        await until(self._lost)

    def reconnect(self) -> None:
        """A new stream can be had."""
        self._connected = True

    async def _lost(self) -> bool:
        return not self._listening

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        at = len(self._updates)
        self._listening = self._connected
        while self._connected:
            while at < len(self._updates):
                at += 1
                yield self._updates[at - 1]
            self._news.clear()
            await self._news.wait()
        self._listening = False
        raise OutcomeUnknown("the stream is lost")


@pytest.fixture
def broker() -> Forgetful:
    """A broker whose stream forgets."""
    return Forgetful()


async def _filled(trading: Trading, broker_id: str, qty: int) -> bool:
    found = await books(trading.db)
    rows = [row for account in found.values() for row in account["orders"]]
    return any(row["broker_order_id"] == broker_id and row["filled_qty"] == qty for row in rows)


async def test_E18_after_a_gap_the_rows_are_what_they_would_be_without_it(
    make_app: MakeApp, broker: Forgetful
) -> None:
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    answer = await trading.owner.execute(*[{**LIMIT, "qty": n} for n in (10, 11, 12, 13)])
    assert answer.json()["accepted"] is True
    account = answer.json()["account"]
    first, second, third, fourth = (one["broker_order_id"] for one in answer.json()["orders"])
    broker.fill(first, 3, "100")
    await until(lambda: _filled(trading, first, 3))

    await broker.disconnect()
    broker.fill(first, 7, "100.1")
    broker.fill(second, 5, "100.2")
    broker.end(second, OrderStatus.CANCELED)
    broker.fill(third, 2, "100.25")
    bought, gone, resting = (
        broker.place(BrokerOrder(account, name, "AMD", "buy", Decimal(4), "market", "day")).broker_order_id
        for name in ("theirs-1", "theirs-2", "theirs-3")
    )
    broker.fill(bought, 4, "100")
    broker.end(gone, OrderStatus.CANCELED)
    broker.reconnect()
    await until(lambda: _filled(trading, resting, 0))
    broker.fill(fourth, 13, "99")
    await until(lambda: _filled(trading, fourth, 13))

    found = (await books(trading.db))[account]
    shown = {
        row["broker_order_id"]: (row["origin"], row["status"], row["filled_qty"]) for row in found["orders"]
    }
    assert shown == {
        first: ("ours", "FILLED", 10),
        second: ("ours", "CANCELED", 5),
        third: ("ours", "PARTIALLY_FILLED", 2),
        fourth: ("ours", "FILLED", 13),
        bought: ("external", "FILLED", 4),
        resting: ("external", "NEW", 0),
    }
    held = {row["symbol"]: row["qty"] for row in found["positions"]}
    assert held == {"AMD": 4, "MSFT": 30} == broker.positions[account]
    spent = sum((p.qty * p.price for p in broker.executions), Decimal(0))
    assert found["cash"] == Decimal(100_000) - spent
    assert found["open_orders"] == 2


async def test_E18_a_late_print_of_an_order_that_has_ended_is_found_by_the_catch_up(
    make_app: MakeApp, broker: Forgetful
) -> None:
    """The ledger has the order as filled or cancelled and no longer asks for it; the print is there all the same."""
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    answer = await trading.owner.execute(LIMIT)
    (order,) = answer.json()["orders"]
    broker.end(order["broker_order_id"], OrderStatus.CANCELED)
    await trading.owner.wait_filled(order["id"])
    await broker.disconnect()
    broker.fill(order["broker_order_id"], 4, "100")
    broker.reconnect()
    await until(lambda: _filled(trading, order["broker_order_id"], 4))
    seen = (await trading.owner.get(f"/api/trading/orders/{order['id']}")).json()
    assert (seen["status"], seen["filled_qty"]) == ("CANCELED", 4)


async def test_E18_what_happened_to_the_account_in_a_gap_is_booked_after_it_and_only_once(
    make_app: MakeApp, broker: Forgetful
) -> None:
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    order = await trading.hold("MSFT", 10, "100")
    account = order["account"]

    async def cash(wanted: str) -> bool:
        return bool((await books(trading.db))[account]["cash"] == Decimal(wanted))

    await until(lambda: cash("99000"))
    for paid in ("2.50", "1.25"):
        await broker.disconnect()
        at_us = broker.executions[-1].executed_at_us + 1
        broker.act(
            BrokerActivity(
                account, f"split-{paid}", "split", "MSFT", Decimal(10), Decimal(0), Decimal(0), at_us, ""
            )
        )
        broker.act(
            BrokerActivity(
                account, f"div-{paid}", "dividend", "MSFT", Decimal(0), Decimal(0), Decimal(paid), at_us, ""
            )
        )
        broker.reconnect()
        await until(lambda: cash("99002.50" if len(broker.activities) == 2 else "99003.75"))
    (position,) = (await books(trading.db))[account]["positions"]
    assert (position["qty"], position["cost_basis"]) == (30, 1_000_000_000)
    told = (await trading.owner.get("/api/trading/activities")).json()["data"]
    assert sorted(one["activity_id"] for one in told) == ["div-1.25", "div-2.50", "split-1.25", "split-2.50"]
