"""An order as a client asks for it, right in itself, before market, account and positions have been looked at."""

from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.orders import OrderClass, OrderType, PositionIntent, Side, StopLoss, TakeProfit, TimeInForce


@dataclass(frozen=True, slots=True)
class AskedLeg:
    """One leg of a spread; the intent may be left to the position."""

    symbol: str
    ratio_qty: int
    side: Side
    intent: PositionIntent | None


@dataclass(frozen=True, slots=True)
class AskedOrder:
    """A body that is right in itself. `symbol` is still a ticker, a contract or an asset id, and empty of a spread."""

    symbol: str
    side: Side
    qty: Decimal | None
    notional: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_price: Decimal | None
    trail_percent: Decimal | None
    extended_hours: bool
    client_order_id: str | None
    order_class: OrderClass
    take_profit: TakeProfit | None
    stop_loss: StopLoss | None
    legs: tuple[AskedLeg, ...]
    position_intent: PositionIntent | None
