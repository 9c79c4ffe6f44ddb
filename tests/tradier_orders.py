"""Orders that tests place at Tradier, and how its list shows a bracket."""

from decimal import Decimal
from typing import Any

from paiid.brokers import (
    BrokerOrder,
)
from paiid.domain.orders import StopLoss, TakeProfit
from tests.tradier_stage import (
    NUMBER,
    row,
)

_D = Decimal


def buy(**changes: Any) -> BrokerOrder:
    fields: dict[str, Any] = {
        "account_number": NUMBER, "client_order_id": "r1-0001", "symbol": "XYZ", "side": "buy", "qty": _D(10),
        "type": "limit", "time_in_force": "day", "limit_price": _D("65.25"), "position_intent": "buy_to_open",
    }  # fmt: skip
    return BrokerOrder(**(fields | changes))


def bracket(**changes: Any) -> BrokerOrder:
    exits = {"take_profit": TakeProfit(_D(70)), "stop_loss": StopLoss(_D(60))}
    return buy(order_class="bracket", **(exits | changes))


def otoco() -> dict[str, Any]:
    legs = [
        row(id=228176, tag=None),
        row(id=228177, tag=None, side="sell", price=70.0, status="pending"),
        row(id=228178, tag=None, side="sell", type="stop", price=0.0, stop_price=60.0, status="pending"),
    ]
    return {
        "id": 228175,
        "class": "otoco",
        "status": "open",
        "duration": "day",
        "tag": "r1-0001",
        "leg": legs,
    }
