"""Options with cash dividends against integrals, finite differences of another house, and what must hold for any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from paiid.domain.pricing import black_scholes, dividends
from paiid.domain.pricing.terms import CashDividend, Contracts, FloatArray, Market, Style, Values

Case = tuple[bool, float, int, float, float, float, tuple[tuple[int, float], ...], Style, float]

# QuantLib 1.44, FdBlackScholesVanillaEngine (cash dividends in the spot model, TrBdf2), the price at 800, 1600 and 3200 steps of time and as
# many of price, extrapolated by Aitken; spot 100. Its own error is about 1e-5 for calls and 3e-5 for puts.
REFERENCE: tuple[Case, ...] = (
    (True, 90, 180, 0.05, 0.0, 0.3, ((60, 3.0), (150, 1.0)), "american", 13.254404),
    (True, 100, 400, 0.03, 0.02, 0.2, ((100, 0.5), (191, 0.5), (282, 0.5)), "american", 7.964247),
    (
        False,
        110,
        365,
        0.06,
        0.0,
        0.25,
        ((30, 0.5), (121, 0.5), (212, 0.5), (303, 0.5)),
        "american",
        14.112728,
    ),
    (False, 95, 90, 0.08, 0.03, 0.4, ((45, 0.2),), "american", 5.078633),
    (True, 85, 120, -0.01, 0.0, 0.35, ((80, 2.0),), "american", 16.556150),
    (False, 105, 730, 0.04, 0.0, 0.2, ((200, 4.0), (565, 4.0)), "american", 14.325236),
    (False, 100, 180, 0.05, 0.01, 0.3, ((60, 1.0), (150, 1.0)), "european", 8.292003),
    (True, 95, 180, 0.05, 0.0, 0.6, ((5, 1.5), (170, 1.5)), "american", 18.801303),
)


def one(case: Case) -> tuple[Contracts, Market, FloatArray, Style]:
    call, strike, days, rate, dividend_yield, volatility, paid, style, _ = case
    contracts = Contracts(np.array([call]), np.array([float(strike)]), np.array([days / 365]))
    market = Market(100.0, rate, dividend_yield, tuple(CashDividend(day / 365, cash) for day, cash in paid))
    return contracts, market, np.array([volatility]), style


@pytest.mark.parametrize(("accuracy", "within"), [("fast", 1e-3), ("accurate", 5e-5)])
def test_prices_are_those_of_a_converged_finite_difference_scheme(accuracy: str, within: float) -> None:
    for case in REFERENCE:
        contracts, market, volatility, style = one(case)
        price = dividends.value(contracts, market, volatility, style, accuracy).price[0]  # type: ignore[arg-type]
        assert price == pytest.approx(case[-1], abs=within), case


def black(call: bool, spot: float, strike: float, years: float, rate: float, volatility: float) -> float:
    return black_scholes.price("call" if call else "put", spot, strike, years, rate, 0.0, volatility)


def expected(
    call: bool,
    strike: float,
    years: float,
    rate: float,
    volatility: float,
    paid: float,
    cash: float,
    american: bool,
) -> float:
    """One dividend and no yield: the integral over the price at the ex-date, where a call may be exercised and else is European."""

    def at(z: float) -> float:
        spot = 100 * np.exp((rate - volatility**2 / 2) * paid + volatility * np.sqrt(paid) * z)
        left = max(spot - cash, 0.0)
        if left > 0:
            after = black(call, left, strike, years - paid, rate, volatility)
        else:
            after = 0.0 if call else strike * np.exp(-rate * (years - paid))
        if american:
            after = max(after, spot - strike)
        return float(after * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    bend = (np.log(max(cash, strike) / 100) - (rate - volatility**2 / 2) * paid) / (
        volatility * np.sqrt(paid)
    )
    total, _ = quad(
        at, -9, 9, points=sorted({-3.0, 0.0, 3.0, float(np.clip(bend, -8, 8))}), limit=400, epsabs=1e-11
    )
    return float(total * np.exp(-rate * paid))


def test_one_dividend_is_an_integral_over_the_price_on_its_day() -> None:
    rows = [
        (call, strike, years, rate, volatility, share * years, cash, american)
        for call, american in ((True, False), (False, False), (True, True))
        for strike, years, rate, volatility, share, cash in (
            (100.0, 0.5, 0.05, 0.3, 0.4, 2.0),
            (70.0, 1.0, 0.02, 0.2, 0.95, 3.0),
            (140.0, 2.0, 0.08, 1.5, 0.3, 40.0),
            (101.0, 0.1, 0.0, 0.05, 0.1, 0.5),
        )
    ]
    for call, strike, years, rate, volatility, paid, cash, american in rows:
        contracts = Contracts(np.array([call]), np.array([strike]), np.array([years]))
        market = Market(100.0, rate, 0.0, (CashDividend(paid, cash),))
        style: Style = "american" if american else "european"
        price = dividends.value(contracts, market, np.array([volatility]), style, "accurate").price[0]
        exact = expected(call, strike, years, rate, volatility, paid, cash, american)
        assert price == pytest.approx(exact, abs=1e-6), (call, strike, american)


def some(count: int, seed: int) -> tuple[Contracts, Market, FloatArray]:
    draw = np.random.default_rng(seed)
    years = draw.choice([0.1, 0.4, 1.1], count)
    volatility = np.exp(draw.uniform(np.log(0.05), np.log(0.9), count))
    strike = 100 * np.exp(np.clip(draw.normal(0, 1, count) * volatility * np.sqrt(years), -0.6, 0.6))
    contracts = Contracts(draw.random(count) < 0.5, strike, years)
    paid = tuple(CashDividend(0.06 + 0.25 * i, 0.7) for i in range(4))
    return contracts, Market(100.0, 0.06, 0.01, paid), volatility


def test_the_fast_mode_is_within_a_tenth_of_a_cent_of_the_accurate_one() -> None:
    contracts, market, volatility = some(16, 1)
    fast = dividends.value(contracts, market, volatility, "american", "fast")
    fine = dividends.value(contracts, market, volatility, "american", "accurate")
    assert np.abs(fast.price - fine.price).max() < 1e-3
    assert np.abs(fast.delta - fine.delta).max() < 1e-3
    assert np.abs(fast.vega - fine.vega).max() < 5e-3


@pytest.mark.long
def test_greeks_are_the_differences_of_the_price() -> None:
    contracts, market, volatility = some(5, 2)
    values = dividends.value(contracts, market, volatility, "american", "accurate")

    def at(spot: float = 100.0, rate: float = 0.06, later: float = 0.0, more: float = 0.0) -> Values:
        paid = tuple(CashDividend(each.years - later, each.amount) for each in market.dividends)
        moved = Contracts(contracts.call, contracts.strike, contracts.years - later)
        return dividends.value(
            moved, Market(spot, rate, 0.01, paid), volatility + more, "american", "accurate"
        )

    up, down = at(spot=100.1), at(spot=99.9)
    # The second derivative jumps where a put is exercised: no difference across the jump.
    inside = (np.abs(np.abs(up.delta) - 1) > 1e-6) & (np.abs(np.abs(down.delta) - 1) > 1e-6)
    assert np.abs(values.delta - (up.price - down.price) / 0.2).max() < 2e-4
    assert np.abs(values.gamma - (up.delta - down.delta) / 0.2)[inside].max() < 2e-4
    day = 1 / 365
    tomorrow, yesterday = at(later=0.05 * day), at(later=-0.05 * day)
    assert np.abs(values.theta - (tomorrow.price - yesterday.price) / 0.1)[inside].max() < 2e-4
    vega = (at(more=0.001).price - at(more=-0.001).price) / 0.2
    assert np.abs(values.vega - vega)[inside].max() < 1e-3
    rho = (at(rate=0.0605).price - at(rate=0.0595).price) / 0.1
    assert np.abs(values.rho - rho)[inside].max() < 1e-3


def test_american_options_are_worth_at_least_the_european_and_what_exercising_gives() -> None:
    contracts, market, volatility = some(200, 3)
    american = dividends.value(contracts, market, volatility, "american", "fast").price
    european = dividends.value(contracts, market, volatility, "european", "fast").price
    gain = np.where(contracts.call, 100 - contracts.strike, contracts.strike - 100)
    assert (american >= european - 5e-4).all()
    assert (american >= gain).all()
    assert (european >= 0).all()
    assert (american > european + 0.01).any()


def test_prices_rise_with_volatility_and_are_convex_in_the_price_of_the_underlying() -> None:
    spots = np.linspace(70, 140, 71)
    for call in (True, False):
        contracts = Contracts(np.full(71, call), np.full(71, 100.0), np.full(71, 0.8))
        paid = tuple(CashDividend(0.1 + 0.25 * i, 1.0) for i in range(3))
        market = Market(spots, 0.05, 0.0, paid)
        low, high = (
            dividends.value(contracts, market, np.full(71, at), "american", "fast") for at in (0.2, 0.25)
        )
        assert (high.price >= low.price - 1e-9).all()
        slope = np.diff(low.price)
        assert (slope >= -1e-6).all() if call else (slope <= 1e-6).all()
        assert np.diff(slope).min() > -2e-4


def test_a_call_is_worth_exercising_on_the_eve_of_a_large_dividend_and_a_put_is_worth_waiting() -> None:
    contracts = Contracts(np.array([True, False]), np.array([60.0, 130.0]), np.array([0.3, 0.3]))
    market = Market(100.0, 0.05, 0.0, (CashDividend(1 / 365, 5.0),))
    price = dividends.value(contracts, market, np.array([0.2, 0.2]), "american", "accurate").price
    # The strike is paid a day later; the put earns the dividend first.
    assert price[0] == pytest.approx(100 - 60 * np.exp(-0.05 / 365), abs=1e-6)
    assert price[1] > 34.9


def test_a_dividend_after_expiration_or_of_nothing_changes_nothing() -> None:
    contracts = Contracts(np.array([True, False]), np.array([95.0, 105.0]), np.array([0.5, 0.5]))
    volatility = np.array([0.3, 0.3])
    paid = (CashDividend(0.2, 1.0),)
    alone = dividends.value(contracts, Market(100.0, 0.05, 0.0, paid), volatility)
    more = (*paid, CashDividend(0.3, 0.0), CashDividend(0.5, 7.0), CashDividend(0.9, 7.0))
    assert (dividends.value(contracts, Market(100.0, 0.05, 0.0, more), volatility).price == alone.price).all()


def test_a_contract_is_worth_the_same_in_any_company() -> None:
    contracts, market, volatility = some(120, 4)
    together = dividends.value(contracts, market, volatility).price
    for index in range(0, 120, 15):
        part = slice(index, index + 1)
        single = Contracts(contracts.call[part], contracts.strike[part], contracts.years[part])
        assert dividends.value(single, market, volatility[part]).price[0] == pytest.approx(
            together[index], abs=2e-4
        )


def test_a_put_whose_curve_starts_from_that_of_a_later_span_ends_where_it_would_have_by_itself() -> None:
    days = np.repeat([93, 151, 241, 421, 541, 781], 9)
    strike = np.tile(np.linspace(104, 148, 9), 6)
    contracts = Contracts(np.zeros(54, dtype=np.bool_), strike, days / 365)
    market = Market(100.0, 0.045, 0.0, tuple(CashDividend((40 + 91 * i) / 365, 0.5) for i in range(9)))
    volatility = 0.28 - 0.12 * np.log(strike / 100)
    together = dividends.value(contracts, market, volatility).price
    for index in range(3, 54, 10):
        part = slice(index, index + 1)
        single = Contracts(contracts.call[part], contracts.strike[part], contracts.years[part])
        exact = dividends.value(single, market, volatility[part], "american", "accurate").price[0]
        assert together[index] == pytest.approx(exact, abs=1e-3), (strike[index], days[index])


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    rate=st.sampled_from([-0.5, -0.01, 0.0, 1e-9, 0.05, 3.0]),
    dividend_yield=st.sampled_from([-0.3, -0.02, 0.0, 1e-9, 0.02, 0.3]),
    cash=st.lists(st.sampled_from([1e-6, 0.3, 5.0, 99.0, 1e4]), min_size=1, max_size=3),
    first=st.sampled_from([1e-7, 1e-3, 0.05]),
)
def test_nothing_finite_gives_something_that_is_not(
    rate: float, dividend_yield: float, cash: list[float], first: float
) -> None:
    grid = np.meshgrid([0.5, 90.0, 1e4], [0.06, 4.0], [0.0, 1e-4, 0.4, 8.0], [0.0, 1.0], indexing="ij")
    strike, years, volatility, call = (axis.ravel() for axis in grid)
    contracts = Contracts(call > 0, strike, years)
    paid = tuple(CashDividend(first + 0.3 * i, amount) for i, amount in enumerate(cash))
    market = Market(100.0, rate, dividend_yield, paid)
    values = dividends.value(contracts, market, volatility)
    for name in Values.__slots__:
        assert np.isfinite(getattr(values, name)).all(), name
    assert (values.price >= 0).all()
