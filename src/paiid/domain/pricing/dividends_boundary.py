"""The prices at which an option is exercised between two ex-dates, and what the right to do so adds.

The method is the one for plain American options, from the other end of the span instead of expiration (ADR 0019): the curve of
exercise is a polynomial over a graded time and solves the condition of smooth pasting at Chebyshev points (L. Andersen, M. Lake,
D. Offengenden, "High-performance American option pricing", Journal of Computational Finance 20, 2016; with cash dividends: Vellekoop and
Nieuwenhuis, "Efficient pricing of derivatives on assets with discrete dividends", Applied Mathematical Finance 13, 2006).
What it adds is the interest earned (less the yield lost) while the price is beyond the curve (I. J. Kim, "The analytic
valuation of American options", Review of Financial Studies 3, 1990).

Time is counted backwards from the end of the span. Arrays are (problems, points) unless told otherwise.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.dividends_outlook import Drift, IndexArray, Worth
from paiid.domain.pricing.terms import FloatArray

_PHI0 = 1 / np.sqrt(2 * np.pi)
_BLOCK = 20_000
"""Terms of an integral that are worked on at once: more would not stay in a core's cache."""


Kind = Literal["rooted", "dormant", "free"]


@dataclass(frozen=True, slots=True)
class Look:
    """Gauss points of integrals from the start of a curve to some of its points: (targets, inner), as fractions of its length, with the
    curve there from its shape at its own points (targets, inner, points)."""

    fraction: FloatArray
    weight: FloatArray
    z: FloatArray
    between: FloatArray


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a curve is known, and where integrals look at it: from each of its points while it is solved, from its last one after."""

    z: FloatArray  # (points,): the last one 1
    fraction: FloatArray  # (points,): the time of each
    inner: Look
    outer: Look


@dataclass(frozen=True, slots=True)
class Curve:
    """From `start` on for `length` years (problems, 1) the option is exercised beyond this log price. `shape` (problems, points) is what is
    interpolated, and its meaning depends on the kind:

    rooted: the log of the distance from `anchor` (problems, 1), which the curve leaves about like the root of time, by that root;
    dormant: a put's before its dividend, close to zero: the log of the price by the interest until the ex-date;
    free: the log price.
    """

    call: bool
    kind: Kind
    rule: Rule
    start: FloatArray
    length: FloatArray
    anchor: FloatArray
    rate: FloatArray
    shape: FloatArray

    def log_price(self, shape: FloatArray, z: FloatArray, fraction: FloatArray) -> FloatArray:
        curve: FloatArray
        if self.kind == "rooted":
            curve = self.anchor + (1.0 if self.call else -1.0) * z * np.exp(shape)
            return curve
        if self.kind == "dormant":
            curve = shape + self.interest(fraction)
            return curve
        return shape

    def shape_of(self, log_price: FloatArray) -> FloatArray:
        shape: FloatArray
        if self.kind == "rooted":
            shape = np.log(np.abs(log_price - self.anchor) / self.rule.z)
            return shape
        if self.kind == "dormant":
            shape = log_price - self.interest(self.rule.fraction)
            return shape
        return log_price

    def interest(self, fraction: FloatArray) -> FloatArray:
        """Log of what a dollar earns until the ex-date."""
        result: FloatArray = np.log(-np.expm1(-self.rate * (self.start + self.length * fraction)))
        return result

    def at_points(self) -> FloatArray:
        return self.log_price(self.shape, self.rule.z, self.rule.fraction)

    def seen(self, look: Look, which: int) -> FloatArray:
        """The curve where the integral to point `which` of the look needs it."""
        return self.log_price(self.shape @ look.between[which].T, look.z[which], look.fraction[which])

    def take(self, chosen: IndexArray) -> "Curve":
        parts = (
            self.start[chosen],
            self.length[chosen],
            self.anchor[chosen],
            self.rate[chosen],
            self.shape[chosen],
        )
        start, length, anchor, rate, shape = parts
        return Curve(self.call, self.kind, self.rule, start, length, anchor, rate, shape)

    def with_shape(self, shape: FloatArray) -> "Curve":
        return replace(self, shape=shape)


@lru_cache(maxsize=64)
def rule(points: int, inner: int, outer: int, kind: Kind) -> Rule:
    """`points` Chebyshev points of z in (0, 1], and the numbers of Gauss points of integrals. Time is graded where the curve is steep:
    z^2 for a rooted curve, z^3 for a free one that emerges from a dormant one, and that at both ends. A rooted curve is a
    polynomial of z between its points, another, that may have a corner, straight."""
    z = 0.5 * (1 + np.cos(2 * np.pi * np.arange(points)[::-1] / (2 * points - 1)))
    fraction = 1 - (1 - z**2) ** 2 if kind == "dormant" else z ** (3 if kind == "free" else 2)
    return Rule(z, fraction, _look(z, fraction, inner, kind), _look(z, fraction[-1:], outer, kind))


def _look(known: FloatArray, until: FloatArray, inner: int, kind: Kind) -> Look:
    gauss, weight = np.polynomial.legendre.leggauss(inner)
    gauss, weight = 0.5 * (gauss + 1), 0.5 * weight
    grade = 3 if kind == "free" else 2
    rest = 1 - gauss**grade
    part = 1 - rest**2
    weight = weight * 2 * rest * grade * gauss ** (grade - 1)
    fraction = until[:, None] * part
    z = np.sqrt(1 - np.sqrt(1 - fraction)) if kind == "dormant" else fraction ** (1 / grade)
    between = _interpolation(known, z) if kind == "rooted" else chords(known, z)
    return Look(fraction, until[:, None] * weight, z, between)


def _interpolation(known: FloatArray, asked: FloatArray) -> FloatArray:
    """The barycentric formula as a matrix (..., known)."""
    difference = known[:, None] - known[None, :]
    np.fill_diagonal(difference, 1.0)
    weight = 1 / np.prod(4 * difference, axis=1)
    away = asked[..., None] - known
    hit = away == 0
    ratio = weight / np.where(hit, 1.0, away)
    matrix = ratio / ratio.sum(axis=-1, keepdims=True)
    exact = hit.any(axis=-1, keepdims=True)
    result: FloatArray = np.where(exact, hit.astype(float), matrix)
    return result


def chords(known: FloatArray, asked: FloatArray) -> FloatArray:
    """Straight lines between the known points, and the first one before it, as a matrix (..., known)."""
    columns = [np.interp(asked, known, unit) for unit in np.eye(len(known))]
    return np.stack(columns, axis=-1)


def refined(curve: Curve, finer: Rule) -> Curve:
    """The same curve at the points of another rule."""
    if finer is curve.rule:
        return curve
    return replace(curve, rule=finer, shape=curve.shape @ _interpolation(curve.rule.z, finer.z).T)


@dataclass(frozen=True, slots=True)
class Interest:
    """What is earned by being beyond a barrier some time later, by (problems, targets, inner): the value, its slope by the log price, of that
    the part that is minus the value's derivative by the log of the barrier, and the derivative of the slope in two parts, of which
    the second comes with a minus and is also the slope's derivative by the log of the barrier."""

    value: FloatArray
    slope: FloatArray
    crossing: FloatArray
    steady: FloatArray
    spike: FloatArray


def interest(
    call: bool, drift: Drift, log_price: FloatArray, barrier: FloatArray, age: FloatArray, weight: FloatArray
) -> Interest:
    """Over `weight` years, `age` years after the price was `log_price`: interest on the strike less the yield on the price for a put,
    the other way round for a call, where the price is beyond `barrier`. Everything broadcast to (problems, targets, inner)."""
    rate, dividend_yield = drift.rate[:, :, None], drift.dividend_yield[:, :, None]
    sign = 1.0 if call else -1.0
    deviation = np.sqrt(age)
    deviation = deviation * drift.volatility[:, :, None]
    d2 = log_price - barrier
    d2 = d2 + drift.log_drift[:, :, None] * age
    d2 /= deviation
    discount = weight * np.exp(-rate * age)
    density = d2 * d2
    density *= -0.5
    np.exp(density, out=density)
    density *= discount * (_PHI0 / deviation)
    value = ndtr(sign * d2)
    value *= discount * (-sign * rate)
    if not dividend_yield.any():
        crossing = -rate * density
        return Interest(value, crossing, crossing, np.zeros(1), crossing * d2 / deviation)
    lost = dividend_yield * np.exp(barrier)
    crossing = (lost - rate) * density
    share = ndtr(sign * (d2 + deviation))
    share *= (sign * dividend_yield) * weight * np.exp(log_price - dividend_yield * age)
    return Interest(
        value + share, crossing + share, crossing, share + lost * density, crossing * d2 / deviation
    )


def premium(curve: Curve, drift: Drift, log_price: FloatArray, years: FloatArray) -> Worth:
    """What exercising by the whole of `curve` adds at `log_price` (problems, targets), `years` (broadcast) before the end of the span: at
    the end of the curve or earlier in life than that."""
    look = curve.rule.outer
    age = years[:, :, None] - (curve.start + curve.length * look.fraction[0])[:, None, :]
    weight = (curve.length * look.weight[0])[:, None, :]
    barrier = curve.seen(look, 0)[:, None, :]
    worth = Worth(np.empty(log_price.shape), np.empty(log_price.shape), np.empty(log_price.shape))
    rows = max(1, _BLOCK // (log_price.shape[1] * age.shape[2]))
    for start in range(0, len(log_price), rows):
        part = slice(start, start + rows)
        earned = interest(
            curve.call, drift.take(part), log_price[part, :, None], barrier[part], age[part], weight[part]
        )
        worth.value[part] = earned.value.sum(2)
        worth.slope[part] = earned.slope.sum(2)
        worth.bend[part] = (earned.steady - earned.spike).sum(2)
    return worth
