"""Greeks and volatilities as Tradier tells them: another house's, computed once an hour, and older than the quote beside them.

Of the volatility that the simulated market makes its quotes from, with neither interest nor dividends, as that market has none; a plain
European formula. Formulas: J. Hull, Options, Futures, and Other Derivatives, chapter "The Greek letters", in the scale of the example in
tradier.md, section 8.2: theta a calendar day; vega, rho and phi a percentage point.
"""

from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from math import exp, log, pi, sqrt
from typing import Any, Protocol

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.occ import OptionContract
from paiid.domain.pricing.black_scholes import normal_cdf, price
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.options import Model

__all__ = ["HourlyGreeks", "greeks_body"]

_DAYS_OF_YEAR = 365.0
_SHORTEST = 1e-6
"""Half a minute, in years: nothing moves as a formula says any more."""
_HOUR_US = 3_600_000_000
_RUN_US = 4_000_000
"""How long after the full hour the figures are out."""
_PLACES, _PLACES_OF_VOLATILITY = 6, 4
_MOST = 20_000
"""Contracts that are remembered; the one asked for first goes first."""
_WIDEST, _CLOSE, _STEPS = 5.0, 1e-6, 60
"""The highest volatility that is looked for, how near is near enough, and after how many steps in any case."""


class _Models(Protocol):
    def model(self, symbol: str) -> Model | None: ...


class HourlyGreeks:
    """The figures of this hour, each computed when it is first asked for and then the same until the next full hour; of an hour in
    which the market was open."""

    def __init__(self, market: _Models, hours: MarketHours, clock: Clock) -> None:
        self._market = market
        self._hours = hours
        self._clock = clock
        self._told: OrderedDict[str, tuple[int, dict[str, Any] | None]] = OrderedDict()

    def of(self, contract: OptionContract, quote: Quote) -> dict[str, Any] | None:
        """`greeks` of a contract; None where there is no bid, or nothing can be computed."""
        run_us = self._run_us()
        known = self._told.get(contract.symbol)
        if known is None or known[0] != run_us:
            known = (run_us, self._computed(contract, quote, run_us))
            self._told[contract.symbol] = known
            self._told.move_to_end(contract.symbol)
            if len(self._told) > _MOST:
                self._told.popitem(last=False)
        return known[1]

    def _run_us(self) -> int:
        now_us = self._clock.now_us()
        at_us = now_us if self._hours.is_open(now_us) else self._hours.previous_roll_us(now_us)
        return at_us - at_us % _HOUR_US

    def _computed(self, contract: OptionContract, quote: Quote, run_us: int) -> dict[str, Any] | None:
        model = self._market.model(contract.symbol) if quote.bid > 0 else None
        body = None if model is None else greeks_body(contract, model, quote.bid, quote.ask)
        if body is None:
            return None
        run = datetime.fromtimestamp((run_us + _RUN_US) // 1_000_000, UTC)
        return {**body, "updated_at": f"{run:%Y-%m-%d %H:%M:%S}"}


def greeks_body(contract: OptionContract, model: Model, bid: Decimal, ask: Decimal) -> dict[str, Any] | None:
    """All of `greeks` but its date; None where the contract is about to end."""
    if model.years < _SHORTEST or model.volatility <= 0:
        return None
    strike = float(contract.strike)
    root = sqrt(model.years)
    deviation = model.volatility * root
    d1 = log(model.spot / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    density = exp(-d1 * d1 / 2) / sqrt(2 * pi)
    sign = 1.0 if contract.option_type == "call" else -1.0
    greeks = {
        "delta": sign * normal_cdf(sign * d1),
        "gamma": density / (model.spot * deviation),
        "theta": -model.spot * density * model.volatility / (2 * root) / _DAYS_OF_YEAR,
        "vega": model.spot * density * root / 100,
        "rho": sign * strike * model.years * normal_cdf(sign * d2) / 100,
        "phi": -sign * model.spot * model.years * normal_cdf(sign * d1) / 100,
    }
    bid_iv, ask_iv = (_volatility(contract, model, float(one)) for one in (bid, ask))
    told = {name: round(one, _PLACES) for name, one in greeks.items()}
    return {
        **told,
        "bid_iv": bid_iv,
        "mid_iv": round((bid_iv + ask_iv) / 2, _PLACES),
        "ask_iv": ask_iv,
        "smv_vol": round(model.volatility, _PLACES_OF_VOLATILITY - 1),
    }


def _volatility(contract: OptionContract, model: Model, told: float) -> float:
    """The volatility at which the formula gives a price, up to the widest; 0 for a price that needs none."""
    strike, low, high = float(contract.strike), 0.0, _WIDEST

    def missing(volatility: float) -> float:
        return told - price(contract.option_type, model.spot, strike, model.years, 0.0, 0.0, volatility)

    if missing(0.0) <= 0:
        return 0.0
    # Newton's steps from the volatility that made the quote; where one leaves the bracket, it is halved.
    guess = model.volatility
    for _ in range(_STEPS):
        gap = missing(guess)
        low, high = (guess, high) if gap > 0 else (low, guess)
        vega = _vega(model, strike, guess)
        step = gap / vega if vega > 0 else _WIDEST
        before, guess = guess, guess + step
        if not low < guess < high:
            guess = (low + high) / 2
        if abs(guess - before) < _CLOSE:
            break
    return round(guess, _PLACES_OF_VOLATILITY)


def _vega(model: Model, strike: float, volatility: float) -> float:
    deviation = volatility * sqrt(model.years)
    d1 = log(model.spot / strike) / deviation + deviation / 2
    return model.spot * sqrt(model.years) * exp(-d1 * d1 / 2) / sqrt(2 * pi)
