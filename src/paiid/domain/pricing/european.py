"""European options after Black, Scholes and Merton, for arrays of contracts: what they are worth, and what their prices imply.

Sources: F. Black and M. Scholes, "The Pricing of Options and Corporate Liabilities", Journal of Political Economy 81 (1973);
R. Merton, "Theory of Rational Option Pricing", Bell Journal of Economics 4 (1973), for the yield; J. Hull, Options, Futures, and Other
Derivatives, chapter 19, for the Greeks. `black_scholes.price` is the same formula for one contract, on `math` alone.

Everything is computed from the out-of-the-money side (see `implied_european`): an option is worth what its forward pays at least,
discounted, plus that side's value. So parity holds to rounding, and no price is below its bound.

Nothing here warns or returns NaN for finite numbers with spot and strike above zero and time and volatility at least zero; the door
(`valuation`) keeps others out. Discount factors outside 1e-300..1e300 are cut off there, and so are results at the largest float.
Cash dividends are not looked at. Where a derivative does not exist, at the strike without time or volatility left, delta is the middle
of both sides, and gamma and the decay of the time value are 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.implied_european import LEAST_SHARE, density, implied_deviation
from paiid.domain.pricing.terms import (
    ABOVE,
    BELOW,
    DAYS_OF_YEAR,
    FLAT,
    IMPLIED,
    NO_PRICE,
    BoolArray,
    Contracts,
    FloatArray,
    Implied,
    Market,
    StatusArray,
    Values,
)

ROUNDINGS = 8.0 * 2.0**-52
"""A time value of an in-the-money option below this share of the most it can be worth is rounding: any small volatility gives it.
So is a price this close to that most, which any large one gives, and a standard deviation this small at the money."""

KNOWN_TO = 1e-6
"""What is told of a volatility is right to this (a fraction a year; of itself above a deviation of 1), or it is not told; but
for contracts that live less than a picosecond."""

_SURE = 1e-7
"""Of the most a contract can be worth: a price this far inside its bounds tells its volatility to 1e-8 of itself."""
_BLOCK = 2048
"""Contracts at a time: twenty arrays of them stay in a core's cache."""
_LOG_MOST = 690.0
_MOST = 1e300
_LEAST_DEVIATION = 1e-150


@dataclass(frozen=True, slots=True)
class _Legs:
    """Contracts of a block as two discounted legs, the share and the strike, and which of them is smaller."""

    call: BoolArray
    years: FloatArray
    root_years: FloatArray
    spot: float | FloatArray
    rate: float | FloatArray
    dividend_yield: float | FloatArray
    share_discount: FloatArray
    spot_leg: FloatArray
    strike_leg: FloatArray
    smaller: FloatArray
    ratio: FloatArray
    log_ratio: FloatArray
    call_is_out: BoolArray

    def is_in(self) -> BoolArray:
        """Whether the contract itself is the side in the money."""
        return np.not_equal(self.call, self.call_is_out)

    def intrinsic(self) -> FloatArray:
        """What the forward pays, discounted: the value at no volatility."""
        difference = self.spot_leg - self.strike_leg
        return np.maximum(np.where(self.call, difference, -difference), 0.0)


def value(contracts: Contracts, market: Market, volatility: FloatArray) -> Values:
    """Price and Greeks of each contract at its volatility, in the units of `Values`."""
    values = _empty(len(contracts))
    with np.errstate(all="ignore"):
        for part in _blocks(len(contracts)):
            legs = _legs(contracts, market, part)
            _greeks(legs, volatility[part] * legs.root_years, values, part)
    return _finite(values)


def price_only(contracts: Contracts, market: Market, volatility: FloatArray) -> FloatArray:
    """What `value` gives as the price, in about 60 % of the time."""
    price = np.empty(len(contracts))
    with np.errstate(all="ignore"):
        for part in _blocks(len(contracts)):
            legs = _legs(contracts, market, part)
            inner, outer = _arguments(legs, _bounded(volatility[part] * legs.root_years))
            price[part] = _worth(legs, ndtr(inner), ndtr(outer))
    return price


def implied_volatility(contracts: Contracts, market: Market, price: FloatArray) -> Implied:
    """The volatility at which each contract is worth its price, to the last digits that the price holds.

    A price is FLAT where it is within `ROUNDINGS` of one of its bounds, so that nothing but rounding tells volatilities apart, or so
    near that two roundings of it are worth more than `KNOWN_TO` in volatility. The lower bound of an out-of-the-money price is 0,
    which floats tell well: there it may be as small as 1e-290 of the smaller leg, unless its deviation is within `ROUNDINGS` too
    (at the money with hardly any time). Otherwise the error is a few roundings of the price and the legs divided by vega.
    """
    volatility = np.zeros(len(contracts))
    status = np.empty(len(contracts), dtype=np.uint8)
    with np.errstate(all="ignore"):
        for part in _blocks(len(contracts)):
            legs = _legs(contracts, market, part)
            deviation, status[part] = _imply(legs, price[part])
            _volatility(legs, deviation, volatility, part)
    return Implied(volatility, status)


def imply_and_value(contracts: Contracts, market: Market, price: FloatArray) -> tuple[Implied, Values]:
    """Both in one pass; where nothing is implied the values are zeros and mean nothing."""
    volatility = np.zeros(len(contracts))
    status = np.empty(len(contracts), dtype=np.uint8)
    values = _empty(len(contracts))
    with np.errstate(all="ignore"):
        for part in _blocks(len(contracts)):
            legs = _legs(contracts, market, part)
            deviation, status[part] = _imply(legs, price[part])
            _volatility(legs, deviation, volatility, part)
            _greeks(legs, deviation, values, part)
    if status.any():
        for column in _columns(values):
            column[status != IMPLIED] = 0.0
    return Implied(volatility, status), _finite(values)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def _part(number: float | FloatArray, part: slice) -> float | FloatArray:
    return number[part] if isinstance(number, np.ndarray) and number.ndim else number


def _discount(rate: float | FloatArray, years: FloatArray) -> FloatArray:
    exponent: FloatArray = rate * years
    np.negative(exponent, out=exponent)
    np.minimum(exponent, _LOG_MOST, out=exponent)
    np.maximum(exponent, -_LOG_MOST, out=exponent)
    return np.exp(exponent, out=exponent)


def _legs(contracts: Contracts, market: Market, part: slice) -> _Legs:
    years = contracts.years[part]
    spot, rate = _part(market.spot, part), _part(market.rate, part)
    dividend_yield = _part(market.dividend_yield, part)
    share_discount = _discount(dividend_yield, years)
    spot_leg = np.minimum(spot * share_discount, _MOST)
    np.maximum(spot_leg, 1 / _MOST, out=spot_leg)
    strike_leg = _discount(rate, years)
    strike_leg *= contracts.strike[part]
    np.minimum(strike_leg, _MOST, out=strike_leg)
    np.maximum(strike_leg, 1 / _MOST, out=strike_leg)
    smaller = np.minimum(spot_leg, strike_leg)
    ratio = np.maximum(spot_leg, strike_leg)
    ratio /= smaller
    np.minimum(ratio, _MOST, out=ratio)
    return _Legs(
        contracts.call[part],
        years,
        np.sqrt(years),
        spot,
        rate,
        dividend_yield,
        share_discount,
        spot_leg,
        strike_leg,
        smaller,
        ratio,
        np.log(ratio),
        spot_leg <= strike_leg,
    )


def _bounded(deviation: FloatArray) -> FloatArray:
    return np.minimum(np.maximum(deviation, _LEAST_DEVIATION), 1 / _LEAST_DEVIATION)


def _arguments(legs: _Legs, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
    """a and b of `implied_european`: for a call out of the money d1 and d2, for a put -d2 and -d1."""
    far = legs.log_ratio / deviation
    half = 0.5 * deviation
    inner = half - far
    np.add(half, far, out=far)
    return inner, np.negative(far, out=far)


def _worth(legs: _Legs, inner: FloatArray, outer: FloatArray) -> FloatArray:
    worth = inner - legs.ratio * outer
    worth *= legs.smaller
    np.maximum(worth, 0.0, out=worth)
    worth += legs.intrinsic()
    return worth


def _greeks(legs: _Legs, deviation: FloatArray, values: Values, part: slice) -> None:
    """Write the values of a block into its part of the arrays."""
    bounded = _bounded(deviation)
    inner_at, outer_at = _arguments(legs, bounded)
    inner, outer = ndtr(inner_at), ndtr(outer_at)
    values.price[part] = _worth(legs, inner, outer)
    of_spot, of_strike = _owned(legs, inner, outer)
    np.multiply(of_spot, legs.share_discount, out=values.delta[part])
    of_spot *= legs.spot_leg
    of_strike *= legs.strike_leg
    carry = legs.dividend_yield * of_spot - legs.rate * of_strike
    of_strike *= legs.years
    np.multiply(of_strike, 0.01, out=values.rho[part])
    moves = density(inner_at)
    moves *= legs.smaller
    gamma, decay = moves / bounded, moves * bounded
    gamma /= legs.spot
    gamma /= legs.spot
    decay /= legs.years
    moves *= legs.root_years
    np.multiply(moves, 0.01, out=values.vega[part])
    still = deviation <= 0.0
    if still.any():
        gamma[still] = 0.0
        decay[still] = 0.0
    values.gamma[part] = gamma
    decay *= 0.5
    carry -= decay
    np.divide(carry, DAYS_OF_YEAR, out=values.theta[part])


def _owned(legs: _Legs, inner: FloatArray, outer: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How much of the spot's leg and of the strike's the contract is worth: N(d1), N(d2) for a call, -N(-d1), -N(-d2) for a put."""
    of_spot = np.where(legs.call_is_out, inner, outer)
    of_strike = np.where(legs.call_is_out, outer, inner)
    is_in = legs.is_in()
    np.subtract(1.0, of_spot, out=of_spot, where=is_in)
    np.subtract(1.0, of_strike, out=of_strike, where=is_in)
    sign = np.where(legs.call, 1.0, -1.0)
    of_spot *= sign
    of_strike *= sign
    return of_spot, of_strike


def _imply(legs: _Legs, price: FloatArray) -> tuple[FloatArray, StatusArray]:
    """volatility * sqrt(years) of each price, 0 where none is implied, and why."""
    most = np.where(legs.call, legs.spot_leg, legs.strike_leg)
    time_value = price - legs.intrinsic()
    left = most - price
    rounding = ROUNDINGS * most
    is_in = legs.is_in()
    floor = np.where(is_in, rounding, LEAST_SHARE * legs.smaller)
    good = (time_value > floor) & (left > rounding) & (legs.years > 0.0) & (price > 0.0)
    if good.all():
        share, rest = time_value / legs.smaller, left / legs.smaller
        deviation = implied_deviation(share, rest, legs.log_ratio, legs.ratio)
        status = np.full(len(price), IMPLIED, dtype=np.uint8)
    else:
        deviation, status = np.zeros(len(price)), np.full(len(price), FLAT, dtype=np.uint8)
        status[good] = IMPLIED
        status[time_value < -rounding] = BELOW
        status[(left < -rounding) | ((legs.years <= 0.0) & (time_value > floor))] = ABOVE
        status[~(price > 0.0)] = NO_PRICE
        smaller = legs.smaller[good]
        deviation[good] = implied_deviation(
            time_value[good] / smaller, left[good] / smaller, legs.log_ratio[good], legs.ratio[good]
        )
    lost = _lost(legs, deviation, (time_value < _SURE * most) & is_in, left < _SURE * most, most)
    if lost.any():
        deviation[lost] = 0.0
        status[lost & (status == IMPLIED)] = FLAT
    return deviation, status


def _lost(
    legs: _Legs, deviation: FloatArray, at_least: BoolArray, at_most: BoolArray, most: FloatArray
) -> BoolArray:
    """Where rounding decides the deviation: at the money too small a one, and near a bound one that two roundings of the price move by
    more than `KNOWN_TO`."""
    lost: BoolArray = deviation <= ROUNDINGS
    near = at_least | at_most
    if near.any():
        inner, _ = _arguments(legs, _bounded(deviation))
        slope = legs.smaller * density(inner) * np.maximum(legs.root_years, deviation)
        lost |= near & (2.0**-51 * most > KNOWN_TO * slope)
    return lost


def _volatility(legs: _Legs, deviation: FloatArray, volatility: FloatArray, part: slice) -> None:
    np.divide(deviation, legs.root_years, out=volatility[part], where=deviation > 0.0)


def _empty(count: int) -> Values:
    return Values(*(np.empty(count) for _ in range(6)))


def _columns(values: Values) -> tuple[FloatArray, ...]:
    return values.price, values.delta, values.gamma, values.theta, values.vega, values.rho


def _finite(values: Values) -> Values:
    for column in _columns(values):
        if not np.isfinite(column).all():
            np.nan_to_num(column, copy=False)
    return values
