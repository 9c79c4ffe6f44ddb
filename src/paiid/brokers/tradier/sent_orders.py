"""Orders that were sent and not seen with their tag since: a row that is told without one may be any of them.

A tag is all that links an order to what was asked (tradier.md, 6.8), and is told only on request. Should a row come without
it for a moment, it must be taken neither for somebody else's order nor for a proof that ours is not there.
"""

from dataclasses import dataclass
from decimal import Decimal

from paiid.brokers import BrokerOrder, BrokerOrderView
from paiid.core.clock import Clock

__all__ = ["SentOrders"]

_DOUBTED_S = 120.0
"""For longer than this no tag stays away; what somebody else orders must be told in the end."""
_CLOCKS_US = 60_000_000
"""More than the broker's clock and ours may differ by."""


@dataclass(frozen=True, slots=True)
class _Sent:
    symbol: str
    side: str
    qty: Decimal | None
    at_us: int
    at_s: float


class SentOrders:
    """The orders of this process whose tag is still to be seen; another replica has its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: dict[str, _Sent] = {}

    def add(self, order: BrokerOrder) -> None:
        """It is about to be sent."""
        # A spread is told as a purchase, whatever its legs do.
        side = "buy" if order.order_class == "mleg" else order.side
        at_us, at_s = self._clock.now_us(), self._clock.monotonic_s()
        self._sent[order.client_order_id] = _Sent(order.symbol, side, order.qty, at_us, at_s)

    def drop(self, tag: str | None) -> None:
        """It was seen, or was not placed."""
        self._sent.pop(tag or "", None)

    def may_be(self, view: BrokerOrderView) -> bool:
        """Whether an order that is told without a tag may be one of these."""
        if view.client_order_id is not None:
            return False
        oldest_s = self._clock.monotonic_s() - _DOUBTED_S
        self._sent = {tag: one for tag, one in self._sent.items() if one.at_s >= oldest_s}
        return any(_fits(one, view) for one in self._sent.values())


def _fits(sent: _Sent, view: BrokerOrderView) -> bool:
    same = (sent.symbol, sent.side) == (view.symbol, view.side) and view.qty in (None, sent.qty)
    return same and view.submitted_at_us >= sent.at_us - _CLOCKS_US
