"""Our part of P7: a European chain, implied volatility and five Greeks of each contract on one core."""

import time
from statistics import median

import numpy as np

from paiid.domain.pricing import european
from paiid.domain.pricing.terms import Contracts, FloatArray, Market

SPOT, RATE, DIVIDEND_YIELD = 100.0, 0.04, 0.01


def chain(count: int) -> tuple[Contracts, Market, FloatArray]:
    """`count` contracts of 20 expirations, half of them calls, strikes within 4 deviations of the spot and 0.5 to 2 times it, with a
    smile, and their prices: what P7 is measured on."""
    number = np.arange(count)
    years = (7.0 + 35.0 * (number % 20)) / 365.0
    across = np.linspace(-1.0, 1.0, max(1, (count + 39) // 40))[number // 40]
    widest = np.minimum(4.0 * 0.25 * np.sqrt(years), np.log(2.0))
    strike = np.round(SPOT * np.exp(across * widest), 2)
    contracts = Contracts((number // 20) % 2 == 0, strike, years)
    market = Market(SPOT, RATE, DIVIDEND_YIELD)
    volatility = 0.25 - 0.08 * across + 0.1 * across**2
    return contracts, market, european.price_only(contracts, market, volatility)


def ours(count: int, seconds: float) -> float:
    """Milliseconds for `count` contracts, the median of as many runs as fit."""
    contracts, market, price = chain(count)
    european.imply_and_value(contracts, market, price)
    runs: list[float] = []
    ends_at = time.perf_counter() + seconds
    while not runs or time.perf_counter() < ends_at:
        begun_at = time.perf_counter()
        european.imply_and_value(contracts, market, price)
        runs.append((time.perf_counter() - begun_at) * 1e3)
    return median(runs)
