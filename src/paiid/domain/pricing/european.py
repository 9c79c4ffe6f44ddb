"""European options after Black, Scholes and Merton, for arrays of contracts (to be completed: this is the seam's first form)."""

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.terms import (
    DAYS_OF_YEAR,
    IMPLIED,
    NO_PRICE,
    Contracts,
    FloatArray,
    Implied,
    Market,
    Values,
)


def value(contracts: Contracts, market: Market, volatility: FloatArray) -> Values:
    """Price and Greeks; cash dividends are not looked at."""
    sign = np.where(contracts.call, 1.0, -1.0)
    t = np.maximum(contracts.years, 1e-12)
    vol = np.maximum(volatility, 1e-9)
    spot, rate, dividend = market.spot, market.rate, market.dividend_yield
    df, dq = np.exp(-rate * t), np.exp(-dividend * t)
    root = vol * np.sqrt(t)
    d1 = (np.log(spot / contracts.strike) + (rate - dividend) * t) / root + root / 2
    d2 = d1 - root
    density = np.exp(-d1 * d1 / 2) / np.sqrt(2 * np.pi)
    price = sign * (spot * dq * ndtr(sign * d1) - contracts.strike * df * ndtr(sign * d2))
    delta = sign * dq * ndtr(sign * d1)
    gamma = dq * density / (spot * root)
    theta = (
        -spot * dq * density * vol / (2 * np.sqrt(t))
        - sign * rate * contracts.strike * df * ndtr(sign * d2)
        + sign * dividend * spot * dq * ndtr(sign * d1)
    ) / DAYS_OF_YEAR
    vega = spot * dq * density * np.sqrt(t) / 100
    rho = sign * contracts.strike * t * df * ndtr(sign * d2) / 100
    return Values(np.maximum(price, 0.0), delta, gamma, theta, vega, rho)


def implied_volatility(contracts: Contracts, market: Market, price: FloatArray) -> Implied:
    """By bisection."""
    low, high = np.full(len(contracts), 1e-4), np.full(len(contracts), 5.0)
    for _ in range(60):
        middle = (low + high) / 2
        over = value(contracts, market, middle).price > price
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    status = np.where(np.isfinite(price) & (price > 0), IMPLIED, NO_PRICE).astype(np.uint8)
    return Implied(np.where(status == IMPLIED, (low + high) / 2, 0.0), status)
