"""What a chain is once it is priced: its rows, what was assumed, and what was computed, side by side in arrays."""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing.terms import (
    Accuracy,
    BoolArray,
    CashDividend,
    Contracts,
    FloatArray,
    Implied,
    Market,
    Values,
)

IndexArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Assumed:
    """A number that pricing assumes, and where it is from: `setting`, `curve_file`, `parity` or `none` (which is zero)."""

    value: float
    source: str


NONE = Assumed(0.0, "none")


@dataclass(frozen=True, slots=True)
class Spot:
    """The underlying's price that options are priced at. `low` and `high` are its bid and ask where both are there, else the price.
    `source`: `mid` of bid and ask, `last`, or `close` where the options' market is closed."""

    price: float
    low: float
    high: float
    source: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A cash dividend that pricing expects: dollars a share."""

    ex_date: date
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ExpirationTerms:
    """What is assumed of one expiration. `years` to the last instant of its contracts; rate and yield continuously compounded fractions a year;
    `forward` in dollars, None without a spot; `pairs` of call and put that the yield was implied from, 0 where it was not."""

    day: date
    years: float
    rate: Assumed
    dividend_yield: Assumed
    forward: float | None
    pairs: int


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What pricing assumes of a whole chain. `priced_at_us` is the instant at which everything is valued; `cash` are `payments` in years from
    then. `dividends_source`: `dividends_file`, `announced` or `none`."""

    priced_at_us: int
    spot: Spot | None
    payments: tuple[Payment, ...]
    dividends_source: str
    cash: tuple[CashDividend, ...]
    expirations: tuple[ExpirationTerms, ...]


@dataclass(frozen=True, slots=True)
class PricedChain:
    """Contracts by expiration, strike, the call first, adjusted roots after the plain one. All arrays have one entry for each of `rows`.

    `expiration_index` says which of `assumptions.expirations` a contract has. `bid`, `ask` and `mid` are NaN where there is none; `mid` is what
    volatilities are implied from, NaN where the quote does not allow it. `values` are zeros where `implied.status` is not IMPLIED. `flags`:
    `domain/pricing/quality`. `uncertainty` is what half the spread moves the implied volatility by (a fraction), NaN where there is none.
    `stale`: the source was silent, and this is the last that it told, `age_s` ago; single quotes have a flag of their own.
    """

    symbol: str
    source: str
    delayed: bool
    accuracy: Accuracy
    underlying_price: Decimal | None
    as_of_us: int | None
    fetched_us: int
    rows: tuple[ChainRow, ...]
    contracts: Contracts
    expiration_index: IndexArray
    european: BoolArray
    bid: FloatArray
    ask: FloatArray
    mid: FloatArray
    implied: Implied
    values: Values
    uncertainty: FloatArray
    flags: NDArray[np.uint32]
    assumptions: Assumptions
    stale: bool = False
    age_s: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def days(self) -> tuple[date, ...]:
        """The expirations, in order."""
        return tuple(one.day for one in self.assumptions.expirations)

    def market(self, where: IndexArray | None = None) -> Market:
        """What the contracts (or those `where`) are priced in: rate and yield with one entry for each. Raises ValueError without a spot."""
        assumptions = self.assumptions
        if assumptions.spot is None:
            raise ValueError(f"there is no price of {self.symbol}")
        index = self.expiration_index if where is None else self.expiration_index[where]
        rates = np.array([one.rate.value for one in assumptions.expirations])
        yields = np.array([one.dividend_yield.value for one in assumptions.expirations])
        return Market(assumptions.spot.price, rates[index], yields[index], assumptions.cash)

    def only(self, days: tuple[date, ...]) -> "PricedChain":
        """The part with these expirations; those it does not have are left out."""
        if days == self.days:
            return self
        kept = [number for number, one in enumerate(self.assumptions.expirations) if one.day in set(days)]
        where = np.flatnonzero(np.isin(self.expiration_index, kept))
        renumbered = np.searchsorted(np.array(kept, dtype=np.intp), self.expiration_index[where])
        values = self.values
        return replace(
            self,
            rows=tuple(self.rows[one] for one in where),
            contracts=Contracts(
                self.contracts.call[where], self.contracts.strike[where], self.contracts.years[where]
            ),
            expiration_index=renumbered,
            european=self.european[where],
            bid=self.bid[where],
            ask=self.ask[where],
            mid=self.mid[where],
            implied=Implied(self.implied.volatility[where], self.implied.status[where]),
            values=Values(
                values.price[where],
                values.delta[where],
                values.gamma[where],
                values.theta[where],
                values.vega[where],
                values.rho[where],
            ),
            uncertainty=self.uncertainty[where],
            flags=self.flags[where],
            assumptions=replace(
                self.assumptions, expirations=tuple(self.assumptions.expirations[one] for one in kept)
            ),
        )
