"""What Tradier can hold itself: the order fields and rejection codes of its reference (sections 4.1, 6.1, 6.5) as our table."""

from paiid.domain.capabilities import Capabilities, Holds

_DAY = frozenset({"day"})
_EVERYDAY = frozenset({"day", "gtc"})
_SIMPLE = frozenset({"simple"})
_MARKET = frozenset({"market"})
_LIMIT = frozenset({"limit"})
_PRICED = frozenset({"limit", "stop", "stop_limit"})
_NO_DURATION = "Tradier knows orders for the day, gtc, and for the sessions before and after; it has no {}."

CAPABILITIES = Capabilities(
    rows=(
        Holds("stock", _SIMPLE, _LIMIT, _DAY, extended_hours=True),
        Holds("stock", _SIMPLE, _MARKET, _DAY),
        Holds("stock", _SIMPLE, _PRICED, _EVERYDAY),
        Holds("stock", frozenset({"bracket", "oto", "oco"}), _LIMIT, _EVERYDAY),
        Holds("option", _SIMPLE, _MARKET, _DAY),
        Holds("option", _SIMPLE, _PRICED, _EVERYDAY),
        Holds("option_spread", frozenset({"mleg"}), _MARKET, _DAY),
        Holds("option_spread", frozenset({"mleg"}), _LIMIT, _EVERYDAY),
    ),
    short_selling=True,
    own_stop=False,
    lists_end_with_day=True,
    replaceable=frozenset({"simple"}),
    trailing_exits=False,
    cancels_all=False,
    tells_prints=False,
    needs_intent=True,
    replaces_in_place=True,
    replaces_qty=False,
    notes={
        "trailing_stop": "Tradier's API has no trailing stops, neither alone nor as the stop loss of a bracket.",
        "fractional": "Tradier's API takes whole shares; what its newer pages say of fractions is not confirmed.",
        "notional": "Tradier's API takes no orders by amount.",
        "opg": _NO_DURATION.format("orders for the opening auction"),
        "cls": _NO_DURATION.format("orders for the closing auction"),
        "ioc": _NO_DURATION.format("immediate-or-cancel"),
        "fok": _NO_DURATION.format("fill-or-kill"),
        "gtc": "Tradier takes market orders, and short sales, for the day only.",
        "market": "The entry of a bracket or oto is a limit order: Tradier's documents disagree about any other.",
        "extended_hours": "Outside the regular session Tradier holds simple limit orders for shares, for the session "
        "before the opening or the one after the close, whichever is on.",
        "replace_qty": "Tradier cannot change the quantity of an order: cancel it and place another.",
    },
)
