"""American options with a continuous yield: prices and Greeks against a converged reference, QuantLib, and closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from paiid.domain.pricing import american, european
from paiid.domain.pricing.terms import Accuracy, BoolArray, Contracts, FloatArray, Market, Values
from tests.oracle.case import Case
from tests.oracle.quantlib_prices import american as quantlib

REFERENCE = Path(__file__).parents[1] / "data" / "american_reference.json"
NAMES = ("price", "delta", "gamma", "theta", "vega", "rho")


def value(
    call: BoolArray,
    strike: FloatArray,
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    accuracy: Accuracy = "accurate",
    spot: float = 100.0,
) -> Values:
    return american.value(
        Contracts(call, strike, years), Market(spot, rate, dividend_yield), volatility, accuracy
    )


def drawn(
    count: int, seed: int
) -> tuple[BoolArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Contracts of the whole domain; two of five are near the money for their volatility, one of ten at its hardest corner."""
    random = np.random.default_rng(seed)
    call = random.random(count) < 0.5
    days = np.round(np.exp(random.uniform(0, np.log(1095), count)))
    volatility = np.exp(random.uniform(np.log(0.03), np.log(2), count))
    rate = random.uniform(-0.01, 0.1, count)
    dividend_yield = np.where(random.random(count) < 0.3, 0.0, random.uniform(0, 0.08, count))
    corner = random.random(count) < 0.1
    days, volatility = np.where(corner, 1095, days), np.where(corner, 0.03, volatility)
    wide = np.exp(random.uniform(-0.69, 0.69, count))
    near = np.exp(random.uniform(-0.3, 0.3, count) * volatility * np.sqrt(days / 365))
    strike = 100 * np.where(random.random(count) < 0.4, near, wide)
    return call, strike, days / 365, rate, dividend_yield, volatility


def by_quantlib(
    call: bool, strike: float, years: float, r: float, q: float, s: float, spot: float = 100.0
) -> float:
    return quantlib(Case(call, True, spot, strike, float(round(years * 365)), r, q, s))


@pytest.mark.parametrize(("accuracy", "most"), [("fast", 1e-3), ("accurate", 1e-5)])
def test_prices_are_those_of_the_converged_reference(accuracy: Accuracy, most: float) -> None:
    cases = json.loads(REFERENCE.read_text())["cases"]
    cases = [case for case in cases if case["american"] and not case["dividends"]]
    # Two boundaries are slow: some of them are enough.
    two = [case for case in cases if case["group"] == "two boundaries"]
    cases = [case for case in cases if case not in two[2:]]

    def column(name: str) -> FloatArray:
        return np.array([case[name] for case in cases], dtype=np.float64)

    values = value(
        column("call") > 0,
        column("strike"),
        column("days") / 365,
        column("rate"),
        column("yield"),
        column("volatility"),
        accuracy,
    )
    assert len(cases) > 80
    assert np.abs(values.price - column("price")).max() < most


def test_prices_are_those_of_quantlib_over_the_whole_domain() -> None:
    columns = drawn(60, seed=7)
    expected = np.array([by_quantlib(*(x.item() for x in row)) for row in zip(*columns, strict=True)])
    assert np.abs(value(*columns).price - expected).max() < 1e-5
    assert np.abs(value(*columns, accuracy="fast").price - expected).max() < 1e-3


def test_greeks_are_the_differences_of_quantlib_prices_also_beside_the_boundary() -> None:
    # Spot, right, strike, days, rate, yield, volatility; the boundaries of the second and fourth are at 100.27 and 99.9.
    cases = [
        (100.0, False, 100.0, 365, 0.05, 0.0, 0.25),
        (100.5, False, 118.0, 120, 0.06, 0.0, 0.25),
        (100.0, True, 95.0, 730, 0.03, 0.06, 0.3),
        (100.0, False, 100.0, 832, 0.0867, 0.0, 0.036),
        (100.0, True, 110.0, 200, -0.005, 0.04, 0.6),
        (100.0, False, 90.0, 30, 0.09, 0.02, 1.2),
        (100.0, False, 120.0, 500, 0.04, 0.05, 0.4),
    ]
    for spot, call, strike, days, r, q, s in cases:
        own = value(
            np.array([call]),
            np.array([strike]),
            np.array([days / 365]),
            np.array([r]),
            np.array([q]),
            np.array([s]),
            spot=spot,
        )

        def price(
            spot: float = spot,
            r: float = r,
            q: float = q,
            s: float = s,
            case: tuple[bool, float, int] = (call, strike, days),
        ) -> float:
            return by_quantlib(case[0], case[1], case[2] / 365, r, q, s, spot)

        def slower(share: float, r: float = r, q: float = q, s: float = s) -> float:
            """With the life longer by that share: scaling the rates and the variance is the same."""
            return price(r=r * (1 + share), q=q * (1 + share), s=s * np.sqrt(1 + share))

        h, e = 0.005, 1e-4
        up, middle, down = price(spot + h), price(), price(spot - h)
        assert own.delta[0] == pytest.approx((up - down) / (2 * h), abs=2e-5)
        assert own.gamma[0] == pytest.approx((up - 2 * middle + down) / h**2, abs=5e-4)
        assert own.vega[0] == pytest.approx((price(s=s + e) - price(s=s - e)) / (2 * e) / 100, abs=1e-4)
        assert own.rho[0] == pytest.approx((price(r=r + e) - price(r=r - e)) / (2 * e) / 100, abs=2e-4)
        assert own.theta[0] == pytest.approx(-(slower(e) - slower(-e)) / (2 * e) / days, abs=1e-5)


def test_in_the_exercise_region_it_is_worth_what_exercise_gives_and_nothing_moves_it_but_the_spot() -> None:
    call = np.array([False, True])
    values = value(
        call,
        np.array([150.0, 60.0]),
        np.array([1.0, 1.0]),
        np.array([0.06, 0.01]),
        np.array([0.0, 0.07]),
        np.array([0.15, 0.15]),
    )
    assert values.price.tolist() == pytest.approx([50.0, 40.0], abs=1e-13)
    assert values.delta.tolist() == [-1.0, 1.0]
    for name in NAMES[2:]:
        assert getattr(values, name).tolist() == [0.0, 0.0], name


def test_between_two_boundaries_it_is_worth_what_exercise_gives_too() -> None:
    values = value(
        np.array([True]),
        np.array([85.77]),
        np.array([4 / 365]),
        np.array([-0.06]),
        np.array([-0.02]),
        np.array([0.2137]),
    )
    assert values.price.tolist() == pytest.approx([14.23], abs=1e-12)
    assert values.delta.tolist() == [1.0]
    for name in NAMES[2:]:
        assert getattr(values, name).tolist() == [0.0], name


def test_where_early_exercise_never_pays_the_european_formula_answers() -> None:
    # A call without a yield; a put without a rate; a put whose rate is negative and below its yield.
    call = np.array([True, False, False])
    strike, years = np.full(3, 105.0), np.full(3, 1.5)
    rate, dividend_yield = np.array([0.04, 0.0, -0.01]), np.array([0.0, 0.03, -0.005])
    volatility = np.full(3, 0.3)
    own = value(call, strike, years, rate, dividend_yield, volatility)
    plain = european.value(Contracts(call, strike, years), Market(100.0, rate, dividend_yield), volatility)
    for name in NAMES:
        assert getattr(own, name).tolist() == getattr(plain, name).tolist(), name


def test_a_put_that_lives_very_long_is_a_perpetual_one() -> None:
    rate, volatility = 0.05, 0.3
    power = -2 * rate / volatility**2
    boundary = 100 * power / (power - 1)
    spot = 90.0
    expected = (100 - boundary) * (spot / boundary) ** power
    values = value(
        np.array([False]),
        np.array([100.0]),
        np.array([400.0]),
        np.array([rate]),
        np.zeros(1),
        np.array([volatility]),
        spot=spot,
    )
    assert values.price[0] == pytest.approx(expected, abs=1e-5)
    assert values.delta[0] == pytest.approx(power * expected / spot, abs=1e-6)


def test_calls_and_puts_mirror_each_other() -> None:
    call, strike, years, rate, dividend_yield, volatility = drawn(200, seed=3)
    one = value(call, strike, years, rate, dividend_yield, volatility)
    mirrored = american.value(
        Contracts(~call, np.full(200, 100.0), years),
        Market(strike, dividend_yield, rate),
        volatility,
        "accurate",
    )
    assert one.price == pytest.approx(mirrored.price, abs=1e-10)


@pytest.mark.parametrize(("accuracy", "slack"), [("fast", 2e-4), ("accurate", 2e-6)])
def test_prices_keep_their_bounds_and_rise_with_time_volatility_and_moneyness_and_are_convex(
    accuracy: Accuracy, slack: float
) -> None:
    call, _, years, rate, dividend_yield, volatility = drawn(24, seed=5)
    strike = np.linspace(60.0, 160.0, 21)

    def surface(time: float = 1.0, vol: float = 1.0) -> FloatArray:
        """Prices by strike and case; the same boundary at every strike."""
        every = np.broadcast_to(np.ones((21, 24)), (21, 24))
        columns = (call, years * time, rate, dividend_yield, volatility * vol)
        c, t, r, q, s = ((every * column).ravel() for column in columns)
        return value(c > 0, (strike[:, None] * every).ravel(), t, r, q, s, accuracy).price.reshape(21, 24)

    prices = surface()
    contracts = Contracts(np.tile(call, 21), np.repeat(strike, 24), np.tile(years, 21))
    market = Market(100.0, np.tile(rate, 21), np.tile(dividend_yield, 21))
    plain = european.value(contracts, market, np.tile(volatility, 21)).price.reshape(21, 24)
    sign = np.where(call, 1.0, -1.0)
    assert (prices >= plain - 1e-12).all()
    assert (prices >= sign * (100 - strike[:, None]) - 1e-12).all()
    assert (-sign * np.diff(prices, axis=0) >= -1e-9).all()
    assert (np.diff(prices, 2, axis=0) >= -slack).all()
    assert (surface(time=1.01) >= prices - slack).all()
    assert (surface(vol=1.01) >= prices - slack).all()


def test_every_finite_input_has_a_finite_value() -> None:
    axes = np.meshgrid(
        [0.0, 1.0],
        [1e-4, 50.0, 100.0, 1e6],
        [0.0, 1e-9, 1 / 365, 1.0, 30.0],
        [-0.5, -0.01, 0.0, 1e-12, 0.05, 5.0],
        [-0.5, 0.0, 1e-9, 0.05, 3.0],
        [0.0, 1e-8, 0.01, 0.2, 30.0],
        indexing="ij",
    )
    call, strike, years, rate, dividend_yield, volatility = (axis.ravel() for axis in axes)
    put_rate, put_yield = np.where(call > 0, dividend_yield, rate), np.where(call > 0, rate, dividend_yield)
    # Two boundaries are slow: a few of them are enough.
    two = (put_rate < 0) & (put_yield < put_rate) & (years > 0)
    some = ~two | (np.cumsum(two) % 40 == 1)
    values = value(
        call[some] > 0, strike[some], years[some], rate[some], dividend_yield[some], volatility[some], "fast"
    )
    for name in NAMES:
        assert np.isfinite(getattr(values, name)).all(), name
    sign = np.where(call[some] > 0, 1.0, -1.0)
    assert (values.price >= np.maximum(sign * (100 - strike[some]), 0) * (1 - 1e-12)).all()
