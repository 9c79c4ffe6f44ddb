"""What contracts are worth over many prices of the underlying: each is solved once, and looked at from every price.

Without cash dividends a price costs so little that every pair of contract and price is a contract of its own. With them nearly all the work is the
way back from the expiration over the ex-dates, which is the same for every price.
"""

from dataclasses import replace

import numpy as np

from paiid.domain.pricing.terms import (
    BoolArray,
    CashDividend,
    Contracts,
    FloatArray,
    Market,
    Style,
)

_BATCH = 600
"""Contracts that are solved together: bounds the memory."""
_WIDEST = 12.0
"""As there."""


def prices_over(
    contracts: Contracts,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    dividends: tuple[CashDividend, ...],
    spots: FloatArray,
    style: Style,
) -> FloatArray:
    """Dollars a share by contract (rows) and price (columns, above zero), always in the fast mode: what is drawn needs no more digits."""
    first = min((one.years for one in dividends if one.amount > 0), default=np.inf)
    paid: BoolArray = contracts.years > first
    found = np.zeros((len(contracts), len(spots)))
    for where, over in ((~paid, _plain), (paid, _with_cash)):
        if where.any():
            some = Contracts(contracts.call[where], contracts.strike[where], contracts.years[where])
            market = Market(float(spots[0]), rate[where], dividend_yield[where], dividends)
            found[where] = over(some, market, volatility[where], spots, style)
    return found


def _plain(
    contracts: Contracts,
    market: Market,
    volatility: FloatArray,
    spots: FloatArray,
    style: Style,
) -> FloatArray:
    from paiid.domain.pricing import valuation

    each, there = _pairs(contracts, market, spots)
    times = len(spots)
    found = valuation.value(each, there, np.repeat(volatility, times), style=style)
    return found.price.reshape(len(contracts), times)


def _with_cash(
    contracts: Contracts,
    market: Market,
    volatility: FloatArray,
    spots: FloatArray,
    style: Style,
) -> FloatArray:
    """Within what a contract is worth without any volatility, and exercised where that is worth more, as single ones are
    (`dividends_quoted`)."""
    from paiid.domain.pricing.dividends_backward import today
    from paiid.domain.pricing.dividends_exercise import EFFORTS
    from paiid.domain.pricing.dividends_quoted import LEAST_VOLATILITY, Quoted

    each, there = _pairs(contracts, market, spots)
    shape = (len(contracts), len(spots))
    floor, gain = (one.reshape(shape) for one in Quoted.of(each, there, style).floor())
    quoted = Quoted.of(contracts, market, style)
    steady = np.minimum(np.maximum(volatility, LEAST_VOLATILITY), _WIDEST / np.sqrt(contracts.years))
    price, exercised = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    for right in (True, False):
        every = np.flatnonzero(contracts.call == right)
        for start in range(0, len(every), _BATCH):
            some = every[start : start + _BATCH]
            problems = quoted.problems(steady, some)
            at = np.log(spots[None, :] / contracts.strike[some, None])
            lowest, highest = at.min(axis=1, keepdims=True), at.max(axis=1, keepdims=True)
            with np.errstate(all="ignore"):
                worth, now = today(replace(problems, lowest=lowest, highest=highest), EFFORTS["fast"]).worth(
                    at
                )
            price[some], exercised[some] = worth.value * contracts.strike[some, None], now
    price = np.where(exercised, np.maximum(gain, 0.0), np.where(np.isfinite(price), price, floor))
    share = np.minimum(volatility / LEAST_VOLATILITY, 1.0)[:, None]
    return np.asarray(floor + share * (np.maximum(price, floor) - floor))


def _pairs(contracts: Contracts, market: Market, spots: FloatArray) -> tuple[Contracts, Market]:
    """Every contract at every price, the prices of one contract side by side."""
    times = len(spots)
    each = Contracts(
        np.repeat(contracts.call, times),
        np.repeat(contracts.strike, times),
        np.repeat(contracts.years, times),
    )
    return each, Market(
        np.tile(spots, len(contracts)),
        np.repeat(np.asarray(market.rate), times),
        np.repeat(np.asarray(market.dividend_yield), times),
        market.dividends,
    )
