"""How likely a position ends with a gain, in the market's own measure and a lognormal world.

The price at the end is taken to be lognormal about the forward with one volatility, that of the smile at the money: P(S > x) =
N(d2), d2 = (log(F / x) - sigma^2 T / 2) / (sigma sqrt(T)) (J. Hull, Options, Futures, and Other Derivatives, chapter 15). It is
what prices imply, not what will be: no risk premium, no skew, no jumps, and a cash dividend moves the forward only.
"""

from collections.abc import Sequence
from math import erfc, inf, log, sqrt

ASSUMPTIONS = (
    "risk-neutral: the price at the first expiration is lognormal about the forward with this one volatility, "
    "P(S > x) = N((log(F/x) - v^2 T/2) / (v sqrt(T))); no skew, no risk premium"
)


def probability_above(price: float, forward: float, volatility: float, years: float) -> float:
    """P(S > price)."""
    if price <= 0:
        return 1.0
    if price == inf:
        return 0.0
    deviation = volatility * sqrt(years)
    if deviation == 0:
        return 1.0 if forward > price else 0.0
    d2 = log(forward / price) / deviation - deviation / 2
    return 0.5 * erfc(-d2 / sqrt(2.0))


def probability_within(
    stretches: Sequence[tuple[float, float]], forward: float, volatility: float, years: float
) -> float:
    """The chance that the price ends in one of these (low, high), which do not overlap."""
    total = sum(
        probability_above(low, forward, volatility, years)
        - probability_above(high, forward, volatility, years)
        for low, high in stretches
    )
    return min(max(total, 0.0), 1.0)
