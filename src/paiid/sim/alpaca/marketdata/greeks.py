"""Greeks and volatility as a vendor tells them: a plain European formula, whatever can be exercised early.

Of the volatility that the simulated market makes its quotes from, with neither interest nor dividends, as that market has none. Formulas:
J. Hull, Options, Futures, and Other Derivatives, chapter "The Greek letters", in the scale of Alpaca's example: theta a calendar day, vega
and rho a percentage point.
"""

from math import exp, log, pi, sqrt
from typing import Any

from paiid.domain.occ import OptionType
from paiid.domain.pricing.black_scholes import normal_cdf
from paiid.feeds.simulated.options import Model

__all__ = ["greeks_body"]

_DAYS_OF_YEAR = 365.0
_SHORTEST = 1e-6
"""Half a minute, in years: nothing moves as a formula says any more."""
_PLACES = 6


def greeks_body(option_type: OptionType, strike: float, model: Model) -> dict[str, Any]:
    """`greeks` and `impliedVolatility` of a snapshot; empty where they cannot be computed."""
    if model.years < _SHORTEST or model.volatility <= 0:
        return {}
    root = sqrt(model.years)
    deviation = model.volatility * root
    d1 = log(model.spot / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    density = exp(-d1 * d1 / 2) / sqrt(2 * pi)
    sign = 1.0 if option_type == "call" else -1.0
    greeks = {
        "delta": sign * normal_cdf(sign * d1),
        "gamma": density / (model.spot * deviation),
        "theta": -model.spot * density * model.volatility / (2 * root) / _DAYS_OF_YEAR,
        "vega": model.spot * density * root / 100,
        "rho": sign * strike * model.years * normal_cdf(sign * d2) / 100,
    }
    told = {name: round(one, _PLACES) for name, one in greeks.items()}
    return {"greeks": told, "impliedVolatility": round(model.volatility, _PLACES)}
