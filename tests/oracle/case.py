"""One option to be priced by several means: the market, the contract, and the cash dividends, in whole days."""

from dataclasses import dataclass, replace
from typing import Any

DAYS = 365.0
"""Days of a year, for time to expiration and to ex-dates."""


@dataclass(frozen=True, slots=True)
class Case:
    """`dividends` are (day, dollars a share), each after today and before the day of expiration; rates are continuously compounded
    fractions a year. `days` may be fractional only where a price is differentiated by time."""

    call: bool
    american: bool
    spot: float
    strike: float
    days: float
    rate: float
    dividend_yield: float
    volatility: float
    dividends: tuple[tuple[int, float], ...] = ()

    @property
    def years(self) -> float:
        """To expiration."""
        return self.days / DAYS

    @property
    def intrinsic(self) -> float:
        """What exercising gives now."""
        return max(self.spot - self.strike if self.call else self.strike - self.spot, 0.0)

    def but(self, **changes: Any) -> "Case":
        """The same with other values."""
        return replace(self, **changes)
