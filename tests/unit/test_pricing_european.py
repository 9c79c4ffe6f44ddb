"""European values against QuantLib, against differences of themselves, and against what must hold between them."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.pricing import black_scholes, european
from paiid.domain.pricing.terms import BoolArray, Contracts, FloatArray, Market, Values
from tests.oracle import quantlib_prices
from tests.oracle.case import Case

GREEKS = ("delta", "gamma", "theta", "vega", "rho")


def drawn(count: int, seed: int) -> tuple[Contracts, Market, FloatArray]:
    """Contracts all over the range that is promised: moneyness 0.5 to 2, 1 day to 3 years in whole days, volatility 3 % to 200 %,
    rates -1 % to 10 %, yields 0 to 8 %; every tenth at an end of each."""
    random = np.random.default_rng(seed)

    def between(low: float, high: float) -> FloatArray:
        share = np.where(random.random(count) < 0.1, random.integers(0, 2, count), random.random(count))
        return low + share * (high - low)

    days = np.round(np.exp(between(0.0, np.log(1095.0))))
    moneyness = np.exp(between(-np.log(2.0), np.log(2.0)))
    spot = np.full(count, 100.0)
    contracts = Contracts(random.random(count) < 0.5, spot / moneyness, days / 365.0)
    volatility = np.exp(between(np.log(0.03), np.log(2.0)))
    return contracts, Market(spot, between(-0.01, 0.10), between(0.0, 0.08)), volatility


def extreme(count: int, seed: int) -> tuple[Contracts, Market, FloatArray]:
    """Any floats that are allowed at all, most of them absurd."""
    random = np.random.default_rng(seed)

    def number(*, zero: bool = False, signed: bool = False) -> FloatArray:
        wide, plain = 10.0 ** random.uniform(-307, 308, count), 10.0 ** random.uniform(-3, 3, count)
        ends = random.choice([5e-324, 1e-308, 1e-300, 1e-10, 1.0, 1e10, 1e300, 1.7976931348623157e308], count)
        which = random.random(count)
        chosen = np.where(which < 0.3, wide, np.where(which < 0.7, plain, ends))
        chosen = np.where(zero & (random.random(count) < 0.1), 0.0, chosen)
        return chosen * random.choice([-1.0, 1.0], count) if signed else chosen

    contracts = Contracts(random.random(count) < 0.5, number(), number(zero=True))
    market = Market(number(), number(zero=True, signed=True), number(zero=True, signed=True))
    return contracts, market, number(zero=True)


def both(strike: FloatArray, years: FloatArray) -> tuple[Contracts, Contracts]:
    """The calls and the puts."""
    return (
        Contracts(np.ones(len(strike), dtype=np.bool_), strike, years),
        Contracts(np.zeros(len(strike), dtype=np.bool_), strike, years),
    )


def price(
    call: BoolArray,
    strike: FloatArray,
    years: FloatArray,
    spot: FloatArray | float,
    rate: FloatArray | float,
    dividend_yield: FloatArray | float,
    volatility: FloatArray,
) -> FloatArray:
    """One after the other."""
    return european.price_only(Contracts(call, strike, years), Market(spot, rate, dividend_yield), volatility)


def test_prices_and_greeks_are_those_of_quantlib() -> None:
    contracts, market, volatility = drawn(1200, seed=1)
    values = european.value(contracts, market, volatility)
    theirs = [
        quantlib_prices.european(Case(*row))
        for row in zip(
            contracts.call.tolist(),
            [False] * 1200,
            np.asarray(market.spot).tolist(),
            contracts.strike.tolist(),
            np.round(contracts.years * 365.0).tolist(),
            np.asarray(market.rate).tolist(),
            np.asarray(market.dividend_yield).tolist(),
            volatility.tolist(),
            strict=True,
        )
    ]
    for name in ("price", *GREEKS):
        wanted = np.array([one[name] for one in theirs])
        np.testing.assert_allclose(getattr(values, name), wanted, rtol=1e-9, atol=1e-10, err_msg=name)
    assert np.abs(values.price - np.array([one["price"] for one in theirs])).max() < 1e-10
    np.testing.assert_array_equal(european.price_only(contracts, market, volatility), values.price)


def test_each_greek_is_the_slope_of_the_price() -> None:
    contracts, market, volatility = drawn(3000, seed=2)
    call, strike, years = contracts.call, contracts.strike, contracts.years
    spot, rate, dividend_yield = market.spot, market.rate, market.dividend_yield
    values = european.value(contracts, market, volatility)
    # A step must be small against the width of the bend at the strike.
    spread = volatility * np.sqrt(years)

    def at(spot: FloatArray | float = spot, **other: FloatArray) -> FloatArray:
        chosen = {"years": years, "rate": rate, "volatility": volatility, **other}
        return price(
            call, strike, chosen["years"], spot, chosen["rate"], dividend_yield, chosen["volatility"]
        )

    def slope(up: FloatArray, down: FloatArray, step: FloatArray | float) -> FloatArray:
        return (up - down) / (2 * step)

    by = 1e-3 * spot * spread
    delta = slope(at(spot + by), at(spot - by), by)
    gamma = (at(spot + by) - 2 * at() + at(spot - by)) / by**2
    by = 1e-3 * years
    theta = -slope(at(years=years + by), at(years=years - by), by) / 365.0
    by = 1e-3 * volatility
    vega = slope(at(volatility=volatility + by), at(volatility=volatility - by), by) / 100.0
    by = 1e-3 * volatility / np.sqrt(years)
    rho = slope(at(rate=rate + by), at(rate=rate - by), by) / 100.0
    for name, found in zip(GREEKS, (delta, gamma, theta, vega, rho), strict=True):
        largest = np.maximum(np.abs(getattr(values, name)), {"gamma": 1e-2 / spread}.get(name, 1e-2))
        error = np.abs(getattr(values, name) - found) / largest
        assert error.max() < 1e-3, name
        assert np.median(error) < 1e-5, name


def test_call_less_put_is_forward_less_strike() -> None:
    contracts, market, volatility = drawn(4000, seed=3)
    calls, puts = both(contracts.strike, contracts.years)
    call, put = european.value(calls, market, volatility), european.value(puts, market, volatility)
    spot_leg = market.spot * np.exp(-market.dividend_yield * contracts.years)
    strike_leg = contracts.strike * np.exp(-market.rate * contracts.years)
    largest = np.maximum(spot_leg, strike_leg)
    assert (np.abs(call.price - put.price - (spot_leg - strike_leg)) / largest).max() < 1e-12
    np.testing.assert_allclose(call.delta - put.delta, spot_leg / market.spot, rtol=1e-14)
    np.testing.assert_allclose(call.rho - put.rho, strike_leg * contracts.years / 100.0, rtol=1e-13)
    np.testing.assert_array_equal(call.gamma, put.gamma)
    np.testing.assert_array_equal(call.vega, put.vega)


def test_no_price_is_outside_its_bounds() -> None:
    contracts, market, volatility = drawn(20000, seed=4)
    found = european.price_only(contracts, market, volatility)
    spot_leg = market.spot * np.exp(-market.dividend_yield * contracts.years)
    strike_leg = contracts.strike * np.exp(-market.rate * contracts.years)
    intrinsic = np.maximum(np.where(contracts.call, 1.0, -1.0) * (spot_leg - strike_leg), 0.0)
    assert (found >= intrinsic).all()
    assert (found <= np.where(contracts.call, spot_leg, strike_leg) * (1 + 1e-15)).all()


def test_price_rises_with_volatility_and_moves_the_right_way_with_spot_and_strike() -> None:
    contracts, market, volatility = drawn(4000, seed=5)
    call, strike, years = contracts.call, contracts.strike, contracts.years
    rest = (market.rate, market.dividend_yield)
    base = price(call, strike, years, market.spot, *rest, volatility)
    sign = np.where(call, 1.0, -1.0)
    least = -1e-12
    assert (price(call, strike, years, market.spot, *rest, volatility * 1.01) - base).min() > least
    assert (sign * (price(call, strike, years, market.spot * 1.01, *rest, volatility) - base)).min() > least
    assert (sign * (base - price(call, strike * 1.01, years, market.spot, *rest, volatility))).min() > least


def test_price_is_convex_in_strike() -> None:
    contracts, market, volatility = drawn(4000, seed=6)
    call, strike, years = contracts.call, contracts.strike, contracts.years
    rest = (market.spot, market.rate, market.dividend_yield, volatility)
    for apart in (0.5, 0.05, 0.001):
        wings = price(call, strike * (1 - apart), years, *rest) + price(
            call, strike * (1 + apart), years, *rest
        )
        assert (wings - 2 * price(call, strike, years, *rest)).min() > -1e-12


def test_call_is_the_put_with_spot_and_strike_and_rate_and_yield_exchanged() -> None:
    contracts, market, volatility = drawn(4000, seed=7)
    other = Contracts(~contracts.call, np.asarray(market.spot), contracts.years)
    mirrored = Market(contracts.strike, market.dividend_yield, market.rate)
    one = european.price_only(contracts, market, volatility)
    np.testing.assert_allclose(european.price_only(other, mirrored, volatility), one, rtol=1e-14, atol=1e-300)


def test_it_is_the_scalar_formula_of_the_simulated_market() -> None:
    contracts, market, volatility = drawn(1500, seed=8)
    rows = zip(
        contracts.call.tolist(),
        np.asarray(market.spot).tolist(),
        contracts.strike.tolist(),
        contracts.years.tolist(),
        np.asarray(market.rate).tolist(),
        np.asarray(market.dividend_yield).tolist(),
        volatility.tolist(),
        strict=True,
    )
    one_by_one = [black_scholes.price("call" if call else "put", *rest) for call, *rest in rows]
    np.testing.assert_allclose(
        european.price_only(contracts, market, volatility), one_by_one, rtol=1e-12, atol=1e-12
    )


def test_numbers_for_all_contracts_count_as_arrays_of_them_and_blocks_do_not_show() -> None:
    contracts, market, volatility = drawn(5000, seed=9)
    scalars = european.value(contracts, Market(100.0, 0.05, 0.02), volatility)
    filled = Market(*(np.full(5000, number) for number in (100.0, 0.05, 0.02)))
    arrays = european.value(contracts, filled, volatility)
    last = slice(4990, 5000)
    tail = Contracts(contracts.call[last], contracts.strike[last], contracts.years[last])
    for field in fields(Values):
        whole = getattr(scalars, field.name)
        np.testing.assert_allclose(whole, getattr(arrays, field.name), rtol=1e-13, atol=1e-15)
        alone = getattr(european.value(tail, Market(100.0, 0.05, 0.02), volatility[last]), field.name)
        np.testing.assert_allclose(whole[last], alone, rtol=1e-13, atol=1e-15)
    assert len(european.price_only(Contracts(*(np.empty(0),) * 3), market, np.empty(0))) == 0


@pytest.mark.parametrize(("years", "volatility"), [(0.0, 0.3), (0.5, 0.0), (0.0, 0.0)])
def test_without_time_or_volatility_it_is_the_discounted_intrinsic_value(
    years: float, volatility: float
) -> None:
    strike = np.array([80.0, 120.0, 80.0, 120.0])
    call = np.array([True, True, False, False])
    market = Market(100.0, 0.04, 0.01)
    values = european.value(Contracts(call, strike, np.full(4, years)), market, np.full(4, volatility))
    share, cash = np.exp(-0.01 * years), np.exp(-0.04 * years)
    sign = np.array([1.0, 0.0, 0.0, -1.0])
    np.testing.assert_allclose(values.price, sign * (100.0 * share - strike * cash), atol=1e-13)
    np.testing.assert_allclose(values.delta, sign * share)
    np.testing.assert_allclose(values.theta, sign * (share - 0.04 * strike * cash) / 365.0, atol=1e-15)
    np.testing.assert_allclose(values.rho, sign * strike * cash * years / 100.0)
    np.testing.assert_array_equal(values.gamma, np.zeros(4))
    np.testing.assert_array_equal(values.vega, np.zeros(4))


@pytest.mark.parametrize(("years", "volatility"), [(0.0, 0.3), (0.5, 0.0), (0.0, 0.0)])
def test_at_the_money_without_time_or_volatility_delta_is_the_middle_and_gamma_zero(
    years: float, volatility: float
) -> None:
    contracts = Contracts(np.array([True, False]), np.full(2, 100.0), np.full(2, years))
    values = european.value(contracts, Market(100.0, 0.0, 0.0), np.full(2, volatility))
    np.testing.assert_array_equal(values.price, [0.0, 0.0])
    np.testing.assert_array_equal(values.delta, [0.5, -0.5])
    np.testing.assert_array_equal(values.gamma, [0.0, 0.0])
    np.testing.assert_array_equal(values.theta, [0.0, 0.0])
    # Volatility is worth something from the first hair of it, where there is time.
    np.testing.assert_allclose(values.vega, np.full(2, np.sqrt(years / (2 * np.pi))))


def test_absurd_numbers_make_finite_ones_and_no_warning() -> None:
    contracts, market, volatility = extreme(60000, seed=10)
    values = european.value(contracts, market, volatility)
    for field in fields(Values):
        assert np.isfinite(getattr(values, field.name)).all(), field.name
    assert np.isfinite(european.price_only(contracts, market, volatility)).all()


ABOVE_ZERO = st.floats(min_value=0.0, exclude_min=True, allow_infinity=False)
AT_LEAST_ZERO = st.floats(min_value=0.0, allow_infinity=False)
ANY = st.floats(allow_nan=False, allow_infinity=False)
ROW = st.tuples(st.booleans(), ABOVE_ZERO, AT_LEAST_ZERO, ABOVE_ZERO, ANY, ANY, AT_LEAST_ZERO)


@settings(max_examples=60)
@given(st.lists(ROW, min_size=1, max_size=40))
def test_no_finite_number_makes_another_number_than_a_finite_one(
    rows: list[tuple[bool, float, float, float, float, float, float]],
) -> None:
    call, strike, years, spot, rate, dividend_yield, volatility = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    market = Market(spot, rate, dividend_yield)
    values = european.value(Contracts(call, strike, years), market, volatility)
    for field in fields(Values):
        assert np.isfinite(getattr(values, field.name)).all(), field.name
    assert (values.price >= 0.0).all()
    assert (values.gamma >= 0.0).all()
    assert (values.vega >= 0.0).all()
