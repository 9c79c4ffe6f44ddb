"""What Alpaca can hold itself: the support matrix of its reference (section 6) as our table."""

from paiid.domain.capabilities import Capabilities, Holds

_EVERYDAY = frozenset({"day", "gtc"})
_SIMPLE = frozenset({"simple"})
_FOUR_TYPES = frozenset({"market", "limit", "stop", "stop_limit"})
_ALL_TYPES = _FOUR_TYPES | {"trailing_stop"}
_PASSING = frozenset({"opg", "cls", "ioc", "fok"})

CAPABILITIES = Capabilities(
    rows=(
        Holds("stock", _SIMPLE, frozenset({"limit"}), _EVERYDAY, extended_hours=True),
        Holds("stock", _SIMPLE, _ALL_TYPES, _EVERYDAY),
        Holds("stock", _SIMPLE, frozenset({"market", "limit"}), _PASSING),
        Holds("stock", frozenset({"bracket", "oto"}), _FOUR_TYPES, _EVERYDAY),
        Holds("stock", frozenset({"oco"}), frozenset({"limit"}), _EVERYDAY),
        Holds("stock_fractional", _SIMPLE, _FOUR_TYPES, frozenset({"day"})),
        Holds("stock_notional", _SIMPLE, frozenset({"market"}), frozenset({"day"})),
        Holds("option", _SIMPLE, _FOUR_TYPES, _EVERYDAY),
        Holds("option_spread", frozenset({"mleg"}), frozenset({"market", "limit"}), _EVERYDAY),
    ),
    short_selling=True,
    own_stop=True,
    lists_end_with_day=False,
    # An oto cannot be replaced (section 6.1); of spreads the reference says nothing against it.
    replaceable=frozenset({"simple", "bracket", "oco", "mleg"}),
    cancels_all=True,
    trailing_exits=False,
    notes={
        "trailing_stop": "Alpaca holds trailing stops for whole shares, day or gtc, and not as the stop loss of a bracket.",
        "replace_partly_filled": "The quantity of an order that has filled in part is not changed: cancel the rest.",
        "extended_hours": "Outside the regular session Alpaca holds only simple limit orders for shares, day or gtc.",
    },
)
