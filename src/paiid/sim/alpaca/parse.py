"""Reads the body of an order as Alpaca does: numbers or texts, defaults, and what is wrong with it in Alpaca's words.

Only what the body itself tells is looked at here; market, account and positions come later (`placing.py`).
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

from paiid.brokers import BrokerReplace
from paiid.core.json import decode
from paiid.domain.errors import Problem
from paiid.domain.instruments import parse_any_symbol
from paiid.domain.orders import OrderClass, OrderType, PositionIntent, Side, StopLoss, TakeProfit, TimeInForce
from paiid.sim.alpaca.asked import AskedLeg, AskedOrder
from paiid.sim.alpaca.errors import MALFORMED, AlpacaError, invalid, unprocessable
from paiid.sim.alpaca.order_rules import check_asked
from paiid.sim.alpaca.values import bool_field, decimal_of, text_field

_TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
_TIMES = ("day", "gtc", "opg", "cls", "ioc", "fok")
_CLASSES = ("simple", "bracket", "oco", "oto", "mleg")
_INTENTS = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")
_MAX_CLIENT_ID = 128
_MAX_RATIO = 1_000_000


def read_json(body: bytes) -> Mapping[str, Any]:
    """The object in a body. Raises AlpacaError 400."""
    try:
        value = decode(body)
    except Problem as problem:
        raise AlpacaError(400, MALFORMED, "request body format is invalid") from problem
    if not isinstance(value, dict):
        raise AlpacaError(400, MALFORMED, "request body format is invalid")
    return value


def read_order(body: Mapping[str, Any]) -> AskedOrder:
    """The order that a body asks for. Raises AlpacaError."""
    order_class = cast(OrderClass, _word(body, "order_class", _CLASSES) or "simple")
    spread = order_class == "mleg"
    symbol = text_field(body.get("symbol"), "symbol")
    if symbol is None and not spread:
        raise invalid("symbol is required")
    kind = cast(OrderType, _required(body, "type", _TYPES, "order type"))
    when = cast(TimeInForce, _required(body, "time_in_force", _TIMES, "time_in_force"))
    side = cast(Side, "buy" if spread else _required(body, "side", ("buy", "sell"), "side"))
    order = AskedOrder(
        symbol="" if spread or symbol is None else symbol,
        side=side,
        qty=decimal_of(body.get("qty"), "qty"),
        notional=decimal_of(body.get("notional"), "notional"),
        type=kind,
        time_in_force=when,
        limit_price=decimal_of(body.get("limit_price"), "limit_price"),
        stop_price=decimal_of(body.get("stop_price"), "stop_price"),
        trail_price=decimal_of(body.get("trail_price"), "trail_price"),
        trail_percent=decimal_of(body.get("trail_percent"), "trail_percent"),
        extended_hours=bool_field(body.get("extended_hours"), "extended_hours"),
        client_order_id=read_client_id(body),
        order_class=order_class,
        take_profit=_take_profit(body.get("take_profit")),
        stop_loss=_stop_loss(body.get("stop_loss")),
        legs=_legs(body.get("legs")) if spread else (),
        position_intent=cast(PositionIntent | None, _word(body, "position_intent", _INTENTS)),
    )
    order = _own_take_profit(order)
    check_asked(order)
    return order


def read_client_id(body: Mapping[str, Any]) -> str | None:
    """The client order id; None where the client leaves it to us. Raises AlpacaError."""
    name = text_field(body.get("client_order_id"), "client_order_id")
    if name is not None and len(name) > _MAX_CLIENT_ID:
        raise invalid("client_order_id must be no more than 128 characters")
    return name


def read_replace(
    body: Mapping[str, Any], *, trails_by_price: bool, spread: bool
) -> tuple[str | None, BrokerReplace]:
    """The client order id, if one is given, and what is to change; `trail` is dollars or percent, as the order has it.
    Raises AlpacaError."""
    name = read_client_id(body)
    qty = decimal_of(body.get("qty"), "qty")
    if qty is not None and qty <= 0:
        raise invalid("qty must be > 0")
    prices = {one: decimal_of(body.get(one), one) for one in ("limit_price", "stop_price", "trail")}
    for one, price in prices.items():
        signed = spread and one == "limit_price"
        if price is not None and price <= 0 and not signed:
            raise invalid(f"{_words(one)} must be > 0")
    trail = prices["trail"]
    when = _word(body, "time_in_force", _TIMES)
    change = BrokerReplace(
        client_order_id="",
        qty=qty,
        limit_price=prices["limit_price"],
        stop_price=prices["stop_price"],
        trail_price=trail if trails_by_price else None,
        trail_percent=None if trails_by_price else trail,
        time_in_force=cast(TimeInForce | None, when),
    )
    if name is None and all(value is None for value in (qty, *prices.values(), when)):
        raise invalid("at least one of the order parameters must be specified")
    return name, change


def _word(body: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    value = text_field(body.get(name), name)
    if value is not None and value not in allowed:
        raise invalid(f"invalid {name}")
    return value


def _required(body: Mapping[str, Any], name: str, allowed: tuple[str, ...], words: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise invalid(f"invalid {words}")
    return value


def _words(name: str) -> str:
    return name.replace("_", " ")


def _part(value: Any, name: str) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid(f"invalid {name}")
    # An empty object says nothing.
    return value or None


def _price(part: Mapping[str, Any], where: str, name: str) -> Decimal | None:
    price = decimal_of(part.get(name), f"{where}.{name}")
    if price is not None and price <= 0:
        raise invalid(f"{where}.{name} must be > 0")
    return price


def _take_profit(value: Any) -> TakeProfit | None:
    part = _part(value, "take_profit")
    if part is None:
        return None
    limit = _price(part, "take_profit", "limit_price")
    if limit is None:
        raise invalid("take_profit.limit_price is required")
    return TakeProfit(limit)


def _stop_loss(value: Any) -> StopLoss | None:
    part = _part(value, "stop_loss")
    if part is None:
        return None
    stop = _price(part, "stop_loss", "stop_price")
    if stop is None:
        raise invalid("stop_loss.stop_price is required")
    return StopLoss(stop_price=stop, limit_price=_price(part, "stop_loss", "limit_price"))


def _legs(value: Any) -> tuple[AskedLeg, ...]:
    if not isinstance(value, list) or not 2 <= len(value) <= 4:
        raise unprocessable("mleg orders must have at least 2 legs and at most 4 legs")
    return tuple(_leg(one) for one in value)


def _leg(value: Any) -> AskedLeg:
    if not isinstance(value, dict):
        raise invalid("invalid legs")
    symbol = text_field(value.get("symbol"), "symbol")
    if symbol is None:
        raise invalid("symbol is required")
    ratio = decimal_of(value.get("ratio_qty"), "ratio_qty")
    if ratio is None or ratio != ratio.to_integral_value() or not 1 <= ratio <= _MAX_RATIO:
        raise invalid("invalid ratio_qty")
    intent = cast(PositionIntent | None, _word(value, "position_intent", _INTENTS))
    side = _word(value, "side", ("buy", "sell"))
    if side is None and intent is not None:
        side = intent.partition("_")[0]
    if side is None:
        raise invalid("invalid side")
    return AskedLeg(symbol, int(ratio), cast(Side, side), intent)


def _own_take_profit(order: AskedOrder) -> AskedOrder:
    """An oco order is its own take profit: clients name its price as `take_profit`, as `limit_price`, or as both."""
    if order.order_class != "oco" or order.take_profit is None:
        return order
    price = order.take_profit.limit_price
    if order.limit_price not in (None, price):
        raise invalid("oco orders require limit_price to be the same as take_profit.limit_price")
    return replace(order, limit_price=price, take_profit=None)


def canonical_symbol(text: str) -> str:
    """A ticker or a contract in its usual form. Raises AlpacaError `invalid symbol`."""
    try:
        return parse_any_symbol(text)
    except ValueError:
        raise unprocessable("invalid symbol") from None
