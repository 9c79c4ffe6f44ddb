"""What the options of the simulated market are worth: Black-Scholes over a smooth surface of volatility.

Interest and dividend yield are zero, because nothing else would fit this market: the paper venue pays no interest, and
the simulated price neither drifts nor falls on an ex-date. So an option is never worth less than exercising it, calls
and puts keep parity to the digit, and the surface leaves no arbitrage within a chain: with total variance w(k, T) =
T s(k)^2, Gatheral's condition on butterflies (Gatheral and Jacquier, "Arbitrage-free SVI volatility surfaces", 2014,
lemma 2.2) holds as s is nearly flat, and w grows with T. Values come from the machine's math library; they are rounded
to ticks far coarser than its last digit.
"""

from math import log, sqrt

from paiid.domain.occ import OptionType
from paiid.domain.pricing.black_scholes import price

_SKEW = 0.35
_SMILE = 0.5
_SHORT_TERM = 0.08
_TERM_DECAY = 4.0


def implied_volatility(volatility: float, moneyness: float, years: float) -> float:
    """A fraction a year, from the symbol's own. `moneyness` is log(strike / spot): lower strikes cost more volatility
    (the skew), so do both wings (the smile), and the near end a little more than the far one."""
    x = moneyness / sqrt(1.0 + moneyness * moneyness)
    term = 1.0 + _SHORT_TERM / (1.0 + _TERM_DECAY * years)
    return volatility * term * (1.0 - _SKEW * x + _SMILE * x * x)


def value(option_type: OptionType, spot: float, strike: float, years: float, volatility: float) -> float:
    """Dollars a share, unrounded. `years` to expiration, `volatility` of the symbol as a fraction a year."""
    implied = implied_volatility(volatility, log(strike / spot), years)
    return price(option_type, spot, strike, years, 0.0, 0.0, implied)
