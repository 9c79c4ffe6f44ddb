"""The value of options from expiration back to today, one span between ex-dates after the other (ADR 0019).

Within a span the price is lognormal and an option is exercised beyond a curve (`dividends_exercise`). Over an ex-date a price S becomes
max(S - D, 0): the value just before is that of the lower price, and for an American call what exercising at that moment gives, if
that is more (M. Vellekoop and J. Nieuwenhuis, "Efficient pricing of derivatives on assets with discrete dividends", Applied Mathematical
Finance 13, 2006). Options of all expirations go together: each joins when time has come back to its own last ex-date.

Arrays are (problems, 1) unless told otherwise; prices and cash are by dollar of strike.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.dividends_exercise import FAR, Effort, Span, View, span_of
from paiid.domain.pricing.dividends_grid import panel
from paiid.domain.pricing.dividends_outlook import Drift, IndexArray, Outlook, Worth
from paiid.domain.pricing.terms import BoolArray, FloatArray

_LEAST_LOG = -30.0


@dataclass(frozen=True, slots=True)
class Problems:
    """Options of one right and style, normalised to a strike of 1."""

    call: bool
    american: bool
    drift: Drift
    years: FloatArray
    ex_years: tuple[float, ...]
    """Ascending; those of an option's expiration or later do not concern it."""
    cash: FloatArray  # (problems, ex-dates)
    lowest: FloatArray
    """Log of the prices today that will be asked: from this one."""
    highest: FloatArray

    def __len__(self) -> int:
        return len(self.years)

    def take(self, chosen: IndexArray) -> "Problems":
        return Problems(
            self.call,
            self.american,
            self.drift.take(chosen),
            self.years[chosen],
            self.ex_years,
            self.cash[chosen],
            self.lowest[chosen],
            self.highest[chosen],
        )


@dataclass(frozen=True, slots=True)
class _State:
    """Where the way back has come to for some of the problems: just before an ex-date, or at expiration."""

    which: IndexArray
    outlook: Outlook
    anchor: FloatArray
    """Log price from which a call is exercised at that moment."""
    bends: FloatArray  # (problems, bends)
    """Log prices at which the value is or once was bent, the newest first."""
    smoothed: FloatArray  # (problems, bends)
    """For how many years it has been smoothed there."""
    hint: FloatArray
    """Of the curve of exercise: see `View`."""

    def take(self, chosen: IndexArray) -> "_State":
        return _State(
            self.which[chosen],
            self.outlook.take(chosen),
            self.anchor[chosen],
            self.bends[chosen],
            self.smoothed[chosen],
            self.hint[chosen],
        )

    def joined(self, other: "_State") -> "_State":
        count = max(self.bends.shape[1], other.bends.shape[1])

        def both(one: FloatArray, two: FloatArray) -> FloatArray:
            return np.concatenate(
                [np.pad(part, ((0, 0), (0, count - part.shape[1])), mode="edge") for part in (one, two)]
            )

        return _State(
            np.concatenate([self.which, other.which]),
            self.outlook.joined(other.outlook),
            np.concatenate([self.anchor, other.anchor]),
            both(self.bends, other.bends),
            both(self.smoothed, other.smoothed),
            np.concatenate([self.hint, other.hint]),
        )


@dataclass(frozen=True, slots=True)
class Today:
    """Options with all that is known of what comes: their first spans, and which problems these are of."""

    count: int
    spans: tuple[tuple[IndexArray, Span], ...]

    def worth(self, log_price: FloatArray) -> tuple[Worth, BoolArray]:
        """At prices today (problems, targets), and whether they are exercised at once; then it is what holding is worth all the same."""
        total = Worth(np.zeros(log_price.shape), np.zeros(log_price.shape), np.zeros(log_price.shape))
        exercised = np.zeros(log_price.shape, dtype=np.bool_)
        for which, span in self.spans:
            part = span.worth(log_price[which])
            total.value[which], total.slope[which], total.bend[which] = part.value, part.slope, part.bend
            exercised[which] = span.is_exercised(log_price[which])
        return total, exercised

    def edge(self) -> FloatArray:
        """Log price beyond which each is exercised at once."""
        edge = np.zeros((self.count, 1))
        for which, span in self.spans:
            edge[which] = span.edge
        return edge


def today(problems: Problems, effort: Effort) -> Today:
    """The way back from the last expiration."""
    ends = np.array([0.0, *problems.ex_years, np.inf])
    count = len(problems)
    zero = np.zeros((count, 1))
    last = np.searchsorted(ends, problems.years[:, 0]) - 1
    # The last spans of all, from the pay-off, do not need anything else.
    everyone = np.arange(count)
    hint = np.full((count, effort.marches), np.nan)
    expired = _State(everyone, Outlook.expired(problems.call, count), zero, zero, zero, hint)
    ending = _span(problems, effort, expired, problems.years - ends[last][:, None], None)
    going: _State | None = None
    spans: list[tuple[IndexArray, Span]] = []
    for index in range(len(ends) - 2, -1, -1):
        stages: list[tuple[_State, Span]] = []
        if going is not None:
            some = problems.take(going.which)
            length = np.full_like(some.years, ends[index + 1] - ends[index])
            stages.append((going, _span(some, effort, going, length, index)))
        starting = np.flatnonzero(last == index)
        if len(starting):
            stages.append((expired.take(starting), ending.take(starting)))
        going = None
        for state, span in stages:
            if index == 0:
                spans.append((state.which, span))
                continue
            some = problems.take(state.which)
            before = _over_ex_date(some, effort, span, state, index - 1, float(ends[index] - ends[index - 1]))
            going = before if going is None else going.joined(before)
    return Today(count, tuple(spans))


def _span(problems: Problems, effort: Effort, state: _State, years: FloatArray, index: int | None) -> Span:
    """The span of that length before the ex-date with this index, or before expiration."""
    end = problems.years if index is None else np.full_like(years, problems.ex_years[index])
    paid = (np.array(problems.ex_years) < end).sum(axis=1, keepdims=True)
    lowest, highest = _reachable(problems, effort.reach, end, paid)
    drowning, _ = _reachable(problems, effort.drowning, end, paid)
    cash = None if index is None else problems.cash[:, index : index + 1]
    view = View(
        years, problems.drift, state.outlook, state.anchor, cash, lowest, highest, drowning, state.hint
    )
    return span_of(problems.call, problems.american, effort, view)


def _reachable(
    problems: Problems, reach: float, years: FloatArray, paid: FloatArray | int
) -> tuple[FloatArray, FloatArray]:
    """The log prices that matter after `years`, when the first `paid` dividends were paid."""
    drift = problems.drift
    travel = reach * drift.volatility * np.sqrt(years)
    lowest = problems.lowest + np.minimum(drift.log_drift * years, 0.0) - travel
    gone = np.where(np.arange(problems.cash.shape[1]) < paid, problems.cash, 0.0)
    left = np.exp(lowest) - gone.sum(axis=1, keepdims=True)
    lowest = np.log(np.maximum(left, np.exp(_LEAST_LOG)))
    # Values grow with the price, so that what is far up counts by chance times price: the measure with the price as the unit.
    upward = np.maximum((drift.log_drift + drift.volatility**2) * years, 0.0)
    return lowest, problems.highest + upward + travel


def _over_ex_date(
    problems: Problems, effort: Effort, span: Span, state: _State, index: int, looked: float
) -> _State:
    """The value just before the ex-date `index` with which the span begins. `looked`: the length of the span before, that looks at it."""
    drift, cash = problems.drift, problems.cash[:, index : index + 1]
    bends = state.bends - (drift.rate - drift.dividend_yield) * span.years
    smoothed = state.smoothed + span.years
    low, high, edge, exercised = _between(problems, effort, span, bends, smoothed, index)
    kernel = drift.volatility * np.sqrt(looked)
    fine = effort.focus * drift.volatility * np.sqrt(np.minimum(span.years, looked))
    focus = bends[:, :1] if (span.years < 0.5 * looked).any() else None
    log_price, weight = _points(effort, low, high, not problems.call, focus, fine, kernel)
    worth = span.worth(np.concatenate([low, log_price, high], axis=1))
    outlook = _shifted(problems.call, worth, low, log_price, high, weight, exercised, cash)
    if problems.call:
        anchor = np.where(exercised, np.log(np.exp(high) + cash), FAR)
    else:
        anchor = np.full_like(low, -FAR)
    newest = np.where(exercised, edge, bends[:, :1])
    bends = np.log(np.exp(np.concatenate([newest, bends], axis=1)) + cash)
    smoothed = np.concatenate([np.zeros_like(newest), smoothed], axis=1)
    return _State(state.which, outlook, anchor, bends, smoothed, state.hint)


def _between(
    problems: Problems, effort: Effort, span: Span, bends: FloatArray, smoothed: FloatArray, index: int
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """From where to where (log prices) the value after an ex-date is kept by points; the one that begins exercise, and whether it does."""
    drift = problems.drift
    wander = effort.reach * drift.volatility * np.sqrt(smoothed)
    bend_low = (bends - wander).min(axis=1, keepdims=True)
    bend_high = (bends + wander + 0.5 * drift.volatility**2 * smoothed).max(axis=1, keepdims=True)
    start = np.full_like(problems.years, problems.ex_years[index])
    lowest, highest = _reachable(problems, effort.reach, start, index + 1)
    least = 2 * drift.volatility * np.sqrt(np.minimum(start, span.years))
    if problems.call:
        edge = np.minimum(highest, span.edge)
        exercised = np.zeros(edge.shape, dtype=np.bool_)
        if problems.american:
            edge, exercised = _exercise_before(span, problems.cash[:, index : index + 1], edge)
        high = np.where(exercised, edge, np.minimum(np.minimum(highest, bend_high), edge))
        return np.minimum(np.maximum(lowest, bend_low), high - least), high, high, exercised
    if problems.cash.shape[1] > index + 1 and span.outlook.edges.shape[1] > 1:
        # Where the next dividend takes what is left of the price the value bends as well.
        ruin = np.log(problems.cash[:, index + 1 : index + 2])
        bend_low = np.minimum(bend_low, ruin - effort.reach * drift.volatility * np.sqrt(span.years))
    known = span.edge > -FAR
    low = np.maximum(lowest, np.where(known, np.minimum(span.edge, bend_low), bend_low))
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
    """The value before an ex-date from that after it, at low, the points, and high: a price S was S + D."""
    price, bottom, top = np.exp(log_price), np.exp(low), np.exp(high)
    slope_low, slope_high = worth.slope[:, :1] / bottom, worth.slope[:, -1:] / top
    level_low, level_high = worth.value[:, :1] - slope_low * bottom, worth.value[:, -1:] - slope_high * top
    if call:
        slope_high = np.where(exercised, 1.0, slope_high)
        level_high = np.where(exercised, cash - 1, level_high)
    else:
        slope_low = np.where(exercised, -1.0, slope_low)
        level_low = np.where(exercised, 1.0, level_low)
    zero = np.zeros_like(low)
    before = price + cash
    return Outlook(
        np.concatenate([np.log(cash), np.log(bottom + cash), np.log(top + cash)], axis=1),
        np.concatenate(
            [level_low, level_low - slope_low * cash, zero, level_high - slope_high * cash], axis=1
        ),
        np.concatenate([zero, slope_low, zero, slope_high], axis=1),
        np.log(before),
        worth.value[:, 1:-1] * weight * price / before,
        worth.slope[:, 1:-1] * weight,
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
