"""What an order must look like before anybody looks at market or account: which fields belong together, and how.

Everything here follows from the bytes of the request alone, so it is answered 422 with the field, a stable code, and
the value that is wrong (contract E5).
"""

from decimal import Decimal
from math import gcd
from typing import NoReturn

from pydantic_core import PydanticCustomError

from paiid.domain.instruments import is_option, underlying_of
from paiid.domain.orders import OrderClass, OrderRequest, StopLoss

_PRICES: dict[str, tuple[str, ...]] = {
    "market": (),
    "limit": ("limit_price",),
    "stop": ("stop_price",),
    "stop_limit": ("limit_price", "stop_price"),
    "trailing_stop": (),
}
_MOST_LEGS = 4
_CENT = Decimal("0.01")


def wrong(field: str, code: str, message: str) -> NoReturn:
    """Refuse one field. Raises PydanticCustomError, which the edge turns into a 422."""
    # Not as the template: what the caller wrote must not be taken for a placeholder.
    raise PydanticCustomError(code, "{words}", {"at": field, "words": message})


def check_shape(order: OrderRequest) -> None:
    """Raises PydanticCustomError for the first thing that cannot be meant."""
    _check_amount(order)
    if order.order_class == "mleg":
        _check_spread(order)
        return
    _check_prices(order)
    _check_trail(order.type == "trailing_stop", order.trail_price, order.trail_percent, "")
    _check_waiting(order)
    _check_option(order)
    _check_exits(order)


def class_of(
    named: OrderClass | None, *, legs: bool, take_profit: bool, stop_loss: bool, bracket: bool
) -> OrderClass:
    """The class that the fields make, where none is named. Raises PydanticCustomError where they contradict it."""
    if legs:
        made: OrderClass = "mleg"
    elif bracket or (take_profit and stop_loss):
        made = "bracket"
    elif take_profit or stop_loss:
        made = "oto"
    else:
        made = "simple"
    if named is None or named == made:
        return made
    if named == "oco" and made in ("bracket", "oto") and not bracket:
        return "oco"
    if named == "mleg":
        wrong("legs", "legs_missing", "An order of the class mleg has 2 to 4 legs.")
    if named == "oco":
        wrong(
            "stop_loss", "oco_prices", "An oco order has take_profit.limit_price (or its own) and stop_loss."
        )
    if named == "bracket":
        wrong(
            "bracket",
            "bracket_prices",
            "A bracket has take_profit and stop_loss; or send bracket: true for your settings' distances.",
        )
    if named == "oto":
        wrong("order_class", "oto_exits", "An oto order has exactly one of take_profit and stop_loss.")
    wrong("order_class", "order_class", f"These fields make a {made} order, not a {named} one.")


def _check_amount(order: OrderRequest) -> None:
    if order.notional is None:
        return
    if order.qty is not None:
        wrong(
            "notional", "notional_with_qty", f"Send qty or notional, not both (notional: {order.notional})."
        )
    if order.notional < 1:
        wrong("notional", "notional_too_small", f"notional is at least 1 dollar, not {order.notional}.")
    if order.notional != round(order.notional, 2):
        wrong("notional", "notional_cents", f"notional has at most two decimals: {order.notional}.")
    if order.order_class == "mleg" or is_option(order.symbol):
        wrong("notional", "notional_option", "Options are ordered in contracts: send qty.")


def _check_prices(order: OrderRequest) -> None:
    needed = _PRICES[order.type]
    for name in ("limit_price", "stop_price"):
        price: Decimal | None = getattr(order, name)
        if name in needed and price is None:
            if order.order_class == "oco":
                wrong(name, "oco_prices", f"An oco order needs its take profit: {name}.")
            wrong(name, "missing", f"a {order.type} order needs {name}")
        if name not in needed and price is not None:
            wrong(name, "not_of_this_type", f"a {order.type} order takes no {name} (it is {price})")
        if price is not None and price <= 0:
            wrong(name, "not_positive", f"{name} must be greater than 0, not {price}")


def _check_trail(trails: bool, price: Decimal | None, percent: Decimal | None, where: str) -> None:
    given = [name for name, one in (("trail_price", price), ("trail_percent", percent)) if one is not None]
    if not trails:
        if given:
            wrong(where + given[0], "not_of_this_type", f"only a trailing stop takes {given[0]}")
        return
    if len(given) != 1:
        wrong(
            where + "trail_price",
            "trail",
            "a trailing stop has exactly one of trail_price and trail_percent",
        )
    if price is not None and price <= 0:
        wrong(where + "trail_price", "trail", f"trail_price must be greater than 0, not {price}")
    if percent is not None and not 0 < percent < 100:
        wrong(
            where + "trail_percent",
            "trail",
            f"trail_percent is greater than 0 and less than 100, not {percent}: at 100 the stop would be at nothing",
        )


def _check_waiting(order: OrderRequest) -> None:
    waits = order.type in ("stop", "stop_limit", "trailing_stop")
    if waits and order.time_in_force in ("ioc", "fok"):
        wrong(
            "time_in_force",
            "time_in_force",
            f"a {order.type} order waits for its price; ioc and fok orders do not wait",
        )


def _check_option(order: OrderRequest) -> None:
    if not is_option(order.symbol):
        if order.position_intent is not None:
            wrong(
                "position_intent", "position_intent", "Only options are bought and sold to open or to close."
            )
        return
    _check_whole(order)
    intent = order.position_intent
    if intent is not None and not intent.startswith(order.side):
        wrong("position_intent", "position_intent", f"{intent} does not go with the side {order.side}.")


def _check_whole(order: OrderRequest) -> None:
    if order.qty is not None and order.qty != order.qty.to_integral_value():
        wrong("qty", "whole_contracts", f"Options are ordered in whole contracts, not {order.qty}.")


def _check_exits(order: OrderRequest) -> None:
    if order.order_class == "oto" and (order.take_profit is None) == (order.stop_loss is None):
        wrong("order_class", "oto_exits", "An oto order has exactly one of take_profit and stop_loss.")
    if order.order_class == "oco":
        if order.type != "limit":
            wrong("type", "oco_type", f"An oco order is a limit order (its take profit), not {order.type}.")
        if order.stop_loss is None:
            wrong("stop_loss", "oco_prices", "An oco order needs stop_loss.")
    loss = order.stop_loss
    if loss is not None:
        if loss.stop_price is None and loss.trail_price is None and loss.trail_percent is None:
            wrong("stop_loss.stop_price", "stop_loss", "stop_loss needs stop_price, or a trail.")
        trails = loss.stop_price is None
        _check_trail(trails, loss.trail_price, loss.trail_percent, "stop_loss.")
        if trails and loss.limit_price is not None:
            wrong("stop_loss.limit_price", "not_of_this_type", "a trailing stop takes no limit_price")
    problem = exit_prices(order, order.limit_price if order.type in ("limit", "stop_limit") else None)
    if problem is not None:
        wrong(*problem)


def exit_prices(order: OrderRequest, base: Decimal | None) -> tuple[str, str, str] | None:
    """What is wrong with the prices of the exits: (field, code, words), None where nothing is.

    `base` is the entry's own limit or, in the claim, the reference price; None: not known yet. An exit with a profit is
    on the far side of the base from the exit with a loss, which is at least a cent away from it.
    """
    if order.order_class not in ("bracket", "oto", "oco"):
        return None
    profit = order.limit_price if order.order_class == "oco" else None
    if order.take_profit is not None:
        profit = order.take_profit.limit_price
    stop = order.stop_loss.stop_price if order.stop_loss is not None else None
    # The exits of a purchase are sales; an oco is an exit itself, so its own side is the exits'.
    sells = order.side == ("sell" if order.order_class == "oco" else "buy")
    sign = 1 if sells else -1
    above, below = ("over", "under") if sells else ("under", "over")
    if profit is not None and stop is not None and (profit - stop) * sign < _CENT:
        return (
            "take_profit.limit_price",
            "bracket_prices",
            f"The take profit ({profit}) must be at least a cent {above} the stop ({stop}).",
        )
    if order.order_class == "oco" or base is None:
        return _stop_limit_side(order.stop_loss, sign, below)
    if profit is not None and (profit - base) * sign <= 0:
        return (
            "take_profit.limit_price",
            "bracket_prices",
            f"The take profit ({profit}) must be {above} the price of the entry ({base}).",
        )
    if stop is not None and (base - stop) * sign < _CENT:
        return (
            "stop_loss.stop_price",
            "bracket_prices",
            f"The stop ({stop}) must be at least a cent {below} the price of the entry ({base}).",
        )
    return _stop_limit_side(order.stop_loss, sign, below)


def _stop_limit_side(loss: StopLoss | None, sign: int, below: str) -> tuple[str, str, str] | None:
    if loss is None or loss.stop_price is None or loss.limit_price is None:
        return None
    if (loss.limit_price - loss.stop_price) * sign > 0:
        return (
            "stop_loss.limit_price",
            "bracket_prices",
            f"The limit of the stop ({loss.limit_price}) must be at or {below} its stop ({loss.stop_price}).",
        )
    return None


def _check_spread(order: OrderRequest) -> None:
    if not 2 <= len(order.legs) <= _MOST_LEGS:
        wrong("legs", "legs_count", f"A spread has 2 to 4 legs, not {len(order.legs)}.")
    if order.type not in ("market", "limit"):
        wrong("type", "spread_type", f"A spread is a market or a limit order, not {order.type}.")
    if (order.type == "limit") != (order.limit_price is not None):
        wrong("limit_price", "missing" if order.type == "limit" else "not_of_this_type",
              "A limit spread needs limit_price, its net: positive for a debit, negative for a credit.")  # fmt: skip
    if order.qty is None:
        wrong("qty", "missing", "A spread needs qty: how many units of it.")
    _check_whole(order)
    for name in ("stop_price", "trail_price", "trail_percent", "take_profit", "stop_loss", "position_intent"):
        if getattr(order, name) is not None:
            wrong(name, "not_of_this_type", f"A spread takes no {name}.")
    seen: set[str] = set()
    for at, leg in enumerate(order.legs):
        if not is_option(leg.symbol):
            wrong(f"legs.{at}.symbol", "leg_symbol", f"A leg is an option contract, not {leg.symbol}.")
        if leg.symbol in seen:
            wrong(f"legs.{at}.symbol", "leg_twice", f"The contract {leg.symbol} is there twice.")
        seen.add(leg.symbol)
        if underlying_of(leg.symbol) != order.symbol:
            wrong(
                f"legs.{at}.symbol", "leg_underlying", f"All legs are about one underlying, not {leg.symbol}."
            )
        if not leg.position_intent.startswith(leg.side):
            wrong(f"legs.{at}.position_intent", "position_intent",
                  f"{leg.position_intent} does not go with the side {leg.side}.")  # fmt: skip
    common = gcd(*(leg.ratio_qty for leg in order.legs))
    if common > 1:
        ratios = ":".join(str(leg.ratio_qty) for leg in order.legs)
        wrong("legs", "leg_ratios", f"The ratios {ratios} are not in lowest terms: divide them by {common}.")
