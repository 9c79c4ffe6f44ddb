"""Orders and changes as Alpaca's JSON (sections 6 and 8); what it cannot be told is refused before a byte is sent."""

from decimal import Decimal
from math import gcd
from typing import Any

from paiid.brokers import BrokerOrder, BrokerRejected, BrokerReplace
from paiid.domain.orders import StopLoss
from paiid.wires.values import plain_digits

Body = dict[str, Any]
_MAX_CLIENT_ORDER_ID = 128
_LEGS = (2, 4)


def order_body(order: BrokerOrder) -> Body:
    """The body of `POST /v2/orders`, decimals as plain texts. Raises BrokerRejected for what Alpaca's API has no words
    for: nothing is sent."""
    body: Body = {
        "client_order_id": client_id(order.client_order_id),
        "type": order.type,
        "time_in_force": order.time_in_force,
    }
    if order.order_class == "mleg":
        body |= _spread(order)
    else:
        body |= {"symbol": order.symbol, "side": order.side}
    if order.order_class != "simple":
        body["order_class"] = order.order_class
    if (order.qty is None) == (order.notional is None):
        raise BrokerRejected("qty_or_notional", "An order has either a quantity or an amount.")
    _put(body, "qty", order.qty)
    _put(body, "notional", order.notional)
    # The take profit of an oco stands in `take_profit` alone: its parent is made of that (section 6.1).
    _put(body, "limit_price", None if order.order_class == "oco" else order.limit_price)
    _put(body, "stop_price", order.stop_price)
    _put(body, "trail_price", order.trail_price)
    _put(body, "trail_percent", order.trail_percent)
    if order.extended_hours:
        body["extended_hours"] = True
    if order.position_intent is not None and order.order_class != "mleg":
        body["position_intent"] = order.position_intent
    if order.order_class in ("bracket", "oto", "oco"):
        body |= _exits(order)
    return body


def _exits(order: BrokerOrder) -> Body:
    exits: Body = {}
    profit = None if order.take_profit is None else order.take_profit.limit_price
    if order.order_class == "oco":
        profit = profit if profit is not None else order.limit_price
    if profit is not None:
        exits["take_profit"] = {"limit_price": plain_digits(profit)}
    if order.stop_loss is not None:
        exits["stop_loss"] = _stop_loss(order.stop_loss)
    wanted = {"bracket": 2, "oco": 2, "oto": 1}[order.order_class]
    if len(exits) != wanted:
        raise BrokerRejected(
            "order_class_fields",
            f"An order of class {order.order_class} has {wanted} exits, this one {len(exits)}.",
        )
    return exits


def _stop_loss(loss: StopLoss) -> Body:
    if loss.stop_price is None:
        raise BrokerRejected(
            "trailing_stop_loss_not_supported",
            "This broker takes a stop loss with a stop price; it has none that trails.",
        )
    body: Body = {"stop_price": plain_digits(loss.stop_price)}
    _put(body, "limit_price", loss.limit_price)
    return body


def _spread(order: BrokerOrder) -> Body:
    if not _LEGS[0] <= len(order.legs) <= _LEGS[1]:
        raise BrokerRejected(
            "legs_count", f"A spread has {_LEGS[0]} to {_LEGS[1]} legs, this one {len(order.legs)}."
        )
    common = gcd(*(leg.ratio_qty for leg in order.legs))
    if common != 1:
        raise BrokerRejected(
            "ratio_not_lowest_terms",
            f"The ratios of the legs have {common} in common; give them in lowest terms.",
        )
    return {
        "legs": [
            {
                "symbol": leg.symbol,
                "ratio_qty": str(leg.ratio_qty),
                "side": leg.side,
                "position_intent": leg.position_intent,
            }
            for leg in order.legs
        ]
    }


def replace_body(change: BrokerReplace) -> Body:
    """The body of `PATCH /v2/orders/{id}`. The new id goes with it, for without it the new order has one that nobody
    knows (section 8). Raises BrokerRejected for two trails at once."""
    body: Body = {"client_order_id": client_id(change.client_order_id)}
    _put(body, "qty", change.qty)
    _put(body, "limit_price", change.limit_price)
    _put(body, "stop_price", change.stop_price)
    if change.trail_price is not None and change.trail_percent is not None:
        raise BrokerRejected("trail_fields", "A trail is a price or a percentage, not both.")
    # One field for both: which of them it is the order itself says.
    _put(body, "trail", change.trail_price if change.trail_price is not None else change.trail_percent)
    if change.time_in_force is not None:
        body["time_in_force"] = change.time_in_force
    return body


def client_id(told: str) -> str:
    """Our id as Alpaca takes it. Raises BrokerRejected for one that is empty, too long, or not printable ASCII."""
    if not 0 < len(told) <= _MAX_CLIENT_ORDER_ID or any(not "!" <= c <= "~" for c in told):
        raise BrokerRejected(
            "client_order_id", f"client_order_id has 1 to {_MAX_CLIENT_ORDER_ID} printable ASCII characters."
        )
    return told


def _put(body: Body, name: str, value: Decimal | None) -> None:
    if value is not None:
        body[name] = plain_digits(value)
