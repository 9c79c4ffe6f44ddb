"""Which fields of our answers become figures, under which label and unit, and which are words."""

from dataclasses import dataclass

SIZE = "shares or contracts"
"""Becomes the one or the other."""


@dataclass(frozen=True, slots=True)
class Field:
    """`priced`: it depends on market data, and is as old and as stale as those. `of_fraction`: the field is a fraction, told in
    percent."""

    name: str
    label: str
    unit: str | None = None
    priced: bool = False
    of_fraction: bool = False


def _dollars(name: str, label: str, *, priced: bool = True) -> Field:
    return Field(name, label, "dollars", priced)


def _count(name: str, label: str, unit: str | None = None) -> Field:
    return Field(name, label, unit)


SUMMARY = (
    _dollars("total_value", "total value"),
    _dollars("cash", "cash", priced=False),
    _dollars("buying_power", "buying power"),
    _dollars("total_pl", "profit since the start"),
    Field("total_pl_percent", "profit since the start", "percent", True),
    _dollars("day_pl", "profit of the day"),
    Field("day_pl_percent", "profit of the day", "percent", True),
    _dollars("maintenance_margin", "maintenance margin"),
    _dollars("margin_call", "margin call"),
    _count("num_positions", "positions"),
    Field("num_winning", "positions with a profit", None, True),
    Field("num_losing", "positions with a loss", None, True),
)
SUMMARY_WORDS = ("account", "stale")
EXPOSURE = (
    _dollars("long", "value of long positions"),
    _dollars("short", "value of short positions"),
    _dollars("gross", "gross exposure"),
    _dollars("net", "net exposure"),
)
PORTFOLIO_GREEKS = (
    _dollars("delta_dollars", "delta"),
    _dollars("gamma_dollars", "gamma"),
    Field("theta", "theta", "dollars a day", True),
    Field("vega", "vega", "dollars a point of volatility", True),
)
ACCOUNT = (
    _dollars("cash", "cash", priced=False),
    _dollars("equity", "equity"),
    _dollars("buying_power", "buying power"),
    _dollars("options_buying_power", "options buying power"),
    _dollars("initial_margin", "initial margin"),
    _dollars("maintenance_margin", "maintenance margin"),
    _dollars("long_market_value", "value of long positions"),
    _dollars("short_market_value", "value of short positions"),
    _dollars("starting_cash", "starting cash", priced=False),
    _count("open_orders", "open orders"),
    _count("num_positions", "positions"),
    _count("options_level", "options level"),
    _count("reconciled_at", "books agreed with the broker's at"),
)
ACCOUNT_WORDS = ("id", "broker", "mode", "status", "margin", "reconcile_problem", "only_reduces", "stale")
POSITION = (
    _count("qty", "quantity", SIZE),
    _dollars("avg_entry_price", "average entry price", priced=False),
    _dollars("cost_basis", "cost", priced=False),
    _dollars("market_value", "market value"),
    _dollars("unrealized_pl", "unrealized profit"),
    Field("unrealized_plpc", "unrealized profit", "percent", True, of_fraction=True),
    _dollars("current_price", "current price"),
    _dollars("lastday_price", "price of the last close"),
    Field("change_today", "change of the day", "percent", True, of_fraction=True),
    _dollars("strike_price", "strike", priced=False),
    _count("expiration_date", "expiration"),
)
POSITION_WORDS = ("symbol", "side", "asset_class", "underlying", "option_type", "stale", "quality")
CONTRACT_GREEKS = (
    Field("implied_volatility", "implied volatility", "percent", True, of_fraction=True),
    Field("delta", "delta", None, True),
    Field("gamma", "gamma", None, True),
    Field("theta", "theta", "dollars a day", True),
    Field("vega", "vega", "dollars a point of volatility", True),
)
ORDER = (
    _count("qty", "quantity", SIZE),
    _dollars("notional", "amount", priced=False),
    _dollars("limit_price", "limit price", priced=False),
    _dollars("stop_price", "stop price", priced=False),
    _dollars("trail_price", "trail", priced=False),
    Field("trail_percent", "trail", "percent"),
    _count("filled_qty", "filled quantity", SIZE),
    _dollars("filled_avg_price", "average fill price", priced=False),
    _dollars("fees", "fees", priced=False),
    _dollars("strike_price", "strike", priced=False),
    _count("expiration_date", "expiration"),
    _count("created_at", "made at"),
    _count("updated_at", "last changed at"),
)
ORDER_WORDS = (
    "id", "symbol", "side", "type", "time_in_force", "state", "status", "order_class", "group_role", "origin", "pending",
    "cancel_state", "replace_state", "asset_class", "underlying", "option_type", "extended_hours",
)  # fmt: skip
FILL = (
    _count("qty", "quantity", SIZE),
    _dollars("price", "price", priced=False),
    _dollars("fee", "fee", priced=False),
    _count("time", "time"),
)
FILL_WORDS = ("order_id", "symbol", "side", "kind")
QUOTE = (
    _dollars("bid", "bid"),
    _dollars("ask", "ask"),
    _dollars("last", "last price"),
    _dollars("prev_close", "previous close"),
    _dollars("change", "change of the day"),
    Field("change_pct", "change of the day", "percent", True),
)
QUOTE_WORDS = ("symbol", "stale", "delayed")
BARS = (
    Field("bars", "bars", None, True),
    Field("begin", "first bar begins", None, True),
    _dollars("open", "open of the first bar"),
    _dollars("close", "close of the last bar"),
    _dollars("high", "highest price"),
    _dollars("low", "lowest price"),
    _dollars("change", "change over these bars"),
    Field("change_pct", "change over these bars", "percent", True),
    Field("volume", "volume of these bars", SIZE, True),
)
CHAIN = (
    _dollars("underlying_price", "price of the underlying"),
    Field("expiration_date", "expiration", None, True),
    Field("total_contracts", "contracts near the money", None, True),
)
CHAIN_WORDS = ("symbol", "stale", "delayed")
CONTRACT = (
    _dollars("strike_price", "strike"),
    Field("expiration_date", "expiration", None, True),
    _dollars("bid", "bid"),
    _dollars("ask", "ask"),
    _dollars("last_price", "last price"),
    Field("volume", "volume", "contracts", True),
    Field("open_interest", "open interest", "contracts", True),
    *CONTRACT_GREEKS,
)
CONTRACT_WORDS = ("symbol", "option_type", "quality", "stale")
CLOCK = (
    _count("time", "time"),
    _count("trading_day", "trading day"),
    _count("next_open", "next opening"),
    _count("next_close", "next close"),
    _count("next_roll", "end of the trading day"),
)
CLOCK_WORDS = ("is_open", "is_extended")
SETTINGS = (
    _dollars("position_size", "position size", priced=False),
    Field("stop_loss", "stop loss", "percent"),
    Field("take_profit", "take profit", "percent"),
    _count("max_positions", "most positions"),
    _count("max_order_qty", "largest order", "shares or contracts"),
    _dollars("max_order_notional", "largest order in dollars", priced=False),
    _dollars("max_position_value", "largest position", priced=False),
    _count("max_open_orders", "most open orders"),
    Field("price_collar_pct", "price collar", "percent"),
)
