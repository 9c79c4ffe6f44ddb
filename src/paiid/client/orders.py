"""Orders as a client writes and reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order to place; what is None is left to the service. Quantities in shares or contracts, prices in dollars."""

    symbol: str | None = None
    side: str | None = None
    qty: Decimal | int | None = None
    notional: Decimal | int | None = None
    type: str = "market"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    time_in_force: str | None = None
    extended_hours: bool | None = None
    order_class: str | None = None
    take_profit: Mapping[str, Any] | None = None
    stop_loss: Mapping[str, Any] | None = None
    legs: tuple[Mapping[str, Any], ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that are set."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the service tells it: `state` of handing it over, `status` by the broker; `fields` has everything."""

    id: str
    state: str
    status: str | None
    symbol: str
    side: str
    qty: Decimal | None
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    reason: str | None
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "Order":
        """From an answer or an event."""
        reason = found.get("reason")
        return cls(
            id=found["id"],
            state=found["state"],
            status=found.get("status"),
            symbol=found["symbol"],
            side=found["side"],
            qty=_decimal(found.get("qty")),
            filled_qty=_decimal(found.get("filled_qty")) or Decimal(0),
            filled_avg_price=_decimal(found.get("filled_avg_price")),
            reason=None if reason is None else f"{reason['code']}: {reason['message']}",
            fields=found,
        )


@dataclass(frozen=True, slots=True)
class Execution:
    """The final answer to an execute. `replayed`: the service had answered this key before."""

    key: str | None
    accepted: bool
    account: str
    orders: tuple[Order, ...]
    replayed: bool
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, key: str | None, body: bytes, replayed: bool) -> "Execution":
        """From the bytes of an answer; numbers keep their digits."""
        found = decode(body)
        orders = tuple(Order.read(one) for one in found["orders"])
        return cls(key, bool(found["accepted"]), found["account"], orders, replayed, found)


_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def decode(body: bytes | str) -> Any:
    """JSON with exact decimals. Raises ValueError for what is no JSON."""
    return _DECODER.decode(body)


def encode(value: Any) -> bytes:
    """JSON whose numbers have exactly the digits of their decimals."""
    return _ENCODER.encode(value)


def _decimal(value: Decimal | int | None) -> Decimal | None:
    return None if value is None else Decimal(value)
