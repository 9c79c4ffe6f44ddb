"""A slow and exact price of an option with cash dividends in the spot model, for what QuantLib's finite differences cannot tell to a
hundred-thousandth of a dollar.

The pricing equation on a uniform grid of log prices, Crank-Nicolson in time with steps that grow with the square root of time since
each singular instant (Forsyth and Vetzal, "Quadratic convergence for valuing American options using a penalty method", 2002). What is
particular:

* the discrete operator prices cash and the share exactly, so that parts linear in the price stay linear;
* early exercise is a linear complementarity problem at every step, solved exactly by policy iteration (Reisinger and Witte, 2012);
* at an ex-date the shifted value, with its kinks, is projected on the grid's hat functions, which keeps the error a series in the
  square of the mesh width wherever the kinks fall;
* three meshes, each twice as fine as the last, are extrapolated twice: the two answers say how good the last is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.linalg.lapack import dgtsv

from tests.oracle.case import DAYS, Case

Array = NDArray[np.float64]

REACH = 7.0
"""Standard deviations the grid reaches on both sides of where the price may drift to."""
INSIDE = (np.arange(16) + 0.5) / 16
"""Where the shifted value is looked at within each cell, as fractions of it."""
LEAST_STEPS = 20
MOST_POLICIES = 60


@dataclass(frozen=True, slots=True)
class Found:
    """A price and its derivatives by the price of the underlying."""

    price: float
    delta: float
    gamma: float


class _Grid:
    """The mesh, the operator on it, and what exercising gives at each node."""

    def __init__(self, case: Case, nodes: int) -> None:
        years, drift = case.years, case.rate - case.dividend_yield
        deviation = case.volatility * np.sqrt(years)
        half = 0.5 * deviation * deviation
        top = case.spot * np.exp(max(0.0, drift * years) + half + REACH * deviation)
        bottom = case.spot * np.exp(min(0.0, drift * years) - half - REACH * deviation)
        if case.dividends:
            bottom = max(bottom - sum(amount for _, amount in case.dividends), 0.05 * bottom)
        low, strike = np.log(bottom), np.log(case.strike)
        self.width = (np.log(top) - low) / nodes
        if low < strike < np.log(top):
            low = strike - np.ceil((strike - low) / self.width) * self.width
        self.logs: Array = low + self.width * np.arange(nodes + 2)
        self.prices = np.exp(self.logs)
        self.exercised = self.prices - case.strike if case.call else case.strike - self.prices
        self._set_operator(case.volatility, case.rate, drift)

    def _set_operator(self, volatility: float, rate: float, drift: float) -> None:
        width = self.width
        second = 0.5 * volatility * volatility / (width * width)
        # Chosen so that the operator takes exp(log price) to -yield times itself, as the equation does.
        first = (drift - 2.0 * second * (np.cosh(width) - 1.0)) / (2.0 * np.sinh(width))
        count = len(self.logs)
        self.lower = np.full(count, second - first)
        self.middle = np.full(count, -2.0 * second - rate)
        self.upper = np.full(count, second + first)
        # At both ends the value is linear in the price.
        rise, fall = drift / np.expm1(width), drift / -np.expm1(-width)
        self.lower[0], self.middle[0], self.upper[0] = 0.0, -rise - rate, rise
        self.lower[-1], self.middle[-1], self.upper[-1] = -fall, fall - rate, 0.0

    def apply(self, lower: Array, middle: Array, upper: Array, values: Array) -> Array:
        out: Array = middle * values
        out[1:] += lower[1:] * values[:-1]
        out[:-1] += upper[:-1] * values[1:]
        return out


def _march(
    grid: _Grid, values: Array, start: float, end: float, steps: int, american: bool, damped: int
) -> Array:
    """From `start` to `end`, both in years before expiration; the last `damped` steps fully implicit."""
    active = values <= grid.exercised
    instants = start + (end - start) * (np.arange(steps + 1) / steps) ** 2
    for number, step in enumerate(np.diff(instants)):
        ahead = step if number >= steps - damped else 0.5 * step
        known = values + (step - ahead) * grid.apply(grid.lower, grid.middle, grid.upper, values)
        lower, middle, upper = -ahead * grid.lower, 1.0 - ahead * grid.middle, -ahead * grid.upper
        if not american:
            values = dgtsv(lower[1:], middle, upper[:-1], known)[3]
            continue
        for _ in range(MOST_POLICIES):
            values = dgtsv(
                np.where(active, 0.0, lower)[1:],
                np.where(active, 1.0, middle),
                np.where(active, 0.0, upper)[:-1],
                np.where(active, grid.exercised, known),
            )[3]
            slack = grid.apply(lower, middle, upper, values) - known
            chosen = np.where(active, slack >= 0.0, values < grid.exercised)
            if np.array_equal(chosen, active):
                break
            active = chosen
    return np.maximum(values, grid.exercised) if american else values


def _before_ex_date(case: Case, grid: _Grid, values: Array, amount: float, left: float) -> Array:
    """The value just before the price falls by `amount`, from the one just after; `left` years before expiration."""
    curve = make_interp_spline(grid.logs, values, k=3)
    worthless = 0.0
    if not case.call:
        kept = np.exp(-case.rate * left)
        worthless = case.strike * (max(1.0, kept) if case.american else kept)
    lowest = grid.prices[0]

    def shifted(prices: Array) -> Array:
        after = prices - amount
        near_zero = worthless + (values[0] - worthless) * np.clip(after / lowest, 0.0, 1.0)
        out = np.where(after >= lowest, curve(np.log(np.maximum(after, lowest))), near_zero)
        if case.american:
            out = np.maximum(out, prices - case.strike if case.call else case.strike - prices)
        return out

    within = shifted(np.exp(grid.logs[:-1, None] + grid.width * INSIDE))
    out = np.zeros_like(values)
    out[:-1] += (within * (1.0 - INSIDE)).mean(axis=1)
    out[1:] += (within * INSIDE).mean(axis=1)
    out[0], out[-1] = shifted(grid.prices[:1])[0], shifted(grid.prices[-1:])[0]
    return out


def on_mesh(case: Case, nodes: int, steps: int, damped: int = 0) -> Found:
    """The answer of one mesh of so many log prices, and about so many steps in all of time; see `extrapolated` for `damped`."""
    grid = _Grid(case, nodes)
    falls = sorted(((day / DAYS, amount) for day, amount in case.dividends), reverse=True)
    values = np.maximum(grid.exercised, 0.0)
    start = 0.0
    for years, amount in [*falls, (0.0, 0.0)]:
        end = case.years - years
        share = max(LEAST_STEPS, round(steps * np.sqrt((end - start) / case.years)))
        last = damped if not amount else 0
        values = _march(grid, values, start, end, share, case.american, last)
        if amount:
            values = _before_ex_date(case, grid, values, amount, end)
        start = end
    curve = make_interp_spline(grid.logs, values, k=5)
    at = np.log(case.spot)
    first, second = float(curve(at, 1)), float(curve(at, 2))
    return Found(float(curve(at)), first / case.spot, (second - first) / case.spot**2)


def _twice(coarse: Found, fine: Found) -> Found:
    def better(a: float, b: float) -> float:
        return (4.0 * b - a) / 3.0

    return Found(
        better(coarse.price, fine.price), better(coarse.delta, fine.delta), better(coarse.gamma, fine.gamma)
    )


def extrapolated(case: Case, nodes: int = 2000, damped: int = 0) -> tuple[Found, Found]:
    """From meshes of `nodes`, two and four times as many: (what the coarser two say, what the finer two say).

    Crank-Nicolson keeps ripples where the exercise boundary has just passed a node: they do not harm the price, but the gamma. Two
    implicit steps at the end (`damped`) take them away, for a slightly worse price.
    """
    found = [on_mesh(case, nodes * times, nodes * times // 8, damped) for times in (1, 2, 4)]
    return _twice(found[0], found[1]), _twice(found[1], found[2])


def quick(case: Case, nodes: int = 800) -> float:
    """A price from two meshes only, good to about 1e-5 dollars at a spot of 100; for differences."""
    return _twice(on_mesh(case, nodes, nodes // 8), on_mesh(case, 2 * nodes, nodes // 4)).price
