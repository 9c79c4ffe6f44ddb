"""The broker for Tradier against the simulated one over real sockets: whole lives of orders, and the books they leave behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.brokers import BrokerError, BrokerOrder, BrokerOrderView, BrokerUpdate, OutcomeUnknown
from paiid.brokers.tradier import TradierBroker
from paiid.core.clock import SystemClock
from paiid.domain.calendar import AlwaysOpen
from paiid.domain.orders import TERMINAL_STATUSES, Leg, OrderStatus, StopLoss, TakeProfit
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from paiid.wires.tradier.keys import TradierKeys
from tests.sim_tradier_world import TradierWorld, simulated

_CAP_S = 30.0
S = 10.0
TEN = Decimal(10)


def our_id(number: int) -> str:
    """An id of the form that the ledger makes."""
    return f"pd-{number:032x}"


class Life:
    """A broker, and what its updates have told so far."""

    def __init__(self, sim: TradierWorld) -> None:
        keys = TradierKeys(DEFAULT_TOKEN, f"{sim.url}/v1", f"{sim.url.replace('http', 'ws')}/v1")
        self.broker = TradierBroker(SystemClock(), keys, hours=AlwaysOpen())
        self.told: list[BrokerUpdate] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for update in self.broker.updates(0):
            self.told.append(update)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(_CAP_S):
            while not what():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    def newest(self, broker_order_id: str) -> BrokerOrderView | None:
        """The last word on an order."""
        views = (one.order for one in reversed(self.told) if one.order is not None)
        return next((view for view in views if view.broker_order_id == broker_order_id), None)

    async def until_status(self, broker_order_id: str, *statuses: OrderStatus) -> BrokerOrderView:
        """The order once it was told so."""

        def told() -> bool:
            view = self.newest(broker_order_id)
            return view is not None and view.status in statuses

        await self.until(told)
        view = self.newest(broker_order_id)
        assert view is not None
        return view

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokerError):
            await self._task
        await self.broker.stop()


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with simulated(sqlite_url, tmp_path / "sim") as world:
        yield world


@pytest.fixture
async def life(sim: TradierWorld) -> AsyncIterator[Life]:
    one = Life(sim)
    await one.until(lambda: one.broker.stream_state[0].connected)
    yield one
    await one.stop()


def order(number: int, **changes: object) -> BrokerOrder:
    """To buy ten AAPL at 100 for the day."""
    fields: dict[str, object] = {
        "account_number": DEFAULT_ACCOUNT, "client_order_id": our_id(number), "symbol": "AAPL", "side": "buy",
        "qty": TEN, "type": "limit", "time_in_force": "day", "limit_price": Decimal(100),
        "position_intent": "buy_to_open",
    }  # fmt: skip
    return BrokerOrder(**(fields | changes))  # type: ignore[arg-type]


async def test_an_order_lives_from_its_submission_to_its_fill_and_the_books_show_it(
    sim: TradierWorld, life: Life
) -> None:
    view = await life.broker.submit(order(1), S)
    assert (view.client_order_id, view.status, view.qty) == (our_id(1), OrderStatus.NEW, TEN)
    found = await life.broker.fetch_order(DEFAULT_ACCOUNT, our_id(1), S)
    assert found is not None
    assert found.broker_order_id == view.broker_order_id
    assert [one.broker_order_id for one in await life.broker.fetch_open_orders(DEFAULT_ACCOUNT, S)] == [
        view.broker_order_id
    ]
    before = await life.broker.fetch_account(DEFAULT_ACCOUNT, S)
    sim.show("99.00", "100.00")
    done = await life.until_status(view.broker_order_id, OrderStatus.FILLED)
    assert (done.filled_qty, done.filled_avg_price, done.last_fill) == (
        TEN,
        Decimal(100),
        (TEN, Decimal(100)),
    )
    (held,) = await life.broker.fetch_positions(DEFAULT_ACCOUNT, S)
    assert (held.symbol, held.qty, held.avg_entry_price) == ("AAPL", TEN, Decimal(100))
    after = await life.broker.fetch_account(DEFAULT_ACCOUNT, S)
    assert before.cash - after.cash == 1000
    assert (after.number, after.mode, after.status) == (DEFAULT_ACCOUNT, "paper", "active")


async def test_a_cancelled_order_is_told_so(sim: TradierWorld, life: Life) -> None:
    view = await life.broker.submit(order(1), S)
    await life.broker.cancel(DEFAULT_ACCOUNT, view.broker_order_id, S)
    await life.until_status(view.broker_order_id, OrderStatus.CANCELED)
    by_id = await life.broker.fetch_order_by_id(DEFAULT_ACCOUNT, view.broker_order_id, S)
    assert by_id is not None
    assert by_id.status is OrderStatus.CANCELED


async def test_a_bracket_fills_its_entry_and_then_one_exit_ends_the_other(
    sim: TradierWorld, life: Life
) -> None:
    asked = order(
        1,
        order_class="bracket",
        take_profit=TakeProfit(Decimal(110)),
        stop_loss=StopLoss(Decimal(90)),
    )
    view = await life.broker.submit(asked, S)
    assert (view.order_class, view.group_role, view.status) == ("bracket", "entry", OrderStatus.NEW)
    roles = {leg.group_role: leg for leg in view.legs}
    assert {role: leg.status for role, leg in roles.items()} == {"take_profit": "HELD", "stop_loss": "HELD"}
    sim.show("99.00", "100.00")
    await life.until_status(view.broker_order_id, OrderStatus.FILLED)
    take_profit, stop_loss = (roles[name].broker_order_id for name in ("take_profit", "stop_loss"))
    await life.until_status(take_profit, OrderStatus.NEW)
    sim.show("111.00", "112.00")
    sold = await life.until_status(take_profit, OrderStatus.FILLED)
    assert (sold.side, sold.filled_qty, sold.parent_broker_order_id) == ("sell", TEN, view.broker_order_id)
    await life.until_status(stop_loss, OrderStatus.CANCELED)
    assert await life.broker.fetch_positions(DEFAULT_ACCOUNT, S) == []


async def test_a_spread_that_is_sold_fills_with_its_legs_for_a_negative_price(
    sim: TradierWorld, life: Life
) -> None:
    high, low = sim.contract("put", 95), sim.contract("put", 90)
    sim.show("1.50", "1.60", high)
    sim.show("1.00", "1.10", low)
    asked = order(
        1, symbol="AAPL", qty=Decimal(2), order_class="mleg", limit_price=Decimal("-0.40"), position_intent=None,
        legs=(Leg(high, "sell", 1, "sell_to_open"), Leg(low, "buy", 1, "buy_to_open")),
    )  # fmt: skip
    view = await life.broker.submit(asked, S)
    assert (view.order_class, view.qty, view.limit_price) == ("mleg", Decimal(2), Decimal("-0.40"))
    done = await life.until_status(view.broker_order_id, OrderStatus.FILLED)
    assert (done.filled_qty, done.filled_avg_price) == (Decimal(2), Decimal("-0.40"))
    assert {leg.symbol: (leg.side, leg.filled_qty, leg.status) for leg in done.legs} == {
        high: ("sell", Decimal(2), OrderStatus.FILLED),
        low: ("buy", Decimal(2), OrderStatus.FILLED),
    }
    held = {one.symbol: one.qty for one in await life.broker.fetch_positions(DEFAULT_ACCOUNT, S)}
    assert held == {high: Decimal(-2), low: Decimal(2)}


async def test_a_fill_that_is_seen_before_its_price_is_told_once_it_has_one(
    sim: TradierWorld, life: Life
) -> None:
    await sim.fault("filled_without_price", params={"lag_ms": 700})
    view = await life.broker.submit(order(1), S)
    sim.show("99.00", "100.00")
    done = await life.until_status(view.broker_order_id, OrderStatus.FILLED)
    assert (done.filled_qty, done.filled_avg_price) == (TEN, Decimal(100))
    told = [one.order for one in life.told if one.order is not None]
    assert all(
        one.filled_avg_price is not None for one in told if one.filled_qty or one.status in TERMINAL_STATUSES
    )


async def test_E12_an_order_whose_answer_was_lost_is_found_by_its_tag(sim: TradierWorld, life: Life) -> None:
    await sim.fault("answer_lost", on="submit", next=1)
    with pytest.raises(OutcomeUnknown):
        await life.broker.submit(order(1), S)
    found = await life.broker.fetch_order(DEFAULT_ACCOUNT, our_id(1), S)
    assert found is not None
    assert (found.client_order_id, found.symbol, found.qty) == (our_id(1), "AAPL", TEN)
    assert await life.broker.fetch_order(DEFAULT_ACCOUNT, our_id(2), S) is None


async def test_after_the_day_an_order_is_found_by_its_id_and_no_more_by_its_tag(
    sim: TradierWorld, life: Life
) -> None:
    view = await life.broker.submit(order(1), S)
    await life.until_status(view.broker_order_id, OrderStatus.NEW)
    sim.show("99.00", "100.00")
    await life.until_status(view.broker_order_id, OrderStatus.FILLED)
    await sim.sim.exchange.roll_day()
    assert await life.broker.fetch_order(DEFAULT_ACCOUNT, our_id(1), S) is None
    past = await life.broker.fetch_order_by_id(DEFAULT_ACCOUNT, view.broker_order_id, S)
    assert past is not None
    assert past.status is OrderStatus.FILLED
