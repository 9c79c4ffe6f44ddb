"""Volatilities implied by European prices: the way back, how far it can be gone, and what a price cannot tell."""

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.pricing import european
from paiid.domain.pricing.terms import (
    ABOVE,
    BELOW,
    FLAT,
    IMPLIED,
    NO_PRICE,
    Contracts,
    FloatArray,
    Market,
    Values,
)
from tests.unit.test_pricing_european import ABOVE_ZERO, ANY, AT_LEAST_ZERO, drawn, extreme

ROUNDING = 2.0**-52


def legs(contracts: Contracts, market: Market) -> tuple[FloatArray, FloatArray]:
    """Discounted spot and strike, cut off where pricing does."""
    with np.errstate(over="ignore"):
        share, cash = (
            np.exp(np.clip(-rate * contracts.years, -690.0, 690.0))
            for rate in (market.dividend_yield, market.rate)
        )
        return np.clip(market.spot * share, 1e-300, 1e300), np.clip(contracts.strike * cash, 1e-300, 1e300)


def test_volatility_comes_back_from_its_price_as_exactly_as_the_price_tells_it() -> None:
    contracts, market, volatility = drawn(30000, seed=11)
    values = european.value(contracts, market, volatility)
    implied = european.implied_volatility(contracts, market, values.price)
    spot_leg, strike_leg = legs(contracts, market)
    there = implied.status == IMPLIED
    error = np.abs(implied.volatility - volatility)[there]
    # What one rounding of the price, or of the legs it is the difference of, is worth in volatility.
    unsure = (ROUNDING * np.maximum(spot_leg, strike_leg) / np.maximum(100.0 * values.vega, 1e-300))[there]
    assert (error <= 1e-10 + 16.0 * unsure).all()
    assert error.max() < european.KNOWN_TO
    # Out of the money there is no difference to round: the smallest prices tell it as well as any.
    out = (np.where(contracts.call, 1.0, -1.0) * (spot_leg - strike_leg) < 0.0)[there]
    assert out.mean() > 0.4
    assert error[out].max() < 1e-10


def test_only_what_rounding_hides_is_not_identifiable() -> None:
    contracts, market, volatility = drawn(30000, seed=12)
    price = european.price_only(contracts, market, volatility)
    implied = european.implied_volatility(contracts, market, price)
    spot_leg, strike_leg = legs(contracts, market)
    most = np.where(contracts.call, spot_leg, strike_leg)
    intrinsic = np.where(contracts.call, 1.0, -1.0) * (spot_leg - strike_leg)
    assert set(np.unique(implied.status)) <= {IMPLIED, FLAT, NO_PRICE}
    flat = implied.status == FLAT
    assert flat.any()
    # In the money what a few roundings of the legs move by more than what is promised; out of it only what leaves the range of floats.
    vega = 100.0 * european.value(contracts, market, volatility).vega
    unsure = ROUNDING * most / np.maximum(vega, 1e-300)
    hidden = np.where(intrinsic > 0, unsure > 0.2 * european.KNOWN_TO, price <= 1e-280)
    assert hidden[flat].all()
    plain = np.where(intrinsic > 0, unsure < 0.2 * european.KNOWN_TO, price > 1e-280)
    assert (implied.status[plain] == IMPLIED).all()
    assert (price[implied.status == NO_PRICE] == 0.0).all()
    np.testing.assert_array_equal(implied.volatility[implied.status != IMPLIED], 0.0)


def test_far_out_of_the_money_the_smallest_prices_still_tell_it() -> None:
    share = 10.0 ** -np.arange(1.0, 280.0, 4.0)
    for strike in (101.0, 150.0, 1e4, 1e9):
        contracts = Contracts(np.ones(len(share), np.bool_), np.full(len(share), strike), np.ones(len(share)))
        market = Market(100.0, 0.0, 0.0)
        price = 100.0 * share
        implied = european.implied_volatility(contracts, market, price)
        assert (implied.status == IMPLIED).all()
        again = european.price_only(contracts, market, implied.volatility)
        # The share is a difference: it has the digits of its first term, which is t/s times as large at t deviations.
        np.testing.assert_allclose(np.log(again), np.log(price), rtol=1e-9)
        assert (np.diff(implied.volatility) < 0.0).all()


def test_volatilities_of_a_thousand_percent_and_more_come_back() -> None:
    volatility = np.linspace(3.0, 12.0, 400)
    for strike in (10.0, 100.0, 1000.0):
        call = np.arange(400) % 2 == 0
        contracts = Contracts(call, np.full(400, strike), np.ones(400))
        market = Market(100.0, 0.02, 0.0)
        values = european.value(contracts, market, volatility)
        implied = european.implied_volatility(contracts, market, values.price)
        assert (implied.status == IMPLIED).all()
        unsure = ROUNDING * max(strike, 100.0) / (100.0 * values.vega)
        assert (np.abs(implied.volatility - volatility) <= 1e-12 + 8.0 * unsure).all()


def test_each_price_that_implies_nothing_has_its_reason() -> None:
    wanted = [
        # (call, strike, years, price), spot 100, rate 5 %, no yield.
        ((True, 100.0, 1.0, np.nan), NO_PRICE),
        ((True, 100.0, 1.0, 0.0), NO_PRICE),
        ((True, 100.0, 1.0, -1.0), NO_PRICE),
        ((True, 100.0, 1.0, -np.inf), NO_PRICE),
        ((False, 100.0, 0.0, 0.0), NO_PRICE),
        ((True, 80.0, 1.0, 23.9), BELOW),
        ((False, 150.0, 1.0, 42.6), BELOW),
        ((True, 80.0, 1.0, 100.0 - 80.0 * np.exp(-0.05)), FLAT),
        ((True, 80.0, 1.0, (100.0 - 80.0 * np.exp(-0.05)) * (1 + 2 * ROUNDING)), FLAT),
        ((True, 80.0, 1.0, (100.0 - 80.0 * np.exp(-0.05)) * (1 - 1e-10)), BELOW),
        ((True, 80.0, 1.0, (100.0 - 80.0 * np.exp(-0.05)) * (1 + 1e-12)), FLAT),
        ((True, 80.0, 1.0, (100.0 - 80.0 * np.exp(-0.05)) * (1 + 1e-8)), IMPLIED),
        ((True, 80.0, 0.0, 20.0), FLAT),
        # At the money for a part of a nanosecond: the deviation itself is lost in the rounding of the legs.
        ((True, 100.0, 1e-38, 1e-18), FLAT),
        ((False, 150.0, 0.0, 50.0), FLAT),
        ((True, 80.0, 0.0, 19.0), BELOW),
        ((True, 80.0, 0.0, 21.0), ABOVE),
        ((True, 120.0, 0.0, 0.5), ABOVE),
        ((True, 100.0, 1.0, 100.0), FLAT),
        ((True, 100.0, 1.0, 100.0 * (1 - 2 * ROUNDING)), FLAT),
        ((True, 100.0, 1.0, 100.0 * (1 - 1e-14)), FLAT),
        ((True, 100.0, 1.0, 100.01), ABOVE),
        ((False, 100.0, 1.0, 95.2), ABOVE),
        ((False, 100.0, 1.0, np.inf), ABOVE),
        ((True, 100.0, 1.0, 99.9), IMPLIED),
        ((True, 80.0, 1.0, 24.0), IMPLIED),
        ((False, 60.0, 1.0, 1e-100), IMPLIED),
    ]
    call, strike, years, price = (
        np.array(column) for column in zip(*(row for row, _ in wanted), strict=True)
    )
    contracts, market = Contracts(call, strike, years), Market(100.0, 0.05, 0.0)
    implied, values = european.imply_and_value(contracts, market, price)
    assert implied.status.tolist() == [status for _, status in wanted]
    nothing = implied.status != IMPLIED
    np.testing.assert_array_equal(implied.volatility[nothing], 0.0)
    assert (implied.volatility[~nothing] > 0.0).all()
    for field in fields(Values):
        np.testing.assert_array_equal(getattr(values, field.name)[nothing], 0.0)
    np.testing.assert_allclose(values.price[~nothing], price[~nothing], rtol=1e-9)


def test_both_in_one_pass_are_one_after_the_other() -> None:
    contracts, market, volatility = drawn(5000, seed=13)
    price = european.price_only(contracts, market, volatility)
    price[::50] = np.nan
    implied, values = european.imply_and_value(contracts, market, price)
    alone = european.implied_volatility(contracts, market, price)
    np.testing.assert_array_equal(implied.status, alone.status)
    np.testing.assert_array_equal(implied.volatility, alone.volatility)
    there = implied.status == IMPLIED
    again = european.value(contracts, market, implied.volatility)
    for field in fields(Values):
        np.testing.assert_allclose(
            getattr(values, field.name)[there], getattr(again, field.name)[there], rtol=1e-9, atol=1e-12
        )


def test_a_dearer_price_implies_more() -> None:
    for strike in (60.0, 100.0, 170.0):
        for is_call in (True, False):
            contracts = Contracts(np.full(2000, is_call), np.full(2000, strike), np.full(2000, 0.25))
            market = Market(100.0, -0.01, 0.03)
            spot_leg, strike_leg = 100.0 * np.exp(-0.03 / 4), strike * np.exp(0.01 / 4)
            least = max((spot_leg - strike_leg) * (1 if is_call else -1), 0.0)
            most = spot_leg if is_call else strike_leg
            price = least + (most - least) * np.linspace(1e-4, 1 - 1e-4, 2000)
            implied = european.implied_volatility(contracts, market, price)
            assert (implied.status == IMPLIED).all()
            assert (np.diff(implied.volatility) > 0.0).all()


def test_absurd_numbers_imply_finite_volatilities_without_warning() -> None:
    contracts, market, volatility = extreme(60000, seed=14)
    price = european.price_only(contracts, market, volatility)
    share = np.random.default_rng(15).uniform(-0.1, 1.1, len(price))
    implied, values = european.imply_and_value(contracts, market, np.where(share > 0.5, price, share * price))
    assert np.isfinite(implied.volatility).all()
    assert ((implied.volatility > 0.0) == (implied.status == IMPLIED)).all()
    for field in fields(Values):
        assert np.isfinite(getattr(values, field.name)).all(), field.name
    there = implied.status == IMPLIED
    assert there.mean() > 0.02
    wrong = np.abs(values.price - price)[there & (share > 0.5)]
    most = np.maximum(*legs(contracts, market))[there & (share > 0.5)]
    assert (wrong <= 1e-9 * most).all()


ROW = st.tuples(
    st.booleans(),
    ABOVE_ZERO,
    AT_LEAST_ZERO,
    ABOVE_ZERO,
    ANY,
    ANY,
    st.floats(),
    st.sampled_from((True, False)),
)


@settings(max_examples=60)
@given(st.lists(ROW, min_size=1, max_size=40))
def test_whatever_is_asked_the_answer_is_a_number_and_a_reason(
    rows: list[tuple[bool, float, float, float, float, float, float, bool]],
) -> None:
    call, strike, years, spot, rate, dividend_yield, price, within = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    contracts, market = Contracts(call, strike, years), Market(spot, rate, dividend_yield)
    # Arbitrary prices are nearly all out of bounds: half of them are put between.
    between = european.price_only(contracts, market, np.abs(np.nan_to_num(price)))
    implied, values = european.imply_and_value(contracts, market, np.where(within, between, price))
    assert np.isfinite(implied.volatility).all()
    assert ((implied.volatility > 0.0) == (implied.status == IMPLIED)).all()
    assert (implied.status[within] != BELOW).all()
    assert (implied.status <= FLAT).all()
    for field in fields(Values):
        assert np.isfinite(getattr(values, field.name)).all(), field.name
