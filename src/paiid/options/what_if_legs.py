"""One leg of a what-if with its contract, its time, its quote and its rates, from what was asked and what the market tells."""

from dataclasses import dataclass
from datetime import date

import numpy as np

from paiid.core.instants import instant
from paiid.domain.errors import invalid_field
from paiid.domain.occ import OptionContract
from paiid.domain.pricing.terms import DAYS_OF_YEAR, IMPLIED
from paiid.domain.rate_curve import RateCurve
from paiid.options.contract_terms import exercise_ends_us, expires_us
from paiid.options.records import NONE, Assumed, ExpirationTerms, PricedChain
from paiid.options.surface_view import Surface
from paiid.options.what_if_terms import LegAsked, MarketAsked

YEAR_US = DAYS_OF_YEAR * 86_400_000_000
GIVEN = "given"


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


def leg_of(path: str, asked: LegAsked, market: MarketAsked, known: Known) -> Leg:
    """All but the volatility that a price or a smile tells. Raises Problem (422) for what has expired."""
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
    return (ends_us - now_us) / YEAR_US


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
