"""American options struck at 1 under a continuous yield, solved once and asked at any price: the piece after the last ex-date.

A problem is a contract without its price: right, time, rate, yield, volatility. Which of three cases it is follows from the signs in
the put's terms (a call's rate and yield change places): never exercised early, exercised below one boundary, or, where yield <
rate < 0, exercised between two (L. Andersen and M. Lake, "Fast American option pricing: the double-boundary case", Wilmott 2021).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from paiid.domain.pricing import american_premium, two_boundaries
from paiid.domain.pricing.american_curve import Curve, solve_curve
from paiid.domain.pricing.american_nodes import ACCURATE, FAST, NODES, Nodes, quadrature
from paiid.domain.pricing.american_terms import Scaled, european
from paiid.domain.pricing.terms import BoolArray, FloatArray

__all__ = ["ACCURATE", "FAST", "NODES", "Boundary", "Nodes", "Worth", "solve"]


class Worth(NamedTuple):
    """Value and its first two derivatives by the price, in strikes; arrays (m, batch)."""

    value: FloatArray
    first: FloatArray
    second: FloatArray


@dataclass(frozen=True, slots=True)
class Boundary:
    """Solved problems. `exercise_price` (batch,) is the price, in strikes, at which the option is exercised with the whole time
    left: at or below it a put, at or above it a call; 0 for a put and infinity for a call that is never exercised early, or
    that is exercised between two boundaries."""

    scaled: Scaled
    nodes: Nodes
    exercise_price: FloatArray
    curve: Curve
    """Of the problems with one boundary (`scaled.alive`), in order."""

    def value(self, price: FloatArray, outer: int | None = None) -> Worth:
        """Value and derivatives at many prices (m, batch) of each problem, above zero, in strikes; in the exercise region what
        exercise gives. `outer` asks for other than the usual number of points of the integral."""
        put = self.scaled.put
        spot = np.where(put, price, 1 / price)
        worth = self._of_puts(spot, outer or self.nodes.outer)
        return Worth(
            np.where(put, worth.value, worth.value / spot),
            np.where(put, worth.first / spot, worth.value - worth.first),
            np.where(put, worth.second / (spot * spot), worth.second * spot),
        )

    def _of_puts(self, spot: FloatArray, outer: int) -> Worth:
        """Value, S d/dS and S^2 d2/dS2 of the normal form."""
        scaled, alive = self.scaled, self.scaled.alive
        log_spot = np.log(spot)
        plain = european(log_spot, scaled.rate, scaled.yield_, scaled.deviation)
        value, first, second = plain.price.copy(), plain.first, plain.second
        if alive.any():
            problem = self.curve.problem
            points = quadrature(len(self.curve.shape), outer)
            extra = american_premium.premium(
                log_spot[:, alive],
                self.curve.log_at(points)[:, None],
                self.curve.log_now,
                problem.rate,
                problem.yield_,
                problem.deviation,
                points,
            )
            value[:, alive] += np.maximum(extra.price, 0.0)
            first[:, alive] += extra.first
            second[:, alive] += extra.second
            limit = np.full(spot.shape[1], -np.inf)
            limit[alive] = self.curve.log_now
            done = (log_spot <= limit) & (plain.price <= 1 - spot)
            value = np.where(done | (alive & (value < 1 - spot)), 1 - spot, value)
            first = np.where(done, -spot, first)
            second = np.where(done, 0.0, second)
        for index in np.flatnonzero(scaled.double):
            more = two_boundaries.premium(
                log_spot[:, index],
                float(scaled.rate[index]),
                float(scaled.yield_[index]),
                float(scaled.deviation[index]),
                "fast" if self.nodes.points < ACCURATE.points else "accurate",
            )
            value[:, index] += more.price
            first[:, index] += more.first
            second[:, index] += more.second
        return Worth(value, first, second)


def solve(
    put: BoolArray,
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    nodes: Nodes = FAST,
) -> Boundary:
    """The boundaries of many contracts struck at 1: arrays of one length, `years` and `volatility` above zero, rates of any sign,
    all finite."""
    scaled = Scaled.of(put, years, rate, dividend_yield, volatility)
    curve = solve_curve(scaled.problem(), nodes)
    low = np.zeros(len(put))
    low[scaled.alive] = np.exp(curve.log_now)
    with np.errstate(divide="ignore"):
        exercise_price = np.where(put, low, 1 / low)
    return Boundary(scaled, nodes, exercise_price, curve)
