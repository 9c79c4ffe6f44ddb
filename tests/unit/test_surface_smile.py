"""The smile of one expiration: a curve comes back from its own quotes, and what is read off it is what it means."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from paiid.domain.pricing.smile import Smile, Svi
from paiid.domain.pricing.smile_fit import (
    FEWEST,
    FEWEST_FOR_FIVE,
    SmileQuotes,
    _Search,
    checked,
    fit,
    fit_without_arbitrage,
    has_butterfly,
)
from paiid.domain.pricing.terms import FloatArray

# Axel Vogt's example in Gatheral and Jacquier (2014), section 2.2: a curve without calendar spreads whose density is negative.
VOGT = Svi(-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
WIDE = np.linspace(-1.5, 1.5, 31)


def quotes_of(curve: Svi, years: float, k: FloatArray, error: float = 0.002) -> SmileQuotes:
    """What the curve is, without any noise."""
    return SmileQuotes(k, np.sqrt(curve.total_variance(k) / years), np.full(len(k), error))


@given(
    years=st.floats(0.02, 2),
    level=st.floats(0.1, 0.8),
    slope=st.floats(0.02, 0.3),
    rho=st.floats(-0.9, 0.5),
    m=st.floats(-0.1, 0.1),
    sigma=st.floats(0.05, 0.6),
    count=st.integers(9, 40),
)
@settings(max_examples=25)
def test_a_chain_made_of_svi_comes_back(
    years: float, level: float, slope: float, rho: float, m: float, sigma: float, count: int
) -> None:
    root = years**0.5
    curve = Svi(level**2 * years * 0.6, slope * level * root, rho, m * root, sigma * root)
    k = np.linspace(-0.9, 0.8, count) * root
    found = fit(quotes_of(curve, years, k), years, 100.0)
    assert found is not None
    assert found.largest < 2e-5
    assert found.within == 1.0


def test_a_flat_chain_has_a_flat_smile_without_skew() -> None:
    k = np.linspace(-0.4, 0.4, 17)
    found = fit(SmileQuotes(k, np.full(17, 0.2), np.full(17, 0.001)), 0.25, 50.0)
    assert found is not None
    smile = found.smile
    assert np.abs(smile.volatility(k) - 0.2).max() < 1e-7
    assert abs(smile.skew) < 1e-6
    assert abs(smile.curvature) < 1e-4
    assert smile.at_the_money == pytest.approx(0.2, abs=1e-7)


def test_noise_within_the_spreads_moves_the_money_less_than_the_spread() -> None:
    rng = np.random.default_rng(7)
    curve, k = Svi(0.005, 0.05, -0.5, 0.01, 0.15), np.linspace(-0.35, 0.25, 25)
    clean = quotes_of(curve, 0.25, k)
    noisy = replace(clean, volatility=clean.volatility + rng.uniform(-0.002, 0.002, 25))
    found = fit(noisy, 0.25, 100.0)
    assert found is not None
    assert float(clean.volatility[14]) == pytest.approx(found.smile.at(float(k[14])), abs=0.0015)


def test_the_quote_with_the_wide_spread_counts_least() -> None:
    clean = quotes_of(Svi(0.005, 0.05, -0.5, 0.01, 0.15), 0.25, np.linspace(-0.35, 0.25, 15))
    volatility, error = clean.volatility.copy(), clean.error.copy()
    volatility[3] += 0.2
    error[3] = 0.5
    found = fit(SmileQuotes(clean.k, volatility, error), 0.25, 100.0)
    assert found is not None
    others = np.arange(15) != 3
    assert np.abs(found.smile.volatility(clean.k) - clean.volatility)[others].max() < 5e-4


def test_too_few_strikes_give_no_curve_and_a_few_one_of_three_numbers() -> None:
    for count in range(FEWEST_FOR_FIVE + 1):
        k = np.linspace(-0.1, 0.1, count)
        found = fit(SmileQuotes(k, 0.2 - 0.1 * k + k * k, np.full(count, 0.001)), 0.1, 100.0)
        assert (found is None) == (count < FEWEST)
        if found is not None:
            assert found.parameters == (5 if count >= FEWEST_FOR_FIVE else 3)
            assert found.largest < 0.01


def test_nothing_is_told_beyond_the_strikes_quoted() -> None:
    smile = Smile(Svi(0.01, 0.05, -0.3, 0.0, 0.2), 0.25, 100.0, -0.2, 0.1)
    assert smile.at(-0.2) is not None
    assert smile.at(0.1) is not None
    assert smile.at(-0.21) is None
    assert smile.at(0.11) is None
    assert replace(smile, lowest=0.05).at_the_money is None
    assert smile.at_delta(0.02) is None
    assert smile.at_delta(0.98) is None


def test_the_strike_of_a_delta_has_that_delta() -> None:
    smile = Smile(Svi(0.005, 0.05, -0.5, 0.01, 0.15), 0.25, 100.0, -0.5, 0.4)
    for delta in (0.1, 0.25, 0.5, 0.75, 0.9):
        found = smile.at_delta(delta)
        assert found is not None
        k, volatility = found
        root = volatility * 0.5
        assert float(ndtr(-k / root + root / 2)) == pytest.approx(delta, abs=1e-5)
    put, call = smile.at_delta(0.75), smile.at_delta(0.25)
    assert put is not None
    assert call is not None
    # A skew to the left: the put costs more volatility.
    assert put[1] > call[1]


def test_skew_curvature_and_durrlemans_function_are_the_derivatives_they_say() -> None:
    curve, years = Svi(0.005, 0.05, -0.5, 0.01, 0.15), 0.25
    smile, step = Smile(curve, years, 100.0, -0.5, 0.4), 1e-4
    below, at, above = smile.volatility(np.array([-step, 0.0, step]))
    assert smile.skew == pytest.approx((above - below) / (2 * step), rel=1e-6)
    assert smile.curvature == pytest.approx((above - 2 * at + below) / step**2, rel=1e-5)
    # g is the density of log(S / F) beside that of the normal distribution with the same variance.
    k = np.array([-0.3, -0.05, 0.0, 0.1, 0.25])
    fine = 1e-3

    def call(where: FloatArray) -> FloatArray:
        root = np.sqrt(curve.total_variance(where))
        d1 = -where / root + root / 2
        return np.asarray(ndtr(d1) - np.exp(where) * ndtr(d1 - root))

    strikes = np.exp(k)
    prices = [call(np.log(strikes + shift)) for shift in (-fine, 0.0, fine)]
    density = (prices[0] - 2 * prices[1] + prices[2]) / fine**2
    w = curve.total_variance(k)
    normal = np.exp(-((-k / np.sqrt(w) - np.sqrt(w) / 2) ** 2) / 2) / np.sqrt(2 * np.pi * w) / strikes
    assert curve.durrleman(k) == pytest.approx(density / normal, rel=1e-3)


def test_a_curve_with_a_negative_density_is_seen_and_mended() -> None:
    found = fit(quotes_of(VOGT, 1.0, WIDE), 1.0, 100.0)
    assert found is not None
    assert found.largest < 1e-5
    assert has_butterfly(found.smile)
    mended = fit_without_arbitrage(quotes_of(VOGT, 1.0, WIDE), 1.0, found, None)
    assert not has_butterfly(mended.smile)
    assert mended.smile.curve.durrleman(checked(mended.smile)).min() >= 0
    assert mended.largest < 0.02


def test_the_derivatives_of_the_search_are_right() -> None:
    quotes = quotes_of(Svi(0.005, 0.05, -0.5, 0.01, 0.15), 0.25, np.linspace(-0.35, 0.25, 9))
    for some in (quotes, SmileQuotes(quotes.k[:5], quotes.volatility[:5], quotes.error[:5])):
        search = _Search(some, 0.25, Svi(0.004, 0.04, -0.2, 0.0, 0.2), None)
        for x in (np.array([0.7, 0.9, -0.4, 0.1, log(0.4)]), np.array([0.1, 900.0, 0.5, -0.3, log(2.0)])):
            at = x[: 5 if search.five else 3]
            steps = np.eye(len(at)) * 1e-6 * np.maximum(np.abs(at), 1)
            by_hand = [(search.residuals(at + h) - search.residuals(at - h)) / (2 * h.sum()) for h in steps]
            assert search.jacobian(at) == pytest.approx(np.stack(by_hand, axis=1), rel=1e-5, abs=1e-7)
