"""The volatility of an underlying over strikes and time: a smile for each expiration, made to agree with its neighbours.

Between expirations total variance is interpolated linearly in time at the same k = log(strike / forward), which adds no
arbitrage to smiles that have none (J. Gatheral and A. Jacquier, "Arbitrage-free SVI volatility surfaces", 2014, section 5;
M. Fengler, "Arbitrage-free smoothing of the implied volatility surface", 2009). A calendar spread is free money where total
variance falls with time at fixed k (same sources; exact where dividends are a yield, an approximation where they are cash).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.smile import Smile, k_at_delta
from paiid.domain.pricing.smile_fit import (
    Fit,
    SmileQuotes,
    checked,
    fit,
    fit_without_arbitrage,
    has_butterfly,
)
from paiid.domain.pricing.terms import BoolArray, FloatArray

_CALENDAR_SLACK = 1e-4
"""The part of its total variance by which a later expiration may lie below an earlier one: less than any quote can tell."""
_MILD_RATIO = 2.0
_MILD_ROOM = 0.03
"""A mended smile is taken if it fits at most so much worse: a factor, or this part of the volatility itself."""
_FINE = 401


@dataclass(frozen=True, slots=True)
class Slice:
    """What is known of one expiration. `fit` is None where too few strikes are quoted; `mended` says what was arbitrage in the curve
    nearest the quotes and is not in this one; `butterfly` and `calendar` say what still is, against the one before."""

    years: float
    forward: float
    quotes: SmileQuotes
    fit: Fit | None
    mended: tuple[str, ...] = ()
    butterfly: bool = False
    calendar: bool = False

    @property
    def smile(self) -> Smile | None:
        """The curve, None where there is none."""
        return None if self.fit is None else self.fit.smile


def build(expirations: Sequence[tuple[float, float, SmileQuotes]]) -> list[Slice]:
    """A slice for each (years, forward, quotes), by time; years above zero and rising."""
    slices: list[Slice] = []
    before: Smile | None = None
    for years, forward, quotes in expirations:
        nearest = fit(quotes, years, forward)
        one = (
            Slice(years, forward, quotes, None)
            if nearest is None
            else _agreed(years, forward, quotes, nearest, before)
        )
        before = one.smile or before
        slices.append(one)
    return slices


def _agreed(years: float, forward: float, quotes: SmileQuotes, nearest: Fit, before: Smile | None) -> Slice:
    """The curve without arbitrage where that costs little; else the one nearest the quotes, and what is wrong with it."""
    wrong = _wrong(nearest.smile, before)
    if not wrong:
        return Slice(years, forward, quotes, nearest)
    floor = None if before is None else _floor(before, checked(nearest.smile))
    tried = fit_without_arbitrage(quotes, years, nearest, floor)
    room = _MILD_ROOM * float(np.median(quotes.volatility))
    mild = tried.rms <= max(_MILD_RATIO * nearest.rms, nearest.rms + room)
    left = _wrong(tried.smile, before)
    if mild and len(left) < len(wrong):
        mended = tuple(one for one in wrong if one not in left)
        return Slice(years, forward, quotes, tried, mended, "butterfly" in left, "calendar" in left)
    return Slice(years, forward, quotes, nearest, (), "butterfly" in wrong, "calendar" in wrong)


def _wrong(smile: Smile, before: Smile | None) -> tuple[str, ...]:
    found = ["butterfly"] if has_butterfly(smile) else []
    if before is not None and has_calendar(before, smile):
        found.append("calendar")
    return tuple(found)


def _floor(before: Smile, k: FloatArray) -> FloatArray:
    return np.where(before.covers(k), before.curve.total_variance(k), -np.inf)


def has_calendar(early: Smile, late: Smile) -> bool:
    """Whether the later smile has less total variance than the earlier one at some k that both quote."""
    k = checked(late)
    return bool(np.any(late.curve.total_variance(k) < _floor(early, k) * (1 - _CALENDAR_SLACK)))


def between(smiles: Sequence[Smile], years: float, k: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Total variance at a time between the first smile's and the last one's, and whether it is known at each k: the smiles on both
    sides must cover it. Smiles by time; raises ValueError for a time outside."""
    times = np.array([one.years for one in smiles])
    if not times[0] <= years <= times[-1]:
        raise ValueError("the time lies outside the expirations")
    at = int(np.searchsorted(times, years))
    late = smiles[at]
    w, known = late.curve.total_variance(k), late.covers(k)
    if late.years == years:
        return w, known
    early = smiles[at - 1]
    share = (years - early.years) / (late.years - early.years)
    w = (1 - share) * early.curve.total_variance(k) + share * w
    return w, known & early.covers(k)


def volatilities(smiles: Sequence[Smile], years: float, k: FloatArray) -> list[float | None]:
    """The volatility at each k (a fraction a year), None where it is not quoted. Raises ValueError as `between` does."""
    w, known = between(smiles, years, k)
    return [float(vol) if sure else None for vol, sure in zip(np.sqrt(w / years), known, strict=True)]


def volatilities_by_delta(
    smiles: Sequence[Smile], years: float, deltas: Sequence[float]
) -> list[float | None]:
    """The volatility where a call's forward delta is each of these, None where it is not quoted."""
    k = np.linspace(min(one.lowest for one in smiles), max(one.highest for one in smiles), _FINE)
    w, known = between(smiles, years, k)
    k, w = k[known], w[known]
    found: list[float | None] = []
    for delta in deltas:
        at = k_at_delta(k, w, delta) if len(k) else None
        found.append(None if at is None else float(np.sqrt(np.interp(at, k, w) / years)))
    return found
