"""What a caller may ask of a chain, and which of its contracts that is."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from paiid.domain.errors import Code as ErrorCode
from paiid.domain.errors import FieldError, Problem, invalid_field
from paiid.domain.occ import find_contract
from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing.terms import IMPLIED, Accuracy, BoolArray, FloatArray
from paiid.options.records import IndexArray, PricedChain

Moneyness = Literal["itm", "atm", "otm"]

MOST_ROWS = 10_000
"""Contracts of one answer."""
MOST_EXPIRATIONS = 50
"""Expirations named in one call."""
MOST_STRIKES = 500
HIGHEST_STRIKE = 100_000
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a chain; None is no condition. `expirations` in order, without doubles. Deltas are without their sign."""

    expirations: tuple[date, ...] | None = None
    first: date | None = None
    last: date | None = None
    strike_min: float | None = None
    strike_max: float | None = None
    strikes: int | None = None
    option_type: Literal["call", "put"] | None = None
    moneyness: Moneyness | None = None
    delta_min: float | None = None
    delta_max: float | None = None
    accuracy: Accuracy = "fast"
    limit: int = MOST_ROWS
    after: str | None = None

    def days(self, listed: tuple[date, ...]) -> tuple[date, ...] | None:
        """Which expirations that is: those named (known or not), within the bounds; None is all."""
        if self.expirations is None and self.first is None and self.last is None:
            return None
        wanted = listed if self.expirations is None else self.expirations
        return tuple(
            day
            for day in wanted
            if (self.first is None or self.first <= day) and (self.last is None or day <= self.last)
        )


def parse_day(field: str, text: str) -> date:
    """A calendar day. Raises Problem (422)."""
    try:
        if _DAY.match(text):
            return date.fromisoformat(text)
    except ValueError:
        raise invalid_field(field, "date", f"There is no day {text}.") from None
    raise invalid_field(field, "date", f"{field} is a day such as 2026-12-18")


def parse_expirations(text: str) -> tuple[date, ...]:
    """Days between commas, in order, doubles folded. Raises Problem (422) that names every bad one."""
    days: set[date] = set()
    errors: list[FieldError] = []
    for part in text.split(",")[: MOST_EXPIRATIONS + 1]:
        try:
            days.add(parse_day("expiration", part.strip(" ")))
        except Problem as bad:
            errors += bad.errors
    if errors:
        raise Problem(ErrorCode.VALIDATION, errors[0].message, errors=errors[:20])
    if len(days) > MOST_EXPIRATIONS or text.count(",") > MOST_EXPIRATIONS:
        raise invalid_field("expiration", "too_many", f"at most {MOST_EXPIRATIONS} expirations a call")
    return tuple(sorted(days))


def parse_after(text: str) -> str:
    """Where a page begins: behind this contract. Raises Problem (422)."""
    contract = find_contract(text)
    if contract is None:
        raise invalid_field("after", "cursor", "after is what the page before gave as next")
    return contract.symbol


def check_ranges(asked: Asked) -> None:
    """Raises Problem (422) for bounds that leave nothing between them."""
    pairs = (
        ("to", asked.first, asked.last),
        ("strike_max", asked.strike_min, asked.strike_max),
        ("delta_max", asked.delta_min, asked.delta_max),
    )
    for field, least, most in pairs:
        if least is not None and most is not None and least > most:  # type: ignore[operator]
            raise invalid_field(field, "range", f"{field} must not be less than the other bound")


def select(chain: PricedChain, asked: Asked, delta: FloatArray) -> IndexArray:
    """The contracts that meet every condition, in order. `delta` is what is told of each, NaN where nothing is."""
    contracts, spot = chain.contracts, chain.assumptions.spot
    found: BoolArray = np.ones(len(chain), dtype=np.bool_)
    if asked.option_type is not None:
        found &= contracts.call == (asked.option_type == "call")
    if asked.strike_min is not None:
        found &= contracts.strike >= asked.strike_min
    if asked.strike_max is not None:
        found &= contracts.strike <= asked.strike_max
    # Comparisons with NaN are false: what has no delta meets no condition on it.
    if asked.delta_min is not None:
        found &= np.abs(delta) >= asked.delta_min
    if asked.delta_max is not None:
        found &= np.abs(delta) <= asked.delta_max
    if asked.strikes is not None or asked.moneyness is not None:
        if spot is None:
            return np.zeros(0, dtype=np.intp)
        if asked.strikes is not None:
            found &= _around(chain, spot.price, asked.strikes)
        if asked.moneyness == "atm":
            found &= _nearest(chain, spot.price)
        elif asked.moneyness is not None:
            itm = np.where(contracts.call, contracts.strike < spot.price, contracts.strike > spot.price)
            found &= itm if asked.moneyness == "itm" else ~itm
    return np.flatnonzero(found)


def page(chain: PricedChain, found: IndexArray, asked: Asked) -> tuple[IndexArray, str | None]:
    """The contracts of one page, and behind which one the next begins (None: there is none)."""
    begin = 0
    if asked.after is not None:
        contract = find_contract(asked.after)
        assert contract is not None
        # By its place, for it may have expired since.
        begin = bisect_right(found, ChainRow(contract, None).order, key=lambda one: chain.rows[one].order)
    shown = found[begin : begin + asked.limit]
    more = begin + asked.limit < len(found)
    return shown, chain.rows[shown[-1]].contract.symbol if more else None


def told_delta(chain: PricedChain) -> FloatArray:
    """The delta that is told of each contract: ours, else the vendor's, else NaN."""
    vendor = np.array(
        [np.nan if row.vendor is None or row.vendor.delta is None else row.vendor.delta for row in chain.rows]
    )
    return np.where(chain.implied.status == IMPLIED, chain.values.delta, vendor)


def _around(chain: PricedChain, spot: float, count: int) -> BoolArray:
    """So many strikes below the spot and as many at or above it, of each expiration."""
    found = np.zeros(len(chain), dtype=np.bool_)
    for number in range(len(chain.assumptions.expirations)):
        where = np.flatnonzero(chain.expiration_index == number)
        strikes = np.unique(chain.contracts.strike[where])
        middle = int(np.searchsorted(strikes, spot))
        near = strikes[max(0, middle - count) : middle + count]
        found[where] = np.isin(chain.contracts.strike[where], near)
    return found


def _nearest(chain: PricedChain, spot: float) -> BoolArray:
    """The strike of each expiration that is nearest to the spot; the lower of two."""
    found = np.zeros(len(chain), dtype=np.bool_)
    for number in range(len(chain.assumptions.expirations)):
        where = np.flatnonzero(chain.expiration_index == number)
        strikes = np.unique(chain.contracts.strike[where])
        if len(strikes):
            nearest = strikes[np.argmin(np.abs(strikes - spot))]
            found[where] = chain.contracts.strike[where] == nearest
    return found
