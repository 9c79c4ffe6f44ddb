"""An order as a client asks for it, right in itself, before market, account and positions have been looked at."""

from dataclasses import dataclass
from decimal import Decimal

from paiid.sim.tradier.ids import OrderClass

__all__ = ["Asked", "AskedChange", "AskedLeg"]


@dataclass(frozen=True, slots=True)
class AskedLeg:
    """One order of a request. `symbol` is ours: a ticker (BRK.B), or an OCC symbol; `underlying` the ticker behind it."""

    symbol: str
    underlying: str
    side: str
    quantity: Decimal
    type: str
    price: Decimal | None
    stop: Decimal | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A form that is right in itself. `type` and `price` are those of the whole: of a spread the net, else those of the
    first leg."""

    cls: OrderClass
    type: str
    duration: str
    price: Decimal | None
    tag: str | None
    preview: bool
    legs: tuple[AskedLeg, ...]


@dataclass(frozen=True, slots=True)
class AskedChange:
    """What an order is to become; None stays."""

    type: str | None
    duration: str | None
    price: Decimal | None
    stop: Decimal | None
