"""Where the books of an account begin whose broker tells no prints: nothing that had filled is booked twice (ADR 0015, 0023)."""

from decimal import Decimal

import pytest

from paiid.brokers import BrokerOrderView
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from paiid.trading.opening import open_balances
from tests.fake_tradier_like import TradierLike
from tests.reconcile_world import ACCOUNT, Books, held

D = Decimal


@pytest.fixture
async def both(db: Database) -> Books:
    """An account that had a life at its broker and is new to us."""
    broker = TradierLike("fake")
    broker.cash_before[ACCOUNT] = D(10_000)
    return await Books(db, broker).open(reconciled_at=None)


async def begin(both: Books) -> None:
    assert await open_balances(both.db, both.clock, both.broker, await both.row(), 1.0)


async def tell(both: Books) -> None:
    """The first look tells what works."""
    views: list[BrokerOrderView] = list(await both.broker.fetch_open_orders(ACCOUNT, 1.0))
    await both.merge([both.broker.tell(one, None) for one in views])


async def test_what_a_working_order_had_filled_is_booked_with_it_and_once(both: Books) -> None:
    view = both.place("theirs")
    both.broker.fill(view.broker_order_id, 4, "100")
    await begin(both)
    await tell(both)
    assert held(await both.shown()) == {"AAPL": D(4)}
    await both.merge([both.broker.fill(view.broker_order_id, 6, "101")])
    assert held(await both.shown()) == {"AAPL": D(10)}
    assert await both.compare() == []


async def test_what_fills_between_the_opening_and_the_first_look_is_booked(both: Books) -> None:
    view = both.place("theirs")
    both.broker.fill(view.broker_order_id, 4, "100")
    await begin(both)
    both.broker.fill(view.broker_order_id, 3, "102")
    await tell(both)
    assert held(await both.shown()) == {"AAPL": D(7)}
    assert await both.compare() == []


async def test_an_order_that_had_ended_before_is_in_the_opening_balance_alone(both: Books) -> None:
    view = both.place("theirs")
    update = both.broker.fill(view.broker_order_id, 10, "100")
    assert update.order is not None
    both.clock.at_us = update.order.updated_at_us + 1_000_000
    await begin(both)
    assert update.order.status is OrderStatus.FILLED
    await both.merge([update])
    assert held(await both.shown()) == {"AAPL": D(10)}
    assert await both.compare() == []
