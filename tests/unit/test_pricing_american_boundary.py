"""American options struck at 1, solved once and asked at many prices."""

import numpy as np
import pytest

from paiid.domain.pricing import american
from paiid.domain.pricing.american_boundary import ACCURATE, solve
from paiid.domain.pricing.terms import Contracts, Market

PUT = np.array([True, False, True, False, True])
YEARS = np.array([0.7, 1.5, 0.1, 2.0, 1.0])
RATE = np.array([0.05, 0.03, 0.02, 0.04, -0.01])
YIELD = np.array([0.0, 0.06, 0.05, 0.0, -0.03])
VOLATILITY = np.array([0.3, 0.25, 0.6, 0.2, 0.2])
"""A put, a call, a put whose yield is above its rate, a call that is never exercised early, and a put with two boundaries."""


def test_it_tells_the_value_and_derivatives_that_contracts_have() -> None:
    prices = np.linspace(0.5, 1.8, 27)
    worth = solve(PUT, YEARS, RATE, YIELD, VOLATILITY, ACCURATE).value(np.repeat(prices[:, None], 5, axis=1))
    assert worth.value.shape == (27, 5)
    for index in range(5):
        every = np.ones(27)
        contracts = Contracts(np.full(27, not PUT[index]), every, every * YEARS[index])
        market = Market(prices, RATE[index], YIELD[index])
        values = american.value(contracts, market, every * VOLATILITY[index], "accurate")
        assert worth.value[:, index] == pytest.approx(values.price, abs=1e-9)
        assert worth.first[:, index] == pytest.approx(values.delta, abs=1e-8)
        assert worth.second[:, index] == pytest.approx(values.gamma, abs=1e-7)


def test_the_boundary_is_where_exercise_and_holding_are_worth_the_same_with_the_same_slope() -> None:
    boundary = solve(PUT[:3], YEARS[:3], RATE[:3], YIELD[:3], VOLATILITY[:3], ACCURATE)
    sign = np.where(PUT[:3], -1.0, 1.0)
    beyond = np.stack(
        [boundary.exercise_price * (1 - sign * 1e-7), boundary.exercise_price * (1 + sign * 1e-3)]
    )
    worth = boundary.value(beyond)
    assert worth.value[0] == pytest.approx(sign * (beyond[0] - 1), abs=1e-7)
    assert worth.first[0] == pytest.approx(sign, abs=1e-4)
    # Just before it, the pricing equation leaves 2 (r K - q B) / (s B)^2 for the second derivative of a put, its negative for a call.
    bend = (
        -sign
        * 2
        * (RATE[:3] - YIELD[:3] * boundary.exercise_price)
        / (VOLATILITY[:3] * boundary.exercise_price) ** 2
    )
    assert worth.second[0] == pytest.approx(bend, rel=2e-3)
    assert worth.value[1] == pytest.approx(sign * (beyond[1] - 1), abs=1e-15)
    assert worth.second[1].tolist() == [0.0, 0.0, 0.0]


def test_what_is_never_exercised_early_has_no_boundary() -> None:
    boundary = solve(PUT[3:4], YEARS[3:4], RATE[3:4], YIELD[3:4], VOLATILITY[3:4])
    assert boundary.exercise_price.tolist() == [np.inf]
