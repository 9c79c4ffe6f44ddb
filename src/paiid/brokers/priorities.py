"""How urgent an order is at its broker, where requests are few: what closes goes before what opens (docs/adr/0026)."""

from paiid.brokers import BrokerOrder
from paiid.domain.instruments import is_option
from paiid.wires.governor import Priority

__all__ = ["priority_of"]


def priority_of(order: BrokerOrder) -> Priority:
    """EXIT for an order that says that it closes, or, for stocks, says nothing and sells; else ENTRY. A spread is an exit if
    every leg closes; an oco always is one, for it is the two ways out of a position."""
    if order.order_class == "oco":
        closes = True
    elif order.legs:
        closes = all((leg.position_intent or "").endswith("_to_close") for leg in order.legs)
    elif order.position_intent is not None:
        closes = order.position_intent.endswith("_to_close")
    else:
        closes = order.side == "sell" and not is_option(order.symbol)
    return Priority.EXIT if closes else Priority.ENTRY
