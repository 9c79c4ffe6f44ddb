"""What an open order counts in the risk counters of its account: quantity and dollars on its symbol, or a spread."""

from paiid.domain.instruments import multiplier_of
from paiid.domain.orders import OrderStatus
from paiid.trading.records import OrderRow, value_of

NOTHING = (0, 0)


def contribution(order: OrderRow) -> tuple[int, int]:
    """What an open order counts on its symbol: scaled quantity, and scaled dollars.

    Held exits count nothing, and of the two exits for the same shares only the take profit does; spreads are kept
    apart (`Standing.combos`).
    """
    if order.order_class == "mleg" or not counts(order):
        return NOTHING
    remaining = order.remaining
    return remaining, value_of(remaining, order.reserve_price) * multiplier_of(order.symbol)


def counts(order: OrderRow) -> bool:
    """Whether an open order of this role and status can buy or sell by itself now."""
    if order.group_role not in ("take_profit", "stop_loss"):
        return True
    if order.group_role == "stop_loss" and order.order_class != "oto":
        return False
    if order.order_class == "oco":
        return True
    return order.status is not None and order.status is not OrderStatus.HELD


def is_spread(order: OrderRow) -> bool:
    """Whether the row is a spread as a whole."""
    return order.order_class == "mleg" and order.group_role is None
