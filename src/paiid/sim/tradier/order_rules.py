"""What Tradier refuses of an order that is right in itself, in its own codes (tradier.md, section 4.1), and the codes
for what the venue refuses."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from paiid.brokers import BrokerRejected
from paiid.domain.instruments import is_option
from paiid.domain.money import ZERO
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.domain.quotes import Quote
from paiid.sim.tradier.accounts import SimAccount
from paiid.sim.tradier.asked import Asked, AskedLeg
from paiid.sim.tradier.gate import BusinessError
from paiid.sim.tradier.ids import Placed

__all__ = ["BACKOFFICE", "backoffice", "check_group", "check_leg", "check_times", "worded", "worded_change"]

BACKOFFICE = "Backoffice rejected override of the order."
_SHORT_FROM = Decimal(5)
_UNEXPECTED: Mapping[str, str] = {
    "buy": "UnexpectedBuyOrder",
    "sell": "UnexpectedSellOrder",
    "sell_short": "UnexpectedSellShortOrder",
    "buy_to_cover": "UnexpectedBuyToCoverOrder",
    "buy_to_open": "UnexpectedBuyOrderOption",
    "sell_to_close": "UnexpectedSellOrderOption",
    "sell_to_open": "UnexpectedSellShortOrderOption",
    "buy_to_close": "UnexpectedBuyToCoverOrderOption",
}
_CLOSES = {
    "sell": "LongPositionCrossZero",
    "sell_to_close": "LongPositionCrossZero",
    "buy_to_cover": "ShortPositionCrossZero",
    "buy_to_close": "ShortPositionCrossZero",
}
_STOP_THROUGH = {True: "BuyStopOrderStopPriceLessAsk", False: "SellStopOrderStopPriceGreaterBid"}
"""By whether the order buys."""
_VENUE: Mapping[str, str] = {
    "account_blocked": "AccountDisabled",
    "bracket_prices": "OrderPriceIsInvalid",
    "equity_below_2000": "ShortStockTradingDeniedForAccount",
    "expired_contract": "SecurityUndefined",
    "invalid_price": "OrderPriceIsInvalid",
    "invalid_qty": "IncorrectOrderQuantity",
    "no_quote": "QuotePriceIsInvalid",
    "not_replaceable": "OrderContingentChangeNotAllowed",
    "options_level": "OptionLevelRestriction",
    "price_band": "OrderPriceIsInvalid",
    "stale_quote": "QuotePriceIsInvalid",
    "uncovered_option": "ShortOptionTradingDeniedForAccount",
    "unknown_contract": "SecurityUndefined",
    "unknown_symbol": "SecurityUndefined",
    "wash_trade": "WashTradeAttempt",
}


def backoffice(code: str) -> BusinessError:
    """A refusal of an order for this reason."""
    return BusinessError(BACKOFFICE, code)


def check_times(asked: Asked) -> None:
    """Types that are good for a day only. Raises BusinessError."""
    if "," in asked.duration:
        raise backoffice("OcoExpirationTypeNotTheSame")
    if asked.duration != "gtc":
        return
    if asked.cls in ("equity", "option") and asked.type == "market":
        raise backoffice("MarketOrderIsGtc")
    if any(leg.side == "sell_short" for leg in asked.legs):
        raise backoffice("ShortOrderIsGtc")


def check_leg(leg: AskedLeg, held: Holding, quote: Quote | None, account: SimAccount) -> None:
    """Whether an order fits the position, and its stop the market. Raises BusinessError."""
    _check_position(leg, held)
    if leg.side == "sell_short":
        if not account.terms.margin:
            raise backoffice("ShortStockTradingDeniedForAccount")
        if quote is not None and quote.last < _SHORT_FROM:
            raise backoffice("SellShortOrderLastPriceBelow5")
    if leg.stop is not None and quote is not None:
        if leg.side.startswith("buy") and leg.stop <= quote.ask:
            raise backoffice(_STOP_THROUGH[True])
        if leg.side.startswith("sell") and leg.stop >= quote.bid:
            raise backoffice(_STOP_THROUGH[False])


def _check_position(leg: AskedLeg, held: Holding) -> None:
    side = leg.side
    buys = side.startswith("buy")
    if side not in _CLOSES:
        # What opens needs that nothing is held, or about to be held, on the other side.
        against = -held.qty if buys else held.qty
        about = held.open_sell_qty if buys else held.open_buy_qty
        if against > 0 or (held.qty == 0 and about > 0):
            raise backoffice(_UNEXPECTED[side])
        return
    there = -held.qty if buys else held.qty
    taken = held.open_buy_qty if buys else held.open_sell_qty
    if there <= 0:
        raise backoffice(_UNEXPECTED[side])
    if leg.quantity > there - taken:
        raise backoffice(_CLOSES[side])


def check_group(asked: Asked, *, market_entry: bool) -> None:
    """Whether the legs of an oto, oco or otoco go together. Raises BusinessError.

    `market_entry`: a market order may be the first leg, on which Tradier's documents disagree.
    """
    first, *others = asked.legs
    if any(is_option(leg.symbol) for leg in asked.legs):
        raise BusinessError(
            BACKOFFICE, "OrderIsNotAllowedForAccount", "This simulator holds groups of shares only."
        )
    if any(leg.type == "market" for leg in (others if asked.cls != "oco" else asked.legs)):
        raise backoffice("OtoOcoMarketNotAllowed")
    if asked.cls != "oco" and first.type == "market" and not market_entry:
        raise backoffice("OtoFirstLesIsMarketNotAllowed")
    if asked.duration not in ("day", "gtc"):
        raise backoffice("IncorrectTimeInForce")
    pair = asked.legs if asked.cls == "oco" else others
    if len(pair) == 2:
        if pair[0].side != pair[1].side:
            raise backoffice("OcoOrderWithOppositeLegs")
        _check_pair(pair[0], pair[1])
    wanted = {"buy": "sell", "sell_short": "buy_to_cover"}.get(first.side)
    ties = all(leg.symbol == first.symbol and leg.quantity == first.quantity for leg in others)
    if asked.cls == "oco":
        if first.side not in ("sell", "buy_to_cover") or not ties:
            raise BusinessError(
                BACKOFFICE,
                "ContingentOrderExecution",
                "This simulator holds an oco that closes one position.",
            )
    elif not ties or any(leg.side != wanted for leg in others):
        raise BusinessError(
            BACKOFFICE,
            "ContingentOrderExecution",
            "This simulator holds exits for all that the entry buys or sells.",
        )


def _check_pair(one: AskedLeg, other: AskedLeg) -> None:
    """Two orders of which one cancels the other: a limit and a stop, some way apart."""
    if {one.type == "limit", other.type == "limit"} != {True, False}:
        raise BusinessError("Invalid parameter, type: an oco order has legs of different types.", status=400)
    limit, stop = (one, other) if one.type == "limit" else (other, one)
    if limit.price is None or stop.stop is None:
        return
    above = limit.price - stop.stop if one.side == "sell" else stop.stop - limit.price
    if above < Decimal("0.01"):
        raise backoffice("OcoPriceDifferenceIsLessThanDelta")


def worded(refused: BrokerRejected, asked: Asked, book: PaperAccount) -> BusinessError:
    """What the venue refuses, in Tradier's codes; what has none is told in the venue's words."""
    leg = asked.legs[0]
    made: Mapping[str, Callable[[], str]] = {
        "insufficient_buying_power": lambda: _want_of_money(leg, book),
        "insufficient_qty": lambda: _CLOSES.get(leg.side, "OrderQuantity"),
        "opposite_order_open": lambda: _UNEXPECTED[leg.side],
        "position_intent_mismatch": lambda: _unexpected(asked, book),
        "stop_through_market": lambda: _STOP_THROUGH[leg.side.startswith("buy")],
    }
    code = made[refused.code]() if refused.code in made else _VENUE.get(refused.code)
    if refused.code == "options_level" and asked.cls == "multileg":
        code = "SpreadTradingDeniedForAccount"
    if refused.code == "bracket_prices" and asked.cls == "oco":
        code = "OcoPriceDifferenceIsLessThanDelta"
    return BusinessError(BACKOFFICE, refused.message if code is None else code)


def worded_change(refused: BrokerRejected, placed: Placed) -> BusinessError:
    """The same for a change. A change for the worse of the stop is named by the side of the order."""
    leg = placed.legs[0]
    code = _VENUE.get(refused.code)
    if refused.code == "insufficient_buying_power":
        code = "InitialMargin" if is_option(leg.symbol) else "DayTradingBuyingPowerExceeded"
    elif refused.code == "stop_through_market":
        code = _STOP_THROUGH[leg.side.startswith("buy")]
    return BusinessError(BACKOFFICE, refused.message if code is None else code)


def _want_of_money(leg: AskedLeg, book: PaperAccount) -> str:
    """Options are paid in full, and a cash account lends nothing; else it is a matter of buying power."""
    lent = book.terms.margin and not is_option(leg.symbol)
    return "DayTradingBuyingPowerExceeded" if lent else "InitialMargin"


def _unexpected(asked: Asked, book: PaperAccount) -> str:
    for leg in asked.legs:
        held = book.holding(leg.symbol).qty
        against = held if leg.side.startswith("sell") else -held
        if (leg.side in _CLOSES) != (against > ZERO):
            return _UNEXPECTED[leg.side]
    return _UNEXPECTED[asked.legs[0].side]
