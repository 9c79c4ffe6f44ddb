"""A whole chain with cash dividends at once: the solver at a few nodes, polynomials between them (ADR 0019).

By dollar of strike a contract of one right and expiration depends on three numbers: the price S/K, the dividends D/K, and the volatility.
The solver runs at a few Chebyshev nodes of log K and log volatility, and at each tells the value at many prices. Where the option can be
exercised today the prices are counted from the boundary, z = |ln(S/K) - ln B| / (s sqrt T), where the value is smooth, and the
boundary is a polynomial as well; elsewhere from the strike. Implied volatility is then Newton's method on a polynomial, delta,
gamma and vega are its derivatives, theta what the pricing equation leaves, and rho a second, smaller table at another rate.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from paiid.domain.pricing.dividends_backward import Today, today
from paiid.domain.pricing.dividends_chebyshev import basis, coefficients, nodes
from paiid.domain.pricing.dividends_exercise import EFFORTS, FAR
from paiid.domain.pricing.dividends_outlook import Drift, IndexArray
from paiid.domain.pricing.dividends_problems import Problems
from paiid.domain.pricing.dividends_quoted import Quoted
from paiid.domain.pricing.terms import FloatArray

_VOLATILITIES, _PRICES = 5, 30
_CALL_STRIKES, _PUT_STRIKES = 6, 4
"""Whether a call is ever exercised before an ex-date is a matter of dividend by strike, so that its table needs more of them."""
_COARSE = 3
"""Of the volatilities for the table of the rate: every other one."""
_FARTHEST = 5.5
"""The largest z of a table: beyond it options are worth nothing, or just what their forward is."""
_RATE_STEP = 2.5e-4
"""Up for calls and down for puts, so that what is not exercised stays so."""
_FEW = 10
"""Contracts of a group that are not worth a table."""
_WIDEST = 8.0
"""Between the least and the largest volatility of a table."""
_AWAKE = 0.9
"""A put is counted from its boundary where the dividend is at most this share of the one that keeps it from being exercised today."""


EFFORT = replace(EFFORTS["fast"], points=(5,), marches=9, inner=12, outer=20, spacing=1.1, reach=4.5)
"""What errs less than the polynomials between the nodes is fine enough."""


@dataclass(frozen=True, slots=True)
class Group:
    """Contracts of one right and expiration that share a table, between these logs of strike and volatility."""

    which: IndexArray
    years: float
    low_strike: float
    high_strike: float
    low_volatility: float
    high_volatility: float


@dataclass(frozen=True, slots=True)
class Table:
    """Of each contract: polynomials of log volatility and z for its value (over 1 + S/K), of log volatility for its boundary, and for its derivative
    by the rate, with the ranges on which they hold."""

    value: FloatArray  # (contracts, volatilities, prices)
    boundary: FloatArray  # (contracts, volatilities)
    rate: FloatArray  # (contracts, rate volatilities, prices)
    side: FloatArray
    """-1 where z grows with the falling price (calls counted from their boundary), else 1."""
    bounded: FloatArray
    """1 where z is counted from a boundary."""
    low_z: FloatArray
    high_z: FloatArray
    low_volatility: FloatArray
    high_volatility: FloatArray


@dataclass(frozen=True, slots=True)
class Looked:
    """What a table tells: the value and its derivatives by the log price and the log volatility, by dollar of strike."""

    value: FloatArray
    slope: FloatArray
    bend: FloatArray
    by_volatility: FloatArray
    inside: FloatArray
    """z, in its range: -1..1; beyond that the value is the one at the end of the range."""


def groups(quoted: Quoted, guess: FloatArray) -> list[Group]:
    """Those with contracts enough for a table, around the guessed volatilities."""
    found = []
    rate = float(quoted.rate[0])
    waking = 0.0
    if quoted.american and rate > 0:
        wait = quoted.ex_years[0]
        lost = np.exp(rate * wait) * -np.expm1(-float(quoted.dividend_yield[0]) * wait)
        waking = _AWAKE * float(np.expm1(rate * wait) - _AWAKE * lost)
    asleep = quoted.amounts[0] > waking * quoted.strike
    kind = np.where(quoted.call, 0, np.where(asleep, 1, 2))
    for years in np.unique(quoted.years):
        for which in range(3):
            some = np.flatnonzero((quoted.years == years) & (kind == which))
            if len(some) < _FEW:
                continue
            low, high = np.quantile(guess[some], [0.02, 0.98])
            # A European option that is worth as much as a put near its exercise has more volatility than that.
            low, high = (0.7 if which == 2 else 0.85) * low, 1.2 * high
            low = max(low, high / _WIDEST)
            strike = np.log(quoted.strike[some])
            found.append(Group(some, float(years), strike.min(), strike.max(), np.log(low), np.log(high)))
    return found


def table(quoted: Quoted, some: list[Group], pool: Executor | None) -> tuple[IndexArray, Table]:
    """The contracts of these groups of one right, and their table."""
    call = bool(quoted.call[some[0].which[0]])
    with np.errstate(all="ignore"):
        halves = [some] if pool is None or len(some) < 4 else [some[0::2], some[1::2]]
        run: Callable[..., Iterable[list[_Part]]] = map if pool is None else pool.map
        parts = [part for half in run(lambda half: _parts(quoted, half, call), halves) for part in half]
    which = np.concatenate([part.which for part in parts])
    return which, Table(
        *(np.concatenate([getattr(part.table, name) for part in parts]) for name in Table.__slots__)
    )


@dataclass(frozen=True, slots=True)
class _Part:
    which: IndexArray
    table: Table


def _parts(quoted: Quoted, some: list[Group], call: bool) -> list[_Part]:
    strikes, volatilities = nodes(_CALL_STRIKES if call else _PUT_STRIKES), nodes(_VOLATILITIES)
    strike, volatility = np.meshgrid(strikes, volatilities, indexing="ij")
    coarse = np.ix_(range(len(strikes)), range(0, _VOLATILITIES, 2))
    every = np.arange(strike.size).reshape(strike.shape)
    fine = [_problems(quoted, one, call, strike.ravel(), volatility.ravel(), 0.0) for one in some]
    few = every[coarse].ravel()
    step = _RATE_STEP if call else -_RATE_STEP
    bumped = [
        _problems(quoted, one, call, strike.ravel()[few], volatility.ravel()[few], step) for one in some
    ]
    known = today(_all(fine), EFFORT)
    other = today(_all(bumped), EFFORT)
    edges = known.edge().reshape(len(some), -1)
    targets, frames = [], []
    for one, problems, edge in zip(some, fine, edges, strict=True):
        frame = _frame(quoted, one, call, problems, edge)
        frames.append(frame)
        targets.append(frame.log_price)
    values = _worth(known, np.concatenate(targets), call).reshape(len(some), *strike.shape, _PRICES)
    moved = _worth(other, np.concatenate([target[few] for target in targets]), call)
    lower = values.reshape(len(some), -1, _PRICES)[:, few]
    added = ((moved.reshape(lower.shape) - lower) / step).reshape(len(some), len(strikes), _COARSE, _PRICES)
    return [
        _part(quoted, one, frame, value, rate, edge.reshape(strike.shape))
        for one, frame, value, rate, edge in zip(some, frames, values, added, edges, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The prices of a table: (problems, prices), and how z is counted."""

    log_price: FloatArray
    bounded: bool
    side: float
    low_z: float
    high_z: float


def _problems(
    quoted: Quoted, group: Group, call: bool, strike: FloatArray, volatility: FloatArray, bump: float
) -> Problems:
    """At Chebyshev points -1..1 of both logs. The prices that are asked: all of the chain, and as far as the table goes."""
    log_strike = _between(group.low_strike, group.high_strike, strike)[:, None]
    deviation = np.exp(_between(group.low_volatility, group.high_volatility, volatility))[:, None]
    first = group.which[0]
    one = np.ones_like(deviation)
    drift = Drift(one * (quoted.rate[first] + bump), one * quoted.dividend_yield[first], deviation)
    low, high = _extent(quoted, group)
    reach = _FARTHEST * deviation * np.sqrt(group.years)
    cash = np.array(quoted.amounts) / np.exp(log_strike)
    return Problems(
        call,
        quoted.american,
        drift,
        one * group.years,
        quoted.ex_years,
        cash,
        np.maximum(low, -reach),
        np.maximum(np.minimum(high, reach), low + 1e-3),
    )


def _extent(quoted: Quoted, group: Group) -> tuple[float, float]:
    log_spot = np.log(quoted.spot[group.which[0]])
    return float(log_spot - group.high_strike), float(log_spot - group.low_strike)


def _between(low: float, high: float, point: FloatArray) -> FloatArray:
    return 0.5 * (low + high) + 0.5 * (high - low) * point


def _all(some: list[Problems]) -> Problems:
    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(one, name) for one in some])

    drifts = [one.drift for one in some]
    drift = Drift(*(np.concatenate([getattr(one, name) for one in drifts]) for name in Drift.__slots__))
    first = some[0]
    cash, years = joined("cash"), joined("years")
    return Problems(
        first.call, first.american, drift, years, first.ex_years, cash, joined("lowest"), joined("highest")
    )


def _frame(quoted: Quoted, group: Group, call: bool, problems: Problems, edge: FloatArray) -> _Frame:
    wander = problems.drift.volatility * np.sqrt(group.years)
    low, high = _extent(quoted, group)
    least = float(wander.min())
    bounded = bool((np.abs(edge) < FAR).all())
    point = nodes(_PRICES)
    if bounded:
        side = -1.0 if call else 1.0
        farthest = (high - edge.min() if not call else edge.max() - low) / least
        high_z = float(np.clip(farthest, 1.0, 1.5 * _FARTHEST))
        z = _between(0.0, high_z, point)
        return _Frame(edge[:, None] + side * wander * z, True, side, 0.0, high_z)
    low_z, high_z = max(low / least, -_FARTHEST) - 0.05, min(high / least, _FARTHEST) + 0.05
    low_z, high_z = min(low_z, high_z - 1.0), max(high_z, low_z + 1.0)
    return _Frame(wander * _between(low_z, high_z, point), False, 1.0, low_z, high_z)


def _worth(known: Today, log_price: FloatArray, call: bool) -> FloatArray:
    """Values over 1 + S/K."""
    price = np.exp(log_price)
    worth, exercised = known.worth(log_price)
    gain = price - 1 if call else 1 - price
    value: FloatArray = np.where(exercised, gain, worth.value) / (1 + price)
    return value


def _part(
    quoted: Quoted, group: Group, frame: _Frame, value: FloatArray, rate: FloatArray, edge: FloatArray
) -> _Part:
    """The tables of a group's contracts: polynomials of log strike evaluated at theirs."""
    strike = np.log(quoted.strike[group.which])
    width = max(group.high_strike - group.low_strike, 1e-12)
    point = 2 * (strike - group.low_strike) / width - 1
    prices = coefficients(_PRICES)
    count = len(value)
    fine = basis(point, count)[0].T @ coefficients(count)
    value = coefficients(_VOLATILITIES) @ (value @ prices.T)
    rate = coefficients(_COARSE) @ (rate @ prices.T)
    one = np.ones(len(strike))
    boundary = edge if frame.bounded else np.zeros_like(edge)
    return _Part(
        group.which,
        Table(
            np.einsum("ja,abk->jbk", fine, value),
            fine @ (boundary @ coefficients(_VOLATILITIES).T),
            np.einsum("ja,abk->jbk", fine, rate),
            one * frame.side,
            one * frame.bounded,
            one * frame.low_z,
            one * frame.high_z,
            one * group.low_volatility,
            one * group.high_volatility,
        ),
    )


def look(
    known: Table, log_price: FloatArray, years: FloatArray, log_volatility: FloatArray
) -> tuple[Looked, FloatArray]:
    """At one price and volatility for each contract; and what the value gains with the rate, a unit of it."""
    half = 0.5 * (known.high_volatility - known.low_volatility)
    at = (log_volatility - known.low_volatility) / half - 1
    volatility, by_volatility, _ = basis(at, _VOLATILITIES)
    boundary = np.einsum("jb,bj->j", known.boundary, volatility)
    moving = np.einsum("jb,bj->j", known.boundary, by_volatility) / half
    wander = np.exp(log_volatility) * np.sqrt(years)
    z = known.side * (log_price - boundary) / wander
    half_z = 0.5 * (known.high_z - known.low_z)
    inside = (z - known.low_z) / half_z - 1
    clipped = np.clip(inside, -1.0, 1.0)
    price, first, second = basis(clipped, _PRICES)
    by_z = known.side / (half_z * wander)
    sums = [np.einsum("jbk,kj->jb", known.value, one) for one in (price, first, second)]
    value, slope, bend = (np.einsum("jb,bj->j", one, volatility) for one in sums)
    shift = np.einsum("jb,bj->j", sums[0], by_volatility) / half
    shift += slope * (-z - known.side * moving / wander) / half_z
    slope, bend = slope * by_z, bend * by_z**2
    unit = np.exp(log_price)
    whole = 1 + unit
    coarse = basis(at, _COARSE)[0]
    rho = np.einsum("jbk,kj,bj->j", known.rate, price, coarse, optimize=True)
    gain = -known.side * np.expm1(log_price)
    exercised = (known.bounded > 0) & (inside < -1)
    looked = Looked(
        np.where(exercised, gain, value * whole),
        slope * whole + value * unit,
        bend * whole + 2 * slope * unit + value * unit,
        np.where(exercised, 0.0, shift * whole),
        inside,
    )
    return looked, rho * whole
