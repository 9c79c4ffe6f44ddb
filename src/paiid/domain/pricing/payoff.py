"""What a position pays when it ends, as a function of the price of the underlying: straight pieces that meet at the strikes.

Exact where every option ends at once: break-evens are the zeros of straight lines, gain and loss are largest at a strike, at
a price of nothing, or nowhere because the last piece goes on for ever.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np

from paiid.domain.pricing.terms import BoolArray, FloatArray

_ROUNDING = 1e-11
"""The part of the largest amount involved below which a result is zero: sums of floats are off by that much."""


@dataclass(frozen=True, slots=True)
class Payoff:
    """Dollars by price: `values` at `nodes` (rising, the first is 0), straight between, and `last_slope` dollars a dollar beyond. `scale`
    is the largest amount that went into a value."""

    nodes: FloatArray
    values: FloatArray
    last_slope: float
    scale: float

    def at(self, prices: FloatArray) -> FloatArray:
        """Dollars at each price, at least 0."""
        beyond = np.maximum(prices - self.nodes[-1], 0.0)
        found: FloatArray = np.interp(prices, self.nodes, self.values) + self.last_slope * beyond
        return found

    @property
    def most(self) -> float | None:
        """The largest gain in dollars (negative where there is only loss), None where it has no limit."""
        return None if self.last_slope > 0 else float(self.values.max())

    @property
    def least(self) -> float | None:
        """The largest loss, as a negative number of dollars; None where it has no limit."""
        return None if self.last_slope < 0 else float(self.values.min())

    def _values(self) -> FloatArray:
        return np.where(np.abs(self.values) <= _ROUNDING * self.scale, 0.0, self.values)

    def break_evens(self) -> list[float]:
        """The prices at which neither is gained nor lost, rising, that of nothing included; of a stretch of such prices its ends."""
        values = self._values()
        found = [float(price) for price, value in zip(self.nodes, values, strict=True) if value == 0.0]
        pieces = zip(self.nodes[:-1], self.nodes[1:], values[:-1], values[1:], strict=True)
        found += [float(x0 + (x1 - x0) * v0 / (v0 - v1)) for x0, x1, v0, v1 in pieces if v0 * v1 < 0]
        if values[-1] * self.last_slope < 0:
            found.append(float(self.nodes[-1] - values[-1] / self.last_slope))
        return sorted(found)

    def gains(self) -> list[tuple[float, float]]:
        """The stretches of prices with a gain, from and to (infinity where it goes on)."""
        edges = [0.0, *(price for price in self.break_evens() if price > 0), inf]
        found: list[tuple[float, float]] = []
        for low, high in pairwise(edges):
            middle = low + 1.0 + self.nodes[-1] if high == inf else (low + high) / 2
            if float(self.at(np.array([middle]))[0]) <= _ROUNDING * self.scale:
                continue
            if found and found[-1][1] == low:
                found[-1] = (found[-1][0], high)
            else:
                found.append((low, high))
        return found


def payoff(call: BoolArray, strike: FloatArray, units: FloatArray, shares: float, cost: float) -> Payoff:
    """What options (`units`: shares they are about, negative where they are sold) and `shares` pay when all end, less what they cost
    (dollars, negative where it was received)."""
    nodes = np.concatenate([[0.0], np.unique(strike)])
    signs = np.where(call, 1.0, -1.0)
    worth = np.maximum(signs[:, None] * (nodes[None, :] - strike[:, None]), 0.0)
    values = units @ worth + shares * nodes - cost
    scale = float(np.abs(units) @ strike + abs(shares) * nodes[-1] + abs(cost))
    return Payoff(nodes, values, float(units[call].sum()) + shares, scale)
