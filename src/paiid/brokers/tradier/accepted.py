"""What an order must look like once Tradier has taken it: as it was asked for, with all that hangs on it, or with its new terms."""

from paiid.brokers import BrokerOrder, BrokerOrderView, BrokerReplace
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus

__all__ = ["accepted_view", "shows_all", "shows_change"]

_LEGS = {"bracket": 2, "oto": 1, "oco": 1}
"""How many orders hang on the first one, which is the entry, or the take profit of an oco."""


def accepted_view(order: BrokerOrder, broker_order_id: str, at_us: int) -> BrokerOrderView:
    """A simple order that was taken and could not be read: what was asked for, new, nothing filled."""
    return BrokerOrderView(
        account_number=order.account_number,
        broker_order_id=broker_order_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        qty=order.qty,
        type=order.type,
        time_in_force=order.time_in_force,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        status=OrderStatus.NEW,
        filled_qty=ZERO,
        filled_avg_price=None,
        submitted_at_us=at_us,
        updated_at_us=at_us,
        extended_hours=order.extended_hours,
        position_intent=order.position_intent,
    )


def shows_all(view: BrokerOrderView, order: BrokerOrder) -> bool:
    """Whether everything that hangs on the order is told with it."""
    return len(view.legs) >= _LEGS.get(order.order_class, len(order.legs))


def shows_change(view: BrokerOrderView, change: BrokerReplace) -> bool:
    """Whether the order has the terms that it was to get."""
    pairs = (
        (change.limit_price, view.limit_price),
        (change.stop_price, view.stop_price),
        (change.time_in_force, view.time_in_force),
    )
    return all(wanted is None or wanted == told for wanted, told in pairs)
