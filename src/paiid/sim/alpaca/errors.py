"""Alpaca's words for a no: status, code, text and fields, and which of them a refusal of the paper engine becomes.

Texts and codes: the table of errors in Alpaca's documentation and in recorded answers of its paper API. Where the engine
refuses for a reason that Alpaca has no known words for, its own sentence goes out under the closest code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerOrder
from paiid.domain.instruments import is_option, multiplier_of, underlying_of
from paiid.domain.money import ZERO, plain
from paiid.domain.occ import find_contract
from paiid.domain.paper_account import Holding
from paiid.domain.paper_positions import inferred_intent
from paiid.domain.quotes import Quote
from paiid.sim.alpaca.ids import wire_id

MALFORMED = 40010000
INVALID = 40010001
FORBIDDEN = 40310000
SHORT_EXERCISE = 40310001
NOT_FOUND = 40410000
UNPROCESSABLE = 42210000
TOO_MANY = 42910000
INTERNAL = 50010000

_OPPOSITE = re.compile(r"the opposite order (\S+) is open")


class AlpacaError(Exception):
    """An answer that is no yes; `extra` are the fields beside code and message."""

    def __init__(self, status: int, code: int, message: str, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = extra

    @property
    def body(self) -> dict[str, Any]:
        """What stands in the answer."""
        return {**self.extra, "code": self.code, "message": self.message}


def invalid(message: str) -> AlpacaError:
    """422 for a field that is missing or wrong in itself."""
    return AlpacaError(422, INVALID, message)


def unprocessable(message: str, **extra: str) -> AlpacaError:
    """422 for an order that cannot be taken as it is."""
    return AlpacaError(422, UNPROCESSABLE, message, **extra)


def forbidden(message: str, **extra: str) -> AlpacaError:
    """403 for what this account may not do now."""
    return AlpacaError(403, FORBIDDEN, message, **extra)


def not_found(message: str) -> AlpacaError:
    """404."""
    return AlpacaError(404, NOT_FOUND, message)


NOT_UNIQUE = "client_order_id must be unique"

# The engine's code: HTTP status, Alpaca's code, Alpaca's text (None: the engine's own sentence).
_PLAIN: Mapping[str, tuple[int, int, str | None]] = {
    "account_blocked": (403, FORBIDDEN, "account is not active"),
    "asset_class_not_supported": (422, INVALID, "us_equity orders not allowed for account"),
    "auction_closed": (422, UNPROCESSABLE, None),
    "bracket_prices": (422, UNPROCESSABLE, None),
    "equity_below_2000": (403, FORBIDDEN, "account is not allowed to short"),
    "extended_hours_not_supported": (
        422,
        UNPROCESSABLE,
        "extended hours order must be DAY or GTC limit orders",
    ),
    "fractional_not_supported": (422, UNPROCESSABLE, "fractional orders must be simple orders"),
    "insufficient_buying_power": (403, FORBIDDEN, "insufficient buying power"),
    "insufficient_qty": (403, FORBIDDEN, "insufficient qty available for order"),
    "invalid_client_order_id": (422, INVALID, "client_order_id must be no more than 128 characters"),
    "invalid_notional": (422, INVALID, "notional must be >= 1.00"),
    "invalid_price": (422, UNPROCESSABLE, None),
    "invalid_qty": (422, INVALID, None),
    "leg_ratios": (422, UNPROCESSABLE, "mleg ratio quantities must be in lowest terms"),
    "leg_symbol": (422, UNPROCESSABLE, "invalid symbol"),
    "leg_twice": (422, UNPROCESSABLE, "mleg orders must not have two legs with the same symbol"),
    "leg_underlying": (422, UNPROCESSABLE, "mleg orders must have legs with the same underlying symbol"),
    "legs_count": (422, UNPROCESSABLE, "mleg orders must have at least 2 legs and at most 4 legs"),
    "no_quote": (422, UNPROCESSABLE, None),
    "not_cancelable": (422, UNPROCESSABLE, None),
    "not_found": (404, NOT_FOUND, "order not found"),
    "not_replaceable": (422, UNPROCESSABLE, None),
    "not_supported": (422, UNPROCESSABLE, None),
    "nothing_to_change": (422, UNPROCESSABLE, "order parameters are not changed"),
    "notional_not_supported": (422, UNPROCESSABLE, "notional orders must be market orders"),
    "opposite_order_open": (403, FORBIDDEN, None),
    "options_level": (403, FORBIDDEN, "account not eligible to trade uncovered option contracts"),
    "order_class_fields": (422, UNPROCESSABLE, None),
    "order_class_not_supported": (422, UNPROCESSABLE, None),
    "position_intent_mismatch": (422, UNPROCESSABLE, None),
    "price_band": (422, UNPROCESSABLE, None),
    "stale_quote": (422, UNPROCESSABLE, None),
    "time_in_force_not_supported": (422, UNPROCESSABLE, None),
    "too_many_orders": (403, FORBIDDEN, None),
    "trailing_stop_loss_not_supported": (422, UNPROCESSABLE, None),
    "type_not_supported": (422, UNPROCESSABLE, None),
    "unknown_account": (403, FORBIDDEN, "account is not active"),
    "wash_trade": (403, FORBIDDEN, "potential wash trade detected. use complex orders"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known when the engine refused: the order, its quote and holding, dollars to buy with."""

    order: BrokerOrder | None = None
    held: Holding = field(default_factory=Holding)
    quote: Quote | None = None
    buying_power: Decimal = ZERO
    underlying_qty: Decimal = ZERO
    underlying_asset_id: str = ""


def of_engine(code: str, message: str, facts: Facts) -> AlpacaError:
    """What a refusal of the engine is on the wire. Raises KeyError for a code that nobody has given words to."""
    special = _SPECIAL.get(code)
    if special is not None and facts.order is not None:
        return special(message, facts.order, facts)
    if code in _SPECIAL and code not in _PLAIN:
        return unprocessable(_lowered(message))
    status, number, text = _PLAIN[code]
    return AlpacaError(status, number, text or _lowered(message))


def engine_codes() -> frozenset[str]:
    """Every code of the engine that has words here."""
    return frozenset(_PLAIN) | frozenset(_SPECIAL)


def _lowered(message: str) -> str:
    """A sentence in Alpaca's manner: no capital, no full stop."""
    text = message.removesuffix(".")
    return text[:1].lower() + text[1:]


def insufficient_qty(symbol: str, requested: Decimal, available: Decimal, existing: Decimal) -> AlpacaError:
    """403: more is to be sold (or bought back) than is free. `existing` is what is held, without its sign."""
    free = max(ZERO, available)
    return forbidden(
        f"insufficient qty available for order (requested: {plain(requested)}, available: {plain(free)})",
        available=str(plain(free)),
        existing_qty=str(plain(existing)),
        held_for_orders=str(plain(existing - free)),
        symbol=symbol,
    )


def free_to_close(held: Holding, side: str) -> Decimal:
    """What an order on this side may take out of the position: what is held less what open orders take."""
    free = held.qty - held.open_sell_qty if side == "sell" else -held.qty - held.open_buy_qty
    return max(ZERO, free)


def cost_basis(order: BrokerOrder, quote: Quote | None) -> Decimal:
    """Dollars that the order comes to, as far as is known."""
    if order.notional is not None:
        return order.notional
    price = order.limit_price if order.limit_price is not None else order.stop_price
    if price is None and quote is not None:
        price = quote.ask if order.side == "buy" else quote.bid
    if order.order_class == "mleg":
        return (price or ZERO) * (order.qty or ZERO) * 100
    return (price or ZERO) * (order.qty or ZERO) * multiplier_of(order.symbol)


def _no_buying_power(_: str, order: BrokerOrder, facts: Facts) -> AlpacaError:
    return forbidden(
        "insufficient buying power",
        buying_power=str(plain(facts.buying_power)),
        cost_basis=str(plain(cost_basis(order, facts.quote))),
    )


def _no_qty(message: str, order: BrokerOrder, facts: Facts) -> AlpacaError:
    if order.order_class == "mleg" or order.qty is None:
        return forbidden(_lowered(message))
    return insufficient_qty(
        order.symbol, order.qty, free_to_close(facts.held, order.side), abs(facts.held.qty)
    )


def _short_fraction(_: str, order: BrokerOrder, facts: Facts) -> AlpacaError:
    if facts.held.qty > 0 and order.qty is not None:
        return _no_qty("", order, facts)
    return unprocessable("fractional orders cannot be sold short")


def _notional(message: str, order: BrokerOrder, _: Facts) -> AlpacaError:
    if order.notional is not None and order.notional < 1:
        return invalid("notional must be >= 1.00")
    return invalid(_lowered(message))


def _market_closed(message: str, order: BrokerOrder, _: Facts) -> AlpacaError:
    if order.order_class == "mleg" or is_option(order.symbol):
        return unprocessable("options market orders are only allowed during market hours")
    return unprocessable(_lowered(message))


def _stop_through(_: str, order: BrokerOrder, facts: Facts) -> AlpacaError:
    stop = order.stop_price
    if stop is None and order.stop_loss is not None:
        stop = order.stop_loss.stop_price
    exits = order.order_class in ("bracket", "oto")
    sells = (order.side == "buy") if exits and order.stop_price is None else (order.side == "sell")
    price = ZERO if facts.quote is None else facts.quote.bid if sells else facts.quote.ask
    return unprocessable(
        f"stop price must be {'less' if sells else 'greater'} than current price",
        market_price=str(plain(price)),
        stop_price=str(plain(stop or ZERO)),
    )


def _wash(message: str, _: BrokerOrder, __: Facts) -> AlpacaError:
    found = _OPPOSITE.search(message)
    extra = {} if found is None else {"existing_order_id": wire_id(found[1])}
    return forbidden(
        "potential wash trade detected. use complex orders",
        reject_reason="opposite side order exists",
        **extra,
    )


def _uncovered(_: str, order: BrokerOrder, facts: Facts) -> AlpacaError:
    contract = find_contract(order.symbol) if is_option(order.symbol) else None
    if contract is not None and contract.option_type == "call" and order.order_class == "simple":
        needed = (order.qty or ZERO) * 100
        if ZERO < facts.underlying_qty < needed:
            available = str(plain(facts.underlying_qty))
            return forbidden(
                "insufficient underlying qty available for covered call "
                f"(required: {plain(needed)}, available: {available})",
                available_qty=available,
                required_qty=str(plain(needed)),
                symbol=underlying_of(order.symbol),
                underlying_asset_id=facts.underlying_asset_id,
            )
    return forbidden("account not eligible to trade uncovered option contracts")


def _unknown(_: str, order: BrokerOrder, __: Facts) -> AlpacaError:
    return unprocessable(f'asset "{order.symbol}" not found')


def _expired(_: str, order: BrokerOrder, __: Facts) -> AlpacaError:
    return unprocessable(f'asset "{order.symbol}" is not tradable')


def _mismatch(message: str, order: BrokerOrder, facts: Facts) -> AlpacaError:
    if order.order_class == "mleg" or order.position_intent is None:
        return unprocessable("position intent mismatch: " + _lowered(message))
    inferred = inferred_intent(order.side, facts.held.qty)
    return unprocessable(
        f"position intent mismatch, inferred: {inferred}, specified: {order.position_intent}"
    )


_SPECIAL = {
    "insufficient_buying_power": _no_buying_power,
    "insufficient_qty": _no_qty,
    "short_sale_whole_shares": _short_fraction,
    "invalid_notional": _notional,
    "market_closed": _market_closed,
    "stop_through_market": _stop_through,
    "wash_trade": _wash,
    "uncovered_option": _uncovered,
    "unknown_symbol": _unknown,
    "unknown_contract": _unknown,
    "expired_contract": _expired,
    "position_intent_mismatch": _mismatch,
}
