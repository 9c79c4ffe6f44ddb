"""What volatility prices of options with cash dividends imply, one by one and as a chain."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from paiid.domain.pricing import dividends
from paiid.domain.pricing.terms import (
    ABOVE,
    BELOW,
    FLAT,
    IMPLIED,
    NO_PRICE,
    CashDividend,
    Contracts,
    FloatArray,
    Market,
    Values,
)


def chain(strikes: int, dividend_yield: float) -> tuple[Contracts, Market, FloatArray]:
    strike = np.linspace(65, 150, strikes)
    years = np.repeat([51 / 365, 170 / 365, 420 / 365], 2 * strikes)
    call = np.tile([True, False], 3 * strikes)
    strike = np.tile(np.repeat(strike, 2), 3)
    paid = tuple(CashDividend((40 + 91 * i) / 365, 0.5) for i in range(5))
    volatility = 0.28 - 0.12 * np.log(strike / 100) + 0.1 * np.log(strike / 100) ** 2
    return Contracts(call, strike, years), Market(100.0, 0.045, dividend_yield, paid), volatility


def test_a_price_implies_the_volatility_it_was_made_with() -> None:
    contracts, market, volatility = chain(5, 0.01)
    for style in ("american", "european"):
        price = dividends.value(contracts, market, volatility, style).price
        implied = dividends.implied_volatility(contracts, market, price, style)
        told = implied.status == IMPLIED
        assert told.sum() > 20
        vega = dividends.value(contracts, market, volatility, style).vega
        clear = told & (vega > 0.01)
        assert np.abs(implied.volatility - volatility)[clear].max() < 1e-6


def test_a_price_that_tells_no_volatility_says_why() -> None:
    count = 7
    contracts = Contracts(
        np.array([True, True, True, True, False, True, False]),
        np.array([90.0] * 4 + [200.0, 90.0, 110.0]),
        np.full(count, 0.4),
    )
    market = Market(100.0, 0.05, 0.03, (CashDividend(0.3, 0.5),))
    price = np.array([np.nan, 0.0, -1.0, 9.0, 100.0, 100.5, 120.0])
    implied = dividends.implied_volatility(contracts, market, price)
    assert implied.status.tolist() == [NO_PRICE, NO_PRICE, NO_PRICE, BELOW, FLAT, ABOVE, ABOVE]
    assert (implied.volatility == 0).all()
    both, values = dividends.imply_and_value(contracts, market, price)
    assert both.status.tolist() == implied.status.tolist()
    assert all((getattr(values, name) == 0).all() for name in Values.__slots__)


@pytest.mark.parametrize("dividend_yield", [0.0, 0.015])
def test_a_chain_read_off_its_tables_is_that_of_its_contracts_one_by_one(dividend_yield: float) -> None:
    contracts, market, volatility = chain(40, dividend_yield)
    values = dividends.value(contracts, market, volatility)
    with ThreadPoolExecutor(2) as pool:
        implied, told = dividends.imply_and_value(contracts, market, values.price, pool=pool)
    known = implied.status == IMPLIED
    assert known.sum() > 200
    wrong = np.abs(implied.volatility - volatility) * values.vega * 100
    assert np.sqrt((wrong[known] ** 2).mean()) < 2e-3
    assert wrong[known].max() < 1.5e-2
    assert np.abs(told.price - values.price)[known].max() < 1e-4
    for name, within in (("delta", 5e-3), ("gamma", 5e-3), ("theta", 3e-3), ("vega", 1e-2), ("rho", 3e-2)):
        assert np.abs(getattr(told, name) - getattr(values, name))[known].max() < within, name
