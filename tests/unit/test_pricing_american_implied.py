"""Implied volatilities of American options: there and back, for single contracts and for chains, and what a price cannot tell."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from paiid.domain.pricing import american, american_chain, american_implied
from paiid.domain.pricing.american_search import RESOLUTION
from paiid.domain.pricing.terms import (
    ABOVE,
    BELOW,
    FLAT,
    IMPLIED,
    NO_PRICE,
    Accuracy,
    Contracts,
    FloatArray,
    Market,
)
from tests.unit.test_pricing_american import drawn

NAMES = ("price", "delta", "gamma", "theta", "vega", "rho")


def chain(strikes: int = 30) -> tuple[Contracts, FloatArray]:
    """Six expirations, puts and calls, with a smile."""
    years = np.array([7, 30, 91, 182, 365, 800]) / 365
    time, strike, call = np.meshgrid(years, np.linspace(60, 150, strikes), [True, False], indexing="ij")
    contracts = Contracts(call.ravel(), strike.ravel(), time.ravel())
    x = np.log(contracts.strike / 100)
    return contracts, 0.26 - 0.1 * x + 0.15 * x * x + 0.05 * (contracts.years < 0.1)


@pytest.mark.parametrize("accuracy", ["fast", "accurate"])
def test_the_volatility_that_made_a_price_comes_back(accuracy: Accuracy) -> None:
    call, strike, years, rate, dividend_yield, volatility = drawn(150 if accuracy == "fast" else 50, seed=9)
    contracts, market = Contracts(call, strike, years), Market(100.0, rate, dividend_yield)
    values = american.value(contracts, market, volatility, accuracy)
    implied = american_implied.implied_volatility(contracts, market, values.price, accuracy)
    # A float of the price tells volatilities apart by about 1e-14 / vega; the errors of the mode by much less.
    telling, known = values.vega > 1e-3, values.vega > 1e-7
    intrinsic = np.maximum(np.where(call, 1, -1) * (100 - strike), 0)
    beside = (values.price - intrinsic < 2 * RESOLUTION[accuracy] * np.where(call, 100.0, strike)) & (
        intrinsic > 0
    )
    assert np.count_nonzero(telling) > len(call) / 2
    assert (implied.status[telling & ~beside] == IMPLIED).all()
    found = implied.status == IMPLIED
    assert np.abs(implied.volatility - volatility)[found & known].max() < 1e-6
    assert (implied.volatility[~found] == 0).all()


def test_a_price_that_tells_no_volatility_says_why() -> None:
    put, strike = np.zeros(9, dtype=np.bool_), np.full(9, 120.0)
    contracts, market = Contracts(put, strike, np.ones(9)), Market(100.0, 0.05, 0.0)
    price = np.array([np.nan, -1.0, 0.0, np.inf, 19.99, 20.0, 20.00001, 120.0, 25.0])
    expected = [NO_PRICE, NO_PRICE, NO_PRICE, NO_PRICE, BELOW, FLAT, FLAT, ABOVE, IMPLIED]
    assert american_implied.implied_volatility(contracts, market, price, "fast").status.tolist() == expected
    # In a chain the same is said.
    many = Contracts(np.tile(put, 3), np.tile(strike, 3), np.ones(27))
    implied, values = american_chain.imply_and_value(many, market, np.tile(price, 3), "fast")
    assert implied.status.tolist() == expected * 3
    for name in NAMES:
        assert np.isfinite(getattr(values, name)).all()
        assert (getattr(values, name)[implied.status != IMPLIED] == 0).all()


@pytest.mark.parametrize(("accuracy", "cents", "greeks"), [("fast", 1e-3, 2e-3), ("accurate", 1e-6, 1e-6)])
@pytest.mark.parametrize(("rate", "dividend_yield"), [(0.045, 0.0), (0.03, 0.05)])
def test_a_chain_with_shared_boundaries_tells_what_each_contract_tells_alone(
    accuracy: Accuracy, cents: float, greeks: float, rate: float, dividend_yield: float
) -> None:
    contracts, volatility = chain()
    market = Market(100.0, rate, dividend_yield)
    price = american.value(contracts, market, volatility, "accurate").price
    implied, values = american_chain.imply_and_value(contracts, market, price, accuracy)
    found = implied.status == IMPLIED
    again = american.value(contracts, market, np.where(found, implied.volatility, volatility), "accurate")
    assert np.count_nonzero(found) > 0.75 * len(contracts)
    assert np.abs(again.price - price)[found].max() < cents
    for name in NAMES:
        assert np.abs(getattr(values, name) - getattr(again, name))[found].max() < greeks, name
    telling = found & (again.vega > 0.02)
    assert np.abs(implied.volatility - volatility)[telling].max() < cents


def test_what_no_group_spans_is_solved_alone() -> None:
    # Three contracts are no group; thirteen are, but one of them lies where drift over its life outruns its volatility.
    random = np.random.default_rng(2)
    years = np.r_[np.full(3, 0.5), np.full(13, 3.0)]
    strike = np.r_[np.full(3, 104.0), np.full(12, 105.0), 100.02]
    volatility = np.r_[random.uniform(0.2, 0.5, 15), 0.012]
    contracts, market = Contracts(np.zeros(16, dtype=np.bool_), strike, years), Market(100.0, 0.08, 0.0)
    price = american.value(contracts, market, volatility, "fast").price
    implied, values = american_chain.imply_and_value(contracts, market, price, "fast")
    assert implied.status.tolist() == [IMPLIED] * 16
    assert values.price == pytest.approx(price, abs=1e-3)
    assert np.abs(implied.volatility - volatility).max() < 1e-4


def test_threads_change_nothing() -> None:
    contracts, volatility = chain(strikes=120)
    market = Market(100.0, 0.045, 0.01)
    price = american.value(contracts, market, volatility, "fast").price
    one, values = american_chain.imply_and_value(contracts, market, price, "fast")
    with ThreadPoolExecutor(2) as pool:
        two, same = american_chain.imply_and_value(contracts, market, price, "fast", pool)
    assert one.volatility.tolist() == two.volatility.tolist()
    assert one.status.tolist() == two.status.tolist()
    for name in NAMES:
        assert getattr(values, name).tolist() == getattr(same, name).tolist()


def test_a_chain_with_absurd_quotes_still_solves_the_others() -> None:
    contracts, volatility = chain()
    market = Market(100.0, 0.06, 0.01)
    price = american.value(contracts, market, volatility, "fast").price
    absurd = np.arange(len(price)) % 7 == 0
    prices = np.where(absurd, 55.0 + np.arange(len(price)) % 3, price)
    implied, _ = american_chain.imply_and_value(contracts, market, prices, "fast")
    plain, _ = american_chain.imply_and_value(contracts, market, price, "fast")
    known = ~absurd & (plain.status == IMPLIED)
    vega = american.value(contracts, market, volatility, "fast").vega
    assert (implied.status[known] == IMPLIED).all()
    assert (
        np.abs(implied.volatility - plain.volatility)[known] * np.maximum(vega[known], 0.01) * 100
    ).max() < 2e-3


def test_two_boundaries_have_an_implied_volatility_too() -> None:
    contracts = Contracts(np.array([False, True]), np.array([103.0, 97.0]), np.array([0.8, 0.8]))
    market = Market(100.0, np.array([-0.01, -0.04]), np.array([-0.04, -0.01]))
    values = american.value(contracts, market, np.array([0.25, 0.25]), "fast")
    implied = american_implied.implied_volatility(contracts, market, values.price, "fast")
    assert implied.status.tolist() == [IMPLIED, IMPLIED]
    assert implied.volatility == pytest.approx([0.25, 0.25], abs=1e-6)
