"""What a broker that tells no prints has filled, as prints: what a view says beyond what is booked (ADR 0023).

The ledger alone knows how far an order is booked, after a restart too. A print is named by the order and what had filled
with it, so whatever is told twice, late or not at all, the sums at the end are the broker's.
"""

from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerExecution, BrokerOrderView, Capabilities
from paiid.domain.money import ZERO, money_from_int, plain, qty_from_int, qty_to_int, round_money
from paiid.domain.orders import OrderStatus
from paiid.trading.counters import is_spread
from paiid.trading.records import OrderRow


def believable(view: BrokerOrderView, can: Capabilities) -> BrokerOrderView:
    """The view as far as it can be booked, with what hangs on it.

    A fill whose price is not told yet is no fill yet, and an order that has filled before its quantity is told has not
    (tradier.md 7): such a view says nothing but that the order works, and is read again. Brokers that tell prints are
    taken at their word.
    """
    if can.tells_prints:
        return view
    legs = tuple(believable(leg, can) for leg in view.legs)
    if legs != view.legs:
        view = replace(view, legs=legs)
    if view.filled_qty > 0 and not _is_spread(view) and not _is_price(view.filled_avg_price):
        # Not its end either: with the end the order would be looked at no more, and the fill were lost.
        return replace(view, status=OrderStatus.NEW, filled_qty=ZERO, filled_avg_price=None, last_fill=None)
    if view.status is OrderStatus.FILLED and view.qty is not None and view.filled_qty < view.qty:
        part = OrderStatus.NEW if view.filled_qty == 0 else OrderStatus.PARTIALLY_FILLED
        return replace(view, status=part)
    return view


def print_of(order: OrderRow, view: BrokerOrderView, whole: BrokerOrderView) -> BrokerExecution | None:
    """What the view tells as filled of the order beyond what is booked, as one print; None for nothing.

    `view` is the order's own, `whole` what the broker counts under its id (the same, unless an order was replaced in
    place). The price is that of the newest print where it is just this step, else what the average leaves for it. A
    spread has no prints: its legs have.
    """
    step = qty_to_int(view.filled_qty) - order.filled_qty
    average = whole.filled_avg_price
    if step <= 0 or average is None or is_spread(order):
        return None
    qty = qty_from_int(step)
    return BrokerExecution(
        account_number=view.account_number,
        execution_id=f"{view.broker_order_id}:{plain(whole.filled_qty):f}",
        broker_order_id=view.broker_order_id,
        symbol=view.symbol,
        side=view.side,
        qty=qty,
        price=_price_of(order, view, qty, average),
        fee=ZERO,
        executed_at_us=view.updated_at_us,
    )


def first_print_of(view: BrokerOrderView) -> BrokerExecution | None:
    """All that an order has filled of which nothing is booked, as one print; None for nothing."""
    if view.filled_qty <= 0 or not _is_price(view.filled_avg_price) or _is_spread(view):
        return None
    return BrokerExecution(
        account_number=view.account_number,
        execution_id=f"{view.broker_order_id}:{plain(view.filled_qty):f}",
        broker_order_id=view.broker_order_id,
        symbol=view.symbol,
        side=view.side,
        qty=view.filled_qty,
        price=round_money(view.filled_avg_price or ZERO),
        fee=ZERO,
        executed_at_us=view.updated_at_us,
    )


def _price_of(order: OrderRow, view: BrokerOrderView, qty: Decimal, average: Decimal) -> Decimal:
    if view.last_fill is not None and view.last_fill[0] == qty and view.last_fill[1] > 0:
        return round_money(view.last_fill[1])
    value = (view.filled_avg_price or ZERO) * view.filled_qty - money_from_int(order.filled_value)
    left = round_money(value / qty)
    # Averages are rounded by the broker: for a small step nothing sensible may be left.
    return left if left > 0 else round_money(average)


def _is_price(average: Decimal | None) -> bool:
    return average is not None and average > 0


def _is_spread(view: BrokerOrderView) -> bool:
    """Whether it is a spread as a whole, whose net may well be zero or a credit."""
    return view.order_class == "mleg" and view.group_role is None
