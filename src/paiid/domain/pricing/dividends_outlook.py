"""What an option is worth at the end of a span without dividends, as a function of the price there, and what that is worth earlier.

Between two ex-dates the log of the price is a Brownian motion, so holding on to the end of the span is worth the end's value times a
Gaussian. The end's value is kept where it bends (at Gauss points in the log price) and as straight lines in the price where
it does not: exercised, worthless, or as good as certain to be exercised later. The lines have closed forms, the points a sum.

Arrays are (problems, points) unless told otherwise; everything is by dollar of strike.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from paiid.domain.pricing.terms import BoolArray, FloatArray

IndexArray: TypeAlias = NDArray[np.intp]
_Some: TypeAlias = BoolArray | IndexArray | slice

_PHI0 = 1 / np.sqrt(2 * np.pi)
_BLOCK = 60_000
"""Terms of a sum that are worked on at once: more would not stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How the price moves between dividends: rate, yield and volatility of each problem, (problems, 1), a year."""

    rate: FloatArray
    dividend_yield: FloatArray
    volatility: FloatArray

    @property
    def log_drift(self) -> FloatArray:
        return self.rate - self.dividend_yield - 0.5 * self.volatility**2

    def take(self, chosen: _Some) -> "Drift":
        return Drift(self.rate[chosen], self.dividend_yield[chosen], self.volatility[chosen])


@dataclass(frozen=True, slots=True)
class Worth:
    """A value and its first two derivatives by the log of the price."""

    value: FloatArray
    slope: FloatArray
    bend: FloatArray

    def __add__(self, other: "Worth") -> "Worth":
        return Worth(self.value + other.value, self.slope + other.slope, self.bend + other.bend)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The value at the end of a span: `level + slope * price` below the first of the `edges` (log prices, ascending), between them and above
    the last; where both are zero there are points instead, `weighted` by what they are worth and `weighted_slope` by its
    derivative by the log price, or nothing."""

    edges: FloatArray  # (problems, edges)
    level: FloatArray  # (problems, edges + 1)
    slope: FloatArray  # (problems, edges + 1)
    log_price: FloatArray
    weighted: FloatArray
    weighted_slope: FloatArray

    @staticmethod
    def expired(call: bool, count: int) -> "Outlook":
        edges, none = np.zeros((count, 1)), np.zeros((count, 0))
        line = np.broadcast_to([0.0, 1.0] if call else [1.0, 0.0], (count, 2))
        return Outlook(edges, -line if call else line, line if call else -line, none, none, none)

    def take(self, chosen: _Some) -> "Outlook":
        return Outlook(
            self.edges[chosen],
            self.level[chosen],
            self.slope[chosen],
            self.log_price[chosen],
            self.weighted[chosen],
            self.weighted_slope[chosen],
        )

    def joined(self, other: "Outlook") -> "Outlook":
        """The problems of both, of which neither is an expired one; points of weight 0 fill up the shorter."""
        count = max(self.log_price.shape[1], other.log_price.shape[1])
        one, two = self._filled(count), other._filled(count)
        return Outlook(
            np.concatenate([one.edges, two.edges]),
            np.concatenate([one.level, two.level]),
            np.concatenate([one.slope, two.slope]),
            np.concatenate([one.log_price, two.log_price]),
            np.concatenate([one.weighted, two.weighted]),
            np.concatenate([one.weighted_slope, two.weighted_slope]),
        )

    def _filled(self, count: int) -> "Outlook":
        extra = ((0, 0), (0, count - self.log_price.shape[1]))
        return replace(
            self,
            log_price=np.pad(self.log_price, extra, mode="edge"),
            weighted=np.pad(self.weighted, extra),
            weighted_slope=np.pad(self.weighted_slope, extra),
        )


def hold(outlook: Outlook, drift: Drift, log_price: FloatArray, years: FloatArray) -> Worth:
    """What holding until the end of the span is worth at `log_price` (problems, targets), `years` before it (problems, targets or 1)."""
    deviation = drift.volatility * np.sqrt(years)
    mean = log_price + drift.log_drift * years
    discount = np.exp(-drift.rate * years)
    worth = _lines(outlook, mean, deviation, discount, np.exp(log_price - drift.dividend_yield * years))
    terms = outlook.log_price.shape[1]
    if terms:
        deviation = np.broadcast_to(deviation, mean.shape)
        scale = _PHI0 * discount / deviation
        rows = max(1, _BLOCK // (terms * mean.shape[1]))
        for start in range(0, len(mean), rows):
            part = slice(start, start + rows)
            value, slope, bend = _sums(outlook.take(part), mean[part], deviation[part])
            worth.value[part] += scale[part] * value
            worth.slope[part] += scale[part] * slope
            worth.bend[part] += scale[part] * bend
    return worth


def _sums(
    outlook: Outlook, mean: FloatArray, deviation: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    inverse = (np.sqrt(0.5) / deviation)[:, :, None]
    z = outlook.log_price[:, None, :] * inverse
    z -= mean[:, :, None] * inverse
    density = z * z
    np.negative(density, out=density)
    np.exp(density, out=density)
    both = density @ np.stack([outlook.weighted, outlook.weighted_slope], axis=2)
    density *= z
    curved = density @ outlook.weighted_slope[:, :, None]
    return both[:, :, 0], both[:, :, 1], curved[:, :, 0] * (np.sqrt(2.0) / deviation)


def _lines(
    outlook: Outlook, mean: FloatArray, deviation: FloatArray, discount: FloatArray, forward: FloatArray
) -> Worth:
    """The closed forms: the steps of level and slope at each edge times the chance to be below it, in both measures."""
    level_step = -np.diff(outlook.level, axis=1)[:, None, :]
    slope_step = -np.diff(outlook.slope, axis=1)[:, None, :]
    z = (outlook.edges[:, None, :] - mean[:, :, None]) / np.broadcast_to(deviation, mean.shape)[:, :, None]
    below = (level_step * ndtr(z)).sum(2)
    z -= np.broadcast_to(deviation, mean.shape)[:, :, None]
    share = forward * (outlook.slope[:, -1:] + (slope_step * ndtr(z)).sum(2))
    value = discount * (outlook.level[:, -1:] + below) + share
    density = (slope_step * np.exp(-0.5 * np.minimum(z * z, 1400.0))).sum(2)
    return Worth(value, share, share - forward * density * (_PHI0 / deviation))
