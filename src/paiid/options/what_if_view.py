"""What-if as JSON: every leg by the share and as it is held, the sum, and a grid; each number says where it is from."""

from math import isfinite
from typing import Any

import numpy as np

from paiid.core.instants import instant
from paiid.domain.money import plain
from paiid.domain.pricing import quality, strategy
from paiid.domain.pricing.strategy import Scenario
from paiid.domain.pricing.terms import DAYS_OF_YEAR, FloatArray, Values
from paiid.options.records import Assumed
from paiid.options.surface_view import number
from paiid.options.what_if_legs import GIVEN, Leg
from paiid.options.what_if_terms import Asked, GridAsked
from paiid.options.what_if_world import Made, check_not_after, scenario_of

GREEKS = ("delta", "gamma", "theta", "vega", "rho")
_SHARE_DIGITS = 6
_DOLLAR_DIGITS = 4


def what_if_view(asked: Asked, made: Made) -> dict[str, Any]:
    """The whole answer. Raises Problem (422) for times that cannot be."""
    scenario = scenario_of(asked.scenario, made)
    now = Scenario(made.spot.value)
    before, after = (strategy.value_at(made.position, made.world, one) for one in (now, scenario))
    legs = [leg_view(leg, made, before, after, scenario, leg.asked.price) for leg in made.legs]
    return {
        **market_view(made),
        "scenario": scenario_view(scenario, made),
        "legs": legs,
        "total": _total(made, before, after, scenario),
        "grid": None if asked.grid is None else _grid(asked.grid, made, scenario),
    }


def market_view(made: Made) -> dict[str, Any]:
    """What is taken for granted, each with its source."""
    chain = made.known.chain
    return {
        "symbol": made.symbol,
        "spot": assumed(made.spot, 6),
        "style": {"value": made.style, "source": made.style_source},
        "accuracy": made.position.accuracy,
        "dividends": {
            "source": made.dividends_source,
            "cash": [
                {"days": number(one.years * DAYS_OF_YEAR, 4), "amount": number(one.amount, 6)}
                for one in made.world.dividends
            ],
        },
        "priced_at": instant(made.known.now_us),
        "source": None if chain is None else chain.source,
        "as_of": None if chain is None else instant(chain.as_of_us),
        "stale": None if chain is None else chain.stale,
        "age_s": None if chain is None else number(chain.age_s, 3),
        "no_market_data": made.known.why,
    }


def scenario_view(scenario: Scenario, made: Made) -> dict[str, Any]:
    """The world that is otherwise."""
    return {
        "spot": number(scenario.spot, 6),
        "spot_change_pct": number((scenario.spot / made.spot.value - 1) * 100, 6),
        "volatility_change": number(scenario.volatility_change * 100, 6),
        "rate_change": number(scenario.rate_change * 100, 6),
        "days_forward": number(scenario.years_forward * DAYS_OF_YEAR, 6),
        "at": instant(made.known.now_us + round(scenario.years_forward * DAYS_OF_YEAR * 86_400_000_000)),
    }


def assumed(one: Assumed | None, digits: int) -> dict[str, Any] | None:
    """A number with its source."""
    return None if one is None else {"value": number(one.value, digits), "source": one.source}


def leg_view(
    leg: Leg, made: Made, before: Values, after: Values, scenario: Scenario, price: float | None
) -> dict[str, Any]:
    """One leg, now and then; `price` is what it costs, dollars a share, None where that is not known."""
    now, then = _worth(leg, before, made.spot.value), _worth(leg, after, scenario.spot)
    asked = leg.asked
    return {
        "symbol": made.symbol if asked.kind == "shares" else None if leg.contract is None else leg.contract.symbol,
        "type": asked.kind,
        "strike_price": None if asked.kind == "shares" else number(asked.strike, 6),
        "expiration_date": None if asked.expiration is None else asked.expiration.isoformat(),
        "days_to_expiry": None if asked.kind == "shares" else number(leg.years * DAYS_OF_YEAR, 6),
        "qty": number(asked.qty, 9),
        "size": number(asked.size, 9),
        "listed": leg.row is not None,
        "quote": _quote(leg, made),
        "volatility": assumed(leg.volatility, 8),
        "rate": None if asked.kind == "shares" else assumed(leg.rate, 8),
        "dividend_yield": None if asked.kind == "shares" else assumed(leg.dividend_yield, 8),
        "now": _both(now, leg.units),
        "scenario": _both(then, leg.units),
        "change": number((then["price"] - now["price"]) * leg.units, _DOLLAR_DIGITS),
        "cost": number(None if price is None else price * leg.units, _DOLLAR_DIGITS),
        "profit": number(None if price is None else (then["price"] - price) * leg.units, _DOLLAR_DIGITS),
    }  # fmt: skip


def _quote(leg: Leg, made: Made) -> dict[str, Any] | None:
    """Dollars a share, None for a side that nobody quotes; `quality` is what is wrong with it, as in a chain."""
    chain = made.known.chain
    if chain is None or leg.row is None:
        return None
    quote = chain.rows[leg.row].quote
    sides = (None, None) if quote is None else (plain(quote.bid) or None, plain(quote.ask) or None)
    return {
        "bid": sides[0],
        "ask": sides[1],
        "mid": number(leg.mid, 6),
        "quality": quality.names_of(int(chain.flags[leg.row])),
    }


def _worth(leg: Leg, values: Values, spot: float) -> dict[str, float]:
    """Price and Greeks of one share of it; a share of the underlying moves like itself and in no other way."""
    if leg.number is None:
        return {"price": spot, "delta": 1.0, **dict.fromkeys(GREEKS[1:], 0.0)}
    return {name: float(getattr(values, name)[leg.number]) for name in ("price", *GREEKS)}


def _both(worth: dict[str, float], units: float) -> dict[str, Any]:
    return {
        "price": number(worth["price"], _SHARE_DIGITS),
        **{name: number(worth[name], _digits(name)) for name in GREEKS},
        "position": {
            "value": number(worth["price"] * units, _DOLLAR_DIGITS),
            **{name: number(worth[name] * units, _DOLLAR_DIGITS) for name in GREEKS},
        },
    }


def _digits(name: str) -> int:
    # The gamma of a dear underlying is small.
    return 8 if name == "gamma" else _SHARE_DIGITS


def totals(made: Made, values: Values, spot: float) -> dict[str, float]:
    """Dollars and Greeks of all legs together."""
    units, shares = made.position.units, made.position.shares
    return {
        "value": float(units @ values.price) + shares * spot,
        "delta": float(units @ values.delta) + shares,
        **{name: float(units @ getattr(values, name)) for name in GREEKS[1:]},
    }


def rounded(sums: dict[str, float]) -> dict[str, Any]:
    """For people."""
    return {name: number(one, _DOLLAR_DIGITS) for name, one in sums.items()}


def _total(made: Made, before: Values, after: Values, scenario: Scenario) -> dict[str, Any]:
    now, then = totals(made, before, made.spot.value), totals(made, after, scenario.spot)
    prices = [leg.asked.price for leg in made.legs]
    known = [price * leg.units for price, leg in zip(prices, made.legs, strict=True) if price is not None]
    cost = sum(known) if len(known) == len(prices) else None
    return {
        "now": rounded(now),
        "scenario": rounded(then),
        "change": number(then["value"] - now["value"], _DOLLAR_DIGITS),
        "cost": number(cost, _DOLLAR_DIGITS),
        "profit": number(None if cost is None else then["value"] - cost, _DOLLAR_DIGITS),
    }


def _grid(asked: GridAsked, made: Made, scenario: Scenario) -> dict[str, Any]:
    """Dollars of the position. What the scenario says of the other axes holds for all of it."""
    spots = made.spot.value * (
        1 + np.linspace(asked.spot_from_pct, asked.spot_to_pct, asked.spot_steps) / 100
    )
    shown: dict[str, Any] = {"by": asked.by, "spots": _row(spots, 6)}
    if asked.by == "volatility":
        changes = np.linspace(asked.volatility_from, asked.volatility_to, asked.steps)
        values = strategy.worth_by_spot_and_volatility(
            made.position, made.world, spots, changes / 100, scenario.years_forward, scenario.rate_change
        )
        shown["volatility_changes"] = _row(changes, 6)
    else:
        first = made.first_years or 0.0
        until = first if asked.days_to is None else asked.days_to / DAYS_OF_YEAR
        check_not_after(made, until, "grid.days_to")
        times = np.linspace(0.0, until, asked.steps)
        values = strategy.worth_by_spot_and_time(
            made.position, made.world, spots, times, scenario.volatility_change, scenario.rate_change
        )
        shown["days_forward"] = _row(times * DAYS_OF_YEAR, 6)
    return {**shown, "values": [_row(row, _DOLLAR_DIGITS) for row in values]}


def _row(values: FloatArray, digits: int) -> list[float | None]:
    return [round(one, digits) + 0.0 if isfinite(one) else None for one in values.tolist()]


def source_of_price(leg: Leg) -> str:
    """Where what a leg costs is from."""
    if leg.asked.price is not None:
        return GIVEN
    return "mid" if leg.mid is not None else "model"
