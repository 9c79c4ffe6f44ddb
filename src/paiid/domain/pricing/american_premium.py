"""What the right to exercise early is worth, from the curve at which it is done; with its derivatives, as one integral.

Normalised as in `american_curve`: puts struck at 1, one unit of time. With B the curve, z = sqrt(1 - u), and d- and d+ of S against B(u),

    premium = int [R e^{-R z^2} N(-d-) - Q S e^{-Q z^2} N(-d+)] 2 z dz  (I. J. Kim, 1990),

and every derivative follows from S e^{-Q z^2} n(d+) = B e^{-R z^2} n(d-). The curve moves with volatility and rates, so the derivatives by
them have a part from its movement; those by the price have none.

Just above the boundary the integrand of the derivatives changes within z ~ a = ln(S / B) / s, which no fixed points see. There it
is g0 n(a / z) to leading order, whose integrals are known; what the points miss of them is put right.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.american_curve import Moves
from paiid.domain.pricing.american_nodes import Quadrature
from paiid.domain.pricing.terms import FloatArray

_PHI0 = 1 / np.sqrt(2 * np.pi)
_NEAR = 0.6
"""Beyond this distance (in deviations) from the boundary the points see everything."""


@dataclass(frozen=True, slots=True)
class Premium:
    """The early exercise premium; `first` is S d/dS, `second` S^2 d2/dS2, the others are by deviation, rate, and yield."""

    price: FloatArray
    first: FloatArray
    second: FloatArray
    by_deviation: FloatArray
    by_rate: FloatArray
    by_yield: FloatArray


def price_and_slope(
    log_price: FloatArray,
    log_curve: FloatArray,
    rate: FloatArray,
    yield_: FloatArray,
    deviation: FloatArray,
    points: Quadrature,
    moves: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """The premium, and its derivative by deviation (zero where `moves` is None). Shapes as in `premium`."""
    z, weight = _column(points.sine, log_curve), _column(points.weight, log_curve)
    lapse = z * z
    minus = _distance(log_price, log_curve, rate, yield_, deviation, z)
    interest = weight * np.exp(-rate * lapse)
    price = rate * (interest * ndtr(-minus)).sum(0)
    carries = bool(np.any(yield_))
    if carries:
        paid = ndtr(-minus - deviation * z)
        paid *= weight * np.exp(-yield_ * lapse)
        price -= yield_ * np.exp(log_price) * paid.sum(0)
    if moves is None:
        return price, np.zeros_like(price)
    kernel = np.exp(-0.5 * minus * minus)
    kernel *= interest * (_PHI0 / z)
    kernel /= deviation
    net = kernel * (rate - yield_ * np.exp(log_curve)) if carries else kernel * rate
    slope = (net * (z * minus + moves)).sum(0) + rate * deviation * (kernel * lapse).sum(0)
    return price, slope


def premium(
    log_price: FloatArray,
    log_curve: FloatArray,
    log_now: FloatArray,
    rate: FloatArray,
    yield_: FloatArray,
    deviation: FloatArray,
    points: Quadrature,
    moves: Moves | None = None,
) -> Premium:
    """Everything at once for prices above the boundary `log_now` (both logarithms; what comes out below it means nothing).

    `log_curve` is (outer, ..., batch): the boundary at the points; the other arrays broadcast against what follows its first
    axis. Without `moves` the derivatives by deviation, rate and yield leave the boundary where it is.
    """
    z, weight = _column(points.sine, log_curve), _column(points.weight, log_curve)
    lapse = z * z
    minus = _distance(log_price, log_curve, rate, yield_, deviation, z)
    price_now = np.exp(log_price)
    interest = weight * np.exp(-rate * lapse)
    saved = interest * ndtr(-minus)
    paid = weight * np.exp(-yield_ * lapse) * ndtr(-minus - deviation * z)
    kernel = np.exp(-0.5 * minus * minus)
    kernel *= interest * (_PHI0 / z)
    kernel /= deviation
    net = kernel * (rate - yield_ * np.exp(log_curve))
    flow = net.sum(0)
    bend = (net * minus / z).sum(0) / deviation
    stretch = (net * z * minus).sum(0)
    gap = np.maximum(log_price - log_now, 0.0) / deviation
    first_missed, second_missed = _missed(gap, minus, points)
    start = 2 * (rate - yield_ * np.exp(log_now)) / deviation
    first_missed = first_missed * start
    flow = flow + first_missed
    bend = bend + second_missed * start / deviation
    stretch = stretch + first_missed * gap
    leaning = (net * lapse).sum(0)
    held = price_now * paid.sum(0)
    by_deviation = stretch + rate * deviation * (kernel * lapse).sum(0)
    by_rate = (saved * (1 - rate * lapse)).sum(0) - leaning
    by_yield = leaning - price_now * (paid * (1 - yield_ * lapse)).sum(0)
    if moves is not None:
        by_deviation = by_deviation + (net * moves.by_deviation).sum(0)
        by_deviation += first_missed * moves.by_deviation[0]
        by_rate = by_rate + (net * moves.by_rate).sum(0) + first_missed * moves.by_rate[0]
        by_yield = by_yield + (net * moves.by_yield).sum(0) + first_missed * moves.by_yield[0]
    return Premium(
        price=rate * saved.sum(0) - yield_ * held,
        first=-flow - yield_ * held,
        second=bend + rate * kernel.sum(0),
        by_deviation=by_deviation,
        by_rate=by_rate,
        by_yield=by_yield,
    )


def _column(values: FloatArray, like: FloatArray) -> FloatArray:
    return values.reshape(-1, *([1] * (like.ndim - 1)))


def _distance(
    log_price: FloatArray,
    log_curve: FloatArray,
    rate: FloatArray,
    yield_: FloatArray,
    deviation: FloatArray,
    z: FloatArray,
) -> FloatArray:
    """d- of the price against the boundary, (outer, ..., batch)."""
    minus = log_price - log_curve
    minus /= deviation * z
    minus += (rate - yield_ - deviation * deviation / 2) / deviation * z
    return np.asarray(minus)


def _missed(gap: FloatArray, minus: FloatArray, points: Quadrature) -> tuple[FloatArray, FloatArray]:
    """What the points miss of int n(a / z) dz and of int n(a / z) a / z^2 dz over z in (0, 1), for a = `gap`, times the n of what else d-
    has. The integrals are n(a) - a N(-a) and N(-a)."""
    first, second = np.zeros(gap.shape), np.zeros(gap.shape)
    near = gap < _NEAR
    if not near.any():
        return first, second
    a = gap[near]
    z = points.sine[:, None]
    ratio = a / z
    density = _PHI0 * np.exp(-0.5 * ratio * ratio) * (points.weight[:, None] / (2 * z))
    whole, tail = _PHI0 * np.exp(-0.5 * a * a), ndtr(-a)
    # d- is a / z + c z + ...: n of it is n(a / z) e^{-a c} near z = 0.
    second_z = points.sine[1]
    drift = (np.broadcast_to(minus[1], gap.shape)[near] - a / second_z) / second_z
    factor = np.exp(-np.clip(a * drift, -1.0, 20.0))
    first[near] = factor * (whole - a * tail - density.sum(0))
    second[near] = factor * (tail - (density * ratio / z).sum(0))
    return first, second
