"""What every broker promises of contracts, alone and as spreads at a credit."""

from dataclasses import replace

import pytest

from paiid.brokers import BrokerRejected
from paiid.domain.orders import Leg, OrderStatus
from tests.contract.stages import C100, C105, D, S, Stage, canceled
from tests.contract.test_broker_contract import stage
from tests.paper_live import found, order

__all__ = ["stage"]


async def test_a_contract_is_bought_a_hundredfold_and_told_under_its_own_symbol(stage: Stage) -> None:
    stage.quote(C100, "6.00")
    cash = (await stage.broker.fetch_account("me", S)).cash
    asked = order("a", qty=2, price="5.00", symbol=C100, tif="day")
    if stage.broker.capabilities.needs_intent:
        # Of a contract nothing is taken for granted.
        with pytest.raises(BrokerRejected):
            await stage.broker.submit(asked, S)
    view = await stage.broker.submit(replace(asked, position_intent="buy_to_open"), S)
    assert (view.symbol, view.side, view.qty, view.limit_price) == (C100, "buy", 2, 5)
    assert view.position_intent == "buy_to_open"
    assert await found(stage.broker, "a") == view
    await stage.execute(view, 2, "5.00")
    done = await found(stage.broker, "a")
    assert (done.status, done.filled_qty, done.filled_avg_price) == (OrderStatus.FILLED, 2, 5)
    (held,) = await stage.broker.fetch_positions("me", S)
    assert (held.symbol, held.qty, held.avg_entry_price) == (C100, 2, 5)
    assert (await stage.broker.fetch_account("me", S)).cash == cash - 1000


async def test_a_spread_at_a_credit_is_told_below_zero_and_counts_its_units(stage: Stage) -> None:
    stage.quote(C100, "5.00")
    stage.quote(C105, "2.40")
    cash = (await stage.broker.fetch_account("me", S)).cash
    legs = (Leg(C100, "sell", 1, "sell_to_open"), Leg(C105, "buy", 2, "buy_to_open"))
    asked = replace(order("s", "buy", 2, "-0.50"), order_class="mleg", legs=legs)
    view = await stage.broker.submit(asked, S)
    assert (view.symbol, view.qty, view.limit_price, view.filled_qty) == ("AAPL", 2, D("-0.5"), 0)
    assert [(leg.symbol, leg.side, leg.qty, leg.ratio_qty) for leg in view.legs] == [
        (C100, "sell", 2, 1),
        (C105, "buy", 4, 2),
    ]
    await stage.execute_spread(view, 1, ("4.60", "2.00"))
    partly = await found(stage.broker, "s")
    assert (partly.status, partly.filled_qty) == (OrderStatus.PARTIALLY_FILLED, 1)
    assert partly.filled_avg_price == D("-0.6")
    assert [(leg.filled_qty, leg.filled_avg_price) for leg in partly.legs] == [(1, D("4.6")), (2, 2)]
    over = await canceled(stage, view)
    assert (over.filled_qty, over.filled_avg_price) == (1, D("-0.6"))
    held = {one.symbol: (one.qty, one.avg_entry_price) for one in await stage.broker.fetch_positions("me", S)}
    assert held == {C100: (-1, D("4.6")), C105: (2, 2)}
    assert (await stage.broker.fetch_account("me", S)).cash == cash + 60
