"""What a position pays at its first expiration: exact where all of it ends then, else with what goes on valued by the model.

A calendar's pay-off has no corners to be exact about, so it is drawn through a few hundred prices and refined where it
crosses zero and where it is largest and smallest; at no price and at the far end it is what the limits of the formulas are.
"""

import numpy as np

from paiid.domain.pricing.payoff import Payoff, payoff
from paiid.domain.pricing.strategy import Position, World, worth_by_spot
from paiid.domain.pricing.terms import FloatArray

_DRAWN = 240
_DEVIATIONS = 6.0
_WIDEST = 12.0
_REFINED = 4
_BESIDE = 8
_SAME_YEARS = 1e-9


def ends_at_once(position: Position) -> bool:
    """Whether all options of it expire at the same instant (or there are none)."""
    years = position.contracts.years
    return not len(years) or bool(np.ptp(years) <= _SAME_YEARS)


def first_years(position: Position) -> float:
    """Years to the first expiration; 0 where there are no options."""
    return float(position.contracts.years.min()) if len(position) else 0.0


def payoff_at_end(position: Position, world: World, cost: float, rate_change: float = 0.0) -> Payoff:
    """Dollars at the first expiration by the price of the underlying then, less `cost` (dollars paid for it, negative where received).
    Volatilities of what goes on are taken to stay as they are, and dividends with an ex-date until then to be paid to nobody here."""
    contracts = position.contracts
    if ends_at_once(position):
        return payoff(contracts.call, contracts.strike, position.units, position.shares, cost)
    ends = contracts.years <= first_years(position) + _SAME_YEARS
    ended = payoff(contracts.call[ends], contracts.strike[ends], position.units[ends], position.shares, cost)
    rest = position.only(~ends)
    return _Drawn(ended, rest, world, first_years(position), rate_change).refined()


class _Drawn:
    """A pay-off through points: what ends is straight, what goes on is valued at each."""

    def __init__(self, ended: Payoff, rest: Position, world: World, years: float, rate_change: float) -> None:
        self._ended, self._rest, self._world = ended, rest, world
        self._years, self._rate_change = years, rate_change
        left = rest.contracts.years - years
        rate = rest.rate + rate_change
        american = rest.style == "american"
        puts, calls = ~rest.contracts.call, rest.contracts.call
        # At no price a put brings its strike, at once or at its end, whichever is more; a call at a price without end moves
        # like the share, less what the yield takes where it cannot be exercised.
        discount = np.exp(-rate * left)
        at_nothing = np.maximum(discount, 1.0) if american else discount
        follows = np.ones_like(left) if american else np.exp(-rest.dividend_yield * left)
        self._at_zero = float(np.sum((rest.units * rest.contracts.strike * at_nothing)[puts]))
        self._slope = ended.last_slope + float(np.sum((rest.units * follows)[calls]))
        spread = _DEVIATIONS * float(np.max(rest.volatility * np.sqrt(rest.contracts.years)))
        self._reach = float(np.exp(min(max(spread, np.log(2.0)), np.log(_WIDEST))))

    def refined(self) -> Payoff:
        """The points, and more of them where it matters."""
        strikes = np.concatenate([self._ended.nodes[1:], self._rest.contracts.strike, [self._world.spot]])
        grid = np.geomspace(strikes.min() / self._reach, strikes.max() * self._reach, _DRAWN)
        nodes = np.unique(np.concatenate([grid, strikes]))
        values = self._value(nodes)
        for _ in range(_REFINED):
            more = np.setdiff1d(
                np.concatenate([_crossings(nodes, values), _beside_extremes(nodes, values)]), nodes
            )
            if not len(more):
                break
            nodes, values = np.concatenate([nodes, more]), np.concatenate([values, self._value(more)])
            order = np.argsort(nodes)
            nodes, values = nodes[order], values[order]
        nothing = self._ended.values[0] + self._at_zero
        amounts = float(np.abs(self._rest.units) @ self._rest.contracts.strike)
        return Payoff(
            np.concatenate([[0.0], nodes]),
            np.concatenate([[nothing], values]),
            self._slope,
            self._ended.scale + amounts,
        )

    def _value(self, prices: FloatArray) -> FloatArray:
        return self._ended.at(prices) + worth_by_spot(
            self._rest, self._world, prices, self._years, self._rate_change
        )


def _crossings(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Where the straight lines between the points cross zero."""
    v0, v1 = values[:-1], values[1:]
    at = np.flatnonzero(v0 * v1 < 0)
    return nodes[at] + (nodes[at + 1] - nodes[at]) * v0[at] / (v0[at] - v1[at])


def _beside_extremes(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Points on both sides of the highest and of the lowest."""
    found = []
    for at in (int(np.argmax(values)), int(np.argmin(values))):
        low, high = nodes[max(at - 1, 0)], nodes[min(at + 1, len(nodes) - 1)]
        found.append(np.linspace(low, high, _BESIDE + 2)[1:-1])
    return np.concatenate(found)
