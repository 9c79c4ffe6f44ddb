"""American contracts in the normal form that the solvers know: puts struck at 1 over one unit of time, whatever they were."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.american_curve import Problem
from paiid.domain.pricing.terms import BoolArray, FloatArray

_PHI0 = 1 / np.sqrt(2 * np.pi)
_NEGLIGIBLE = 1e-12
"""Interest over the whole life, in strikes: the premium is at most that much."""
LONGEST_DRIFT = 10.0
"""Where the price drifts up by this many deviations over the life, nothing that comes later counts (beyond e^-50)."""
WIDEST_DRIFT = 100.0
_LEAST_DEVIATION = 1e-6


def early_exercise(
    put: BoolArray, years: FloatArray, rate: FloatArray, dividend_yield: FloatArray
) -> tuple[BoolArray, BoolArray]:
    """Which contracts are exercised early below one boundary (in the put's terms), and which between two; the rest is European."""
    put_rate = np.where(put, rate, dividend_yield) * years
    put_yield = np.where(put, dividend_yield, rate) * years
    one = (put_rate >= 0) & ((put_rate > _NEGLIGIBLE) | (put_yield < -_NEGLIGIBLE))
    two = (put_rate < 0) & (put_rate - put_yield > _NEGLIGIBLE)
    return one, two


@dataclass(frozen=True, slots=True)
class Scaled:
    """Contracts as puts struck at 1: `rate`, `yield_` and `deviation` over `years`. A call's rate and yield have changed places, its
    price in strikes is turned over, and its value is in prices of the underlying."""

    put: BoolArray
    years: FloatArray
    """The life, cut where its rest is worth nothing."""
    rate: FloatArray
    yield_: FloatArray
    deviation: FloatArray
    alive: BoolArray
    """Exercised early below one boundary."""
    double: BoolArray
    """Exercised early between two boundaries: yield < rate < 0."""

    @staticmethod
    def of(
        put: BoolArray,
        years: FloatArray,
        rate: FloatArray,
        dividend_yield: FloatArray,
        volatility: FloatArray,
    ) -> "Scaled":
        """From contracts: arrays of one length, finite, `years` and `volatility` at least zero."""
        put_rate = np.where(put, rate, dividend_yield)
        put_yield = np.where(put, dividend_yield, rate)
        root = np.sqrt(years)
        drift = (put_rate - put_yield) * years
        alive, double = early_exercise(put, years, rate, dividend_yield)
        steep = alive & (drift > LONGEST_DRIFT * volatility * root)
        least = np.maximum(volatility * root, _LEAST_DEVIATION)
        cut = np.where(steep, (LONGEST_DRIFT * least / np.where(steep, drift, 1.0)) ** 2, 1.0)
        cut = np.minimum(cut, 1.0)
        years = years * cut
        return Scaled(
            put,
            years,
            put_rate * years,
            put_yield * years,
            np.where(cut < 1, least, volatility * root) * np.sqrt(cut),
            alive,
            double,
        )

    def problem(self) -> Problem:
        """The problems of those alive, in order."""
        some = self.alive
        rate, yield_ = self.rate[some], self.yield_[some]
        floor = np.maximum((yield_ - rate) / WIDEST_DRIFT, _LEAST_DEVIATION)
        return Problem.of(rate, yield_, np.maximum(self.deviation[some], floor))


@dataclass(frozen=True, slots=True)
class European:
    """The European put; derivatives as those of a `Premium`."""

    price: FloatArray
    first: FloatArray
    second: FloatArray
    by_deviation: FloatArray
    by_rate: FloatArray
    by_yield: FloatArray


def european(
    log_price: FloatArray, rate: FloatArray | float, yield_: FloatArray | float, deviation: FloatArray | float
) -> European:
    """Black, Scholes and Merton in the normal form."""
    spread = np.maximum(deviation, 1e-12)
    minus = (log_price + rate - yield_) / spread - spread / 2
    plus = minus + spread
    strike = np.exp(-rate) * ndtr(-minus)
    price = np.exp(log_price - yield_)
    held = price * ndtr(-plus)
    density = price * _PHI0 * np.exp(-0.5 * plus * plus)
    return European(strike - held, -held, density / spread, density, -strike, held)
