"""Finding the curve of exercise of a span: where holding is worth what exercising gives.

A rooted curve is smooth, and the condition of smooth pasting (the slopes meet too) at Chebyshev points gives a polynomial that is right to
many digits. One that wakes before an ex-date moves faster than the price can at first, hardly pastes there, and may have a corner: it is
straight between its points, and the values themselves are to meet.

Arrays are (problems, points) unless told otherwise.
"""

import numpy as np

from paiid.domain.pricing.dividends_boundary import Curve, chords, interest, premium
from paiid.domain.pricing.dividends_outlook import Drift, Outlook, hold
from paiid.domain.pricing.terms import BoolArray, FloatArray

_RESTLESS = 0.05
_FARTHEST = 0.7
"""The largest step of a curve's shape: a factor of two in its distance from the anchor, or in the price."""


def pasted(curve: Curve, outlook: Outlook, drift: Drift, steps: int, tolerance: float) -> Curve:
    """A rooted `curve` moved by Newton's method until the slope of holding meets that of exercising at each point."""
    rule, look = curve.rule, curve.rule.inner
    sign = 1.0 if curve.call else -1.0
    years = curve.start + curve.length * rule.fraction
    count = len(rule.z)
    begun = curve.shape
    for _ in range(steps):
        log_price = curve.at_points()
        away = log_price - curve.anchor
        worth = hold(outlook, drift, log_price, years)
        gain = sign * np.exp(log_price)
        error = worth.slope - gain
        jacobian = np.zeros((*log_price.shape, count))
        for k in range(count):
            barrier = curve.seen(look, k)
            age = curve.length * (rule.fraction[k] - look.fraction[k])
            weight = curve.length * look.weight[k]
            at = log_price[:, k : k + 1, None]
            earned = interest(curve.call, drift, at, barrier[:, None, :], age[:, None, :], weight[:, None, :])
            error[:, k] += earned.slope[:, 0].sum(1)
            own = worth.bend[:, k] - gain[:, k] + (earned.steady - earned.spike).sum(2)[:, 0]
            jacobian[:, k, :] = (earned.spike[:, 0] * (barrier - curve.anchor)) @ look.between[k]
            jacobian[:, k, k] += own * away[:, k]
        curve, largest = _moved(curve, jacobian, error)
        if largest.max() < tolerance:
            break
    # What does not come to rest is better off where it began.
    return curve.with_shape(np.where(largest < _RESTLESS, curve.shape, begun))


def met(
    curve: Curve,
    earlier: tuple[Curve, ...],
    outlook: Outlook,
    drift: Drift,
    low: FloatArray,
    high: FloatArray,
    steps: int,
    tolerance: float,
    cash: FloatArray,
) -> tuple[Curve, BoolArray]:
    """`curve` moved by Newton's method until the value of holding meets that of exercising at each point, and for which problems (problems,)
    it came to rest. `earlier` are the curves between it and the end of the span; `low` and `high` (problems, 1) bound it."""
    rule, look = curve.rule, curve.rule.inner
    sign = 1.0 if curve.call else -1.0
    years = curve.start + curve.length * rule.fraction
    count, inner = look.fraction.shape
    between = look.between.reshape(count * inner, count)
    ahead = -np.expm1(np.log1p(cash) - drift.rate * years)
    yielded = -np.expm1(-drift.dividend_yield * years)
    age = curve.length[:, :, None] * (rule.fraction[:, None] - look.fraction)
    weight = curve.length[:, :, None] * look.weight
    scale = _scale(curve, drift)
    for _ in range(steps):
        log_price = curve.at_points()
        worth = hold(outlook, drift, log_price, years)
        for before in earlier:
            worth = worth + premium(before, drift, log_price, years)
        barrier = curve.log_price((curve.shape @ between.T), look.z.ravel(), look.fraction.ravel())
        barrier = barrier.reshape(-1, count, inner)
        earned = interest(curve.call, drift, log_price[:, :, None], barrier, age, weight)
        excess = worth.value - sign * np.expm1(log_price) + earned.value.sum(2)
        error = _by_logarithm(excess, ahead - np.exp(log_price) * yielded)
        own = worth.slope - sign * np.exp(log_price) + earned.slope.sum(2)
        jacobian = -np.matmul(earned.crossing.transpose(1, 0, 2), look.between).transpose(1, 0, 2)
        index = np.arange(count)
        jacobian[:, index, index] += own
        moved, _ = _moved(curve, jacobian, error)
        moved = moved.with_shape(moved.shape_of(np.clip(moved.at_points(), low, high)))
        # What a point is wrong by counts as much as the time it stands for.
        rest = np.abs(moved.shape - curve.shape) / scale * np.minimum(1.0, 10 * rule.fraction)
        curve = moved
        if rest.max() < tolerance:
            break
    settled = (rest < tolerance) & (np.abs(excess) < 2e-4 * tolerance * scale)
    return curve, settled.all(axis=1)


def _scale(curve: Curve, drift: Drift) -> FloatArray:
    """How far the log price wanders in the time of the curve, at most 1."""
    return np.minimum(drift.volatility * np.sqrt(curve.start + curve.length), 1.0)


def _by_logarithm(excess: FloatArray, gain: FloatArray) -> FloatArray:
    """What holding is worth more than exercising, for Newton's steps where its time value is about an exponential of the log price: `gain` is
    what exercising is worth more than holding but for that."""
    time_value = excess + gain
    with np.errstate(all="ignore"):
        by_logarithm = time_value * np.log(time_value / gain)
    return np.where((time_value > 1e-14) & (gain > 1e-14), by_logarithm, excess)


def _moved(curve: Curve, jacobian: FloatArray, error: FloatArray) -> tuple[Curve, FloatArray]:
    # Where nothing moves the condition (a price without any uncertainty) the curve stays as it is.
    scale = np.abs(jacobian).max(axis=2, keepdims=True) + 1e-300
    jacobian = jacobian / scale + 1e-13 * np.eye(jacobian.shape[1])
    move = -np.linalg.solve(jacobian, error[:, :, None] / scale)[:, :, 0]
    largest = np.abs(move).max(axis=1, keepdims=True)
    return curve.with_shape(
        curve.shape + move * np.minimum(1.0, _FARTHEST / np.maximum(largest, 1e-300))
    ), largest


def marched(
    curve: Curve,
    earlier: tuple[Curve, ...],
    outlook: Outlook,
    drift: Drift,
    low: FloatArray,
    high: FloatArray,
    steps: int,
    tolerance: float,
    cash: FloatArray | None = None,
) -> Curve:
    """`curve` from its start on: each point in turn is where holding is worth what exercising gives, if the curve runs straight between the
    points. Robust, and the first guess of `pasted`. On the side of exercise holding is worth less. `cash` is what a put waits for."""
    sign = 1.0 if curve.call else -1.0
    rule = curve.rule
    chord = chords(rule.z, rule.inner.z)
    scale = _scale(curve, drift)
    log_price = np.zeros((len(low), len(rule.z)))
    point = np.broadcast_to(0.5 * (low + high), low.shape)
    for k in range(len(rule.z)):
        years = curve.start + curve.length * rule.fraction[k]
        age = (curve.length * (rule.fraction[k] - rule.inner.fraction[k]))[:, None, :]
        weight = (curve.length * rule.inner.weight[k])[:, None, :]
        below, above = low.copy(), high.copy()
        for _ in range(steps):
            log_price[:, k:] = point
            barrier = curve.shape_of(log_price) @ chord[k].T
            barrier = curve.log_price(barrier, rule.inner.z[k], rule.inner.fraction[k])
            worth = hold(outlook, drift, point, years)
            for before in earlier:
                worth = worth + premium(before, drift, point, years)
            earned = interest(curve.call, drift, point[:, :, None], barrier[:, None, :], age, weight)
            error = worth.value - sign * np.expm1(point) + earned.value.sum(2)
            if cash is not None:
                gain = -np.expm1(np.log1p(cash) - drift.rate * years)
                gain = gain + np.exp(point) * np.expm1(-drift.dividend_yield * years)
                error = _by_logarithm(error, gain)
            rise = worth.slope - sign * np.exp(point)
            rise += (earned.slope - earned.crossing * chord[k][:, k]).sum(2)
            held = (error > 0) != curve.call
            above = np.where(held, point, above)
            below = np.where(held, below, point)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                fresh = point - error / rise
            fresh = np.where((fresh > below) & (fresh < above), fresh, 0.5 * (below + above))
            done = (np.abs(fresh - point) / scale).max() < tolerance
            point = fresh
            if done:
                break
        log_price[:, k:] = point
    return curve.with_shape(curve.shape_of(log_price))
