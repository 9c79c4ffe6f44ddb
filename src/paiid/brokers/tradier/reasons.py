"""Tradier's reasons for a refusal under our codes: the names of section 4.1, and the texts of sections 4 and 6.7."""

import re
from collections.abc import Mapping, Sequence

__all__ = ["code_of"]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "insufficient_buying_power": (
        "DayTradingBuyingPowerExceeded", "InitialMargin", "TotalInitialMargin", "MaintenanceMargin",
        "AccountMarginRuleViolation",
    ),
    "account_blocked": ("AccountDisabled", "AccountIsNotApproved", "TradingDeniedForAccount", "UserDisabled"),
    "pattern_day_trading": ("DayTraderPatternRestriction", "TooSmallEquityForDayTrading"),
    "not_tradable": (
        "AssetTradingNotConfiguredForAccount", "OrderIsNotAllowedForAccount", "TradingDeniedForSecurity",
        "TradeNonStandartOptions",
    ),
    "options_level": (
        "OptionLevelRestriction", "LongOptionTradingDeniedForAccount", "ShortOptionTradingDeniedForAccount",
        "SpreadTradingDeniedForAccount",
    ),
    "not_shortable": (
        "ShortStockTradingDeniedForAccount", "ShortTradingDeniedForSecurity", "SellShortOrderLastPriceBelow5",
    ),
    "position_intent_mismatch": (
        "UnexpectedBuyOrder", "UnexpectedBuyOrderOption", "UnexpectedBuyToCoverOrder",
        "UnexpectedBuyToCoverOrderOption", "UnexpectedSellOrder", "UnexpectedSellOrderOption",
        "UnexpectedSellShortOrder", "UnexpectedSellShortOrderOption",
    ),
    "crosses_zero": ("LongPositionCrossZero", "ShortPositionCrossZero"),
    "stop_price_beyond_market": ("BuyStopOrderStopPriceLessAsk", "SellStopOrderStopPriceGreaterBid"),
    "time_in_force_not_supported": (
        "IncorrectTimeInForce", "MarketOrderIsGtc", "ShortOrderIsGtc", "InvalidOrderExpiration",
    ),
    "invalid_qty": ("IncorrectOrderQuantity", "OrderQuantity"),
    "invalid_price": (
        "LimitPriceUndefined", "OrderPriceIsInvalid", "QuotePriceIsInvalid", "StopPriceUndefined",
    ),
    "unknown_symbol": (
        "ExpirationDateUndefined", "IndexOptionsOneExparyDate", "OptionTypeUndefined", "SecurityUndefined",
        "StrikePriceUndefined",
    ),
    "order_class_fields": (
        "OcoExpirationTypeNotTheSame", "OcoOrderWithOppositeLegs", "OcoPriceDifferenceIsLessThanDelta",
        "OrderWithDifferentSide", "OtoFirstLesIsMarketNotAllowed", "OtoFirstLegIsMarketNotAllowed",
        "OtoOcoMarketNotAllowed", "OtoOcoTrailingNotAllowed",
    ),
    "not_replaceable": ("ContingentOrderExecution", "OrderContingentChangeNotAllowed"),
    "wash_trade": ("WashTradeAttempt",),
    "broker_unavailable": ("OmsUnavailable",),
}  # fmt: skip
"""`OmsInternalError` is missing: by it the provider says that it failed, which refuses nothing (`refusals`)."""
_BY_NAME = {name.lower(): code for code, names in _NAMES.items() for name in names}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"no longer available|market is closed|not available at this time", "session"),
    (r"parameter,? duration", "time_in_force_not_supported"),
    (r"parameter,? tag", "client_order_id"),
    (r"parameter,? (option_)?symbol", "unknown_symbol"),
    (r"parameter,? quantity", "invalid_qty"),
    (r"parameter,? (price|stop)\b", "invalid_price"),
    (r"buying power|insufficient (funds|balance|cash)", "insufficient_buying_power"),
    (r"wash trade", "wash_trade"),
    (r"pattern day trad", "pattern_day_trading"),
    (r"short sale|not shortable|easy to borrow", "not_shortable"),
)
_PATTERNS = tuple((re.compile(words, re.IGNORECASE), code) for words, code in _TEXTS)


def code_of(words: Sequence[str]) -> str | None:
    """Our code for the first reason that has one; None where nobody knows what was meant. A name counts wherever it stands:
    it comes alone, or behind `Backoffice rejected override of the order.`"""
    for one in words:
        named = next(
            (_BY_NAME[name.lower()] for name in _NAME.findall(one) if name.lower() in _BY_NAME), None
        )
        found = named or next((code for pattern, code in _PATTERNS if pattern.search(one)), None)
        if found is not None:
            return found
    return None
