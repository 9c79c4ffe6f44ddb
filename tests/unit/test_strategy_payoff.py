"""Pay-offs: straight pieces with exact corners, drawn ones for what goes on, and the odds of a gain."""

from math import exp, inf, isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.pricing.payoff import Payoff, payoff
from paiid.domain.pricing.strategy import Position, World
from paiid.domain.pricing.strategy_odds import probability_above, probability_within
from paiid.domain.pricing.strategy_payoff import ends_at_once, payoff_at_end
from paiid.domain.pricing.terms import Contracts, Style

Leg = tuple[str, float, float]
"""Call or put, strike, units."""
LEGS = st.lists(
    st.tuples(
        st.sampled_from(["call", "put"]),
        st.integers(1, 400).map(lambda n: n / 2),
        st.integers(-5, 5).filter(bool).map(lambda n: n * 100.0),
    ),
    min_size=1,
    max_size=4,
)


def made(*legs: Leg, shares: float = 0.0, cost: float = 0.0) -> Payoff:
    return payoff(
        np.array([kind == "call" for kind, _, _ in legs], dtype=np.bool_),
        np.array([strike for _, strike, _ in legs]),
        np.array([units for _, _, units in legs]),
        shares,
        cost,
    )


def position(
    *legs: tuple[str, float, float, float], style: Style = "american", shares: float = 0.0
) -> Position:
    """Of (kind, strike, units, years), at 30 % and a rate of 4 %."""
    count = len(legs)
    return Position(
        Contracts(
            np.array([kind == "call" for kind, *_ in legs], dtype=np.bool_),
            np.array([strike for _, strike, _, _ in legs]),
            np.array([years for *_, years in legs]),
        ),
        np.full(count, 0.3),
        np.array([units for _, _, units, _ in legs]),
        np.full(count, 0.04),
        np.full(count, 0.01),
        shares,
        style,
    )


@given(legs=LEGS, shares=st.integers(-300, 300), cost=st.integers(-50_000, 50_000).map(lambda n: n / 100))
@settings(max_examples=80)
def test_break_evens_are_zeros_and_nothing_lies_outside_the_extremes(
    legs: list[Leg], shares: int, cost: float
) -> None:
    one, other = (
        made(*legs, shares=shares, cost=cost),
        made(*[(kind, strike, -units) for kind, strike, units in legs], shares=-shares, cost=-cost),
    )
    prices = np.concatenate([np.linspace(0, 500, 401), one.nodes])
    tiny = 1e-9 * one.scale + 1e-12
    values = one.at(prices)
    assert np.abs(values + other.at(prices)).max() <= tiny
    assert np.abs(one.at(np.array(one.break_evens()))).max(initial=0.0) <= tiny
    assert one.break_evens() == sorted(one.break_evens())
    if one.most is not None:
        assert values.max() <= one.most + tiny
    if one.least is not None:
        assert values.min() >= one.least - tiny
    assert one.most is not None or one.at(np.array([1e9]))[0] > values.max()
    assert one.least is not None or one.at(np.array([1e9]))[0] < values.min()
    inside = np.zeros(len(prices), dtype=np.bool_)
    for low, high in one.gains():
        inside |= (prices > low if low else prices >= 0) & (prices < high)
    assert np.all(values[inside] > -tiny)
    assert np.all(values[~inside] <= tiny)
    # Every change of sign has a break-even in it.
    signs = np.sign(np.where(np.abs(values[:401]) <= tiny, 0, values[:401]))
    for at in np.flatnonzero(signs[:-1] * signs[1:] < 0):
        assert any(prices[at] <= zero <= prices[at + 1] for zero in one.break_evens())


def test_known_strategies_have_their_known_numbers() -> None:
    spread = made(("call", 100, 100), ("call", 110, -100), cost=380)
    assert spread.break_evens() == [103.8]
    assert (spread.most, spread.least) == (620, -380)
    assert spread.gains() == [(103.8, inf)]
    call = made(("call", 100, 100), cost=250)
    assert (call.most, call.least, call.break_evens()) == (None, -250, [102.5])
    naked = made(("call", 100, -100), cost=-250)
    assert (naked.most, naked.least, naked.break_evens()) == (250, None, [102.5])
    put = made(("put", 100, -100), cost=-250)
    assert (put.most, put.least, put.break_evens()) == (250, -9750, [97.5])
    straddle = made(("call", 100, 100), ("put", 100, 100), cost=800)
    assert (straddle.most, straddle.least, straddle.break_evens()) == (None, -800, [92, 108])
    condor = made(("put", 90, 100), ("put", 95, -100), ("call", 105, -100), ("call", 110, 100), cost=-150)
    assert (condor.most, condor.least, condor.break_evens()) == (150, -350, [93.5, 106.5])
    assert condor.gains() == [(93.5, 106.5)]
    covered = made(("call", 110, -100), shares=100, cost=9_700)
    assert (covered.most, covered.least, covered.break_evens()) == (1300, -9700, [97])
    ratio = made(("call", 100, 100), ("call", 110, -200), cost=100)
    assert (ratio.most, ratio.least, ratio.break_evens()) == (900, None, [101, 119])
    shares = made(shares=100, cost=10_000)
    assert (shares.most, shares.least, shares.break_evens()) == (None, -10_000, [100])


def test_a_stretch_without_gain_or_loss_has_its_ends_as_break_evens() -> None:
    free = made(("call", 100, 100), ("call", 110, -100))
    assert free.break_evens() == [0, 100]
    assert free.gains() == [(100, inf)]
    nothing = made(("call", 100, 100), ("call", 100, -100))
    assert (nothing.most, nothing.least, nothing.gains()) == (0, 0, [])
    touched = made(("put", 100, 100), ("call", 100, 100))
    assert touched.break_evens() == [100]
    assert touched.gains() == [(0, inf)]


def test_a_call_less_a_put_pays_like_the_forward() -> None:
    synthetic = made(("call", 100, 100), ("put", 100, -100))
    forward = made(shares=100, cost=10_000)
    prices = np.linspace(0, 300, 61)
    assert synthetic.at(prices) == pytest.approx(forward.at(prices), abs=1e-9)


def test_a_calendar_is_drawn_and_its_break_evens_are_zeros_of_the_model() -> None:
    calendar = position(("call", 100, -100, 0.1), ("call", 100, 100, 0.35))
    assert not ends_at_once(calendar)
    drawn = payoff_at_end(calendar, World(100.0), 250.0)
    assert len(drawn.break_evens()) == 2
    low, high = drawn.break_evens()
    assert low < 100 < high
    assert drawn.least == pytest.approx(-250.0, abs=0.5)
    # The most is at the strike: what the far call is worth there then, less the cost.
    far = position(("call", 100, 100, 0.25))
    from paiid.domain.pricing.strategy import worth_by_spot

    assert drawn.most == pytest.approx(
        float(worth_by_spot(far, World(100.0), np.array([100.0]))[0]) - 250, abs=1e-6
    )
    at_zeros = worth_by_spot(far, World(100.0), np.array([low, high]))
    near_pays = 100 * np.maximum(np.array([low, high]) - 100, 0)
    assert at_zeros - near_pays - 250 == pytest.approx([0, 0], abs=1e-6)


def test_the_limits_of_a_drawn_pay_off_follow_style_and_yield() -> None:
    legs = (("call", 100.0, -100.0, 0.1), ("call", 100.0, 100.0, 1.1), ("put", 90.0, 100.0, 1.1))
    american, european = (
        payoff_at_end(position(*legs, style=one), World(100.0), 0.0) for one in ("american", "european")
    )  # type: ignore[arg-type]
    assert american.last_slope == 0
    assert american.least is not None
    assert american.values[0] == 9000
    # A European call moves by less than the share, so the short one that has ended loses without limit.
    assert european.last_slope == pytest.approx(100 * (exp(-0.01) - 1))
    assert european.least is None
    assert european.values[0] == pytest.approx(9000 * exp(-0.04))


def test_opposite_calendars_pay_opposite_amounts() -> None:
    legs = (("put", 95.0, -100.0, 0.1), ("put", 90.0, 200.0, 0.35), ("call", 110.0, 100.0, 0.2))
    one = payoff_at_end(position(*legs), World(100.0), 120.0)
    other = payoff_at_end(position(*[(kind, k, -u, t) for kind, k, u, t in legs]), World(100.0), -120.0)
    prices = np.union1d(one.nodes, other.nodes)
    both = np.intersect1d(one.nodes, other.nodes)
    assert len(both) > 200
    assert one.at(both) + other.at(both) == pytest.approx(np.zeros(len(both)), abs=1e-8)
    assert one.at(prices) + other.at(prices) == pytest.approx(np.zeros(len(prices)), abs=2.0)


def test_probabilities_add_up_and_are_those_of_the_lognormal() -> None:
    forward, volatility, years = 100.0, 0.3, 0.25
    drawn = forward * np.exp(0.15 * np.random.default_rng(3).standard_normal(400_000) - 0.15**2 / 2)
    for price in (70.0, 95.0, 130.0):
        share = float(np.mean(drawn > price))
        assert probability_above(price, forward, volatility, years) == pytest.approx(share, abs=4e-3)
    both = [probability_within(one, forward, volatility, years) for one in ([(0, 97.5)], [(97.5, inf)])]
    assert isclose(sum(both), 1.0, rel_tol=1e-12)
    assert probability_within([], forward, volatility, years) == 0.0
    # Without time the forward is what it will be.
    assert [probability_above(price, 100.0, 0.3, 0.0) for price in (99, 101)] == [1.0, 0.0]
