"""Fits a smile to the volatilities quoted at one expiration, and says how good the fit is.

The start is the quasi-explicit calibration (Zeliade Systems, "Quasi-explicit calibration of Gatheral's SVI model", 2009): for
a given m and sigma the other three numbers are a linear least squares problem, so that only two are searched, here on a
grid, all at once. From the best of it the five are refined together in volatility, each quote weighted by how well its
spread tells its volatility. Arbitrage is mended by refining again with what it must not do as a penalty.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.smile import Smile, Svi
from paiid.domain.pricing.terms import FloatArray

FEWEST = 3
"""Strikes below which no curve is drawn: two points have no curvature."""
FEWEST_FOR_FIVE = 6
"""Strikes from which all five numbers are free; with fewer the corner stays where the forward is."""
_CHECKED = 101
"""Points between the lowest and highest strike quoted at which arbitrage is looked for."""
BUTTERFLY_SLACK = 1e-6
"""How far below zero g may be by rounding alone."""
_MARGIN = 1e-3
_PENALTY = 300.0
_STEEPEST = 2.0
"""Roger Lee's bound: total variance grows no faster than 2|k| (R. Lee, "The moment formula for implied volatility at extreme
strikes", Mathematical Finance 14, 2004)."""
_M_STEPS = 25
_SIGMA_STEPS = 13
_MOST_RHO = 0.9999
_HOME = np.array([0.0, np.log(0.5)])
_TINY = 1e-300
_PULL = 0.005
"""Quotes that cannot tell where the corner is (its k, and the logarithm of how round it is, both by the reach of the strikes) leave it near
the forward and half as round as the reach: so much of a quote's error is what a unit of either counts."""


@dataclass(frozen=True, slots=True)
class SmileQuotes:
    """Volatilities of one expiration by k, rising; `error` is how far off each may be, by its spread (above zero)."""

    k: FloatArray
    volatility: FloatArray
    error: FloatArray

    def __len__(self) -> int:
        return len(self.k)


@dataclass(frozen=True, slots=True)
class Fit:
    """A smile, and how far the quotes are from it: root of the mean square and the largest, as fractions of volatility; `within` is the
    share of quotes whose middle is no further from the curve than its error."""

    smile: Smile
    rms: float
    largest: float
    within: float
    parameters: int


def fit(quotes: SmileQuotes, years: float, forward: float) -> Fit | None:
    """The smile nearest the quotes, whether it has arbitrage or not; None where there are too few. `years` above zero."""
    if len(quotes) < FEWEST:
        return None
    return _refined(quotes, years, forward, _start(quotes, years), None)


def fit_without_arbitrage(quotes: SmileQuotes, years: float, before: Fit, floor: FloatArray | None) -> Fit:
    """The smile nearest the quotes that has a density between the strikes quoted and, with a `floor`, nowhere less total variance than
    it (at the points of `checked`; minus infinity where there is none)."""
    points = checked(before.smile)
    low = np.full_like(points, -np.inf) if floor is None else floor
    return _refined(quotes, years, before.smile.forward, before.smile.curve, (points, low))


def checked(smile: Smile) -> FloatArray:
    """The k at which a smile is looked at for arbitrage: from the lowest strike quoted to the highest."""
    return np.linspace(smile.lowest, smile.highest, _CHECKED)


def has_butterfly(smile: Smile) -> bool:
    """Whether some butterfly between the strikes quoted costs less than nothing."""
    return bool(np.min(smile.curve.durrleman(checked(smile))) < -BUTTERFLY_SLACK)


def _start(quotes: SmileQuotes, years: float) -> Svi:
    """The best of a grid of m and sigma, the other three by weighted linear least squares, bent to what SVI allows."""
    k, w = quotes.k, quotes.volatility**2 * years
    weight = 1.0 / (2.0 * quotes.volatility * years * quotes.error)
    reach = _reach(quotes)
    if len(quotes) < FEWEST_FOR_FIVE:
        m, sigma = np.array([0.0]), np.array([reach / 2])
    else:
        m = np.linspace(k[0] - reach / 4, k[-1] + reach / 4, _M_STEPS)
        sigma = reach * np.geomspace(0.02, 2.0, _SIGMA_STEPS)
    m, sigma = (axis.ravel() for axis in np.meshgrid(m, sigma))
    y = (k[None, :] - m[:, None]) / sigma[:, None]
    root = np.sqrt(y * y + 1)
    basis = np.stack([np.ones_like(y), y, root], axis=2) * weight[None, :, None]
    normal = basis.transpose(0, 2, 1) @ basis
    # A touch of ridge keeps a corner without any quotes near it solvable.
    normal += np.eye(3) * (1e-12 * np.trace(normal, axis1=1, axis2=2) + _TINY)[:, None, None]
    right = basis.transpose(0, 2, 1) @ (w * weight)[None, :, None]
    a, d, c = np.linalg.solve(normal, right)[:, :, 0].T
    c = np.clip(c, 0.0, _STEEPEST * sigma)
    d = np.clip(d, -np.minimum(c, _STEEPEST * sigma - c), np.minimum(c, _STEEPEST * sigma - c))
    # With slope and corner bent, the level that fits best is the mean of what is left.
    shape = d[:, None] * y + c[:, None] * root
    share = weight**2 / np.sum(weight**2)
    a = np.maximum((w[None, :] - shape) @ share, -np.sqrt(np.maximum(c * c - d * d, 0.0)))
    off = ((a[:, None] + shape - w[None, :]) * weight[None, :]) ** 2
    best = int(np.argmin(off.sum(axis=1)))
    rho = float(d[best] / c[best]) if c[best] > 0 else 0.0
    return Svi(float(a[best]), float(c[best] / sigma[best]), rho, float(m[best]), float(sigma[best]))


def _refined(
    quotes: SmileQuotes,
    years: float,
    forward: float,
    start: Svi,
    bounds: tuple[FloatArray, FloatArray] | None,
) -> Fit:
    """Least squares in volatility from a start, all numbers together."""
    from scipy.optimize import least_squares

    search = _Search(quotes, years, start, bounds)
    low, high = search.limits()
    found = least_squares(
        search.residuals,
        np.clip(search.numbers_of(start), low + 1e-9, high - 1e-9),
        jac=search.jacobian if bounds is None else "2-point",
        bounds=(low, high),
        x_scale="jac",
        xtol=1e-9,
        ftol=1e-7,
        gtol=1e-12,
        max_nfev=100,
    )
    k = quotes.k
    smile = Smile(search.curve(found.x), years, forward, float(k[0]), float(k[-1]))
    off = np.abs(smile.volatility(k) - quotes.volatility)
    rms, within = float(np.sqrt(np.mean(off * off))), float(np.mean(off <= quotes.error))
    return Fit(smile, rms, float(off.max()), within, 5 if search.five else 3)


class _Search:
    """The numbers that are searched, scaled to about one: the least variance of the curve (bounded below by zero, so that variance is
    nowhere negative), b, rho and, where there are quotes enough for them, m and the logarithm of sigma."""

    def __init__(
        self, quotes: SmileQuotes, years: float, start: Svi, bounds: tuple[FloatArray, FloatArray] | None
    ) -> None:
        self.five = len(quotes) >= FEWEST_FOR_FIVE
        self._quotes, self._years, self._start, self._bounds = quotes, years, start, bounds
        self._reach = _reach(quotes)
        self._level = float(np.median(quotes.volatility)) ** 2 * years
        # Errors of one kind may be off by a common factor; what counts is how they compare.
        typical = float(np.median(quotes.error))
        self._error, self._pull = quotes.error / typical, _PULL * typical

    def numbers_of(self, svi: Svi) -> FloatArray:
        """What is searched, of a curve."""
        least = svi.a + svi.b * svi.sigma * np.sqrt(max(0.0, 1 - svi.rho**2))
        three = [least / self._level, svi.b * self._reach / self._level, svi.rho]
        return np.array(three + [svi.m / self._reach, np.log(svi.sigma / self._reach)] * self.five)

    def limits(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest of each."""
        steepest = max(50.0, _STEEPEST * self._reach / self._level)
        low, high = [0.0, 0.0, -_MOST_RHO], [50.0, steepest, _MOST_RHO]
        if self.five:
            low += [float(self._quotes.k[0]) / self._reach - 2, np.log(1e-3)]
            high += [float(self._quotes.k[-1]) / self._reach + 2, np.log(20.0)]
        return np.array(low), np.array(high)

    def curve(self, x: FloatArray) -> Svi:
        """The curve of these numbers."""
        m, sigma = self._start.m, self._start.sigma
        if self.five:
            m, sigma = x[3] * self._reach, self._reach * np.exp(x[4])
        b, rho = x[1] * self._level / self._reach, x[2]
        a = x[0] * self._level - b * sigma * np.sqrt(1 - rho * rho)
        return Svi(float(a), float(b), float(rho), float(m), float(sigma))

    def residuals(self, x: FloatArray) -> FloatArray:
        """How far off each quote is, in volatility by its error; then what pulls, and what must not be."""
        svi, years = self.curve(x), self._years
        off = (np.sqrt(svi.total_variance(self._quotes.k) / years) - self._quotes.volatility) / self._error
        steep = _PENALTY * max(0.0, svi.b * (1 + abs(svi.rho)) - _STEEPEST)
        parts = [off, self._pull * (x[3:] - _HOME[: len(x) - 3]), [steep]]
        if self._bounds is not None:
            points, floor = self._bounds
            w = svi.total_variance(points)
            least = np.sqrt(np.maximum(floor, 0.0) / years) * (1 + _MARGIN)
            parts.append(_PENALTY * 0.1 * np.maximum(0.0, _MARGIN - svi.durrleman(points)))
            parts.append(_PENALTY * np.maximum(0.0, least - np.sqrt(w / years)))
        return np.concatenate(parts)

    def jacobian(self, x: FloatArray) -> FloatArray:
        """Derivatives of the residuals without bounds, by row and number searched."""
        svi, k = self.curve(x), self._quotes.k
        b, rho, sigma, away = svi.b, svi.rho, svi.sigma, k - svi.m
        corner, flank = np.sqrt(away * away + sigma * sigma), np.sqrt(1 - rho * rho)
        columns = [
            np.full_like(k, self._level),
            (rho * away + corner - sigma * flank) * self._level / self._reach,
            b * (away + sigma * rho / flank),
        ]
        if self.five:
            columns += [-b * (rho + away / corner) * self._reach, b * sigma * (sigma / corner - flank)]
        by_volatility = 2 * np.sqrt(svi.total_variance(k) * self._years) * self._error
        found = np.zeros((len(k) + len(x) - 3 + 1, len(x)))
        found[: len(k)] = np.stack(columns, axis=1) / by_volatility[:, None]
        for number in range(3, len(x)):
            found[len(k) + number - 3, number] = self._pull
        if b * (1 + abs(rho)) > _STEEPEST:
            found[-1, 1] = _PENALTY * (1 + abs(rho)) * self._level / self._reach
            found[-1, 2] = _PENALTY * b * np.sign(rho)
        return found


def _reach(quotes: SmileQuotes) -> float:
    """From the lowest k to the highest."""
    return max(float(quotes.k[-1] - quotes.k[0]), 1e-3)
