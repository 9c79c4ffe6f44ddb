"""Makes a position and its market of what was asked and what the market tells; each default says where it is from.

Whatever is missing in the end is a 422 that names the field.
"""

from dataclasses import dataclass, replace

import numpy as np

from paiid.core.instants import instant
from paiid.domain.errors import Code, FieldError, Problem, invalid_field
from paiid.domain.pricing.strategy import Position, Scenario, World
from paiid.domain.pricing.terms import DAYS_OF_YEAR, CashDividend, Contracts, FloatArray, Style
from paiid.options.contract_terms import ex_date_us, is_european
from paiid.options.records import Assumed
from paiid.options.what_if_legs import GIVEN, YEAR_US, Known, Leg, leg_of
from paiid.options.what_if_terms import Asked, MarketAsked, ScenarioAsked
from paiid.options.what_if_volatility import missing_volatility, with_volatilities

_SAME_INSTANT = 1e-9


@dataclass(frozen=True, slots=True)
class Made:
    """Everything that was asked or found, ready to be valued."""

    known: Known
    symbol: str | None
    spot: Assumed
    style: Style
    style_source: str
    dividends_source: str
    legs: tuple[Leg, ...]
    position: Position
    world: World

    @property
    def first_years(self) -> float | None:
        """To the first expiration; None where there are only shares."""
        return min((leg.years for leg in self.legs if leg.number is not None), default=None)


def make(asked: Asked, known: Known) -> Made:
    """The position in its market. Raises Problem (422) that names every field that is missing or cannot be."""
    market, chain = asked.market, known.chain
    spot = _spot(market, known)
    style, style_source = _style(asked, market)
    cash, dividends_source = _dividends(market, known)
    errors: list[FieldError] = []
    legs: list[Leg] = []
    for at, one in enumerate(asked.legs):
        try:
            legs.append(leg_of(f"legs.{at}", one, market, known))
        except Problem as problem:
            errors += problem.errors
    if spot is None:
        errors.append(FieldError("spot", "missing", f"Give spot: {_no_market(known, market.symbol)}."))
        errors += [
            missing_volatility(f"legs.{at}", known, market.symbol)
            for at, leg in enumerate(asked.legs)
            if leg.kind != "shares" and leg.volatility is None and leg.price is None
        ]
    if errors or spot is None:
        raise Problem(Code.VALIDATION, f"{errors[0].field}: {errors[0].message}", errors=errors)
    world = World(spot.value, cash)
    legs = with_volatilities(legs, world, known, style, asked)
    options = [leg for leg in legs if leg.asked.kind != "shares"]
    numbered = iter(range(len(options)))
    placed = tuple(leg if leg.asked.kind == "shares" else replace(leg, number=next(numbered)) for leg in legs)
    shares = sum(leg.asked.qty for leg in legs if leg.asked.kind == "shares")
    position = Position(
        Contracts(
            np.array([leg.asked.kind == "call" for leg in options], dtype=np.bool_),
            _floats([leg.asked.strike for leg in options]),
            _floats([leg.years for leg in options]),
        ),
        _floats([leg.volatility.value for leg in options if leg.volatility is not None]),
        _floats([leg.units for leg in options]),
        _floats([leg.rate.value for leg in options]),
        _floats([leg.dividend_yield.value for leg in options]),
        shares,
        style,
        market.accuracy,
    )
    symbol = chain.symbol if chain is not None else market.symbol
    return Made(known, symbol, spot, style, style_source, dividends_source, placed, position, world)


def scenario_of(asked: ScenarioAsked, made: Made) -> Scenario:
    """What is to be otherwise. Raises Problem (422) for a time before now or after the first expiration."""
    spot = made.spot.value
    if asked.spot_to is not None:
        spot = asked.spot_to
    elif asked.spot_change_pct is not None:
        spot *= 1 + asked.spot_change_pct / 100
    years, field = 0.0, "days_forward"
    if asked.days_forward is not None:
        years = asked.days_forward / DAYS_OF_YEAR
    elif asked.at_us is not None:
        years, field = (asked.at_us - made.known.now_us) / YEAR_US, "at"
    if years < 0:
        raise invalid_field(
            field, "past", f"at lies before {instant(made.known.now_us)}, the instant that is now here."
        )
    check_not_after(made, years, field)
    return Scenario(spot, asked.volatility_change / 100, asked.rate_change / 100, years)


def check_not_after(made: Made, years: float, field: str) -> None:
    """Raises Problem (422) where that is after the first expiration: what became of it would depend on the way there."""
    first = made.first_years
    if first is not None and years > first + _SAME_INSTANT:
        raise invalid_field(
            field,
            "after_expiration",
            f"{field} goes beyond the first expiration, which is {first * DAYS_OF_YEAR:.6g} days away.",
        )


def _floats(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _no_market(known: Known, symbol: str | None) -> str:
    if symbol is None:
        return "no symbol is named"
    return known.why or f"the market does not tell it of {symbol}"


def _spot(market: MarketAsked, known: Known) -> Assumed | None:
    if market.spot is not None:
        return Assumed(market.spot, GIVEN)
    told = None if known.chain is None else known.chain.assumptions.spot
    return None if told is None else Assumed(told.price, told.source)


def _style(asked: Asked, market: MarketAsked) -> tuple[Style, str]:
    """One for all legs: said, or that of their roots."""
    if market.style is not None:
        return market.style, GIVEN
    roots = {leg.contract.root for leg in asked.legs if leg.contract is not None}
    if not roots and market.symbol is not None:
        roots = {market.symbol}
    european = {is_european(root) for root in roots}
    if len(european) > 1:
        raise invalid_field(
            "style", "missing", "Some of these contracts are American and some European: name one style."
        )
    if not roots:
        return "american", "none"
    return ("european" if True in european else "american"), "contract"


def _dividends(market: MarketAsked, known: Known) -> tuple[tuple[CashDividend, ...], str]:
    if market.dividends is None:
        if known.chain is None:
            return (), "none"
        return known.chain.assumptions.cash, known.chain.assumptions.dividends_source
    cash: list[CashDividend] = []
    for at, one in enumerate(market.dividends):
        years = (one.days or 0.0) / DAYS_OF_YEAR
        if one.ex_date is not None:
            years = (ex_date_us(one.ex_date) - known.now_us) / YEAR_US
        if years <= 0:
            raise invalid_field(
                f"dividends.{at}.ex_date", "past", f"The ex-date {one.ex_date} has begun; leave it out."
            )
        cash.append(CashDividend(years, one.amount))
    return tuple(sorted(cash, key=lambda one: one.years)), GIVEN
