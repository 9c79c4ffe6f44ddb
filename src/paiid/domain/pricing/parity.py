"""What calls and puts of one strike say of each other: parity of European ones, its bounds of American ones, and quotes that break them.

Source: J. Hull, Options, Futures, and Other Derivatives, chapter 11, with dividends. For European contracts C - P = PV(F) - K exp(-rT) at every
strike, where PV(F) = S exp(-qT) less the present value of cash dividends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paiid.domain.pricing.terms import (
    BoolArray,
    CashDividend,
    Contracts,
    FloatArray,
    Market,
)

IndexArray = NDArray[np.intp]

_CENT = 0.01


@dataclass(frozen=True, slots=True)
class Pairs:
    """Call and put of one strike and expiration: indices into the arrays of a chain."""

    call: IndexArray
    put: IndexArray


@dataclass(frozen=True, slots=True)
class Sides:
    """Quotes, dollars a share, NaN where a side is not there."""

    bid: FloatArray
    ask: FloatArray

    @property
    def mid(self) -> FloatArray:
        """The middle."""
        return (self.bid + self.ask) / 2


def find_pairs(contracts: Contracts, usable: BoolArray) -> Pairs:
    """Those of which both are usable. Contracts that live equally long and have the same strike belong together."""
    where = np.flatnonzero(usable)
    order = where[np.lexsort((contracts.call[where], contracts.strike[where], contracts.years[where]))]
    put, call = order[:-1], order[1:]
    same = (
        (contracts.strike[put] == contracts.strike[call])
        & (contracts.years[put] == contracts.years[call])
        & ~contracts.call[put]
        & contracts.call[call]
    )
    return Pairs(call[same], put[same])


def broken(
    contracts: Contracts,
    quotes: Sides,
    pairs: Pairs,
    market: Market,
    european: BoolArray,
    spot: tuple[float, float],
) -> BoolArray:
    """Whether a contract and its counterpart are outside parity by more than their spreads: what one could buy and sell them for, and the
    underlying at `spot` (bid, ask), leaves a gain without risk.

    American: S exp(-qT) - PV(D) - K <= C - P <= S - K exp(-rT); for a negative rate or yield each bound takes the looser discount. European:
    both are PV(F) - K exp(-rT). False where there is no pair.
    """
    call, put = pairs.call, pairs.put
    years, strike = contracts.years[call], contracts.strike[call]
    rate = np.broadcast_to(market.rate, len(contracts))[call]
    dividend_yield = np.broadcast_to(market.dividend_yield, len(contracts))[call]
    discount, carry = np.exp(-rate * years), np.exp(-dividend_yield * years)
    cash = present_value(market.dividends, years, rate, dividend_yield)
    exact = european[call]
    least = spot[0] * np.where(exact, carry, np.minimum(carry, 1.0)) - cash
    least -= strike * np.where(exact, discount, np.maximum(discount, 1.0))
    most = spot[1] * np.where(exact, carry, np.maximum(carry, 1.0)) - np.where(exact, cash, 0.0)
    most -= strike * np.where(exact, discount, np.minimum(discount, 1.0))
    sold = quotes.bid[call] - quotes.ask[put]
    bought = quotes.ask[call] - quotes.bid[put]
    # What rounding to the tick and our own rate can do is no contradiction.
    slack = _CENT + 1e-4 * strike
    wrong = (sold > most + slack) | (bought < least - slack)
    found = np.zeros(len(contracts), dtype=np.bool_)
    found[call[wrong]] = found[put[wrong]] = True
    return found


def present_value(
    dividends: tuple[CashDividend, ...], years: FloatArray, rate: FloatArray, dividend_yield: FloatArray
) -> FloatArray:
    """What the cash dividends until each of `years` take off the discounted forward, dollars a share: D exp(-rt) exp(-q(T-t)), for the yield
    would have been paid on them too."""
    total = np.zeros(len(years))
    for one in dividends:
        paid = one.amount * np.exp(-rate * one.years - dividend_yield * (years - one.years))
        total += np.where(one.years <= years, paid, 0.0)
    return total
