"""Makes a position and its market of what was asked and what the market tells; each default says where it is from.

A leg's volatility is the one given, else the one its given price implies, else that of its own quote, else that of its expiration's
smile at its strike, never beyond the strikes quoted. Whatever then is missing is a 422 that names the field.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from paiid.core.instants import instant
from paiid.domain.errors import Code, FieldError, Problem, invalid_field
from paiid.domain.occ import OptionContract
from paiid.domain.pricing.strategy import Position, Scenario, World
from paiid.domain.pricing.terms import (
    DAYS_OF_YEAR,
    IMPLIED,
    STATUS_NAMES,
    CashDividend,
    Contracts,
    FloatArray,
    Market,
    Style,
)
from paiid.domain.rate_curve import RateCurve
from paiid.options.contract_terms import ex_date_us, exercise_ends_us, expires_us, is_european
from paiid.options.records import NONE, Assumed, ExpirationTerms, PricedChain
from paiid.options.surface_view import Surface
from paiid.options.what_if_terms import Asked, LegAsked, MarketAsked, ScenarioAsked

DAY_US = 86_400_000_000
_YEAR_US = DAYS_OF_YEAR * DAY_US
GIVEN = "given"
_SAME_INSTANT = 1e-9


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to go by: the chain with the expirations of the legs and its surface, None where the market tells nothing, and `why`
    it does not; the owner's rate."""

    now_us: int
    chain: PricedChain | None
    surface: Surface | None
    why: str | None
    rate: Assumed | RateCurve | None


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg with all that pricing it needs. `row` is its place in the chain, None where it is not listed there; `number` its place in the
    position, None for shares. `mid` is dollars a share, None where nobody quotes both sides."""

    asked: LegAsked
    contract: OptionContract | None
    years: float
    volatility: Assumed | None
    rate: Assumed
    dividend_yield: Assumed
    row: int | None
    number: int | None
    mid: float | None

    @property
    def units(self) -> float:
        """Shares it is about; negative where it is sold."""
        return self.asked.qty * self.asked.size


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
            legs.append(_leg(f"legs.{at}", one, market, known))
        except Problem as problem:
            errors += problem.errors
    if spot is None:
        errors.append(FieldError("spot", "missing", f"Give spot: {_no_market(known, market.symbol)}."))
        errors += [
            _missing(f"legs.{at}", known, market.symbol)
            for at, leg in enumerate(asked.legs)
            if leg.kind != "shares" and leg.volatility is None and leg.price is None
        ]
    if errors or spot is None:
        raise Problem(Code.VALIDATION, f"{errors[0].field}: {errors[0].message}", errors=errors)
    world = World(spot.value, cash)
    legs = _with_volatilities(legs, world, known, style, asked)
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
        years, field = (asked.at_us - made.known.now_us) / _YEAR_US, "at"
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
            years = (ex_date_us(one.ex_date) - known.now_us) / _YEAR_US
        if years <= 0:
            raise invalid_field(
                f"dividends.{at}.ex_date", "past", f"The ex-date {one.ex_date} has begun; leave it out."
            )
        cash.append(CashDividend(years, one.amount))
    return tuple(sorted(cash, key=lambda one: one.years)), GIVEN


def _leg(path: str, asked: LegAsked, market: MarketAsked, known: Known) -> Leg:
    """All but the volatility that a price or a smile tells."""
    if asked.kind == "shares":
        return Leg(asked, None, 0.0, None, NONE, NONE, None, None, None)
    chain = known.chain
    row = None if chain is None else row_of(chain, asked)
    contract = asked.contract if chain is None or row is None else chain.rows[row].contract
    years = _life(path, asked, contract, known.now_us)
    terms = _terms(chain, asked.expiration, years)
    volatility = None if asked.volatility is None else Assumed(asked.volatility, GIVEN)
    mid = None
    if row is not None and chain is not None:
        mid = float(chain.mid[row]) if np.isfinite(chain.mid[row]) else None
        if volatility is None and asked.price is None and chain.implied.status[row] == IMPLIED:
            volatility = Assumed(float(chain.implied.volatility[row]), "quote")
    rate = _rate(market, terms, known, years)
    if market.dividend_yield is not None:
        dividend_yield = Assumed(market.dividend_yield, GIVEN)
    else:
        dividend_yield = NONE if terms is None else terms.dividend_yield
    return Leg(asked, contract, years, volatility, rate, dividend_yield, row, None, mid)


def _life(path: str, asked: LegAsked, contract: OptionContract | None, now_us: int) -> float:
    """The years that are left of it."""
    if asked.expiration is None:
        return (asked.days or 0.0) / DAYS_OF_YEAR
    ends_us = exercise_ends_us(asked.expiration) if contract is None else expires_us(contract)
    if ends_us <= now_us:
        field = "expiration_date" if asked.contract is None else "symbol"
        raise invalid_field(
            f"{path}.{field}", "expired", f"It expired at {instant(ends_us)}; now is {instant(now_us)}."
        )
    return (ends_us - now_us) / _YEAR_US


def row_of(chain: PricedChain, asked: LegAsked) -> int | None:
    """The place in a chain of the contract that a leg names, by symbol or by fields; None where it is not listed there."""
    if asked.expiration not in chain.days:
        return None
    contracts = chain.contracts
    found = np.flatnonzero(
        (chain.expiration_index == chain.days.index(asked.expiration))
        & (contracts.strike == asked.strike)
        & (contracts.call == (asked.kind == "call"))
    )
    if asked.contract is not None:
        return next((int(at) for at in found if chain.rows[at].contract == asked.contract), None)
    plain = [
        int(at) for at in found if not chain.rows[at].contract.adjusted and chain.rows[at].size == asked.size
    ]
    return plain[0] if plain else None


def _terms(chain: PricedChain | None, day: date | None, years: float) -> ExpirationTerms | None:
    """What is assumed of that expiration, or of the one nearest in time."""
    if chain is None or not chain.assumptions.expirations:
        return None
    return min(chain.assumptions.expirations, key=lambda one: (one.day != day, abs(one.years - years)))


def _rate(market: MarketAsked, terms: ExpirationTerms | None, known: Known, years: float) -> Assumed:
    if market.rate is not None:
        return Assumed(market.rate, GIVEN)
    if terms is not None:
        return terms.rate
    if isinstance(known.rate, RateCurve):
        return Assumed(known.rate.rate(years), "curve_file")
    return known.rate or NONE


def _with_volatilities(legs: list[Leg], world: World, known: Known, style: Style, asked: Asked) -> list[Leg]:
    """The legs with what a price or a smile tells. Raises Problem (422) that names each leg without one."""
    done: list[Leg] = []
    errors: list[FieldError] = []
    for at, leg in enumerate(legs):
        if leg.asked.kind == "shares" or leg.volatility is not None:
            done.append(leg)
            continue
        try:
            found = _implied(f"legs.{at}", leg, world, style, asked) or _from_smile(leg, world, known)
        except Problem as problem:
            errors += problem.errors
            continue
        if found is None:
            errors.append(_missing(f"legs.{at}", known, asked.market.symbol))
            continue
        done.append(replace(leg, volatility=found))
    if errors:
        raise Problem(Code.VALIDATION, f"{errors[0].field}: {errors[0].message}", errors=errors)
    return done


def _missing(path: str, known: Known, symbol: str | None) -> FieldError:
    why = known.why or (
        "no symbol is named"
        if symbol is None
        else "its quote implies none, and it lies beyond the strikes and expirations that are quoted"
    )
    return FieldError(f"{path}.volatility", "missing", f"Give volatility or price: {why}.")


def _implied(path: str, leg: Leg, world: World, style: Style, asked: Asked) -> Assumed | None:
    """By the price given, None where none is."""
    if leg.asked.price is None:
        return None
    from paiid.domain.pricing.valuation import implied_volatility

    found = implied_volatility(
        Contracts(np.array([leg.asked.kind == "call"]), _floats([leg.asked.strike]), _floats([leg.years])),
        Market(world.spot, leg.rate.value, leg.dividend_yield.value, world.dividends),
        _floats([leg.asked.price]),
        style=style,
        accuracy=asked.market.accuracy,
    )
    status = int(found.status[0])
    if status != IMPLIED:
        raise invalid_field(
            f"{path}.price",
            STATUS_NAMES[status],
            f"No volatility explains {leg.asked.price:.10g} dollars a share; give volatility beside it.",
        )
    return Assumed(float(found.volatility[0]), "price")


def _from_smile(leg: Leg, world: World, known: Known) -> Assumed | None:
    """By the surface at its strike and time, None where that is not quoted."""
    from paiid.domain.pricing.surface import volatilities

    smiles = [] if known.surface is None else known.surface.smiles
    if not smiles or not smiles[0].years <= leg.years <= smiles[-1].years:
        return None
    forward = world.forward(leg.years, leg.rate.value, leg.dividend_yield.value)
    [found] = volatilities(smiles, leg.years, np.log(_floats([leg.asked.strike / forward])))
    return None if found is None else Assumed(found, "surface")
