"""The options on a ticker as a source tells them: a contract with its quote, its volume, and the source's own Greeks."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from paiid.domain.occ import OptionContract
from paiid.domain.quotes import Quote


@dataclass(frozen=True, slots=True)
class VendorGreeks:
    """What the source itself computed, in our units (`domain/pricing/terms.Values`; volatility a fraction a year); None where it
    tells nothing. They are passed on, never used."""

    implied_volatility: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One contract of a chain. `quote` is None where nobody ever quoted it; what a source does not tell is None, never 0.

    `size` is how many shares one contract is about, None for an adjusted one whose deliverable is not (only) shares of the
    underlying: its root ends in a digit (such as AAPL1), and no formula for plain contracts fits it.
    """

    contract: OptionContract
    quote: Quote | None
    volume: int | None = None
    open_interest: int | None = None
    open_interest_day: date | None = None
    size: int | None = 100
    vendor: VendorGreeks | None = None

    @property
    def order(self) -> tuple[date, Decimal, str, bool, str]:
        """Where it stands in a chain: by expiration, strike, the call first, an adjusted root after the plain one."""
        one = self.contract
        return one.expiration, one.strike, one.option_type, one.adjusted, one.root
