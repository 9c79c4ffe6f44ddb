"""What the callers of a storm order at Alpaca."""

from typing import Any

from tests.fault.storm_callers import Caller

__all__ = ["AlpacaCaller"]


class AlpacaCaller(Caller):
    """A market order there and back, a limit order that fills or rests, or a bracket."""

    def order(self) -> dict[str, Any]:
        """The next one."""
        trades, rests, brackets = self.symbols
        kind = self.dice.random()
        qty = self.dice.randint(1, 12)
        if kind < 0.4:
            return self.there_and_back(trades, qty)
        if kind < 0.75:
            price = self.at(rests, "1.01" if kind < 0.5 else "0.70")
            life = self.dice.choice(("day", "gtc"))
            return {
                "symbol": rests, "side": "buy", "qty": qty, "type": "limit", "limit_price": price,
                "time_in_force": life,
            }  # fmt: skip
        entry: dict[str, Any] = {"type": "market"}
        if self.dice.random() < 0.4:
            entry = {"type": "limit", "limit_price": self.at(brackets, "0.75")}
        return {
            "symbol": brackets, "side": "buy", "qty": qty, **entry,
            "take_profit": {"limit_price": self.at(brackets, "1.5")},
            "stop_loss": {"stop_price": self.at(brackets, "0.6")},
        }  # fmt: skip
