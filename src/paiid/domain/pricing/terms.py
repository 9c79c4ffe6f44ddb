"""The words of pricing: contracts and markets as arrays, what comes out, and what an implied volatility cannot be."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
StatusArray: TypeAlias = NDArray[np.uint8]

Style = Literal["american", "european"]
Accuracy = Literal["fast", "accurate"]
"""`fast` is within 1e-3, `accurate` within 1e-5 dollars where the spot is 100 (docs/pricing.md)."""

DAYS_OF_YEAR = 365.0
"""Theta is told by calendar day, time to expiration is counted in years of this many days."""

# Why a price implies no volatility, or that it does.
IMPLIED = 0
NO_PRICE = 1
"""Not a number, zero or negative."""
BELOW = 2
"""Less than the contract is worth at no volatility at all: less than intrinsic, or the bound of a European one."""
ABOVE = 3
"""More than it can be worth at any volatility."""
FLAT = 4
"""Every volatility up to some level gives this price: an American contract that is worth what exercising it gives, or one whose
value no longer moves with volatility within what a float can tell."""
STATUS_NAMES = {
    IMPLIED: "implied",
    NO_PRICE: "no_price",
    BELOW: "below_bound",
    ABOVE: "above_bound",
    FLAT: "not_identifiable",
}


@dataclass(frozen=True, slots=True)
class CashDividend:
    """Dollars a share that the price falls by at the beginning of its ex-date, `years` from now (above zero)."""

    years: float
    amount: float


@dataclass(frozen=True, slots=True)
class Contracts:
    """Options on one underlying, as arrays of one length. `years` to expiration may be zero."""

    call: BoolArray
    strike: FloatArray
    years: FloatArray

    def __len__(self) -> int:
        return len(self.strike)


@dataclass(frozen=True, slots=True)
class Market:
    """What an underlying costs and pays. `spot`, `rate` and `dividend_yield` are one number, or arrays with one for each contract;
    both rates are continuously compounded fractions a year, of any sign. Cash dividends come on top of the yield; those after
    a contract's expiration do not concern it."""

    spot: float | FloatArray
    rate: float | FloatArray
    dividend_yield: float | FloatArray
    dividends: tuple[CashDividend, ...] = ()


@dataclass(frozen=True, slots=True)
class Values:
    """Price and Greeks, an array each: dollars a share; `delta` and `gamma` a dollar of the underlying, `theta` a calendar day (negative
    where time costs), `vega` a point of volatility (0.01), `rho` a percentage point of the rate (0.01)."""

    price: FloatArray
    delta: FloatArray
    gamma: FloatArray
    theta: FloatArray
    vega: FloatArray
    rho: FloatArray


@dataclass(frozen=True, slots=True)
class Implied:
    """Volatilities that prices imply, fractions a year; where `status` is not IMPLIED, `volatility` is NaN-free 0.0 and means nothing."""

    volatility: FloatArray
    status: StatusArray
