"""The volatilities of legs that have none yet: what a price implies, or the smile at their strike and time.

A leg's volatility is the one given, else the one its given price implies, else that of its own quote, else that of its expiration's
smile at its strike, never beyond the strikes quoted.
"""

from dataclasses import replace

import numpy as np

from paiid.domain.errors import Code, FieldError, Problem, invalid_field
from paiid.domain.pricing.strategy import World
from paiid.domain.pricing.terms import IMPLIED, STATUS_NAMES, Contracts, FloatArray, Market, Style
from paiid.options.records import Assumed
from paiid.options.what_if_legs import Known, Leg
from paiid.options.what_if_terms import Asked


def with_volatilities(legs: list[Leg], world: World, known: Known, style: Style, asked: Asked) -> list[Leg]:
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
            errors.append(missing_volatility(f"legs.{at}", known, asked.market.symbol))
            continue
        done.append(replace(leg, volatility=found))
    if errors:
        raise Problem(Code.VALIDATION, f"{errors[0].field}: {errors[0].message}", errors=errors)
    return done


def missing_volatility(path: str, known: Known, symbol: str | None) -> FieldError:
    """That a leg has none, and why."""
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


def _floats(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
