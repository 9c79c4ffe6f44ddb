"""A position of some options and shares in a market that is not quite this one: what it is worth and how it reacts.

A `Scenario` moves the price, the volatilities, the rate and the clock; the cash dividends whose ex-date the clock passes are
gone, the others are nearer. Everything is valued through the one door of pricing, a whole grid of scenarios in one pass.
"""

from dataclasses import dataclass
from math import exp

import numpy as np

from paiid.domain.pricing.strategy_spots import prices_over
from paiid.domain.pricing.terms import (
    Accuracy,
    BoolArray,
    CashDividend,
    Contracts,
    FloatArray,
    Market,
    Style,
    Values,
)

_SAME_INSTANT = 1e-9
"""Years: closer than that (a thirtieth of a second) an ex-date has come."""


@dataclass(frozen=True, slots=True)
class Position:
    """Options and shares on one underlying. For each contract: `volatility`, a fraction a year; `units`, the shares it is about (contracts
    held, negative where sold, by the size of one); `rate` and `dividend_yield` until it expires, continuously compounded
    fractions a year."""

    contracts: Contracts
    volatility: FloatArray
    units: FloatArray
    rate: FloatArray
    dividend_yield: FloatArray
    shares: float
    style: Style = "american"
    accuracy: Accuracy = "fast"

    def __len__(self) -> int:
        return len(self.contracts)

    def only(self, where: BoolArray) -> "Position":
        """These contracts of it, without the shares."""
        contracts = self.contracts
        return Position(
            Contracts(contracts.call[where], contracts.strike[where], contracts.years[where]),
            self.volatility[where],
            self.units[where],
            self.rate[where],
            self.dividend_yield[where],
            0.0,
            self.style,
            self.accuracy,
        )


@dataclass(frozen=True, slots=True)
class World:
    """What the underlying costs now and the cash it will pay."""

    spot: float
    dividends: tuple[CashDividend, ...] = ()

    def later(self, years: float) -> "tuple[CashDividend, ...]":
        """The dividends that are still to come after so long."""
        return tuple(
            CashDividend(one.years - years, one.amount)
            for one in self.dividends
            if one.years - years > _SAME_INSTANT
        )

    def forward(self, years: float, rate: float, dividend_yield: float) -> float:
        """What the underlying is worth then, on average in the spot model: dividends with an ex-date until then are gone. At least a
        hundredth of the spot, for cash can eat up more than all of it."""
        carry = rate - dividend_yield
        paid = sum(one.amount * exp(-carry * one.years) for one in self.dividends if one.years <= years)
        return max(self.spot - paid, self.spot / 100) * exp(carry * years)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is otherwise than now: the price, the volatilities by so many fractions a year, the rate likewise, and the clock."""

    spot: float
    volatility_change: float = 0.0
    rate_change: float = 0.0
    years_forward: float = 0.0


def between_two_prices(position: Position, rate_change: float) -> int:
    """How many contracts are exercised early between two prices, at the rate so changed: both rates are below zero. Each takes about a
    twentieth of a second to value (`two_boundaries`), times those that its Greeks need."""
    from paiid.domain.pricing.american_terms import early_exercise

    contracts = position.contracts
    _, two = early_exercise(
        ~contracts.call, contracts.years, position.rate + rate_change, position.dividend_yield
    )
    return int(np.count_nonzero(two))


def value_at(position: Position, world: World, scenario: Scenario) -> Values:
    """Price and Greeks a share of each contract there. A contract that has ended by then is worth what exercising it pays."""
    from paiid.domain.pricing import valuation

    contracts, volatility = _moved(position, scenario.years_forward, scenario.volatility_change)
    if not len(contracts):
        nothing = np.zeros(0)
        return Values(nothing, nothing, nothing, nothing, nothing, nothing)
    market = Market(
        scenario.spot,
        position.rate + scenario.rate_change,
        position.dividend_yield,
        world.later(scenario.years_forward),
    )
    return valuation.value(contracts, market, volatility, style=position.style, accuracy=position.accuracy)


def worth_by_spot(
    position: Position, world: World, spots: FloatArray, years_forward: float = 0.0, rate_change: float = 0.0
) -> FloatArray:
    """Dollars the whole position is worth at each price (above zero)."""
    found: FloatArray = _grid(position, world, spots, np.zeros(1), years_forward, rate_change)[0]
    return found


def worth_by_spot_and_volatility(
    position: Position,
    world: World,
    spots: FloatArray,
    changes: FloatArray,
    years_forward: float = 0.0,
    rate_change: float = 0.0,
) -> FloatArray:
    """Dollars by volatility change (rows, fractions a year) and price (columns), in one pass."""
    return _grid(position, world, spots, changes, years_forward, rate_change)


def worth_by_spot_and_time(
    position: Position,
    world: World,
    spots: FloatArray,
    years_forward: FloatArray,
    volatility_change: float = 0.0,
    rate_change: float = 0.0,
) -> FloatArray:
    """Dollars by time (rows) and price (columns). One pass where no cash is to be paid; with dividends one for each time, for they are
    nearer at each."""
    changes = np.array([volatility_change])
    if world.dividends:
        rows = [_grid(position, world, spots, changes, float(one), rate_change) for one in years_forward]
        return np.concatenate(rows)
    repeated = [_moved(position, float(one), volatility_change) for one in years_forward]
    years = np.concatenate([contracts.years for contracts, _ in repeated])
    times = len(years_forward)
    contracts = Contracts(
        np.tile(position.contracts.call, times), np.tile(position.contracts.strike, times), years
    )
    prices = _prices(position, world, contracts, np.tile(repeated[0][1], times), spots, 0.0, rate_change)
    return _summed(position, prices.reshape(times, len(position), len(spots)), spots)


def _grid(
    position: Position,
    world: World,
    spots: FloatArray,
    changes: FloatArray,
    years_forward: float,
    rate_change: float,
) -> FloatArray:
    contracts, _ = _moved(position, years_forward, 0.0)
    rows = len(changes)
    tiled = Contracts(
        np.tile(contracts.call, rows), np.tile(contracts.strike, rows), np.tile(contracts.years, rows)
    )
    volatility = np.maximum(position.volatility[None, :] + changes[:, None], 0.0).ravel()
    prices = _prices(position, world, tiled, volatility, spots, years_forward, rate_change)
    return _summed(position, prices.reshape(rows, len(position), len(spots)), spots)


def _prices(
    position: Position,
    world: World,
    contracts: Contracts,
    volatility: FloatArray,
    spots: FloatArray,
    years_forward: float,
    rate_change: float,
) -> FloatArray:
    """Each contract (rows) at each spot (columns)."""
    times = len(contracts) // max(len(position), 1)
    return prices_over(
        contracts,
        np.tile(position.rate + rate_change, times),
        np.tile(position.dividend_yield, times),
        volatility,
        world.later(years_forward),
        spots,
        position.style,
    )


def _summed(position: Position, prices: FloatArray, spots: FloatArray) -> FloatArray:
    """Dollars of the position from prices by (row, contract, spot)."""
    options = np.einsum("c,rcs->rs", position.units, prices)
    return np.asarray(options + position.shares * spots[None, :])


def _moved(
    position: Position, years_forward: float, volatility_change: float
) -> tuple[Contracts, FloatArray]:
    contracts = position.contracts
    years = np.maximum(contracts.years - years_forward, 0.0)
    return (
        Contracts(contracts.call, contracts.strike, years),
        np.maximum(position.volatility + volatility_change, 0.0),
    )
