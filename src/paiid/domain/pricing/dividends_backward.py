"""The value of options from expiration back to today, one span between ex-dates after the other (ADR 0019).

Within a span the price is lognormal and an option is exercised beyond a curve (`dividends_exercise`); between spans it falls by the dividend
(`dividends_ex_date`); M. Vellekoop and J. Nieuwenhuis, "Efficient pricing of derivatives on assets with discrete dividends", Applied
Mathematical Finance 13, 2006. Options of all expirations go together: each joins when time has come back to its own last ex-date.

Arrays are (problems, 1) unless told otherwise; prices and cash are by dollar of strike.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.dividends_ex_date import over_ex_date
from paiid.domain.pricing.dividends_exercise import Effort, Span, View, span_of
from paiid.domain.pricing.dividends_outlook import IndexArray, Outlook, Worth
from paiid.domain.pricing.dividends_problems import Problems, State
from paiid.domain.pricing.terms import BoolArray, FloatArray


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
    expired = State(everyone, Outlook.expired(problems.call, count), zero, zero, zero, hint)
    ending = _span(problems, effort, expired, problems.years - ends[last][:, None], None)
    going: State | None = None
    spans: list[tuple[IndexArray, Span]] = []
    for index in range(len(ends) - 2, -1, -1):
        stages: list[tuple[State, Span]] = []
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
            before = over_ex_date(some, effort, span, state, index - 1, float(ends[index] - ends[index - 1]))
            going = before if going is None else going.joined(before)
    return Today(count, tuple(spans))


def _span(problems: Problems, effort: Effort, state: State, years: FloatArray, index: int | None) -> Span:
    """The span of that length before the ex-date with this index, or before expiration."""
    end = problems.years if index is None else np.full_like(years, problems.ex_years[index])
    paid = (np.array(problems.ex_years) < end).sum(axis=1, keepdims=True)
    lowest, highest = problems.reachable(effort.reach, end, paid)
    drowning, _ = problems.reachable(effort.drowning, end, paid)
    cash = None if index is None else problems.cash[:, index : index + 1]
    view = View(
        years, problems.drift, state.outlook, state.anchor, cash, lowest, highest, drowning, state.hint
    )
    return span_of(problems.call, problems.american, effort, view)
