"""A broker that tells, but often fails when it is asked: what it tells is taken in, and each answer counts (E18)."""

from collections.abc import Sequence
from dataclasses import replace

from paiid.brokers import BrokerOrderView, OutcomeUnknown
from paiid.core.clock import SystemClock
from paiid.domain.orders import OrderStatus
from tests.conftest import MakeApp
from tests.integration.test_update_reader import (
    SOON,
    NoReplay,
    begun,
    keep_silent_until_begun,
    resting,
    start,
)
from tests.orders_world import Trading, until


class Failing(NoReplay):
    """Lists nothing while `lists_fail`, and does not answer for `unanswered` orders."""

    def __init__(self) -> None:
        super().__init__()
        self.lists_fail = False
        self.unanswered: set[str] = set()

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        if self.lists_fail:
            raise OutcomeUnknown("no answer in time")
        return await super().fetch_open_orders(account_number, timeout_s)

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        if broker_order_id in self.unanswered:
            raise OutcomeUnknown("no answer in time")
        return await super().fetch_order_by_id(account_number, broker_order_id, timeout_s)


async def test_E18_what_the_stream_tells_is_taken_in_while_nothing_can_be_fetched(make_app: MakeApp) -> None:
    broker = Failing()
    trading = await start(make_app, broker, SOON)
    order, there = await resting(trading)
    missed, there_too = await resting(trading)
    broker.mute = True
    broker.fill(there_too, 10, "100.25")
    broker.lists_fail = True
    broker.break_off()
    await until(lambda: begun(broker, 2))
    broker.mute = False
    broker.fill(there, 10, "100.25")
    assert (await trading.owner.wait_filled(order))["filled_qty"] == 10
    assert (await trading.owner.get(f"/api/trading/orders/{missed}")).json()["filled_qty"] == 0
    broker.lists_fail = False
    assert (await trading.owner.wait_filled(missed))["filled_qty"] == 10
    fills = (await trading.owner.get("/api/trading/fills")).json()["data"]
    assert [fill["qty"] for fill in fills] == [10, 10]


async def test_E18_an_order_that_cannot_be_looked_up_keeps_no_other_one_waiting(make_app: MakeApp) -> None:
    broker = Failing()
    trading = await start(make_app, broker, SOON)
    first, there = await resting(trading)
    second, there_too = await resting(trading)
    broker.mute = True
    broker.unanswered.add(there)
    # What has ended without a print is told by no list: each must be looked up.
    broker.end(there, OrderStatus.CANCELED)
    broker.end(there_too, OrderStatus.CANCELED)
    assert (await trading.owner.wait_filled(second))["status"] == "CANCELED"
    assert (await trading.owner.get(f"/api/trading/orders/{first}")).json()["status"] == "NEW"
    broker.unanswered.clear()
    assert (await trading.owner.wait_filled(first))["status"] == "CANCELED"


class Recording(SystemClock):
    """Remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


async def test_E18_a_stream_that_keeps_silent_now_and_then_is_opened_anew_without_growing_pauses(
    make_app: MakeApp,
) -> None:
    broker, clock = NoReplay(), Recording()
    app = await make_app(broker=broker, timings=replace(SOON, update_retry_s=0.037), clock=clock)
    trading = Trading(app, broker, await app.owner())
    await until(lambda: begun(broker, 1))
    for times in (2, 3, 4):
        await keep_silent_until_begun(trading, broker, times)
    assert clock.slept.count(0.037) >= 3
    assert 2 * 0.037 not in clock.slept
