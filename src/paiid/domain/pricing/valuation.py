"""The one door to the pricing of options: what contracts are worth, and what volatility their prices imply.

Behind it: `european` where nothing can be exercised early, `american` for a continuous yield, `dividends` where cash is paid before
expiration. Nothing here ever returns NaN for finite input: bad input raises ValueError, what a price cannot tell has a status.
"""

import numpy as np

from paiid.domain.pricing import european
from paiid.domain.pricing.terms import Accuracy, Contracts, FloatArray, Implied, Market, Style, Values


def value(
    contracts: Contracts,
    market: Market,
    volatility: FloatArray,
    *,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> Values:
    """Price and Greeks of each contract at its volatility (a fraction a year, at least zero). Raises ValueError for a spot or strike
    that is not above zero, for negative time or volatility, and for anything that is not finite."""
    return european.value(contracts, market, volatility)


def implied_volatility(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    *,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> Implied:
    """The volatility at which each contract is worth its price (dollars a share; NaN where there is none). Raises ValueError as
    `value` does, but never for a price."""
    return european.implied_volatility(contracts, market, price)


def imply_and_value(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    *,
    style: Style = "american",
    accuracy: Accuracy = "fast",
) -> tuple[Implied, Values]:
    """Both in one pass, as a chain needs them: the volatilities that prices imply, and the Greeks there. Where none is implied the
    values are zeros and mean nothing."""
    implied = implied_volatility(contracts, market, price, style=style, accuracy=accuracy)
    values = value(contracts, market, np.maximum(implied.volatility, 0.0), style=style, accuracy=accuracy)
    return implied, values
