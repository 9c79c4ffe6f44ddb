"""Forms of orders as Tradier takes them, right in themselves, for tests that change one thing about them."""

from typing import Any

from tests.sim_tradier_world import TradierWorld

LIMIT: dict[str, Any] = {
    "class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "10", "type": "limit", "price": "100.00",
    "duration": "day",
}  # fmt: skip
OTOCO: dict[str, Any] = {
    "class": "otoco", "duration": "day", "tag": "r1-9",
    "symbol[0]": "AAPL", "side[0]": "buy", "quantity[0]": "10", "type[0]": "limit", "price[0]": "100.00",
    "symbol[1]": "AAPL", "side[1]": "sell", "quantity[1]": "10", "type[1]": "limit", "price[1]": "110.00",
    "symbol[2]": "AAPL", "side[2]": "sell", "quantity[2]": "10", "type[2]": "stop", "stop[2]": "90.00",
}  # fmt: skip
OCO: dict[str, Any] = {
    "class": "oco", "duration": "gtc",
    "symbol[0]": "AAPL", "side[0]": "sell", "quantity[0]": "10", "type[0]": "stop", "stop[0]": "90.00",
    "symbol[1]": "AAPL", "side[1]": "sell", "quantity[1]": "10", "type[1]": "limit", "price[1]": "110.00",
}  # fmt: skip


def option(sim: TradierWorld) -> dict[str, Any]:
    """Two calls at the market."""
    contract = sim.contract()
    sim.show("4.00", "4.20", contract)
    return {
        "class": "option", "symbol": "AAPL", "option_symbol": contract, "side": "buy_to_open", "quantity": "2",
        "type": "market", "duration": "day",
    }  # fmt: skip


def spread(sim: TradierWorld, kind: str, price: str) -> dict[str, Any]:
    """Two units of a put spread that is sold: 95 against 90."""
    sim.show("1.50", "1.60", sim.contract("put", 95))
    sim.show("1.00", "1.10", sim.contract("put", 90))
    return {
        "class": "multileg", "symbol": "AAPL", "type": kind, "duration": "day", "price": price,
        "option_symbol[0]": sim.contract("put", 95), "side[0]": "sell_to_open", "quantity[0]": "2",
        "option_symbol[1]": sim.contract("put", 90), "side[1]": "buy_to_open", "quantity[1]": "2",
    }  # fmt: skip
