"""The value of one European option after Black, Scholes and Merton: `european` for a single contract, on `math` alone.

The simulated market prices with it from the moment the service starts; SciPy, which arrays need, takes half a second to load.

Sources: F. Black and M. Scholes, "The Pricing of Options and Corporate Liabilities", Journal of Political Economy 81
(1973); R. Merton, "Theory of Rational Option Pricing", Bell Journal 4 (1973), for the continuous dividend yield. The
notation is that of J. Hull, Options, Futures, and Other Derivatives, chapter 17.
"""

from math import erfc, exp, log, sqrt
from typing import Literal

_SQRT2 = 1.4142135623730951


def normal_cdf(x: float) -> float:
    """The share of a standard normal distribution below `x`; exact far out, where it is nearly nothing."""
    return 0.5 * erfc(-x / _SQRT2)


def price(
    option_type: Literal["call", "put"],
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    volatility: float,
) -> float:
    """Dollars a share of a European option.

    `years` to expiration; `rate`, `dividend_yield` (both continuously compounded) and `volatility` a year, as
    fractions. Without time or volatility left it is what the forward pays, discounted. Raises ValueError for a spot or
    strike that is not above zero, and for negative time or volatility.
    """
    if not (spot > 0 and strike > 0 and years >= 0 and volatility >= 0):
        raise ValueError("spot and strike must be above zero, time and volatility at least zero")
    sign = 1.0 if option_type == "call" else -1.0
    spot_now = spot * exp(-dividend_yield * years)
    strike_now = strike * exp(-rate * years)
    deviation = volatility * sqrt(years)
    if deviation == 0.0:
        return max(0.0, sign * (spot_now - strike_now))
    d1 = log(spot_now / strike_now) / deviation + deviation / 2
    d2 = d1 - deviation
    value = sign * (spot_now * normal_cdf(sign * d1) - strike_now * normal_cdf(sign * d2))
    # The two terms can cancel to a hair below zero.
    return max(0.0, value)
