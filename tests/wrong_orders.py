"""Orders that nobody can mean, each with the field that is wrong, its code, and words that must be told."""

from typing import Any

CALL, HIGHER, PUT, LOWER = (
    "AAPL261218C00265000",
    "AAPL261218C00270000",
    "AAPL261218P00260000",
    "AAPL261218P00255000",
)
BRACKET: dict[str, Any] = {
    "symbol": "AAPL", "side": "buy", "qty": 10, "type": "limit", "limit_price": 100,
    "take_profit": {"limit_price": 110}, "stop_loss": {"stop_price": 95},
}  # fmt: skip
OCO: dict[str, Any] = {
    "symbol": "AAPL", "side": "sell", "qty": 10, "type": "limit", "order_class": "oco",
    "take_profit": {"limit_price": 110}, "stop_loss": {"stop_price": 95},
}  # fmt: skip
SPREAD: dict[str, Any] = {
    "qty": 2, "type": "limit", "limit_price": 1.5,
    "legs": [{"symbol": CALL, "side": "buy_to_open"}, {"symbol": HIGHER, "side": "sell_to_open"}],
}  # fmt: skip


def leg(symbol: str, side: str = "buy_to_open", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "side": side, **more}


def bracket(**changes: Any) -> dict[str, Any]:
    return {**BRACKET, **changes}


def spread(*legs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**SPREAD, **({"legs": list(legs)} if legs else {}), **changes}


def option(**fields: Any) -> dict[str, Any]:
    return {"symbol": "AAPL", "side": "buy", "qty": 1, **fields}


WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    (bracket(take_profit={"limit_price": 99}), "take_profit.limit_price", "bracket_prices", "99"),
    (bracket(take_profit={"limit_price": 100}), "take_profit.limit_price", "bracket_prices", "100"),
    (bracket(stop_loss={"stop_price": 100}), "stop_loss.stop_price", "bracket_prices", "100"),
    (bracket(stop_loss={"stop_price": 111}), "take_profit.limit_price", "bracket_prices", "111"),
    (bracket(side="sell"), "take_profit.limit_price", "bracket_prices", "110"),
    (bracket(stop_loss={"stop_price": 95, "limit_price": 96}), "stop_loss.limit_price", "bracket_prices", "96"),
    (bracket(stop_loss={}), "stop_loss.stop_price", "stop_loss", "stop_price"),
    (bracket(stop_loss={"trail_percent": 100}), "stop_loss.trail_percent", "trail", "100"),
    (bracket(stop_loss={"trail_percent": 0}), "stop_loss.trail_percent", "trail", "0"),
    (bracket(stop_loss={"stop_price": 95, "trail_price": 5}), "stop_loss.trail_price", "not_of_this_type", "trail"),
    (bracket(bracket=True), "bracket", "bracket_prices", "not both"),
    (bracket(order_class="oto"), "order_class", "oto_exits", "exactly one"),
    (bracket(order_class="simple"), "order_class", "order_class", "bracket"),
    ({**OCO, "stop_loss": None}, "stop_loss", "oco_prices", "stop_loss"),
    ({**OCO, "take_profit": None, "limit_price": None}, "limit_price", "oco_prices", "limit_price"),
    ({**OCO, "limit_price": 111}, "take_profit.limit_price", "oco_prices", "111"),
    ({**OCO, "type": "market"}, "limit_price", "not_of_this_type", "market"),
    ({**OCO, "take_profit": {"limit_price": 94}}, "take_profit.limit_price", "bracket_prices", "94"),
    ({"symbol": "AAPL", "side": "buy", "qty": 1, "order_class": "bracket"}, "bracket", "bracket_prices", "bracket"),
    ({"symbol": "AAPL", "side": "buy", "qty": 1, "order_class": "oco"}, "stop_loss", "oco_prices", "stop_loss"),
    ({"symbol": "AAPL", "side": "buy", "qty": 1, "order_class": "mleg"}, "legs", "legs_missing", "legs"),
    ({"symbol": "AAPL", "side": "buy", "qty": 1, "notional": 500}, "notional", "notional_with_qty", "500"),
    ({"symbol": "AAPL", "side": "buy", "notional": 0.99}, "notional", "notional_too_small", "0.99"),
    ({"symbol": "AAPL", "side": "buy", "notional": 10.001}, "notional", "notional_cents", "10.001"),
    (option(symbol=CALL, qty=None, notional=500) | {"qty": 1}, "notional", "notional_with_qty", "500"),
    ({"symbol": CALL, "side": "buy", "notional": 500}, "notional", "notional_option", "qty"),
    (option(type="trailing_stop", trail_percent=0), "trail_percent", "trail", "0"),
    (option(type="trailing_stop", trail_percent=100), "trail_percent", "trail", "100"),
    (option(type="trailing_stop", trail_price=0), "trail_price", "trail", "0"),
    (option(type="trailing_stop", trail_price=1, trail_percent=1), "trail_price", "trail", "exactly one"),
    (option(type="trailing_stop"), "trail_price", "trail", "exactly one"),
    (option(type="trailing_stop", trail_price=1, time_in_force="ioc"), "time_in_force", "time_in_force", "ioc"),
    (option(trail_price=1), "trail_price", "not_of_this_type", "trail_price"),
    (option(type="stop_limit", stop_price=1), "limit_price", "missing", "limit_price"),
    (option(type="stop_limit", limit_price=1), "stop_price", "missing", "stop_price"),
    (option(type="limit", limit_price=0), "limit_price", "not_positive", "0"),
    (option(type="limit", limit_price=-1), "limit_price", "not_positive", "-1"),
    (option(position_intent="buy_to_open"), "position_intent", "position_intent", "Only options"),
    (option(symbol=CALL, position_intent="sell_to_open"), "position_intent", "position_intent", "sell_to_open"),
    (option(symbol=CALL, side="buy_to_open", position_intent="buy_to_close"), "position_intent", "position_intent", "buy_to_open"),
    (option(symbol=CALL, qty=1.5), "qty", "whole_contracts", "1.5"),
    (option(symbol=CALL, asset_class="stock"), "asset_class", "asset_class", "stock"),
    (option(asset_class="option"), "asset_class", "asset_class", "option"),
    (option(option_type="call"), "expiration_date", "missing", "expiration_date"),
    (option(option_type="call", strike_price=265, expiration_date="2026-02-30"), "expiration_date", "date", "2026-02-30"),
    (option(option_type="call", strike_price=265, expiration_date="20261218"), "expiration_date", "date", "20261218"),
    (option(option_type="call", strike_price=265.0001, expiration_date="2026-12-18"), "strike_price", "contract", "strike"),
    (option(symbol=CALL, option_type="call", strike_price=265, expiration_date="2026-12-18"), "option_type", "option_twice", "contract"),
    (spread(leg(CALL)), "legs", "legs_count", "1"),
    (spread(*(leg(f"AAPL261218C00{n}000") for n in range(260, 265))), "legs", "legs_count", "5"),
    (spread(leg(CALL, ratio_qty=2), leg(HIGHER, "sell_to_open", ratio_qty=4)), "legs", "leg_ratios", "2:4"),
    (spread(leg(CALL), leg(CALL, "sell_to_open")), "legs.1.symbol", "leg_twice", CALL),
    (spread(leg(CALL), leg("MSFT261218C00500000", "sell_to_open")), "legs.1.symbol", "leg_underlying", "MSFT"),
    (spread(leg(CALL), leg("AAPL", "sell_to_open")), "legs.1.symbol", "leg_symbol", "AAPL"),
    (spread(leg(CALL), leg(HIGHER, "sell")), "legs.1.position_intent", "missing", "sell_to_close"),
    (spread(leg(CALL), leg(HIGHER, "sell", position_intent="buy_to_open")), "legs.1.position_intent", "position_intent", "buy_to_open"),
    (spread(qty=None), "qty", "value_error", "null"),
    (spread(type="market"), "limit_price", "not_of_this_type", "limit_price"),
    (spread(limit_price=None), "limit_price", "missing", "limit_price"),
    (spread(type="stop", stop_price=1), "type", "spread_type", "stop"),
    (spread(side="buy"), "side", "spread_side", "side"),
    (spread(qty=1.5), "qty", "whole_contracts", "1.5"),
    (spread(symbol=CALL), "symbol", "spread_symbol", "underlying"),
    (spread(take_profit={"limit_price": 2}), "take_profit", "not_of_this_type", "take_profit"),
    ({"side": "buy", "qty": 1}, "symbol", "missing", "required"),
    ({"symbol": "AAPL", "qty": 1}, "side", "missing", "required"),
]  # fmt: skip
