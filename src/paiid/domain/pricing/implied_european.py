"""The Black-Scholes formula without its units, and turned around: which deviation of the log-price a time value implies.

A call and a put of one strike have the same time value, that of whichever is out of the money. Of the two discounted legs (the
spot and the strike) call the smaller one m, the other M, and let

    k = log(M / m) >= 0,    s = volatility * sqrt(years),    a = s / 2 - k / s,    b = -s / 2 - k / s.

Then the time value is m * share(k, s) with share = N(a) - (M / m) N(b), which grows from 0 to 1 as s grows from 0. What is left to
1, the rest, is N(-a) + (M / m) N(b). Both ends keep their own precision: a share of 1e-200 as well as a rest of 1e-14. The share
is a difference, though, and has no more digits than N(a): where k is below 1e-5 and s too, some of its own are lost.

Sources: P. Jäckel, "Let's Be Rational", Wilmott 2015, for solving the normalised price of the out-of-the-money side by
Householder steps of third order on its logarithm, and on that of its rest above the middle; P. Jäckel, "Implied Normal
Volatility", Wilmott 2017, for how well a normal model's volatility, a function of one variable, can be had in closed form;
A. Householder, The Numerical Treatment of a Single Nonlinear Equation, 1970, for the step. The first guess is fitted here.
"""

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.terms import FloatArray

LEAST_SHARE = 1e-290
"""Below it the normal distribution's tail leaves the range of floats."""

_INV_SQRT_2PI = 0.3989422804014327
_NEAR = 1e-5
"""A Newton step this small against the deviation leaves a fourth-order error below the rounding."""
_MOST_ROUNDS = 80
# t^2 / L^2 of a normal model as a rational function of L (see `_first_guess`): least squares over t from 0 to 9, within 3e-5 of t
# there and within 1 % as far as floats go.
_ABOVE = (0.6365815, 0.21602122, 0.030320734, 0.0065449016)
_BELOW = (1.0, 1.3371026, 0.17887019, 0.03977086, 0.0033290581)


def density(x: FloatArray) -> FloatArray:
    """Of the standard normal distribution."""
    result = x * x
    result *= -0.5
    np.exp(result, out=result)
    result *= _INV_SQRT_2PI
    return result


def implied_deviation(
    share: FloatArray, rest: FloatArray, log_ratio: FloatArray, ratio: FloatArray
) -> FloatArray:
    """The s at which each time value is `share` of its smaller leg.

    `rest` is 1 - share, better where the caller knows it better; `ratio` is M / m and `log_ratio` its logarithm. Shares are from
    `LEAST_SHARE` to a few roundings below 1. Two steps settle nearly all; the few that they do not are bracketed.
    """
    deviation = _first_guess(share, log_ratio, ratio)
    target = np.log(share)
    deviation, _ = _step(deviation, target, log_ratio, ratio)
    deviation, newton = _step(deviation, target, log_ratio, ratio)
    np.abs(newton, out=newton)
    settled = newton <= _NEAR * deviation
    if not settled.all():
        far = np.flatnonzero(~settled)
        deviation[far] = _bracketed(share[far], rest[far], log_ratio[far], ratio[far], deviation[far])
    return deviation


def _first_guess(share: FloatArray, log_ratio: FloatArray, ratio: FloatArray) -> FloatArray:
    """From the normal model that has this time value: within 1 % for deviations up to 1, within 15 % up to 4.

    There the time value over the distance of strike and forward is n(t)/t - N(-t) with t = distance / deviation. t is a smooth
    function of L = log(1 + distance / (2 value)) alone: about L sqrt(2/pi) near the money, about sqrt(2 L) far from it. Then the
    deviation of the log-price: by the ratio of the distances, and by the series of the inverse error function, which is what it
    is at the money.
    """
    near = np.maximum(log_ratio, 1e-200)
    root = np.sqrt(ratio)
    distance = 2.0 * np.sinh(0.5 * near)
    apart = np.log1p(distance * root / (2.0 * share))
    above = _ABOVE[0] + apart * (_ABOVE[1] + apart * (_ABOVE[2] + apart * _ABOVE[3]))
    below = _BELOW[0] + apart * (_BELOW[1] + apart * (_BELOW[2] + apart * (_BELOW[3] + apart * _BELOW[4])))
    guess: FloatArray = near / (apart * np.sqrt(above / below))
    square = np.minimum(guess * guess, 10.0)
    guess *= 1.0 + square * (1 / 24 + square * (7 / 1920 + square * (127 / 322560)))
    return guess


def _step(
    deviation: FloatArray, target: FloatArray, log_ratio: FloatArray, ratio: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """One Householder step of third order on the logarithm of the share, and the plain Newton step, which tells how far it was."""
    inverse = 1.0 / deviation
    far = log_ratio * inverse
    half = 0.5 * deviation
    upper = half - far
    share = ndtr(upper)
    far += half
    share -= ratio * ndtr(-far)
    np.maximum(share, 1e-300, out=share)
    slope = density(upper)
    slope /= share
    newton = target - np.log(share)
    newton /= np.maximum(slope, 1e-300)
    moved = deviation + _householder(newton, slope, deviation, inverse, log_ratio)
    # A guess from afar must neither run through zero nor away.
    np.maximum(moved, 0.25 * deviation, out=moved)
    np.minimum(moved, 4.0 * deviation, out=moved)
    return moved, newton


def _householder(
    newton: FloatArray, slope: FloatArray, deviation: FloatArray, inverse: FloatArray, log_ratio: FloatArray
) -> FloatArray:
    """The step from the Newton step: `slope` is y'/y of a y whose derivative is that of the share or its negative."""
    away = log_ratio * inverse
    away *= away
    # y''/y' and y'''/y' of the share: its first derivative is n(a).
    second = away * inverse - 0.25 * deviation
    third = second * second
    away *= inverse
    away *= inverse
    third -= 3.0 * away
    third -= 0.25
    # The same of log y.
    curved = second - slope
    third -= slope * (3.0 * second - 2.0 * slope)
    step: FloatArray = newton * (1.0 + 0.5 * newton * curved)
    step /= 1.0 + newton * (curved + newton * third * (1 / 6))
    return step


def _bracketed(
    share: FloatArray, rest: FloatArray, log_ratio: FloatArray, ratio: FloatArray, guess: FloatArray
) -> FloatArray:
    """The same, safe from anywhere: bisection (of the logarithm) wherever a Householder step leaves what encloses the solution.

    The share is at most that at the money, so at most s / sqrt(2 pi); and at s = sqrt(2 k) + 20 the rest is below 1e-22.
    """
    low = np.sqrt(2 * np.pi) * share
    high = np.sqrt(2.0 * log_ratio) + 20.0
    beyond = share > 0.5
    target = np.log(np.where(beyond, rest, share))
    # The guess is no number where the ratio over the share overflows.
    deviation: FloatArray = np.fmax(np.fmin(guess, high), low)
    settled = np.zeros(len(share), dtype=np.bool_)
    for _ in range(_MOST_ROUNDS):
        inverse = 1.0 / deviation
        far, half = log_ratio * inverse, 0.5 * deviation
        upper, lower = half - far, ratio * ndtr(-half - far)
        held = np.where(beyond, ndtr(-upper) + lower, ndtr(upper) - lower)
        missing = target - np.log(np.maximum(held, 1e-300))
        too_low = (missing > 0.0) != beyond
        low, high = np.where(too_low, deviation, low), np.where(too_low, high, deviation)
        slope = np.maximum(density(upper) / np.maximum(held, 1e-300), 1e-300)
        slope = np.where(beyond, -slope, slope)
        newton = missing / slope
        moved = deviation + _householder(newton, slope, deviation, inverse, log_ratio)
        inside = (low <= moved) & (moved <= high)
        following = np.where(inside, moved, np.sqrt(low) * np.sqrt(high))
        near = inside & (np.abs(newton) <= _NEAR * deviation) | (high - low <= 4e-16 * high)
        deviation = np.where(settled, deviation, following)
        settled |= near
        if settled.all():
            break
    return deviation
