"""Orders, cancels and a halt's look at the list find a way past reads (E10, K6)."""

import asyncio
from decimal import Decimal

from paiid.brokers import BrokerOrder
from paiid.brokers.tradier import TradierBroker
from paiid.core.clock import SystemClock
from tests.tradier_stage import NUMBER, ORDERS, listed, ok, row, silence, staged, told

OUR_TAG = "pd-" + "0123456789abcdef" * 2
_POSITIONS = f"/v1/accounts/{NUMBER}/positions"


def order() -> BrokerOrder:
    return BrokerOrder(NUMBER, OUR_TAG, "XYZ", "buy", Decimal(10), "limit", "day", Decimal("65.25"))


async def test_E10_reads_that_hang_keep_neither_orders_nor_cancels_waiting_for_a_connection() -> None:
    async with staged() as stage:
        broker = TradierBroker(SystemClock(), stage.keys())
        stage.say("GET", _POSITIONS, silence)
        stage.say("POST", ORDERS, told(200, ok()))
        stage.say("DELETE", f"{ORDERS}/228175", told(200, ok()))
        stage.say("GET", ORDERS, told(200, listed(row(tag=OUR_TAG))))
        hanging = [asyncio.create_task(broker.fetch_positions(NUMBER, 60.0)) for _ in range(8)]
        async with asyncio.timeout(30):
            while len(stage.requests("GET", _POSITIONS)) < 8:
                await asyncio.sleep(0.01)
        await broker.cancel(NUMBER, "228175", 5.0)
        await broker.submit(order(), 5.0)
        for one in hanging:
            one.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await broker.stop()


async def test_K06_a_listing_that_a_halt_waits_for_may_use_all_reads_that_are_left() -> None:
    """No order and no cancel is ever paid from the budget of reads: what they are kept there is kept for nobody."""
    async with staged() as stage:
        broker = TradierBroker(SystemClock(), stage.keys())
        broker._wire.governor("standard").learn(limit=120, left=20)
        # Far less than the minute after which there would be places again.
        assert await broker.fetch_open_orders(NUMBER, 20.0) == []
        await broker.stop()
