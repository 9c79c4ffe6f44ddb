"""How far the market expects a price to move until an expiration, in the two ways in which traders say it.

The straddle at the money costs about the mean absolute move, which is sqrt(2 / pi), or 0.80, of a standard deviation; the
volatility at the money tells the standard deviation itself, S sigma sqrt(T) (J. Hull, Options, Futures, and Other Derivatives,
chapter 15; M. Brenner and M. Subrahmanyam, "A Simple Formula to Compute the Implied Standard Deviation", Financial
Analysts Journal 44, 1988). They differ by more than that factor where the smile is steep or the quotes are wide.
"""

from dataclasses import dataclass
from math import sqrt

STRADDLE_FORMULA = "call + put at the strike nearest the forward, by the middle of their quotes: about the mean absolute move"
VOLATILITY_FORMULA = "spot * at-the-money volatility * sqrt(years): one standard deviation"


@dataclass(frozen=True, slots=True)
class ExpectedMove:
    """Dollars, and the same as a fraction of the spot."""

    dollars: float
    fraction: float


def by_volatility(spot: float, volatility: float, years: float) -> ExpectedMove:
    """One standard deviation; `volatility` a fraction a year."""
    fraction = volatility * sqrt(years)
    return ExpectedMove(spot * fraction, fraction)


def by_straddle(spot: float, call: float, put: float) -> ExpectedMove:
    """The mean absolute move, by what call and put of one strike near the forward cost."""
    return ExpectedMove(call + put, (call + put) / spot)
