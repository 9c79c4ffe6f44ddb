"""Black-Scholes-Merton against published values, parity, and its limits."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.pricing.black_scholes import normal_cdf, price

SPOTS = st.floats(1.0, 5000.0)
RATES = st.floats(-0.02, 0.15)
YEARS = st.floats(0.0, 5.0)
VOLATILITIES = st.floats(0.0, 2.0)


@pytest.mark.parametrize(
    ("option_type", "inputs", "value"),
    [
        # Hull, Options, Futures, and Other Derivatives, example 15.6.
        ("call", (42, 40, 0.5, 0.10, 0.0, 0.20), 4.7594),
        ("put", (42, 40, 0.5, 0.10, 0.0, 0.20), 0.8086),
        # Hull, example 17.1: a call on an index with a dividend yield of 3 percent.
        ("call", (930, 900, 2 / 12, 0.08, 0.03, 0.20), 51.83),
        # Haug, The Complete Guide to Option Pricing Formulas, 1.1.1 and 1.1.2.
        ("call", (60, 65, 0.25, 0.08, 0.0, 0.30), 2.1334),
        ("put", (100, 95, 0.5, 0.10, 0.05, 0.20), 2.4648),
    ],
)
def test_published_values_come_out(option_type: str, inputs: tuple[float, ...], value: float) -> None:
    digits = len(str(value).split(".")[1])
    assert price(option_type, *inputs) == pytest.approx(value, abs=0.6 * 10**-digits)  # type: ignore[arg-type]


@given(spot=SPOTS, strike=SPOTS, years=YEARS, rate=RATES, dividends=RATES, volatility=VOLATILITIES)
def test_a_call_less_a_put_is_the_forward_less_the_strike(
    spot: float, strike: float, years: float, rate: float, dividends: float, volatility: float
) -> None:
    call = price("call", spot, strike, years, rate, dividends, volatility)
    put = price("put", spot, strike, years, rate, dividends, volatility)
    forward = spot * exp(-dividends * years) - strike * exp(-rate * years)
    assert call - put == pytest.approx(forward, abs=1e-9 * (spot + strike))
    assert 0 <= call <= spot * exp(-dividends * years) * (1 + 1e-12)
    assert 0 <= put <= strike * exp(-rate * years) * (1 + 1e-12)


@given(spot=SPOTS, strike=SPOTS)
def test_without_time_or_volatility_it_is_what_exercising_pays(spot: float, strike: float) -> None:
    assert price("call", spot, strike, 0.0, 0.05, 0.02, 0.3) == max(0.0, spot - strike)
    assert price("put", spot, strike, 1.0, 0.0, 0.0, 0.0) == max(0.0, strike - spot)


@pytest.mark.parametrize("wrong", [(0, 1, 1, 0.2), (1, 0, 1, 0.2), (1, 1, -1, 0.2), (1, 1, 1, -0.2), (float("nan"), 1, 1, 0.2)])  # fmt: skip
def test_what_has_no_value_is_an_error(wrong: tuple[float, ...]) -> None:
    spot, strike, years, volatility = wrong
    with pytest.raises(ValueError, match="zero"):
        price("call", spot, strike, years, 0.0, 0.0, volatility)


@pytest.mark.parametrize(
    ("x", "share"), [(0, 0.5), (1.96, 0.9750021), (-1.96, 0.0249979), (-10, 7.61985e-24)]
)
def test_the_normal_distribution_is_right_far_out_too(x: float, share: float) -> None:
    assert normal_cdf(x) == pytest.approx(share, rel=1e-5)
