"""The implied volatilities and Greeks of a chain, read off its tables."""

from concurrent.futures import Executor

import numpy as np

from paiid.domain.pricing.dividends_chain import Table, groups, look, table
from paiid.domain.pricing.dividends_outlook import IndexArray
from paiid.domain.pricing.dividends_quoted import Quoted
from paiid.domain.pricing.terms import DAYS_OF_YEAR, IMPLIED, BoolArray, FloatArray, StatusArray, Values

_STEPS = 30
_CLOSE = 1e-7
"""A last step of the log volatility."""
_LEAST_SLOPE = 1e-9
"""By dollar of strike, of the value by the log volatility: where it is less, a table tells nothing."""


def from_tables(
    quoted: Quoted, price: FloatArray, status: StatusArray, pool: Executor | None
) -> tuple[FloatArray, Values, BoolArray]:
    """Volatilities and values of the contracts with status IMPLIED that a table covers, and which these are; zeros for the others."""
    count = len(quoted)
    volatility, known = np.zeros(count), np.zeros(count, dtype=np.bool_)
    values = Values(*(np.zeros(count) for _ in range(6)))
    uniform = (
        all(np.ptp(one) == 0 for one in (quoted.spot, quoted.rate, quoted.dividend_yield)) if count else False
    )
    wanted = np.flatnonzero(status == IMPLIED)
    if not uniform or not len(wanted):
        return volatility, values, known
    part = quoted.part(wanted)
    found = groups(part, part.first_guess(price[wanted]))
    for right in (True, False):
        mine = [group for group in found if part.call[group.which[0]] == right]
        if not mine:
            continue
        which, tables = table(part, mine, pool)
        some = part.part(which)
        at = wanted[which]
        log_volatility, solved = _implied(some, tables, price[at])
        volatility[at] = np.where(solved, np.exp(log_volatility), 0.0)
        known[at] = solved
        _fill(values, at, some, tables, log_volatility, solved)
    return volatility, values, known


def _implied(quoted: Quoted, tables: Table, price: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Logs of volatility, by Newton's method within a bracket, and where that is the answer: within the table, and told by the price."""
    log_price = np.log(quoted.spot / quoted.strike)
    goal = price / quoted.strike
    gain = np.maximum(np.where(quoted.call, np.expm1(log_price), -np.expm1(log_price)), 0.0)
    low, high = tables.low_volatility.copy(), tables.high_volatility.copy()
    guess = np.log(quoted.first_guess(price))
    now = np.clip(guess, low + 0.01, high - 0.01)
    slope = np.ones_like(now)
    for _ in range(_STEPS):
        looked, _ = look(tables, log_price, quoted.years, now)
        over = looked.value > goal
        high, low = np.where(over, now, high), np.where(over, low, now)
        slope = looked.by_volatility
        with np.errstate(all="ignore"):
            above, wanted = looked.value - gain, goal - gain
            by_root = 2 * (above - np.sqrt(above * wanted)) / slope
            by_log = np.log(looked.value / goal) * looked.value / slope
            following = now - np.where(gain > 0, by_root, by_log)
        lost = ~((following >= low) & (following <= high))
        following = np.where(lost, 0.5 * (low + high), following)
        step = np.abs(following - now).max()
        now = following
        if step < _CLOSE:
            break
    margin = 1e-4
    looked, _ = look(tables, log_price, quoted.years, now)
    solved = (now > tables.low_volatility + margin) & (now < tables.high_volatility - margin)
    solved &= (slope > _LEAST_SLOPE) & (np.abs(looked.inside) <= 1.0)
    return now, solved & (np.abs(looked.value - goal) < 1e-6)


def _fill(
    values: Values,
    at: IndexArray,
    quoted: Quoted,
    tables: Table,
    log_volatility: FloatArray,
    solved: BoolArray,
) -> None:
    log_price = np.log(quoted.spot / quoted.strike)
    looked, rho = look(tables, log_price, quoted.years, log_volatility)
    volatility, spot, strike = np.exp(log_volatility), quoted.spot, quoted.strike
    price = looked.value * strike
    delta = looked.slope * strike / spot
    gamma = (looked.bend - looked.slope) * strike / spot**2
    carry = quoted.rate - quoted.dividend_yield
    drag = quoted.rate * price - carry * spot * delta - 0.5 * (volatility * spot) ** 2 * gamma
    columns = (
        price,
        delta,
        gamma,
        drag / DAYS_OF_YEAR,
        looked.by_volatility * strike / volatility / 100,
        rho * strike / 100,
    )
    wholes = (values.price, values.delta, values.gamma, values.theta, values.vega, values.rho)
    for whole, column in zip(wholes, columns, strict=True):
        whole[at] = np.where(solved, column, 0.0)
