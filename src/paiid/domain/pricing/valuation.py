"""The one door to the pricing of options: what contracts are worth, and what volatility their prices imply.

Behind it: `european` where nothing can be exercised early, `american` for a continuous yield, `dividends` where cash is paid before
expiration. Nothing here ever returns NaN for finite input: bad input raises ValueError, what a price cannot tell has a status.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paiid.domain.pricing import american, american_chain, american_implied, dividends, european
from paiid.domain.pricing.terms import (
    Accuracy,
    BoolArray,
    Contracts,
    FloatArray,
    Implied,
    Market,
    Style,
    Values,
)

_Columns: TypeAlias = tuple[NDArray[Any], ...]
_Kernel: TypeAlias = Callable[[Contracts, Market, FloatArray], _Columns]


def value(
    contracts: Contracts,
    market: Market,
    volatility: FloatArray,
    *,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> Values:
    """Price and Greeks of each contract at its volatility (a fraction a year, at least zero). Raises ValueError for a spot or strike
    that is not above zero, for negative time or volatility, and for anything that is not finite."""
    _check(contracts, market)
    if not (np.isfinite(volatility).all() and (volatility >= 0).all()):
        raise ValueError("volatility must be a finite number, at least zero")

    def plain(some: Contracts, where: Market, at: FloatArray) -> _Columns:
        if style == "european":
            return _of_values(european.value(some, where, at))
        return _of_values(american.value(some, where, at, accuracy))

    def cash(some: Contracts, where: Market, at: FloatArray) -> _Columns:
        return _of_values(dividends.value(some, where, at, style, accuracy))

    return Values(*_split(contracts, market, volatility, plain, cash))


def implied_volatility(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    *,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> Implied:
    """The volatility at which each contract is worth its price (dollars a share; NaN where there is none). Raises ValueError as
    `value` does, but never for a price."""
    _check(contracts, market)

    def plain(some: Contracts, where: Market, at: FloatArray) -> _Columns:
        if style == "european":
            return _of_implied(european.implied_volatility(some, where, at))
        return _of_implied(american_implied.implied_volatility(some, where, at, accuracy))

    def cash(some: Contracts, where: Market, at: FloatArray) -> _Columns:
        return _of_implied(dividends.implied_volatility(some, where, at, style, accuracy))

    return Implied(*_split(contracts, market, price, plain, cash))


def imply_and_value(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    *,
    style: Style = "american",
    accuracy: Accuracy = "fast",
    pool: Executor | None = None,
) -> tuple[Implied, Values]:
    """Both in one pass, as a chain needs them: the volatilities that prices imply, and the Greeks there. Where none is implied the
    values are zeros and mean nothing. A `pool` of threads shares the work of a large chain. Raises ValueError as `value` does, but
    never for a price."""
    _check(contracts, market)

    def plain(some: Contracts, where: Market, at: FloatArray) -> _Columns:
        if style == "european":
            return _of_both(*european.imply_and_value(some, where, at))
        return _of_both(*american_chain.imply_and_value(some, where, at, accuracy, pool))

    def cash(some: Contracts, where: Market, at: FloatArray) -> _Columns:
        return _of_both(*dividends.imply_and_value(some, where, at, style, accuracy, pool))

    columns = _split(contracts, market, price, plain, cash)
    return Implied(*columns[:2]), Values(*columns[2:])


def _of_values(values: Values) -> _Columns:
    return values.price, values.delta, values.gamma, values.theta, values.vega, values.rho


def _of_implied(implied: Implied) -> _Columns:
    return implied.volatility, implied.status


def _of_both(implied: Implied, values: Values) -> _Columns:
    return _of_implied(implied) + _of_values(values)


def _check(contracts: Contracts, market: Market) -> None:
    finite = (contracts.strike, contracts.years, market.spot, market.rate, market.dividend_yield)
    if not all(np.isfinite(one).all() for one in finite):
        raise ValueError("strike, time, spot, rate and dividend yield must be finite numbers")
    if not ((contracts.strike > 0).all() and np.all(np.asarray(market.spot) > 0)):
        raise ValueError("spot and strike must be above zero")
    if not (contracts.years >= 0).all():
        raise ValueError("time to expiration must be at least zero")
    if not all(
        np.isfinite(one.years) and np.isfinite(one.amount) and one.years > 0 and one.amount >= 0
        for one in market.dividends
    ):
        raise ValueError("a dividend is at least zero dollars, on a day to come")


def _split(
    contracts: Contracts, market: Market, numbers: FloatArray, plain: _Kernel, cash: _Kernel
) -> _Columns:
    """What is paid cash before it expires goes one way, the rest the other."""
    first = min((one.years for one in market.dividends if one.amount > 0), default=np.inf)
    paid = contracts.years > first
    if not paid.any():
        return plain(contracts, market, numbers)
    if paid.all():
        return cash(contracts, market, numbers)
    one = cash(_contracts(contracts, paid), _market(market, paid), numbers[paid])
    other = plain(_contracts(contracts, ~paid), _market(market, ~paid), numbers[~paid])
    return tuple(_put(paid, *pair) for pair in zip(one, other, strict=True))


def _contracts(contracts: Contracts, where: BoolArray) -> Contracts:
    return Contracts(contracts.call[where], contracts.strike[where], contracts.years[where])


def _market(market: Market, where: BoolArray) -> Market:
    spot, rate, dividend_yield = (
        one if np.ndim(one) == 0 else np.asarray(one)[where]
        for one in (market.spot, market.rate, market.dividend_yield)
    )
    return Market(spot, rate, dividend_yield, market.dividends)


def _put(where: BoolArray, one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    whole = np.empty(len(where), dtype=one.dtype)
    whole[where], whole[~where] = one, other
    return whole
