"""One expiration's smile: total variance as a function of how far a strike is from the forward, and what traders read off it.

The curve is the SVI of Gatheral in its raw form (J. Gatheral and A. Jacquier, "Arbitrage-free SVI volatility surfaces",
Quantitative Finance 14, 2014): with k = log(strike / forward) and w = volatility^2 * years,

    w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)).

A density belongs to it, and no butterfly costs less than nothing, where Durrleman's g(k) is not negative (same paper,
section 2.2). Nothing here looks beyond the strikes that were quoted unless it is told to.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.terms import BoolArray, FloatArray

_LEAST_VARIANCE = 1e-12
_FINE = 801
"""Points of the grid on which a delta is looked for."""


@dataclass(frozen=True, slots=True)
class Svi:
    """The five numbers of a raw SVI curve."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float

    def total_variance(self, k: FloatArray) -> FloatArray:
        """w(k), above zero."""
        x = k - self.m
        w = self.a + self.b * (self.rho * x + np.sqrt(x * x + self.sigma * self.sigma))
        return np.maximum(w, _LEAST_VARIANCE)

    def slope(self, k: FloatArray) -> FloatArray:
        """dw/dk."""
        x = k - self.m
        return self.b * (self.rho + x / np.sqrt(x * x + self.sigma * self.sigma))

    def bend(self, k: FloatArray) -> FloatArray:
        """d2w/dk2."""
        x = k - self.m
        return self.b * self.sigma**2 / (x * x + self.sigma * self.sigma) ** 1.5

    def durrleman(self, k: FloatArray) -> FloatArray:
        """g(k): the density that the curve implies has its sign."""
        w, first, second = self.total_variance(k), self.slope(k), self.bend(k)
        return (1 - k * first / (2 * w)) ** 2 - first * first / 4 * (1 / w + 0.25) + second / 2


@dataclass(frozen=True, slots=True)
class Smile:
    """A curve with the expiration it belongs to: `years` to it, the `forward` in dollars, and the lowest and highest k that were
    quoted."""

    curve: Svi
    years: float
    forward: float
    lowest: float
    highest: float

    def covers(self, k: FloatArray) -> BoolArray:
        """Whether these lie between the strikes quoted, of which the outermost count."""
        slack = 1e-9
        return (k >= self.lowest - slack) & (k <= self.highest + slack)

    def volatility(self, k: FloatArray) -> FloatArray:
        """A fraction a year; beyond the strikes quoted it is the curve's own wing, which nobody has quoted."""
        return np.sqrt(self.curve.total_variance(k) / self.years)

    @property
    def at_the_money(self) -> float | None:
        """The volatility of the strike that is the forward; None where the quotes do not reach it from both sides."""
        return self.at(0.0)

    def at(self, k: float) -> float | None:
        """The volatility at one k, None beyond the strikes quoted."""
        where = np.array([k])
        return float(self.volatility(where)[0]) if bool(self.covers(where)[0]) else None

    @property
    def skew(self) -> float:
        """d volatility / dk at the forward: by how many fractions of volatility a strike higher by the factor e costs more."""
        at = np.zeros(1)
        return float(self.curve.slope(at)[0] / (2 * self.volatility(at)[0] * self.years))

    @property
    def curvature(self) -> float:
        """d2 volatility / dk2 at the forward."""
        at = np.zeros(1)
        vol = self.volatility(at)[0]
        first = self.curve.slope(at)[0] / (2 * vol * self.years)
        return float((self.curve.bend(at)[0] / (2 * self.years) - first * first) / vol)

    def at_delta(self, delta: float) -> tuple[float, float] | None:
        """(k, volatility) where the forward delta of a call is `delta` (0 to 1; that of a put is a call's less one); None where that is
        beyond the strikes quoted."""
        k = np.linspace(self.lowest, self.highest, _FINE)
        found = k_at_delta(k, self.curve.total_variance(k), delta)
        return None if found is None else (found, float(self.volatility(np.array([found]))[0]))


def k_at_delta(k: FloatArray, w: FloatArray, delta: float) -> float | None:
    """Where on a grid of k with total variance w the call's forward delta N(d1), d1 = -k / sqrt(w) + sqrt(w) / 2, is `delta`;
    None where the grid does not reach it. d1 falls with k wherever the smile has no arbitrage."""
    from scipy.special import ndtri

    root = np.sqrt(w)
    d1 = -k / root + root / 2
    wanted = float(ndtri(delta))
    falling = np.minimum.accumulate(d1)
    if not falling[-1] <= wanted <= falling[0]:
        return None
    return float(np.interp(-wanted, -falling, k))
