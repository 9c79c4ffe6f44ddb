"""What somebody asks of positions that need not exist: legs, a market, and what is to be otherwise in it, frozen and in floats."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from paiid.domain.occ import OptionContract
from paiid.domain.pricing.terms import Accuracy, Style

LegKind = Literal["call", "put", "shares"]


@dataclass(frozen=True, slots=True)
class LegAsked:
    """One leg. `contract` where it was named by an OCC symbol; an option has a strike and either an expiration or days to it. `qty` is
    negative for what is sold. `volatility` (a fraction) and `price` (dollars a share) are None where the market shall tell them."""

    kind: LegKind
    qty: float
    size: float
    contract: OptionContract | None = None
    strike: float = 0.0
    expiration: date | None = None
    days: float | None = None
    volatility: float | None = None
    price: float | None = None


@dataclass(frozen=True, slots=True)
class DividendAsked:
    """Dollars a share, on a day or in so many days."""

    amount: float
    ex_date: date | None
    days: float | None


@dataclass(frozen=True, slots=True)
class MarketAsked:
    """What is said of the market; None where it shall tell itself. Rate and yield are fractions a year."""

    symbol: str | None = None
    spot: float | None = None
    rate: float | None = None
    dividend_yield: float | None = None
    dividends: tuple[DividendAsked, ...] | None = None
    style: Style | None = None
    accuracy: Accuracy = "fast"


@dataclass(frozen=True, slots=True)
class ScenarioAsked:
    """What is to be otherwise: at most one of `spot_to` and `spot_change_pct`, and of `days_forward` and `at_us`; volatility and rate in points
    (hundredths)."""

    spot_to: float | None = None
    spot_change_pct: float | None = None
    volatility_change: float = 0.0
    rate_change: float = 0.0
    days_forward: float | None = None
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class GridAsked:
    """Prices around the spot (percent of it), and either volatility changes in points or days from now (None: to the first expiration)."""

    by: Literal["volatility", "time"]
    spot_from_pct: float
    spot_to_pct: float
    spot_steps: int
    volatility_from: float
    volatility_to: float
    days_to: float | None
    steps: int


@dataclass(frozen=True, slots=True)
class RangeAsked:
    """Prices around the spot, in percent of it; None: as far as the strikes and the volatility reach."""

    from_pct: float | None
    to_pct: float | None
    points: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole question."""

    legs: tuple[LegAsked, ...]
    market: MarketAsked
    scenario: ScenarioAsked
    grid: GridAsked | None = None
    range: RangeAsked | None = None
