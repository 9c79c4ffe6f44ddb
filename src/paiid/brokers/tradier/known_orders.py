"""What was seen of orders lately: which id belongs to which group, and what a fill without a price was before it."""

from collections import OrderedDict
from dataclasses import replace

from paiid.brokers import BrokerOrderView
from paiid.brokers.tradier.single_orders import Reading

_MAX_ORDERS = 5_000


class KnownOrders:
    """The newest view of each order, with what hangs on it. What is forgotten is asked for again."""

    def __init__(self, limit: int = _MAX_ORDERS) -> None:
        self._limit = limit
        self._roots: OrderedDict[str, BrokerOrderView] = OrderedDict()
        self._root_of: dict[str, str] = {}

    def take(self, reading: Reading) -> BrokerOrderView:
        """The view that is to be told: where a fill has no price yet, the order is as it was known to be before (ADR 0023).
        It is remembered."""
        view = reading.view
        before = self._roots.pop(view.broker_order_id, None)
        if before is not None and view.client_order_id is None:
            # No order loses its tag; it is only told without it (tradier.md, 6.8).
            view = replace(view, client_order_id=before.client_order_id)
        if reading.unpriced and before is not None:
            known = {leg.broker_order_id: leg for leg in before.legs}
            legs = tuple(
                _as_before(leg, known.get(leg.broker_order_id))
                if leg.broker_order_id in reading.unpriced
                else leg
                for leg in view.legs
            )
            view = replace(view, legs=legs)
            if view.broker_order_id in reading.unpriced:
                view = _as_before(view, before)
        self._roots[view.broker_order_id] = view
        for other_id in (*reading.aliases, *(leg.broker_order_id for leg in view.legs)):
            self._root_of[other_id] = view.broker_order_id
        if len(self._roots) > self._limit:
            self._forget()
        return view

    def root_of(self, broker_order_id: str) -> str:
        """The id under which Tradier knows the whole: the group's, or the order's own."""
        return self._root_of.get(broker_order_id, broker_order_id)

    def _forget(self) -> None:
        """Drop the oldest tenth at once, so that the sweep over the others is rare."""
        while len(self._roots) > self._limit * 9 // 10:
            self._roots.popitem(last=False)
        self._root_of = {other: root for other, root in self._root_of.items() if root in self._roots}


def _as_before(view: BrokerOrderView, known: BrokerOrderView | None) -> BrokerOrderView:
    if known is None or known.filled_qty < view.filled_qty:
        return view
    return replace(
        view,
        status=known.status,
        filled_qty=known.filled_qty,
        filled_avg_price=known.filled_avg_price,
        last_fill=known.last_fill,
    )
