"""When an option is exercised between two ex-dates: which parts of a span have a curve of exercise, and where it begins.

A call is exercised where the yield on the price is more than the interest on the strike. A put is where the interest is more than the
yield, but for a while before an ex-date waiting for the price to drop by the dividend earns more than the interest does: the
curve sleeps close to zero, where the dividend takes all that is left, and wakes when interest and dividend are even (R. Geske and
H. Shastri, "The early exercise of American puts", Journal of Banking and Finance 9, 1985). Where yields and interest are
both negative there can be two curves; such options count as held until the next ex-date.

Arrays are (problems, 1) unless told otherwise; everything is by dollar of strike.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.dividends_boundary import Curve, Kind, premium, refined, rule
from paiid.domain.pricing.dividends_outlook import Drift, IndexArray, Outlook, Worth, hold
from paiid.domain.pricing.dividends_solve import marched, met, pasted
from paiid.domain.pricing.terms import Accuracy, BoolArray, FloatArray

FAR = 1e3
"""A log price that nothing reaches."""
_BOTTOM = -60.0
_NEGLIGIBLE = 1e-8
"""Interest in a span, in strikes, that is not worth a curve."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How finely everything is computed."""

    points: tuple[int, ...]
    """Of a curve that is a polynomial, in steps of refinement."""
    marches: int
    """Of one that is straight between its points."""
    inner: int
    """Of an integral along a curve while it is solved."""
    outer: int
    """The same when it is used."""
    steps: int
    tolerance: float
    spacing: float
    """Between points of an outlook, in standard deviations of the span that will look at it."""
    by_fold: float
    """Points of an outlook by e-fold of its grading."""
    least: int
    focus: float
    """Size of the finest structure next to an edge, in standard deviations."""
    reach: float
    """Standard deviations beyond which nothing matters."""
    drowning: float
    """The same for what is earned on prices below the next dividend."""


_FAST = Effort(
    (10,), 20, 24, 40, 12, 5e-3, spacing=1.0, by_fold=4.0, least=12, focus=1.0, reach=5.0, drowning=2.8
)
_FINE = Effort(
    (6, 14, 44),
    140,
    96,
    200,
    40,
    1e-9,
    spacing=0.7,
    by_fold=10.0,
    least=24,
    focus=0.7,
    reach=6.8,
    drowning=6.0,
)
EFFORTS: dict[Accuracy, Effort] = {"fast": _FAST, "accurate": _FINE}


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the problems of a span, and their curves, the nearest to its end first."""

    which: IndexArray
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """What is known of a span: the value at its end, and the curves of exercise in it, of the problems that have one."""

    call: bool
    years: FloatArray
    """Its length."""
    drift: Drift
    outlook: Outlook
    parts: tuple[Part, ...]
    edge: FloatArray
    """Log price at the beginning of the span beyond which it is exercised; far away where it never is."""

    def worth(self, log_price: FloatArray) -> Worth:
        """At the beginning of the span, at prices (problems, targets) that are not exercised."""
        total = hold(self.outlook, self.drift, log_price, self.years)
        for part in self.parts:
            some = part.which
            for curve in part.curves:
                added = premium(curve, self.drift.take(some), log_price[some], self.years[some])
                total.value[some] += added.value
                total.slope[some] += added.slope
                total.bend[some] += added.bend
        return total

    def take(self, chosen: IndexArray) -> "Span":
        """Of a span with curves of one part at most."""
        parts = []
        for part in self.parts:
            place = np.searchsorted(part.which, chosen)
            has = np.flatnonzero(part.which[np.minimum(place, len(part.which) - 1)] == chosen)
            if len(has):
                parts.append(Part(has, tuple(curve.take(place[has]) for curve in part.curves)))
        outlook = self.outlook.take(chosen)
        return Span(
            self.call, self.years[chosen], self.drift.take(chosen), outlook, tuple(parts), self.edge[chosen]
        )

    def is_exercised(self, log_price: FloatArray) -> BoolArray:
        return log_price >= self.edge if self.call else log_price <= self.edge


@dataclass(frozen=True, slots=True)
class View:
    """What a span looks at: its end, and the prices that matter there."""

    years: FloatArray
    drift: Drift
    outlook: Outlook
    anchor: FloatArray
    """Log price from which a call is exercised at the end."""
    cash: FloatArray | None
    """The dividend there; None at expiration."""
    lowest: FloatArray
    highest: FloatArray
    drowning: FloatArray
    """Below it, what a put earns while its curve sleeps does not matter."""
    hint: FloatArray  # (problems, points)
    """Shapes of the curves in the span after this one, not finite where there is none; overwritten by those of this one."""


def span_of(call: bool, american: bool, effort: Effort, view: View) -> Span:
    """The span with its curves, if its options can be exercised."""
    drift = view.drift
    idle = Span(call, view.years, drift, view.outlook, (), np.full_like(view.years, FAR if call else -FAR))
    if not american:
        return idle
    rate, dividend_yield = drift.rate, drift.dividend_yield
    both = (rate > 0) & (dividend_yield > 0)
    even = np.log(np.where(both, rate, 1.0) / np.where(both, dividend_yield, 1.0))
    if call:
        even = np.where((rate > 0) & (dividend_yield <= 0), FAR, even)
        limit = np.maximum(view.anchor, even)
        live = (dividend_yield > 0) | ((dividend_yield == 0) & (rate < 0))
        return _with_rooted(idle, effort, limit, live & (limit < view.highest))
    limit = np.minimum(even, 0.0)
    if view.cash is None:
        return _with_rooted(idle, effort, limit, rate > 0)
    return _with_sleeper(idle, effort, view, limit, view.cash)


def _with_rooted(idle: Span, effort: Effort, limit: FloatArray, live: BoolArray) -> Span:
    """The curve that an option has right up to the end of the span, from `limit` there."""
    some = np.flatnonzero(live)
    if not len(some):
        return idle
    drift, outlook, limit, years = (
        idle.drift.take(some),
        idle.outlook.take(some),
        limit[some],
        idle.years[some],
    )
    away = drift.volatility * np.sqrt(years)
    near, far = 1e-6 * away, 12 * away + 0.5
    low, high = (limit + near, limit + far) if idle.call else (limit - far, limit - near)
    curve = _new(
        idle.call, "rooted", effort.points[0], effort, np.zeros_like(years), years, limit, drift.rate
    )
    curve = marched(curve, (), outlook, drift, low, high, effort.steps, max(effort.tolerance, 1e-2))
    for points in effort.points:
        curve = refined(curve, rule(points, effort.inner, effort.outer, "rooted"))
        curve = pasted(curve, outlook, drift, effort.steps, effort.tolerance)
    edge = idle.edge.copy()
    edge[some] = curve.at_points()[:, -1:]
    return Span(idle.call, idle.years, idle.drift, idle.outlook, (Part(some, (curve,)),), edge)


def _with_sleeper(idle: Span, effort: Effort, view: View, limit: FloatArray, cash: FloatArray) -> Span:
    """A put's curve before an ex-date. Where the price can fall to what the dividend takes, that while it sleeps too."""
    edge, parts = idle.edge.copy(), []
    rate = idle.drift.rate
    live = rate > 0
    drowns = live & (view.drowning < np.log(cash))
    begin = np.where(
        drowns,
        np.log1p(cash) / np.where(live, rate, 1.0),
        _awakening(idle.drift, cash, view.lowest, idle.years),
    )
    begin = np.minimum(begin, idle.years)
    live &= drowns | (rate * (idle.years - begin) > _NEGLIGIBLE)
    bottom = np.where(drowns, _BOTTOM, np.minimum(view.lowest, limit) - 0.01)
    for sleeping in (True, False):
        some = np.flatnonzero(live & (drowns == sleeping))
        if not len(some):
            continue
        curves = _put_curves(
            idle, effort, some, begin[some], limit[some], bottom[some], sleeping, view.hint[some], cash[some]
        )
        parts.append(Part(some, curves))
        edge[some] = curves[-1].at_points()[:, -1:]
        if curves[-1].kind == "free":
            view.hint[some] = curves[-1].shape
    return Span(False, idle.years, idle.drift, idle.outlook, tuple(parts), edge)


def _put_curves(
    idle: Span,
    effort: Effort,
    some: IndexArray,
    begin: FloatArray,
    limit: FloatArray,
    bottom: FloatArray,
    sleeping: bool,
    hint: FloatArray,
    cash: FloatArray,
) -> tuple[Curve, ...]:
    drift, outlook, years = idle.drift.take(some), idle.outlook.take(some), idle.years[some]
    curves: tuple[Curve, ...] = ()
    if sleeping:
        asleep = _new(False, "dormant", effort.marches, effort, 0 * begin, begin, limit, drift.rate)
        curves = (marched(asleep, (), outlook, drift, bottom, limit, effort.steps, effort.tolerance),)
    if (drift.rate * (years - begin) <= _NEGLIGIBLE).all():
        return curves
    begin = np.minimum(begin, years * (1 - 1e-6))
    free = _new(False, "free", effort.marches, effort, begin, years - begin, limit, drift.rate)
    found = np.isfinite(hint[:, 0])
    shape = np.clip(np.where(np.isfinite(hint), hint, 0.0), bottom, limit)
    # First those that have a curve in the span after, then what has none or does not come to rest from there.
    for hinted in (True, False):
        rest = np.flatnonzero(found == hinted)
        if not len(rest):
            continue
        curve = free.take(rest).with_shape(shape[rest])
        earlier = tuple(one.take(rest) for one in curves)
        bounds = (bottom[rest], limit[rest])
        at = (
            earlier,
            outlook.take(rest),
            drift.take(rest),
            *bounds,
            effort.steps,
            effort.tolerance,
            cash[rest],
        )
        if hinted:
            curve, found[rest] = met(curve, *at)
        else:
            curve = marched(curve, *at)
        shape[rest] = curve.shape
    return (*curves, free.with_shape(shape))


def _new(
    call: bool,
    kind: Kind,
    points: int,
    effort: Effort,
    start: FloatArray,
    length: FloatArray,
    anchor: FloatArray,
    rate: FloatArray,
) -> Curve:
    at = rule(points, effort.inner, effort.outer, kind)
    return Curve(call, kind, at, start, length, anchor, rate, np.zeros((len(start), points)))


def _awakening(drift: Drift, cash: FloatArray, lowest: FloatArray, years: FloatArray) -> FloatArray:
    """How long before the ex-date a put that is certain to stay in the money is exercised at the price `lowest`: when the interest on the
    strike, less the yield, is more than the dividend. At most `years`."""
    price = np.exp(np.minimum(lowest, 0.0))
    low, high = np.zeros_like(cash), years.copy()
    for _ in range(50):
        middle = 0.5 * (low + high)
        held = np.exp(-drift.rate * middle) * (1 + cash) - price * np.exp(-drift.dividend_yield * middle)
        waits = held > 1 - price
        low, high = np.where(waits, middle, low), np.where(waits, high, middle)
    return high
