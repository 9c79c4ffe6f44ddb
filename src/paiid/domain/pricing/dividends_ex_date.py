"""Back over an ex-date: the value just before it from the value after it, for all prices that matter.

A price S becomes max(S - D, 0). A call can be exercised just before, and is where that is worth more; a put never is.

Arrays are (problems, 1) unless told otherwise; prices and cash are by dollar of strike.
"""

import numpy as np

from paiid.domain.pricing.dividends_exercise import FAR, Effort, Span
from paiid.domain.pricing.dividends_grid import panel
from paiid.domain.pricing.dividends_outlook import Outlook, Worth
from paiid.domain.pricing.dividends_problems import LEAST_LOG, Problems, State
from paiid.domain.pricing.terms import BoolArray, FloatArray

_FAR_OFF = 200.0
"""Standard deviations of the span that looks at it."""


def over_ex_date(
    problems: Problems, effort: Effort, span: Span, state: State, index: int, looked: float
) -> State:
    """The value just before the ex-date `index` with which the span begins. `looked`: the length of the span before, that looks at it."""
    drift, cash = problems.drift, problems.cash[:, index : index + 1]
    bends = state.bends - (drift.rate - drift.dividend_yield) * span.years
    smoothed = state.smoothed + span.years
    low, high, edge, exercised = _between(problems, effort, span, bends, smoothed, index, looked)
    kernel = drift.volatility * np.sqrt(looked)
    fine = effort.focus * drift.volatility * np.sqrt(np.minimum(span.years, looked))
    focus = bends[:, :1] if (span.years < 0.5 * looked).any() else None
    log_price, weight = _points(effort, low, high, not problems.call, focus, fine, kernel)
    worth = span.worth(np.concatenate([low, log_price, high, np.full_like(low, LEAST_LOG)], axis=1))
    outlook = _shifted(problems.call, worth, low, log_price, high, weight, exercised, cash)
    if problems.call:
        anchor = np.where(exercised, np.log(np.exp(high) + cash), FAR)
    else:
        anchor = np.full_like(low, -FAR)
    newest = np.where(exercised, edge, bends[:, :1])
    bends = np.log(np.exp(np.concatenate([newest, bends], axis=1)) + cash)
    smoothed = np.concatenate([np.zeros_like(newest), smoothed], axis=1)
    return State(state.which, outlook, anchor, bends, smoothed, state.hint)


def _between(
    problems: Problems,
    effort: Effort,
    span: Span,
    bends: FloatArray,
    smoothed: FloatArray,
    index: int,
    looked: float,
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """From where to where (log prices) the value after an ex-date is kept by points; the one that begins exercise, and whether it does."""
    drift = problems.drift
    wander = effort.reach * drift.volatility * np.sqrt(smoothed)
    bend_low = (bends - wander).min(axis=1, keepdims=True)
    bend_high = (bends + wander + 0.5 * drift.volatility**2 * smoothed).max(axis=1, keepdims=True)
    start = np.full_like(problems.years, problems.ex_years[index])
    lowest, highest = problems.reachable(effort.reach, start, index + 1)
    least = 2 * drift.volatility * np.sqrt(np.minimum(start, span.years))
    if problems.call:
        edge = np.minimum(highest, span.edge)
        exercised = np.zeros(edge.shape, dtype=np.bool_)
        if problems.american:
            edge, exercised = _exercise_before(span, problems.cash[:, index : index + 1], edge)
        high = np.where(exercised, edge, np.minimum(np.minimum(highest, bend_high), edge))
        return np.minimum(np.maximum(lowest, bend_low), high - least), high, high, exercised
    if problems.cash.shape[1] > index + 1 and span.outlook.edges.shape[1] > 1:
        # Where the next dividend takes what is left of the price the value bends as well. If that is far off, what is worth there
        # counts as straight from zero to there (by less than the dividend it is not).
        ruin = np.log(problems.cash[:, index + 1 : index + 2])
        around = effort.reach * drift.volatility * np.sqrt(span.years)
        near = bend_low - (ruin - around) < _FAR_OFF * drift.volatility * np.sqrt(looked)
        bend_low = np.where(near, np.minimum(bend_low, ruin - around), bend_low)
        bend_high = np.maximum(bend_high, ruin + around)
    known = span.edge > -FAR
    low = np.maximum(lowest, np.where(known, np.minimum(span.edge, bend_low), bend_low))
    # A bend that cannot be reached must not be where the straight part below is measured.
    low = np.minimum(low, highest - least)
    exercised = known & (span.edge >= low)
    low = np.where(exercised, span.edge, low)
    return low, np.maximum(np.minimum(highest, bend_high), low + least), low, exercised


def _exercise_before(span: Span, cash: FloatArray, high: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The log price after the ex-date from which a call should have been exercised just before it, and whether there is one up to `high`."""
    top = span.worth(high).value - (np.exp(high) + cash - 1)
    exists = (top < 0) | (high >= span.edge)
    upper = np.exp(high)
    lower = np.minimum(np.maximum(1 - cash, 1e-9), upper)
    # The error falls and is convex, so Newton's steps from below never overshoot.
    price = np.minimum(1.0, 0.5 * (lower + upper))
    for _ in range(60):
        worth = span.worth(np.log(price))
        error = worth.value - (price + cash - 1)
        lower, upper = np.where(error > 0, price, lower), np.where(error > 0, upper, price)
        fresh = price - error / np.minimum(worth.slope / price - 1, -1e-12)
        fresh = np.where((fresh > lower) & (fresh < upper), fresh, 0.5 * (lower + upper))
        done = bool((np.abs(fresh - price)[exists] < 1e-9).all())
        price = fresh
        if done:
            break
    return np.where(exists, np.log(price), high), exists


def _shifted(
    call: bool,
    worth: Worth,
    low: FloatArray,
    log_price: FloatArray,
    high: FloatArray,
    weight: FloatArray,
    exercised: BoolArray,
    cash: FloatArray,
) -> Outlook:
    """The value before an ex-date from that after it, at low, the points, high, and about zero: a price S was S + D."""
    price, bottom, top = np.exp(log_price), np.exp(low), np.exp(high)
    slope_low, slope_high = worth.slope[:, :1] / bottom, worth.slope[:, -2:-1] / top
    level_low, level_high = worth.value[:, :1] - slope_low * bottom, worth.value[:, -2:-1] - slope_high * top
    if call:
        slope_high = np.where(exercised, 1.0, slope_high)
        level_high = np.where(exercised, cash - 1, level_high)
    else:
        slope_low = np.where(exercised, -1.0, slope_low)
        level_low = np.where(exercised, 1.0, level_low)
    ruined = np.where(exercised & (not call), 1.0, worth.value[:, -1:])
    zero = np.zeros_like(low)
    before = price + cash
    return Outlook(
        np.concatenate([np.log(cash), np.log(bottom + cash), np.log(top + cash)], axis=1),
        np.concatenate([ruined, level_low - slope_low * cash, zero, level_high - slope_high * cash], axis=1),
        np.concatenate([zero, slope_low, zero, slope_high], axis=1),
        np.log(before),
        worth.value[:, 1:-2] * weight * price / before,
        worth.slope[:, 1:-2] * weight,
    )


def _points(
    effort: Effort,
    low: FloatArray,
    high: FloatArray,
    edge_is_low: bool,
    focus: FloatArray | None,
    fine: FloatArray,
    kernel: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Log prices and weights from low to high, dense next to the one with the edge, and at the focus within if there is one."""
    edge, end = (low, high) if edge_is_low else (high, low)
    pairs = [(edge, end)]
    if focus is not None:
        within = np.clip(focus, low + 1e-9, high - 1e-9)
        middle = 0.5 * (edge + within)
        pairs = [(edge, middle), (within, middle), (within, end)]
    panels = [
        panel(start, stop, fine, kernel, effort.spacing, effort.by_fold, effort.least)
        for start, stop in pairs
    ]
    return np.concatenate([one for one, _ in panels], axis=1), np.concatenate(
        [one for _, one in panels], axis=1
    )
