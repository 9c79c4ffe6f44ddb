"""Which orders are exits where requests are few."""

from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder
from paiid.brokers.priorities import priority_of
from paiid.domain.orders import Leg
from paiid.wires.governor import Priority

CALL = "SPY261218C00700000"


def order(**changes: Any) -> BrokerOrder:
    fields: dict[str, Any] = {
        "account_number": "me", "client_order_id": "r1", "symbol": "SPY", "side": "buy", "qty": Decimal(1), "type": "market",
        "time_in_force": "day",
    }  # fmt: skip
    return BrokerOrder(**(fields | changes))


def spread(*intents: Any) -> BrokerOrder:
    return order(order_class="mleg", legs=tuple(Leg(CALL, "buy", 1, one) for one in intents))


@pytest.mark.parametrize(
    ("made", "is_exit"),
    [
        (order(), False),
        (order(side="sell"), True),
        (order(side="sell", position_intent="sell_to_open"), False),
        (order(position_intent="buy_to_close"), True),
        (order(symbol=CALL, side="sell"), False),
        (order(symbol=CALL, side="sell", position_intent="sell_to_close"), True),
        (order(side="buy", order_class="oco"), True),
        (order(side="buy", order_class="bracket"), False),
        (spread("buy_to_close", "sell_to_close"), True),
        (spread("buy_to_close", "sell_to_open"), False),
    ],
)
def test_what_says_that_it_closes_and_a_sale_of_stocks_that_says_nothing_are_exits(
    made: BrokerOrder, is_exit: bool
) -> None:
    assert priority_of(made) is (Priority.EXIT if is_exit else Priority.ENTRY)
