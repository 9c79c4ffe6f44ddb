"""What the callers of a storm order at Tradier: every kind of order that it can hold."""

from decimal import Decimal
from typing import Any

from tests.fault.storm_callers import SYMBOLS, Caller
from tests.fault.storm_world import StormWorld

__all__ = ["TradierCaller", "listed_calls"]


async def listed_calls(world: StormWorld) -> dict[str, list[str]]:
    """Of each symbol the four calls around its price, by strike, of one expiration."""
    found: dict[str, list[str]] = {}
    for symbol in SYMBOLS:
        expiration = (await world.sim.market.fetch_expirations(symbol))[4]
        contracts = await world.sim.market.fetch_contracts(symbol, expiration)
        calls = [one for one in contracts if one.option_type == "call"]
        near = sorted(calls, key=lambda one: abs(one.strike - world.price(symbol)))[:4]
        found[symbol] = [one.symbol for one in sorted(near, key=lambda one: one.strike)]
    return found


class TradierCaller(Caller):
    """Market orders there and back, long and short; limits, stops and stop limits that fill or rest; options, spreads;
    brackets, entries with one exit, and pairs of exits."""

    replaces = 0.6

    def order(self) -> dict[str, Any]:
        """The next one."""
        trades, rests, groups = self.symbols
        kind = self.dice.random()
        qty = self.dice.randint(1, 12)
        if kind < 0.3:
            return self.there_and_back(trades, qty)
        if kind < 0.4:
            return self._option(self.world.calls[trades][0], qty)
        if kind < 0.45:
            return self._spread(self.world.calls[rests][1:3])
        if kind < 0.75:
            return self._simple(rests, qty)
        if kind < 0.8:
            return {
                "symbol": rests, "side": "sell", "qty": 1, "order_class": "oco", "time_in_force": "gtc",
                "take_profit": {"limit_price": self.at(rests, "1.5")},
                "stop_loss": {"stop_price": self.at(rests, "0.55")},
            }  # fmt: skip
        return self._entry(groups, qty)

    def change_of(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """Of orders that stand alone the price, the stop or how long they are good for; of others nothing can be changed."""
        if order["order_class"] != "simple" or order["legs"] or order["parent_id"] is not None:
            return None
        if self.dice.random() < 0.2:
            return {"time_in_force": "day" if order["time_in_force"] == "gtc" else "gtc"}
        name = "limit_price" if order["type"] == "limit" else "stop_price"
        return {name: float(Decimal(str(order[name])) - Decimal("0.05"))}

    def _simple(self, symbol: str, qty: int) -> dict[str, Any]:
        order: dict[str, Any] = {
            "symbol": symbol,
            "side": "buy",
            "qty": qty,
            "time_in_force": self.dice.choice(("day", "gtc")),
        }
        kind = self.dice.random()
        if kind < 0.7:
            return order | {"type": "limit", "limit_price": self.at(symbol, "1.01" if kind < 0.4 else "0.70")}
        stop = self.at(symbol, "1.30")
        if kind < 0.85:
            return order | {"type": "stop", "stop_price": stop}
        return order | {"type": "stop_limit", "stop_price": stop, "limit_price": self.at(symbol, "1.31")}

    def _option(self, contract: str, qty: int) -> dict[str, Any]:
        # Bought more often than sold: what is not held can not be sold.
        opens = self.dice.random() < 0.65
        return {
            "symbol": contract,
            "side": "buy_to_open" if opens else "sell_to_close",
            "qty": qty if opens else 1,
        }

    def _spread(self, contracts: Any) -> dict[str, Any]:
        lower, higher = contracts
        width = (int(higher[-8:]) - int(lower[-8:])) / 1000
        return {
            "qty": self.dice.randint(1, 2), "type": "limit", "limit_price": width,
            "legs": [
                {"symbol": lower, "side": "buy_to_open"},
                {"symbol": higher, "side": "sell_to_open"},
            ],
        }  # fmt: skip

    def _entry(self, symbol: str, qty: int) -> dict[str, Any]:
        fills = self.dice.random() < 0.6
        order: dict[str, Any] = {
            "symbol": symbol, "side": "buy", "qty": qty, "type": "limit", "time_in_force": "gtc",
            "limit_price": self.at(symbol, "1.01" if fills else "0.75"),
        }  # fmt: skip
        kind = self.dice.random()
        if kind < 0.8:
            order["take_profit"] = {"limit_price": self.at(symbol, "1.5")}
        if kind >= 0.2:
            order["stop_loss"] = {"stop_price": self.at(symbol, "0.6")}
        return order
