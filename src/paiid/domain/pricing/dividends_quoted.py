"""Contracts joined with their market and its cash dividends, between the door's words and the solver's: what they are worth by dollars,
what they are worth without any volatility, and which prices tell none."""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing import european
from paiid.domain.pricing.dividends_backward import today
from paiid.domain.pricing.dividends_exercise import EFFORTS
from paiid.domain.pricing.dividends_outlook import Drift, IndexArray
from paiid.domain.pricing.dividends_problems import Problems
from paiid.domain.pricing.terms import (
    ABOVE,
    BELOW,
    FLAT,
    IMPLIED,
    NO_PRICE,
    Accuracy,
    BoolArray,
    Contracts,
    FloatArray,
    Market,
    StatusArray,
    Style,
)

RESOLUTION: dict[Accuracy, float] = {"fast": 1e-5, "accurate": 1e-7}
"""By dollar of strike: what a price must exceed its floor by to tell a volatility, about three times the usual error of the mode."""
LEAST_VOLATILITY = 0.005
"""Below it values run straight to what the contract is worth without any."""
_WIDEST = 12.0
"""Volatility times the root of time beyond which an option counts as worth what it is there."""
_BATCH = 1500
_ROUNDING = 4e-15
_SAME_DAY = 0.2 / 365
"""Dividends so close to one another are paid with the first of them."""


@dataclass(frozen=True, slots=True)
class Dollars:
    """What contracts are worth, an array each; `exercised` at once."""

    price: FloatArray
    delta: FloatArray
    gamma: FloatArray
    exercised: BoolArray


@dataclass(frozen=True, slots=True)
class Quoted:
    """Contracts and their market as arrays of one length."""

    call: BoolArray
    american: bool
    spot: FloatArray
    strike: FloatArray
    years: FloatArray
    rate: FloatArray
    dividend_yield: FloatArray
    ex_years: tuple[float, ...]
    amounts: tuple[float, ...]

    @staticmethod
    def of(contracts: Contracts, market: Market, style: Style) -> "Quoted":
        count = len(contracts)

        def spread(number: float | FloatArray) -> FloatArray:
            return np.broadcast_to(np.asarray(number, dtype=np.float64), (count,)).copy()

        paid: dict[float, float] = {}
        last = float(contracts.years.max(initial=0.0))
        day = -np.inf
        for dividend in sorted(market.dividends, key=lambda one: one.years):
            if dividend.amount > 0 and dividend.years < last:
                day = dividend.years if dividend.years - day > _SAME_DAY else day
                paid[day] = paid.get(day, 0.0) + dividend.amount
        days = tuple(paid)
        return Quoted(
            contracts.call,
            style == "american",
            spread(market.spot),
            contracts.strike,
            contracts.years,
            spread(market.rate),
            spread(market.dividend_yield),
            days,
            tuple(paid[day] for day in days),
        )

    def __len__(self) -> int:
        return len(self.strike)

    def part(self, some: IndexArray) -> "Quoted":
        return Quoted(
            self.call[some],
            self.american,
            self.spot[some],
            self.strike[some],
            self.years[some],
            self.rate[some],
            self.dividend_yield[some],
            self.ex_years,
            self.amounts,
        )

    def repeated(self, times: int) -> "Quoted":
        return self.part(np.tile(np.arange(len(self)), times))

    def problems(self, volatility: FloatArray, some: IndexArray) -> Problems:
        """Those at the indices, which have one right."""
        strike = self.strike[some, None]
        log_price = np.log(self.spot[some, None] / strike)
        drift = Drift(self.rate[some, None], self.dividend_yield[some, None], volatility[some, None])
        cash = np.array(self.amounts) / strike
        call = bool(self.call[some[0]])
        return Problems(
            call, self.american, drift, self.years[some, None], self.ex_years, cash, log_price, log_price
        )

    def valued(self, volatility: FloatArray, accuracy: Accuracy) -> Dollars:
        """Each at its volatility; never less than without any."""
        floor, gain = self.floor()
        widest = _WIDEST / np.sqrt(np.maximum(self.years, 1e-12))
        steady = np.minimum(np.maximum(volatility, LEAST_VOLATILITY), widest)
        price, delta, gamma = np.zeros(len(self)), np.zeros(len(self)), np.zeros(len(self))
        exercised = np.zeros(len(self), dtype=np.bool_)
        for right in (True, False):
            every = np.flatnonzero((self.call == right) & (self.years > 0))
            for start in range(0, len(every), _BATCH):
                some = every[start : start + _BATCH]
                problems = self.problems(steady, some)
                with np.errstate(all="ignore"):
                    worth, now = today(problems, EFFORTS[accuracy]).worth(problems.lowest)
                    unit = np.exp(problems.lowest)
                    price[some] = (worth.value * self.strike[some, None])[:, 0]
                    delta[some] = (worth.slope / unit)[:, 0]
                    gamma[some] = ((worth.bend - worth.slope) / unit**2 / self.strike[some, None])[:, 0]
                    exercised[some] = now[:, 0]
        sign = np.where(self.call, 1.0, -1.0)
        expired = self.years <= 0
        exercised |= expired
        price = np.where(exercised, np.maximum(gain, 0.0), np.where(np.isfinite(price), price, floor))
        delta = np.where(exercised, np.where(gain > 0, sign, 0.0), np.where(np.isfinite(delta), delta, 0.0))
        gamma = np.where(exercised | ~np.isfinite(gamma), 0.0, gamma)
        share = np.minimum(volatility / LEAST_VOLATILITY, 1.0)
        price = floor + share * (np.clip(price, floor, np.maximum(self.most(), floor)) - floor)
        return Dollars(price, delta, gamma, exercised)

    def floor(self) -> tuple[FloatArray, FloatArray]:
        """What each is worth without any volatility, and what exercising it now gives (negative out of the money)."""
        sign = np.where(self.call, 1.0, -1.0)
        gain = sign * (self.spot - self.strike)
        best = np.maximum(gain, 0.0) if self.american else np.zeros(len(self))
        price, since = self.spot.copy(), 0.0
        carry = self.rate - self.dividend_yield
        with np.errstate(all="ignore"):
            for day, amount in (*zip(self.ex_years, self.amounts, strict=True), (np.inf, 0.0)):
                end = np.minimum(day, self.years)
                open_ = end > since
                if self.american:
                    best = np.where(open_, np.maximum(best, self._best_within(price, since, end, sign)), best)
                price = np.where(open_, price * np.exp(carry * (end - since)), price)
                falls = self.years > day
                price = np.where(falls, np.maximum(price - amount, 0.0), price)
                if self.american:
                    after = np.exp(-self.rate * end) * sign * (price - self.strike)
                    best = np.where(falls, np.maximum(best, after), best)
                since = day
            last = np.exp(-self.rate * self.years) * sign * (price - self.strike)
        best = np.maximum(best, last)
        return np.where(np.isfinite(best), best, np.maximum(gain, 0.0)), gain

    def _best_within(self, price: FloatArray, since: float, end: FloatArray, sign: FloatArray) -> FloatArray:
        """The best moment to exercise in [since, end] along the price's path without volatility, discounted to today: an end, or where
        yield and interest are even."""
        rate, carry = self.rate, self.rate - self.dividend_yield
        even = np.log(rate * self.strike / (self.dividend_yield * price)) / carry
        even = np.clip(np.where(np.isfinite(even), even, 0.0), 0.0, end - since)
        worths = [
            np.exp(-rate * (since + wait)) * sign * (price * np.exp(carry * wait) - self.strike)
            for wait in (even, end - since)
        ]
        return np.maximum(worths[0], worths[1])

    def most(self) -> FloatArray:
        """What each is worth at the most, at any volatility: the price, or the strike, at the best moment there could be."""
        pays = np.where(self.call, self.dividend_yield, self.rate)
        kept = np.exp(np.clip(-pays * self.years, -700.0, 700.0))
        if self.american:
            kept = np.maximum(kept, 1.0)
        return np.where(self.call, self.spot, self.strike) * kept

    def first_guess(self, price: FloatArray) -> FloatArray:
        """The volatility of a European option on the price less what dividends are worth today, a fifth where that has none."""
        paid = np.zeros(len(self))
        for day, amount in zip(self.ex_years, self.amounts, strict=True):
            paid += np.where(self.years > day, amount * np.exp(-self.rate * day), 0.0)
        spot = np.maximum(self.spot - paid, 0.05 * self.spot)
        market = Market(spot, self.rate, self.dividend_yield)
        guess = european.implied_volatility(Contracts(self.call, self.strike, self.years), market, price)
        fair = (guess.status == IMPLIED) & (guess.volatility > 0.02)
        return np.where(fair, np.minimum(guess.volatility, 4.0), 0.2)


def implied_statuses(quoted: Quoted, price: FloatArray, floor: FloatArray, accuracy: Accuracy) -> StatusArray:
    """Why prices tell no volatility; IMPLIED for the rest."""
    known = np.isfinite(price) & (price > 0)
    over = np.where(known, price, 0.0) - floor
    status = np.full(price.shape, IMPLIED, dtype=np.uint8)
    scale = np.maximum(quoted.strike, quoted.spot)
    status[over <= np.where(floor > 0, RESOLUTION[accuracy] * quoted.strike, 0.0)] = FLAT
    status[over < -_ROUNDING * scale] = BELOW
    status[known & (price >= quoted.most())] = ABOVE
    status[~known] = NO_PRICE
    return status
