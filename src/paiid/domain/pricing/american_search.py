"""The search for the volatility of an American option: Newton's method within a bracket, for many contracts at once."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from paiid.domain.pricing.american_quoted import IndexArray
from paiid.domain.pricing.terms import (
    ABOVE,
    BELOW,
    FLAT,
    IMPLIED,
    NO_PRICE,
    Accuracy,
    BoolArray,
    FloatArray,
    StatusArray,
)

Evaluate: TypeAlias = Callable[[FloatArray, IndexArray], tuple[FloatArray, FloatArray]]
"""From volatilities of the contracts at these indices: what they are worth, and the derivative; in the normal form, both."""

RESOLUTION: dict[Accuracy, float] = {"fast": 1e-6, "accurate": 1e-8}
"""In units of the normal form (strikes for a put, prices of the underlying for a call): what a price must exceed its floor by to tell
a volatility. Near the boundary the value is floor + c (volatility - the one at which exercise begins)^2, so that an error e of
the price is one of e / (2 sqrt(c (price - floor))) of the volatility: below some seven times the usual (rms) error of the mode
it says nothing."""

_ROUNDING = 4e-15
_STEP = 1e-6
"""A last step of this share of the volatility leaves an error of about its square."""
_MOST_STEPS = 60
HIGHEST_DEVIATION = 16.0
"""Volatility times the root of time beyond which every option is worth its bound within a float."""


def floor_of(log_spot: FloatArray, rate: FloatArray, yield_: FloatArray) -> FloatArray:
    """What the put of the normal form is worth without any volatility: the best moment to exercise, max over u in [0, 1] of
    e^{-R u} - S e^{-Q u}, and 0."""
    spot = np.exp(log_spot)
    # The derivative -R e^{-R u} + Q S e^{-Q u} vanishes where e^{(Q - R) u} = Q S / R.
    ratio = np.where((rate > 0) & (yield_ > 0), yield_ * spot / np.where(rate > 0, rate, 1.0), 1.0)
    apart = yield_ - rate
    moment = np.where(apart != 0, np.log(ratio) / np.where(apart != 0, apart, 1.0), 0.0)
    moment = np.clip(moment, 0.0, 1.0)
    best = np.exp(-rate * moment) - spot * np.exp(-yield_ * moment)
    last = np.exp(-rate) - spot * np.exp(-yield_)
    gain = -np.expm1(log_spot)
    return np.asarray(np.maximum(np.maximum(best, last), np.maximum(gain, 0.0)))


def statuses(price: FloatArray, floor: FloatArray, accuracy: Accuracy) -> StatusArray:
    """Why prices (in units of the normal form; not finite where there is none) tell no volatility; IMPLIED for the rest."""
    known = np.isfinite(price) & (price > 0)
    over = np.where(known, price, 0.0) - floor
    status = np.full(price.shape, IMPLIED, dtype=np.uint8)
    status[over <= np.where(floor > 0, RESOLUTION[accuracy], 0.0)] = FLAT
    status[over < -_ROUNDING] = BELOW
    status[known & (price >= 1)] = ABOVE
    status[~known] = NO_PRICE
    return status


def search(
    evaluate: Evaluate,
    target: FloatArray,
    gain: FloatArray,
    low: FloatArray,
    high: FloatArray,
    start: FloatArray,
) -> tuple[FloatArray, BoolArray]:
    """The volatilities in [low, high] at which contracts are worth `target`, and which were found. `gain` is what exercise gives.

    In the money the square root of what the price is above exercise is nearly a line (it is one at the boundary), out of the money
    the logarithm is flatter than the price: Newton's method on these needs three to five steps from a fair start.
    """
    low, high, now = low.copy(), high.copy(), np.clip(start, low, high)
    found = np.zeros(len(target), dtype=np.bool_)
    active = np.arange(len(target))
    for _ in range(_MOST_STEPS):
        if not len(active):
            break
        at, goal = now[active], target[active]
        worth, slope = evaluate(at, active)
        over = worth > goal
        high[active] = np.where(over, at, high[active])
        low[active] = np.where(over, low[active], at)
        inside = np.maximum(gain[active], 0.0)
        with np.errstate(all="ignore"):
            above, wanted = worth - inside, goal - inside
            by_root = 2 * (above - np.sqrt(above * wanted)) / slope
            by_log = np.log(worth / goal) * worth / slope
            following = at - np.where(inside > 0, by_root, by_log)
        lost = ~((following >= low[active]) & (following <= high[active]))
        following = np.where(lost, (low[active] + high[active]) / 2, following)
        close = np.abs(following - at) <= _STEP * at
        now[active] = following
        found[active[close]] = True
        active = active[~close]
    return now, found
