"""Options on what pays cash dividends before they expire: what they are worth, and what volatility their prices imply (ADR 0019).

The price is lognormal between ex-dates and falls by the dividend at each, never below zero: the spot model (E. Haug, J. Haug and
A. Lewis, "Back to basics: a new approach to the discrete dividend problem", Wilmott Magazine, September 2003). Options of either style come
here if a dividend is paid before their expiration; the door (`valuation`) sends the others elsewhere and keeps bad input out.
"""

from concurrent.futures import Executor

import numpy as np

from paiid.domain.pricing.american_search import HIGHEST_DEVIATION, search
from paiid.domain.pricing.dividends_implied import from_tables
from paiid.domain.pricing.dividends_outlook import IndexArray
from paiid.domain.pricing.dividends_quoted import Quoted, implied_statuses
from paiid.domain.pricing.terms import (
    DAYS_OF_YEAR,
    IMPLIED,
    Accuracy,
    Contracts,
    FloatArray,
    Implied,
    Market,
    Style,
    Values,
)

_VOLATILITY_STEP = 5e-3
"""Of the volatility: to either side for vega."""
_RATE_STEP = 1e-4


def value(
    contracts: Contracts,
    market: Market,
    volatility: FloatArray,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> Values:
    """Price and Greeks of each contract at its volatility, in the units of `Values`. Delta and gamma are those of the value's own formula, theta
    is what the pricing equation leaves (V_t = r V - (r - q) S V_S - s^2 S^2 V_SS / 2), vega and rho are differences."""
    quoted = Quoted.of(contracts, market, style)
    count = len(quoted)
    step = _VOLATILITY_STEP * np.maximum(volatility, 0.01)
    up, down = volatility + step, np.maximum(volatility - step, 0.0)
    bumped = quoted.repeated(5)
    bumped.rate[3 * count : 4 * count] += _RATE_STEP
    bumped.rate[4 * count :] -= _RATE_STEP
    at = np.concatenate([volatility, up, down, volatility, volatility])
    now = bumped.valued(at, accuracy)
    price = now.price.reshape(5, count)
    delta, gamma = now.delta[:count], now.gamma[:count]
    exercised = now.exercised[:count]
    rate, dividend_yield, spot = quoted.rate, quoted.dividend_yield, quoted.spot
    drag = rate * price[0] - (rate - dividend_yield) * spot * delta - 0.5 * (volatility * spot) ** 2 * gamma
    vega = (price[1] - price[2]) / (up - down)
    rho = (price[3] - price[4]) / (2 * _RATE_STEP)
    return Values(
        price[0],
        delta,
        gamma,
        np.where(exercised, 0.0, drag / DAYS_OF_YEAR),
        np.where(exercised, 0.0, vega / 100),
        np.where(exercised, 0.0, rho / 100),
    )


def implied_volatility(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> Implied:
    """The volatility at which each contract is worth its price, and why where none is told."""
    quoted = Quoted.of(contracts, market, style)
    floor, gain = quoted.floor()
    status = implied_statuses(quoted, price, floor, accuracy)
    volatility = np.zeros(len(quoted))
    sought = np.flatnonzero(status == IMPLIED)
    if len(sought):
        some = quoted.part(sought)
        high = HIGHEST_DEVIATION / np.sqrt(some.years)

        def evaluate(at: FloatArray, which: IndexArray) -> tuple[FloatArray, FloatArray]:
            step = _VOLATILITY_STEP * np.maximum(at, 0.01)
            both = some.part(which).repeated(2).valued(np.concatenate([at, at + step]), accuracy).price
            worth, above = both.reshape(2, -1)
            rise = above - worth
            # None at all where it is exercised: then the search halves its bracket.
            return worth, np.where(rise > 1e-13 * worth, rise / step, 0.0)

        found, _ = search(
            evaluate,
            price[sought],
            gain[sought],
            np.zeros(len(sought)),
            high,
            some.first_guess(price[sought]),
        )
        volatility[sought] = found
    return Implied(volatility, status)


def imply_and_value(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    style: Style = "american",
    accuracy: Accuracy = "fast",
    pool: Executor | None = None,
) -> tuple[Implied, Values]:
    """Both in one pass, as a chain needs them; where nothing is implied the values are zeros and mean nothing. A `pool` of threads shares
    the work of a large chain."""
    if accuracy == "accurate":
        return _one_by_one(contracts, market, price, style, accuracy)
    quoted = Quoted.of(contracts, market, style)
    status = implied_statuses(quoted, price, quoted.floor()[0], accuracy)
    volatility, values, known = from_tables(quoted, price, status, pool)
    rest = np.flatnonzero((status == IMPLIED) & ~known)
    if len(rest):
        some = Contracts(contracts.call[rest], contracts.strike[rest], contracts.years[rest])
        where = Market(quoted.spot[rest], quoted.rate[rest], quoted.dividend_yield[rest], market.dividends)
        implied, others = _one_by_one(some, where, price[rest], style, accuracy)
        volatility[rest], status[rest] = implied.volatility, implied.status
        for whole, part in zip(_columns(values), _columns(others), strict=True):
            whole[rest] = part
    return Implied(volatility, status), values


def _one_by_one(
    contracts: Contracts, market: Market, price: FloatArray, style: Style, accuracy: Accuracy
) -> tuple[Implied, Values]:
    implied = implied_volatility(contracts, market, price, style, accuracy)
    values = value(contracts, market, implied.volatility, style, accuracy)
    for column in _columns(values):
        column[implied.status != IMPLIED] = 0.0
    return implied, values


def _columns(values: Values) -> tuple[FloatArray, ...]:
    return values.price, values.delta, values.gamma, values.theta, values.vega, values.rho
