"""Orders and changes as Tradier's form fields (sections 6.1 and 6.5); what they have no words for is refused before a byte is sent.

Our spreads have option legs only, so of Tradier's classes `combo` (shares with options) is read and never sent. Whether an order
opens or closes has to be said for shares too: a sale is `sell` or `sell_short`, a purchase `buy` or `buy_to_cover`.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from math import gcd

from paiid.brokers import BrokerOrder, BrokerRejected, BrokerReplace
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import is_option, underlying_of
from paiid.domain.money import ZERO
from paiid.domain.orders import PositionIntent, Side, StopLoss
from paiid.wires.values import plain_digits

__all__ = ["Form", "change_form", "order_form"]

Form = dict[str, str]
_TAG = re.compile(r"[A-Za-z0-9-]{1,255}\Z", re.ASCII)
_MOST_QTY = 10_000_000
_LEGS = (2, 4)
_DURATIONS = ("day", "gtc")
_TYPES = ("market", "limit", "stop", "stop_limit")
_STOCK_SIDES: Mapping[PositionIntent, str] = {
    "buy_to_open": "buy",
    "sell_to_close": "sell",
    "sell_to_open": "sell_short",
    "buy_to_close": "buy_to_cover",
}
_EXIT_OF: Mapping[PositionIntent, PositionIntent] = {
    "buy_to_open": "sell_to_close",
    "sell_to_open": "buy_to_close",
    "sell_to_close": "buy_to_open",
    "buy_to_close": "sell_to_open",
}
_CLASSES = {"bracket": "otoco", "oto": "oto", "oco": "oco"}
_EXITS = {"bracket": 2, "oto": 1, "oco": 2}


def order_form(order: BrokerOrder, at_us: int, hours: MarketHours) -> Form:
    """The form of `POST /accounts/{id}/orders`. `at_us` and `hours` say which session an order for extended hours is for.

    Raises BrokerRejected for what Tradier's API has no words for: nothing is sent.
    """
    form: Form = {"tag": _tag(order.client_order_id), "duration": _duration(order, at_us, hours)}
    if order.order_class == "mleg":
        return form | _spread(order)
    if order.order_class in _CLASSES:
        return form | _group(order)
    leg = _leg(order.symbol, order.side, order.position_intent, order)
    form["class"] = "option" if is_option(order.symbol) else "equity"
    return form | leg | _terms(order.type, order.limit_price, order.stop_price)


def change_form(change: BrokerReplace) -> Form:
    """The form of `PUT /accounts/{id}/orders/{order_id}`: what changes and nothing else, for what is left out stays as it is.

    Raises BrokerRejected for a quantity and for a trail, which cannot be changed there.
    """
    if change.qty is not None:
        raise BrokerRejected(
            "replace_not_supported",
            "Tradier cannot change the quantity of an order: cancel it and place another.",
        )
    if change.trail_price is not None or change.trail_percent is not None:
        raise BrokerRejected("trailing_stop_not_supported", "Tradier's API has no trailing stops.")
    form: Form = {}
    if change.time_in_force is not None:
        form["duration"] = _known(change.time_in_force, _DURATIONS, "time_in_force")
    _put(form, "price", change.limit_price)
    _put(form, "stop", change.stop_price)
    if not form:
        raise BrokerRejected("nothing_to_change", "The change names nothing that Tradier can change.")
    return form


def _leg(symbol: str, side: Side, intent: PositionIntent | None, order: BrokerOrder) -> Form:
    """What is traded, which way, and how many: of a single order, and of each member of a group."""
    leg = {"symbol": _ticker(underlying_of(symbol)), "side": _side(symbol, side, intent)}
    if is_option(symbol):
        leg["option_symbol"] = symbol
    return leg | {"quantity": _quantity(order)}


def _side(symbol: str, side: Side, intent: PositionIntent | None) -> str:
    """Shares that do not say whether they open or close are plainly bought or sold, which Tradier refuses where it would
    turn a position round; an option always says it."""
    if intent is not None and not intent.startswith(side):
        raise BrokerRejected("position_intent_mismatch", f"{intent} does not go with the side {side}.")
    if is_option(symbol):
        if intent is None:
            raise BrokerRejected(
                "position_intent", "Tradier has to be told whether a contract is opened or closed."
            )
        return intent
    return side if intent is None else _STOCK_SIDES[intent]


def _terms(type_: str, limit_price: Decimal | None, stop_price: Decimal | None) -> Form:
    """Type and prices. Raises BrokerRejected where they do not go together."""
    form = {"type": _known(type_, _TYPES, "type")}
    for name, price, wanted in (
        ("price", limit_price, type_ in ("limit", "stop_limit")),
        ("stop", stop_price, type_ in ("stop", "stop_limit")),
    ):
        if wanted != (price is not None):
            raise BrokerRejected(
                "invalid_price", f"A {type_} order {'needs' if wanted else 'takes no'} {name}."
            )
        if price is not None and price <= ZERO:
            raise BrokerRejected("invalid_price", f"The {name} of an order must be greater than 0.")
        _put(form, name, price)
    return form


def _spread(order: BrokerOrder) -> Form:
    """A price without its sign: the type says whether it is paid or received (section 11, 9)."""
    if not _LEGS[0] <= len(order.legs) <= _LEGS[1]:
        raise BrokerRejected(
            "legs_count", f"A spread has {_LEGS[0]} to {_LEGS[1]} legs, this one {len(order.legs)}."
        )
    common = gcd(*(leg.ratio_qty for leg in order.legs))
    if common != 1:
        # Read back, such a spread would be more units of a smaller one.
        raise BrokerRejected("ratio_not_lowest_terms", f"The ratios of the legs have {common} in common.")
    form: Form = {"class": "multileg", "symbol": _ticker(order.symbol)}
    if order.type == "limit" and order.limit_price is not None:
        net = order.limit_price
        form["type"] = "even" if net == ZERO else "debit" if net > ZERO else "credit"
        _put(form, "price", abs(net) or None)
    elif order.type == "market" and order.limit_price is None:
        form["type"] = "market"
    else:
        raise BrokerRejected("type_not_supported", "Tradier takes spreads at the market or at a net price.")
    units = int(_quantity(order))
    for at, leg in enumerate(order.legs):
        form[f"option_symbol[{at}]"] = leg.symbol
        form[f"side[{at}]"] = _side(leg.symbol, leg.side, leg.position_intent)
        form[f"quantity[{at}]"] = str(units * leg.ratio_qty)
    return form


def _group(order: BrokerOrder) -> Form:
    """A bracket is Tradier's `otoco`: the entry, then the two exits, of which the one cancels the other. No field of a
    leg stands at the top, a `symbol` there is refused (section 6.1)."""
    legs = [] if order.order_class == "oco" else [_entry(order)]
    side: Side = order.side
    intent = order.position_intent
    if legs:
        side = "sell" if order.side == "buy" else "buy"
        intent = None if intent is None else _EXIT_OF[intent]
    exits = _exits(order)
    wanted = _EXITS[order.order_class]
    if len(exits) != wanted:
        raise BrokerRejected(
            "order_class_fields",
            f"An order of class {order.order_class} has {wanted} exits, this one {len(exits)}.",
        )
    legs += [_leg(order.symbol, side, intent, order) | terms for terms in exits]
    form: Form = {"class": _CLASSES[order.order_class]}
    for at, leg in enumerate(legs):
        form |= {f"{name}[{at}]": value for name, value in leg.items()}
    return form


def _entry(order: BrokerOrder) -> Form:
    if order.type != "limit":
        raise BrokerRejected(
            "type_not_supported",
            "Tradier's documents disagree on whether an entry may be anything but a limit order, so it must be one.",
        )
    leg = _leg(order.symbol, order.side, order.position_intent, order)
    return leg | _terms(order.type, order.limit_price, order.stop_price)


def _exits(order: BrokerOrder) -> list[Form]:
    """The take profit before the stop loss."""
    exits: list[Form] = []
    profit = None if order.take_profit is None else order.take_profit.limit_price
    if profit is None and order.order_class == "oco":
        profit = order.limit_price
    if profit is not None:
        exits.append(_terms("limit", profit, None))
    if order.stop_loss is not None:
        exits.append(_stop_loss(order.stop_loss))
    return exits


def _stop_loss(loss: StopLoss) -> Form:
    if loss.stop_price is None:
        raise BrokerRejected("trailing_stop_loss_not_supported", "Tradier's API has no trailing stops.")
    return _terms(loss.type, loss.limit_price, loss.stop_price)


def _duration(order: BrokerOrder, at_us: int, hours: MarketHours) -> str:
    duration = _known(order.time_in_force, _DURATIONS, "time_in_force")
    if duration == "gtc":
        simple = order.order_class != "mleg"
        if order.type == "market":
            raise BrokerRejected(
                "time_in_force_not_supported", "Tradier takes market orders for the day only."
            )
        if simple and order.position_intent == "sell_to_open" and not is_option(order.symbol):
            raise BrokerRejected("time_in_force_not_supported", "Tradier takes short sales for the day only.")
    return _extended(order, at_us, hours) if order.extended_hours else duration


def _extended(order: BrokerOrder, at_us: int, hours: MarketHours) -> str:
    """`pre` or `post`: at Tradier an order is for one of the two, and can be placed while that one is on."""
    fits = order.order_class == "simple" and order.type == "limit" and order.time_in_force == "day"
    if not fits or is_option(order.symbol):
        raise BrokerRejected(
            "extended_hours_not_supported",
            "Outside the regular session Tradier takes limit orders for shares, for the day.",
        )
    if hours.is_open(at_us) or not hours.is_extended(at_us):
        raise BrokerRejected(
            "session",
            "At Tradier an order for extended hours is for the session before the opening or the one after the close,"
            " and neither is on now.",
        )
    # In extended hours the regular session that comes next is today's only before it has begun.
    before_opening = hours.next_roll_us(at_us) < hours.extended_end_us(at_us)
    return "pre" if before_opening else "post"


def _quantity(order: BrokerOrder) -> str:
    if order.qty is None or order.notional is not None:
        raise BrokerRejected("notional_not_supported", "Tradier takes no orders by amount; send qty.")
    if order.qty != order.qty.to_integral_value():
        raise BrokerRejected("fractional_not_supported", "Tradier takes whole shares and contracts only.")
    if not 1 <= order.qty <= _MOST_QTY:
        raise BrokerRejected(
            "invalid_qty", f"Tradier takes 1 to {_MOST_QTY} shares or contracts in one order."
        )
    return plain_digits(order.qty)


def _ticker(symbol: str) -> str:
    """A class of shares stands behind a slash there: `BRK/B` (section 3, 6)."""
    return symbol.replace(".", "/")


def _tag(client_order_id: str) -> str:
    """Our id as Tradier takes it: no underscores, colons or blanks (section 6.8)."""
    if not _TAG.match(client_order_id):
        raise BrokerRejected("client_order_id", "A tag at Tradier has 1 to 255 letters, digits and hyphens.")
    return client_order_id


def _known(value: str, able: tuple[str, ...], name: str) -> str:
    if value not in able:
        raise BrokerRejected(f"{name}_not_supported", f"Tradier's API has no {value} orders.")
    return value


def _put(form: Form, name: str, value: Decimal | None) -> None:
    if value is not None:
        form[name] = plain_digits(value)
