"""A strategy as JSON: what it costs, what it pays at its first expiration, where it breaks even, how likely it gains."""

from math import exp, inf, sqrt
from typing import Any

import numpy as np

from paiid.domain.pricing import strategy
from paiid.domain.pricing.payoff import Payoff
from paiid.domain.pricing.strategy import Scenario
from paiid.domain.pricing.strategy_odds import ASSUMPTIONS, probability_within
from paiid.domain.pricing.strategy_payoff import ends_at_once, payoff_at_end
from paiid.domain.pricing.surface import volatilities
from paiid.domain.pricing.terms import DAYS_OF_YEAR, FloatArray, Values
from paiid.options.records import Assumed
from paiid.options.surface_view import number
from paiid.options.what_if_legs import Leg
from paiid.options.what_if_terms import Asked, RangeAsked
from paiid.options.what_if_view import (
    leg_view,
    market_view,
    rounded,
    scenario_view,
    source_of_price,
    totals,
)
from paiid.options.what_if_world import Made, scenario_of

_DOLLARS = 4
_PRICES = 6
_REACH = 2.5
"""Standard deviations to both sides that are shown unless said."""
_LEAST_REACH = 0.05


def strategy_view(asked: Asked, made: Made) -> dict[str, Any]:
    """The whole answer. Raises Problem (422) for times that cannot be."""
    scenario = scenario_of(asked.scenario, made)
    now = Scenario(made.spot.value)
    before, after = (strategy.value_at(made.position, made.world, one) for one in (now, scenario))
    prices = [_price(leg, before, made) for leg in made.legs]
    cost = sum(price * leg.units for price, leg in zip(prices, made.legs, strict=True))
    end = payoff_at_end(made.position, made.world, cost)
    legs = [
        {**leg_view(leg, made, before, after, scenario, price), "cost_source": source_of_price(leg)}
        for leg, price in zip(made.legs, prices, strict=True)
    ]
    return {
        **market_view(made),
        "scenario": scenario_view(scenario, made),
        "legs": legs,
        "net": _net(cost),
        "total": {"now": rounded(totals(made, before, made.spot.value)), "scenario": rounded(totals(made, after, scenario.spot))},
        "at_expiration": _at_expiration(end, made),
        "probability_of_profit": _odds(end, made),
        "payoff": _curve(asked.range or RangeAsked(None, None, 61), end, made, scenario, cost),
    }  # fmt: skip


def _price(leg: Leg, before: Values, made: Made) -> float:
    """Dollars a share it costs: as given, else the middle of its quote, else what the model says. Shares cost the spot."""
    if leg.asked.price is not None:
        return leg.asked.price
    if leg.number is None:
        return made.spot.value
    return leg.mid if leg.mid is not None else float(before.price[leg.number])


def _net(cost: float) -> dict[str, Any]:
    """Dollars of the whole position, shares included."""
    kind = "debit" if cost > 0 else "credit" if cost < 0 else "even"
    return {"cost": number(cost, _DOLLARS), "kind": kind, "amount": number(abs(cost), _DOLLARS)}


def _at_expiration(end: Payoff, made: Made) -> dict[str, Any]:
    """Losses are negative dollars; null and the flag where there is no limit."""
    first = made.first_years or 0.0
    day = min((leg.asked.expiration for leg in made.legs if leg.asked.expiration is not None), default=None)
    return {
        "date": None if day is None else day.isoformat(),
        "days": number(first * DAYS_OF_YEAR, 6),
        "exact": ends_at_once(made.position),
        "break_evens": [number(one, _PRICES) for one in end.break_evens()],
        "max_gain": number(end.most, _DOLLARS),
        "max_gain_unlimited": end.most is None,
        "max_loss": number(end.least, _DOLLARS),
        "max_loss_unlimited": end.least is None,
    }


def _odds(end: Payoff, made: Made) -> dict[str, Any]:
    first = made.first_years or 0.0
    nearest = min((leg for leg in made.legs if leg.number is not None), key=lambda leg: leg.years)
    forward = made.world.forward(first, nearest.rate.value, nearest.dividend_yield.value)
    volatility = _volatility(made, first)
    chance = probability_within(end.gains(), forward, volatility.value, first)
    return {
        "value": number(chance, 6),
        "volatility": {"value": number(volatility.value, 8), "source": volatility.source},
        "forward": number(forward, _PRICES),
        "within": [
            {"from": number(low, _PRICES), "to": None if high == inf else number(high, _PRICES)} for low, high in end.gains()
        ],
        "assumes": ASSUMPTIONS,
    }  # fmt: skip


def _volatility(made: Made, years: float) -> Assumed:
    """That of the smile at the money, or where there is none the mean of the legs', each by what it could move."""
    smiles = [] if made.known.surface is None else made.known.surface.smiles
    if smiles and smiles[0].years <= years <= smiles[-1].years:
        [found] = volatilities(smiles, years, np.zeros(1))
        if found is not None:
            return Assumed(found, "surface")
    weights = np.abs(made.position.units)
    return Assumed(float(weights @ made.position.volatility / weights.sum()), "legs")


def _curve(asked: RangeAsked, end: Payoff, made: Made, scenario: Scenario, cost: float) -> dict[str, Any]:
    """Profit in dollars by price: at the first expiration, and in the scenario, which without one is now."""
    spots = _spots(asked, made)
    worth = strategy.worth_by_spot_and_volatility(
        made.position,
        made.world,
        spots,
        np.array([scenario.volatility_change]),
        scenario.years_forward,
        scenario.rate_change,
    )[0]
    return {
        "spots": [number(one, _PRICES) for one in spots],
        "at_expiration": [number(one, _DOLLARS) for one in end.at(spots)],
        "in_scenario": [number(one - cost, _DOLLARS) for one in worth],
    }


def _spots(asked: RangeAsked, made: Made) -> FloatArray:
    """Evenly over the range, and the strikes within it, so that no corner is cut."""
    spot, position = made.spot.value, made.position
    deviation = float(np.max(position.volatility * np.sqrt(position.contracts.years)))
    reach = exp(max(_REACH * deviation, _LEAST_REACH))
    strikes = position.contracts.strike
    low, high = min(spot, float(strikes.min())) / sqrt(reach), max(spot, float(strikes.max())) * sqrt(reach)
    low, high = min(low, spot / reach), min(max(high, spot * reach), 100 * spot)
    if asked.from_pct is not None:
        low = spot * (1 + asked.from_pct / 100)
    if asked.to_pct is not None:
        high = spot * (1 + asked.to_pct / 100)
    if low >= high:
        low, high = high / 2, high
    corners = strikes[(strikes > low) & (strikes < high)]
    return np.unique(np.concatenate([np.linspace(low, high, asked.points), corners]))
