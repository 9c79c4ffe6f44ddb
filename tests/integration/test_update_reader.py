"""A stream without replay: what it says when it begins, what it keeps silent, and whose it is meanwhile (E18, S6)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from paiid.brokers import BrokerOrderView, BrokerUpdate, OutcomeUnknown
from paiid.domain.orders import OrderStatus
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import QUICK, Trading, until

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 10, "type": "limit", "limit_price": 100.25}
SOON = replace(QUICK, update_retry_s=0.05, poll_s=0.2, stream_late_s=0.4)
RARELY = replace(QUICK, update_retry_s=0.05, poll_s=3600.0)


class NoReplay(FakeBroker):
    """Tells what happens from now on, after a word that it has begun; or, while `mute`, nothing at all."""

    replays_updates = False

    def __init__(self) -> None:
        super().__init__()
        self.mute = False
        self.begun = 0
        self.number = ""
        self.breaks = asyncio.Event()

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        self.begun += 1
        at = len(self._updates)
        if self.number:
            yield BrokerUpdate(at, None, resync=self.number)
        while True:
            while at < len(self._updates):
                at += 1
                if not self.mute:
                    yield self._updates[at - 1]
            if self.breaks.is_set():
                self.breaks.clear()
                raise OutcomeUnknown("the stream is lost")
            self._news.clear()
            await self._news.wait()

    def break_off(self) -> None:
        """The connection is lost."""
        self.breaks.set()
        self._news.set()


async def start(make_app: MakeApp, broker: NoReplay, timings: Any) -> Trading:
    app = await make_app(broker=broker, timings=timings)
    trading = Trading(app, broker, await app.owner())
    await until(lambda: begun(broker, 1))
    await until(lambda: compared(trading))
    return trading


async def compared(trading: Trading) -> bool:
    """The comparison at the start asks for orders too."""
    return all(one["reconciled_at"] is not None for one in (await trading.owner.get("/api/accounts")).json())


async def begun(broker: NoReplay, times: int) -> bool:
    return broker.begun >= times


async def resting(trading: Trading) -> tuple[str, str]:
    """An order that works: its id here and there."""
    answer = await trading.owner.execute(LIMIT)
    order = answer.json()["orders"][0]
    assert order["state"] == "ACCEPTED", answer.text
    trading.broker.number = trading.broker.orders[order["broker_order_id"]].account_number  # type: ignore[attr-defined]
    return order["id"], order["broker_order_id"]


async def keep_silent_until_begun(trading: Trading, broker: NoReplay, times: int) -> None:
    """Tell nothing of what is filled until the stream has been opened so often. A fill that is fetched with what came before
    the stream began says nothing against it: then there is another."""
    broker.mute = True
    async with asyncio.timeout(30):
        while not await begun(broker, times):
            order, there = await resting(trading)
            broker.fill(there, 10, "100.25")
            assert (await trading.owner.wait_filled(order))["filled_qty"] == 10
            with suppress(TimeoutError):
                await until(lambda: begun(broker, times), 2.0)


async def test_E18_a_stream_that_has_begun_again_has_what_came_before_fetched(make_app: MakeApp) -> None:
    broker = NoReplay()
    trading = await start(make_app, broker, RARELY)
    order, there = await resting(trading)
    broker.mute = True
    broker.fill(there, 10, "100.25")
    broker.end(there, OrderStatus.FILLED)
    await asyncio.sleep(0.2)
    assert (await trading.owner.get(f"/api/trading/orders/{order}")).json()["filled_qty"] == 0
    broker.mute = False
    broker.break_off()
    assert (await trading.owner.wait_filled(order))["filled_qty"] == 10
    fills = (await trading.owner.get("/api/trading/fills")).json()["data"]
    assert [fill["qty"] for fill in fills] == [10]


async def test_E18_the_word_that_it_has_begun_is_enough(make_app: MakeApp) -> None:
    """The connection is made anew inside the broker: the reader sees only the word."""
    broker = NoReplay()
    trading = await start(make_app, broker, RARELY)
    order, there = await resting(trading)
    broker.mute = True
    broker.fill(there, 10, "100.25")
    await asyncio.sleep(0.1)
    broker.mute = False
    broker._updates.append(BrokerUpdate(9, None, resync=broker.number))
    broker._news.set()
    assert (await trading.owner.wait_filled(order))["filled_qty"] == 10
    assert broker.begun == 1


async def test_E18_what_a_stream_keeps_silent_is_found_and_the_stream_opened_anew(make_app: MakeApp) -> None:
    broker = NoReplay()
    trading = await start(make_app, broker, SOON)
    await keep_silent_until_begun(trading, broker, 2)


async def test_a_stream_that_tells_a_little_later_than_the_poll_is_left_alone(make_app: MakeApp) -> None:
    class Late(NoReplay):
        async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
            async for update in super().updates(after):
                await asyncio.sleep(0.3)
                yield update

    broker = Late()
    trading = await start(make_app, broker, replace(SOON, stream_late_s=5.0))
    order, there = await resting(trading)
    broker.fill(there, 10, "100.25")
    assert (await trading.owner.wait_filled(order))["filled_qty"] == 10
    reader = trading.app.state.desk.readers["paper"]

    async def told() -> bool:
        return not reader._untold

    await until(told)
    assert broker.begun == 1


async def test_S6_the_lease_is_kept_while_the_broker_is_slow_to_answer(make_app: MakeApp) -> None:
    class Slow(NoReplay):
        listed = 0

        async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
            self.listed += 1
            if self.listed == 1:
                await asyncio.sleep(3.6)
            return await super().fetch_open_orders(account_number, timeout_s)

    broker = Slow()
    trading = await start(make_app, broker, RARELY)
    order, there = await resting(trading)
    broker.fill(there, 10, "100.25")
    assert (await trading.owner.wait_filled(order, 10.0))["filled_qty"] == 10
    assert broker.begun == 1
