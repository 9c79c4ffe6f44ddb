"""American contracts joined with their market, and the way back from the normal form to dollars and Greeks.

Theta is what the pricing equation leaves: V_t = r V - (r - q) S V_S - s^2 S^2 V_SS / 2.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paiid.domain.pricing.american_premium import Premium
from paiid.domain.pricing.american_terms import european as plain_put
from paiid.domain.pricing.terms import DAYS_OF_YEAR, BoolArray, Contracts, FloatArray, Market, Values

IndexArray: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Quoted:
    """Contracts and their market as arrays of one length, and what their normal form is counted in: `unit` dollars, `log_spot` the
    logarithm of the turned price of the underlying."""

    put: BoolArray
    spot: FloatArray
    strike: FloatArray
    years: FloatArray
    rate: FloatArray
    dividend_yield: FloatArray
    unit: FloatArray
    log_spot: FloatArray

    @staticmethod
    def of(contracts: Contracts, market: Market) -> "Quoted":
        count = len(contracts)

        def spread(number: float | FloatArray) -> FloatArray:
            return np.broadcast_to(np.asarray(number, dtype=np.float64), (count,))

        put, strike, spot = ~contracts.call, contracts.strike, spread(market.spot)
        log_moneyness = np.log(spot) - np.log(strike)
        return Quoted(
            put,
            spot,
            strike,
            contracts.years,
            spread(market.rate),
            spread(market.dividend_yield),
            np.where(put, strike, spot),
            np.where(put, log_moneyness, -log_moneyness),
        )

    def part(self, some: BoolArray | IndexArray) -> "Quoted":
        return Quoted(
            self.put[some],
            self.spot[some],
            self.strike[some],
            self.years[some],
            self.rate[some],
            self.dividend_yield[some],
            self.unit[some],
            self.log_spot[some],
        )

    def normal_rates(self) -> tuple[FloatArray, FloatArray]:
        """Rate and yield of the normal form, times the years."""
        put, years = self.put, self.years
        rate = np.where(put, self.rate, self.dividend_yield) * years
        return rate, np.where(put, self.dividend_yield, self.rate) * years

    @property
    def market(self) -> Market:
        return Market(self.spot, self.rate, self.dividend_yield)

    @property
    def contracts(self) -> Contracts:
        return Contracts(~self.put, self.strike, self.years)


def put_in(values: Values, where: BoolArray | IndexArray, part: Values) -> None:
    """Write the values of some contracts to their places."""
    for name in ("price", "delta", "gamma", "theta", "vega", "rho"):
        getattr(values, name)[where] = getattr(part, name)


def assemble(
    quoted: Quoted,
    extra: Premium,
    normal: tuple[FloatArray, FloatArray, FloatArray],
    years: FloatArray,
    volatility: FloatArray,
    done: BoolArray,
) -> Values:
    """Dollars and Greeks from a premium in the normal form. `normal` is rate, yield and deviation there, over `years`; `done` marks
    contracts in the exercise region, which are worth what exercise gives."""
    plain = plain_put(quoted.log_spot, *normal)
    put, spot, unit = quoted.put, quoted.spot, quoted.unit
    gain = -np.expm1(quoted.log_spot)
    price = np.maximum(plain.price + np.maximum(extra.price, 0.0), gain)
    done = done & (plain.price <= gain)
    first, second = plain.first + extra.first, plain.second + extra.second
    by_rate = np.where(put, plain.by_rate + extra.by_rate, plain.by_yield + extra.by_yield)
    dollars = unit * np.where(done, gain, price)
    delta = np.where(put, first * unit / spot, price - first)
    delta = np.where(done, np.where(put, -1.0, 1.0), delta)
    # S^2 V_SS is the same in both forms, in units.
    bend = unit * np.where(done, 0.0, second)
    alive = np.where(done, 0.0, unit)
    theta = quoted.rate * dollars - (quoted.rate - quoted.dividend_yield) * spot * delta
    theta = np.where(done, 0.0, theta - 0.5 * volatility**2 * bend)
    return Values(
        price=dollars,
        delta=delta,
        gamma=bend / (spot * spot),
        theta=theta / DAYS_OF_YEAR,
        vega=alive * (plain.by_deviation + extra.by_deviation) * np.sqrt(years) / 100,
        rho=alive * by_rate * years / 100,
    )
