"""Positions in a world that is otherwise: a grid is what each of its cells is, and time brings dividends nearer."""

import numpy as np
import pytest

from paiid.domain.pricing.strategy import (
    Position,
    Scenario,
    World,
    value_at,
    worth_by_spot,
    worth_by_spot_and_time,
    worth_by_spot_and_volatility,
)
from paiid.domain.pricing.terms import CashDividend, Contracts, Style

SPOTS = np.array([85.0, 100.0, 112.0])


def held(style: Style = "american", shares: float = 25.0) -> Position:
    """A short put, two long calls that end at different times, each with its own volatility and rate."""
    return Position(
        Contracts(np.array([False, True, True]), np.array([95.0, 100.0, 110.0]), np.array([0.2, 0.2, 0.6])),
        np.array([0.35, 0.3, 0.27]),
        np.array([-100.0, 100.0, 200.0]),
        np.array([0.03, 0.03, 0.04]),
        np.array([0.0, 0.0, 0.01]),
        shares,
        style,
    )


def worth(position: Position, world: World, scenario: Scenario) -> float:
    """By one valuation of its contracts."""
    values = value_at(position, world, scenario)
    return float(position.units @ values.price + position.shares * scenario.spot)


@pytest.mark.parametrize(
    "world", [World(100.0), World(100.0, (CashDividend(0.1, 1.0), CashDividend(0.3, 1.0)))]
)
def test_every_cell_of_a_grid_is_what_its_scenario_alone_is_worth(world: World) -> None:
    position = held()
    changes, times = np.array([-0.1, 0.05]), np.array([0.0, 0.05, 0.2])
    by_volatility = worth_by_spot_and_volatility(position, world, SPOTS, changes, 0.05, 0.01)
    by_time = worth_by_spot_and_time(position, world, SPOTS, times, 0.02, 0.01)
    assert by_volatility.shape == (2, 3)
    assert by_time.shape == (3, 3)
    for column, spot in enumerate(SPOTS):
        for row, change in enumerate(changes):
            alone = worth(position, world, Scenario(spot, float(change), 0.01, 0.05))
            assert by_volatility[row, column] == pytest.approx(alone, abs=0.5)
        for row, years in enumerate(times):
            alone = worth(position, world, Scenario(spot, 0.02, 0.01, float(years)))
            assert by_time[row, column] == pytest.approx(alone, abs=0.5)


def test_a_dividend_that_time_has_passed_is_gone_and_the_next_is_nearer() -> None:
    world = World(100.0, (CashDividend(0.1, 1.0), CashDividend(0.3, 2.0)))
    assert world.later(0.0) == world.dividends
    [left] = world.later(0.2)
    assert left.amount == 2.0
    assert left.years == pytest.approx(0.1)
    assert world.later(0.3) == ()


def test_the_forward_falls_by_what_is_paid_until_then_and_never_to_nothing() -> None:
    world = World(100.0, (CashDividend(0.5, 3.0),))
    assert world.forward(0.25, 0.04, 0.01) == pytest.approx(100 * np.exp(0.03 * 0.25))
    later = 100 * np.exp(0.03) - 3 * np.exp(0.03 * 0.5)
    assert world.forward(1.0, 0.04, 0.01) == pytest.approx(later)
    assert World(100.0, (CashDividend(0.5, 300.0),)).forward(1.0, 0.0, 0.0) == 1.0


def test_a_call_less_a_put_is_the_forward_in_every_scenario() -> None:
    pair = Position(
        Contracts(np.array([True, False]), np.array([100.0, 100.0]), np.array([0.5, 0.5])),
        np.full(2, 0.3), np.array([100.0, -100.0]), np.full(2, 0.04), np.full(2, 0.01), 0.0, "european",
    )  # fmt: skip
    grid = worth_by_spot_and_volatility(pair, World(100.0), SPOTS, np.array([-0.2, 0.0, 0.3]), 0.1)
    forward = 100 * (SPOTS * np.exp(-0.01 * 0.4) - 100 * np.exp(-0.04 * 0.4))
    assert grid == pytest.approx(np.tile(forward, (3, 1)), abs=1e-8)


def test_opposite_positions_are_worth_nothing_together_whatever_happens() -> None:
    one = held()
    other = Position(
        one.contracts, one.volatility, -one.units, one.rate, one.dividend_yield, -one.shares, one.style
    )
    world, times = World(100.0, (CashDividend(0.1, 1.0),)), np.array([0.0, 0.15])
    both = [worth_by_spot_and_time(position, world, SPOTS, times) for position in (one, other)]
    assert both[0] == pytest.approx(-both[1], abs=1e-9)


def test_shares_alone_are_worth_what_they_cost_and_volatility_never_falls_below_nothing() -> None:
    empty = np.zeros(0)
    shares = Position(Contracts(empty.astype(np.bool_), empty, empty), empty, empty, empty, empty, 10.0)
    assert worth_by_spot(shares, World(100.0), SPOTS) == pytest.approx(10 * SPOTS)
    assert len(value_at(shares, World(100.0), Scenario(100.0)).price) == 0
    still = worth_by_spot_and_volatility(held("european"), World(100.0), SPOTS, np.array([-0.36, -5.0]))
    assert still[0] == pytest.approx(still[1])
    # What is left is what the forward pays, discounted.
    one = held("european")
    sign = np.where(one.contracts.call, 1.0, -1.0)[:, None]
    drift, discount = (
        np.exp(-rate * one.contracts.years)[:, None] for rate in (one.dividend_yield, one.rate)
    )
    pays = np.maximum(sign * (SPOTS * drift - one.contracts.strike[:, None] * discount), 0)
    assert still[0] == pytest.approx(one.units @ pays + one.shares * SPOTS, abs=1e-6)
