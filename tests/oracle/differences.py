"""Greeks of the reference by differences of its prices, and where an American option has none worth comparing."""

from collections.abc import Callable

from tests.oracle import finite_differences, quantlib_prices
from tests.oracle.case import DAYS, Case

EXERCISED = 1e-9
"""Dollars over intrinsic up to which an option is one to exercise now."""
CLEAR = 0.02
"""Dollars over intrinsic from which differences stay on the living side of the boundary."""
RATE_STEP = 2.5e-4
LEAST_RATE = 1e-3
"""Nearer to 0 an American price bends within the step: exercise begins to pay."""
VOLATILITY_STEP = 0.02
"""Of the volatility itself."""

NAMES = ("delta", "gamma", "theta", "vega", "rho")


def first_order(price: Callable[[float], float], at: float, step: float) -> float:
    """The derivative by four prices; the error is of the fourth order in the step."""
    near = price(at + step) - price(at - step)
    far = price(at + 2.0 * step) - price(at - 2.0 * step)
    return (8.0 * near - far) / (12.0 * step)


def greeks(case: Case, price: float) -> dict[str, float | None]:
    """In the units of `terms.Values`; None where the exercise boundary is too near to tell."""
    if not case.american and not case.dividends:
        return {name: round(quantlib_prices.european(case)[name], 12) for name in NAMES}
    over = price - case.intrinsic
    if case.american and case.intrinsic > 0.0 and over <= EXERCISED:
        return {"delta": 1.0 if case.call else -1.0, "gamma": 0.0, "theta": 0.0, "vega": 0.0, "rho": 0.0}
    if case.american and case.intrinsic > 0.0 and over < CLEAR:
        return dict.fromkeys(NAMES)
    found = finite_differences.extrapolated(case, 1000, damped=2)[1]
    by_volatility = first_order(
        lambda at: finite_differences.quick(case.but(volatility=at)),
        case.volatility,
        VOLATILITY_STEP * case.volatility,
    )
    bends = case.american and abs(case.rate) < LEAST_RATE
    above, below = (
        finite_differences.quick(case.but(rate=case.rate + sign * RATE_STEP)) for sign in (1.0, -1.0)
    )
    by_rate = (above - below) / (2.0 * RATE_STEP)
    # The pricing equation: an option that lives earns the rate on its value, less what the share's drift and its curvature bring.
    by_year = (
        case.rate * price
        - (case.rate - case.dividend_yield) * case.spot * found.delta
        - 0.5 * (case.volatility * case.spot) ** 2 * found.gamma
    )
    return {
        "delta": round(found.delta, 8),
        "gamma": round(found.gamma, 8),
        "theta": round(by_year / DAYS, 8),
        "vega": round(by_volatility / 100.0, 8),
        "rho": None if bends else round(by_rate / 100.0, 8),
    }
