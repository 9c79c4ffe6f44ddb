"""Contracts that are exercised between two boundaries, in dollars: values, and the volatility that a price implies."""

import numpy as np

from paiid.domain.pricing import two_boundaries
from paiid.domain.pricing.american_premium import Premium
from paiid.domain.pricing.american_quoted import IndexArray, Quoted, assemble
from paiid.domain.pricing.american_search import HIGHEST_DEVIATION, floor_of, search, statuses
from paiid.domain.pricing.american_terms import european as plain_put
from paiid.domain.pricing.terms import FLAT, IMPLIED, Accuracy, BoolArray, FloatArray, Implied, Values

_BUMP = 0.01
"""Derivatives by volatility and rates are differences over this share of them, up and down, of the fast mode: the errors of both sides
are nearly the same."""


def value(quoted: Quoted, volatility: FloatArray, accuracy: Accuracy) -> Values:
    """Price and Greeks."""
    rate, yield_ = quoted.normal_rates()
    deviation = volatility * np.sqrt(quoted.years)
    extra, done = _premium(quoted.log_spot, rate, yield_, deviation, accuracy)
    bump = _BUMP * np.maximum(deviation, two_boundaries.LEAST_DEVIATION)
    up, _ = _premium(quoted.log_spot, rate, yield_, deviation + bump, "fast")
    down, _ = _premium(quoted.log_spot, rate, yield_, deviation - bump, "fast")
    by_deviation = (up.price - down.price) / (2 * bump)
    # The rate of the caller, staying on this side of where early exercise ends.
    bump = _BUMP * np.minimum(-rate, rate - yield_)
    by_put, by_call = np.where(quoted.put, bump, 0.0), np.where(quoted.put, 0.0, bump)
    up, _ = _premium(quoted.log_spot, rate + by_put, yield_ + by_call, deviation, "fast")
    down, _ = _premium(quoted.log_spot, rate - by_put, yield_ - by_call, deviation, "fast")
    by_rate = (up.price - down.price) / (2 * bump)
    moved = Premium(extra.price, extra.first, extra.second, by_deviation, by_rate, by_rate)
    return assemble(quoted, moved, (rate, yield_, deviation), quoted.years, volatility, done)


def implied(quoted: Quoted, price: FloatArray, start: FloatArray, accuracy: Accuracy) -> Implied:
    """Volatilities of prices; `start` is the one of a European with that price, or 0."""
    target = price / quoted.unit
    rate, yield_ = quoted.normal_rates()
    status = statuses(target, floor_of(quoted.log_spot, rate, yield_), accuracy)
    volatility = np.zeros(len(target))
    some = np.flatnonzero(status == IMPLIED)
    asked, root = quoted.part(some), np.sqrt(quoted.years[some])
    rate, yield_ = rate[some], yield_[some]

    def evaluate(at: FloatArray, which: IndexArray) -> tuple[FloatArray, FloatArray]:
        log_spot, deviation = asked.log_spot[which], at * root[which]
        plain = plain_put(log_spot, rate[which], yield_[which], deviation)
        bump = _BUMP * deviation
        extra, done = _premium(log_spot, rate[which], yield_[which], deviation, accuracy)
        near, _ = _premium(log_spot, rate[which], yield_[which], deviation, "fast")
        further, _ = _premium(log_spot, rate[which], yield_[which], deviation + bump, "fast")
        slope = plain.by_deviation + (further.price - near.price) / bump
        return plain.price + extra.price, np.where(done, 0.0, slope * root[which])

    highest = HIGHEST_DEVIATION / root
    high = np.where(start[some] > 0, np.minimum(start[some] * (1 + 1e-9), highest), highest)
    found, sure = search(
        evaluate, target[some], -np.expm1(asked.log_spot), np.zeros(len(some)), high, np.minimum(high, 3.0)
    )
    status[some[~sure]] = FLAT
    volatility[some] = np.where(sure, found, 0.0)
    return Implied(volatility, status)


def _premium(
    log_spot: FloatArray, rate: FloatArray, yield_: FloatArray, deviation: FloatArray, accuracy: Accuracy
) -> tuple[Premium, BoolArray]:
    """The premium of each contract, and where exercise is due; what shares rates and deviation is computed together."""
    columns, where = np.unique(np.stack([rate, yield_, deviation]), axis=1, return_inverse=True)
    found = np.zeros((4, len(log_spot)))
    for index, (r, q, s) in enumerate(columns.T):
        same = where.ravel() == index
        found[:, same] = two_boundaries.premium(log_spot[same], float(r), float(q), float(s), accuracy)
    none = np.zeros(len(log_spot))
    return Premium(found[0], found[1], found[2], none, none, none), found[3] > 0
