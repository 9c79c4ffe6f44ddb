"""The words of Greeks in the portfolio's answers: of a contract held, of a position, of everything together."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from paiid.core.instants import instant
from paiid.domain.instruments import is_option, multiplier_of, underlying_of
from paiid.domain.pricing.position import (
    ONE_SHARE,
    ContractGreeks,
    Greeks,
    Line,
    UnderlyingGreeks,
    portfolio_greeks,
)
from paiid.domain.valuation import Valued

_DIGITS = 8
_NAMES = ("delta", "gamma", "theta", "vega", "rho")


def contract_greeks_view(qty: Decimal, known: ContractGreeks | None) -> dict[str, Any]:
    """Of one share of the contract as in a chain, and in `position_greeks` of all that is held, negative for a short. Null where there
    are none; `quality` says why."""
    greeks = None if known is None else known.greeks
    held = (
        None
        if known is None or greeks is None or known.size is None
        else greeks.times(float(qty) * known.size)
    )
    return {
        "implied_volatility": None if known is None else _rounded(known.volatility),
        **_greeks(greeks),
        "greeks_source": None if known is None or greeks is None else known.source,
        "greeks_as_of": None if known is None else instant(known.as_of_us),
        "quality": [] if known is None else list(known.quality),
        "position_greeks": None if held is None else _greeks(held),
    }


def portfolio_greeks_view(held: Iterable[Valued], known: Mapping[str, ContractGreeks]) -> dict[str, Any]:
    """Of everything held: in dollars, and by underlying in its shares. What is in `missing` is in none of the sums."""
    total = portfolio_greeks(_line(one, known.get(one.holding.symbol)) for one in held)
    return {
        "delta_dollars": _rounded(total.delta_dollars),
        "gamma_dollars": _rounded(total.gamma_dollars),
        "theta": _rounded(total.theta),
        "vega": _rounded(total.vega),
        "rho": _rounded(total.rho),
        "by_underlying": [_underlying(one) for one in total.by_underlying],
        "missing": list(total.missing),
    }


def _line(one: Valued, known: ContractGreeks | None) -> Line:
    held = one.holding
    if not is_option(held.symbol):
        spot = None if one.mark is None else float(one.mark.price)
        return Line(held.symbol, held.symbol, float(held.qty), ONE_SHARE, spot)
    underlying = underlying_of(held.symbol)
    if known is None or known.size is None:
        return Line(held.symbol, underlying, float(held.qty) * multiplier_of(held.symbol), None, None)
    return Line(held.symbol, underlying, float(held.qty) * known.size, known.greeks, known.spot)


def _underlying(one: UnderlyingGreeks) -> dict[str, Any]:
    return {
        "underlying": one.underlying,
        "spot": _rounded(one.spot),
        **_greeks(one.greeks),
        "delta_dollars": _rounded(one.delta_dollars),
        "gamma_dollars": _rounded(one.gamma_dollars),
    }


def _greeks(greeks: Greeks | None) -> dict[str, float | None]:
    if greeks is None:
        return dict.fromkeys(_NAMES)
    return {name: _rounded(number) for name, number in asdict(greeks).items()}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, _DIGITS)
