"""The rate and the yields that a chain's calls and puts imply, as put-call parity has them (`parity`).

C - P falls with the strike as exp(-rT) says, and stands as high as the yield lets it. Of American contracts what early exercise is worth is taken
off first: a contract's volatility is implied as an American one, and it is valued again as a European one, with the rate and the
yield of the round before. Early exercise hangs little on either, so a few rounds do.
"""

import numpy as np

from paiid.domain.pricing.parity import IndexArray, Pairs, Sides, find_pairs, present_value
from paiid.domain.pricing.terms import (
    IMPLIED,
    Accuracy,
    BoolArray,
    CashDividend,
    Contracts,
    FloatArray,
    Market,
)

NEAR_PAIRS = 6
"""Pairs near the money that the yield of an expiration is implied from, at most."""
SPREAD_PAIRS = 16
"""Pairs over the strikes of an expiration that a rate is implied from, at most."""
FEWEST_PAIRS = 3
MOST_RATE_ERROR = 0.01
"""A rate that is known to no better than this (one standard error) is not known."""
_REACH = 0.35
"""How far from the spot strikes may be, as a logarithm; far out, half a spread hides all that parity tells."""
_ROUNDS = 8
_RATES = (0.0, 0.25)
_YIELDS = (-1.0, 1.0)
_CENT = 0.01
_CERTAIN = 2.0
"""Standard errors from zero at which something is told at all."""
_LEAST_SCATTER = 0.02
_STANDS_STILL = 1e-4
"""A rate that moves by less between two rounds."""
_SMALL_MOVE = 1e-5
"""A forward that moves by less, as a share of the spot, or by a tenth of its error, stands."""


def implied_yields(
    contracts: Contracts,
    quotes: Sides,
    european: BoolArray,
    group: IndexArray,
    rate: FloatArray,
    spot: float,
    dividends: tuple[CashDividend, ...],
    accuracy: Accuracy = "fast",
) -> tuple[FloatArray, IndexArray]:
    """The continuous yield (on top of the cash) of each expiration at which its calls and puts near the money agree, and how many pairs told
    it; 0 and 0 where fewer than three do. `group` numbers each contract's expiration, `rate` is that of each expiration.

    What one expiration tells does not hang on the others that are asked about."""
    count = len(rate)
    pairs = find_pairs(contracts, ~np.isnan(quotes.mid) & (contracts.years > 0))
    pairs = _near(contracts, pairs, group, spot, NEAR_PAIRS)
    found, told = np.zeros(count), np.zeros(count, dtype=np.intp)
    moving = np.bincount(group[pairs.call], minlength=count) >= FEWEST_PAIRS
    for _ in range(_ROUNDS):
        keep = moving[group[pairs.call]]
        pairs = Pairs(pairs.call[keep], pairs.put[keep])
        if len(pairs.call) == 0:
            break
        numbers = group[pairs.call]
        years, strike, q = contracts.years[pairs.call], contracts.strike[pairs.call], found[numbers]
        differences, sure = _european_differences(
            contracts, quotes, european, pairs, rate[numbers], q, spot, dividends, accuracy
        )
        cash = present_value(dividends, years, rate[numbers], q)
        levels = differences + strike * np.exp(-rate[numbers] * years) + cash
        weights = _weights(quotes, pairs)
        for number in np.unique(numbers):
            one = (numbers == number) & sure
            told[number] = np.count_nonzero(one)
            if told[number] < FEWEST_PAIRS:
                found[number], told[number], moving[number] = 0.0, 0, False
                continue
            level, error = _middle(levels[one], weights[one])
            life = float(years[one][0])
            before = found[number]
            # What is within its error is noise, and would turn the question of early exercise one way or the other.
            noise = abs(level - spot) < _CERTAIN * error or level <= 0
            found[number] = 0.0 if noise else np.clip(-np.log(level / spot) / life, *_YIELDS)
            moved = abs(found[number] - before) * life * spot
            moving[number] = moved > max(_SMALL_MOVE * spot, error / 10)
    return found, told


def implied_rate(
    contracts: Contracts,
    quotes: Sides,
    european: BoolArray,
    group: IndexArray,
    spot: float,
    dividends: tuple[CashDividend, ...],
    accuracy: Accuracy = "fast",
) -> float | None:
    """One rate for all, from how C - P falls with the strike; each expiration counts by how well it tells it. None where the quotes do not
    tell it to a percentage point. Never below zero: a chain that says so knows of a dividend that we do not, for dollars never cost less."""
    pairs = find_pairs(contracts, ~np.isnan(quotes.mid) & (contracts.years > 0))
    pairs = _near(contracts, pairs, group, spot, SPREAD_PAIRS)
    if len(pairs.call) == 0:
        return None
    count = int(group.max()) + 1
    pair_group = group[pairs.call]
    strike, years = contracts.strike[pairs.call], contracts.years[pairs.call]
    rate, error, yields = 0.0, np.inf, np.zeros(count)
    for number_of_round in range(_ROUNDS):
        q = yields[pair_group]
        differences, sure = _european_differences(
            contracts, quotes, european, pairs, np.full(len(q), rate), q, spot, dividends, accuracy
        )
        weight = np.where(sure, _weights(quotes, pairs), 0.0)
        groups = [(pair_group == number) & (weight > 0) for number in range(count)]
        found = _common_slope([(strike[one], differences[one], weight[one], years[one]) for one in groups])
        if found is None:
            return None
        before, (rate, error) = rate, (float(np.clip(found[0], *_RATES)), found[1])
        forward = differences + strike * np.exp(-rate * years)
        cash = present_value(dividends, years, np.full(len(q), rate), q)
        for number, one in enumerate(groups):
            if np.any(one):
                level = float(np.average((forward + cash)[one], weights=weight[one]))
                yields[number] = np.clip(-np.log(max(level, _CENT) / spot) / years[one][0], *_YIELDS)
        if abs(rate - before) < _STANDS_STILL and number_of_round > 0:
            break
    if error > MOST_RATE_ERROR:
        return None
    # What is within its error is noise, and would turn the question of early exercise one way or the other.
    return rate if rate > _CERTAIN * error else 0.0


def _common_slope(
    expirations: list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]],
) -> tuple[float, float] | None:
    """The rate and its standard error from (strike, C - P, weight, years) of each expiration: r = -log(-slope)/T."""
    told, precision = 0.0, 0.0
    for strike, difference, weight, years in expirations:
        if len(strike) < FEWEST_PAIRS:
            continue
        slope, variance = _line(strike, difference, weight)
        if not slope < 0:
            continue
        life = float(years[0])
        certainty = (slope * life) ** 2 / variance
        told += certainty * -np.log(-slope) / life
        precision += certainty
    return None if precision == 0.0 else (told / precision, precision**-0.5)


def _european_differences(
    contracts: Contracts,
    quotes: Sides,
    european: BoolArray,
    pairs: Pairs,
    rate: FloatArray,
    dividend_yield: FloatArray,
    spot: float,
    dividends: tuple[CashDividend, ...],
    accuracy: Accuracy,
) -> tuple[FloatArray, BoolArray]:
    """C - P of each pair without what early exercise is worth, and whether both of the pair told it. Where rate and yield are both below zero
    that is hardly anything, and dear to find out: it is left on."""
    from paiid.domain.pricing.valuation import imply_and_value, value  # scipy is loaded when it is needed

    both = np.concatenate([pairs.call, pairs.put])
    mid = quotes.mid[both]
    exact = european[both]
    sure = np.ones(len(both), dtype=np.bool_)
    worth = mid.copy()
    twice = np.concatenate([rate, rate]), np.concatenate([dividend_yield, dividend_yield])
    early = np.flatnonzero(~exact & ~((twice[0] < 0) & (twice[1] < 0)))
    if len(early):
        chosen = both[early]
        some = Contracts(contracts.call[chosen], contracts.strike[chosen], contracts.years[chosen])
        market = Market(spot, twice[0][early], twice[1][early], dividends)
        implied, _ = imply_and_value(some, market, mid[early], style="american", accuracy=accuracy)
        volatility = np.where(implied.status == IMPLIED, implied.volatility, 0.2)
        worth[early] = value(some, market, volatility, style="european", accuracy=accuracy).price
        sure[early] = implied.status == IMPLIED
    count = len(pairs.call)
    return worth[:count] - worth[count:], sure[:count] & sure[count:]


def _near(contracts: Contracts, pairs: Pairs, group: IndexArray, spot: float, most: int) -> Pairs:
    """Of each expiration the pairs whose strikes are nearest to the spot."""
    away = np.abs(np.log(contracts.strike[pairs.call] / spot))
    where = np.flatnonzero(away <= _REACH)
    order = where[np.lexsort((away[where], group[pairs.call[where]]))]
    groups = group[pairs.call[order]]
    starts = np.searchsorted(groups, groups, side="left")
    kept = order[np.arange(len(order)) - starts < most]
    return Pairs(pairs.call[kept], pairs.put[kept])


def _weights(quotes: Sides, pairs: Pairs) -> FloatArray:
    """One over the variance of a pair's difference, as if half its spreads and half a cent were one standard deviation."""
    spread = (quotes.ask - quotes.bid)[pairs.call] + (quotes.ask - quotes.bid)[pairs.put]
    deviation = np.maximum(spread, 0.0) / 2 + _CENT / 2
    weights: FloatArray = 1 / (deviation * deviation)
    return weights


def _line(x: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Slope of the weighted line of least squares, and its variance."""
    total = weight.sum()
    middle_x, middle_y = (weight * x).sum() / total, (weight * y).sum() / total
    spread = (weight * (x - middle_x) ** 2).sum()
    if spread <= 0:
        return 0.0, np.inf
    slope = (weight * (x - middle_x) * (y - middle_y)).sum() / spread
    misfit = (weight * (y - middle_y - slope * (x - middle_x)) ** 2).sum()
    variance = _scatter(float(misfit), len(x) - 2) / spread
    return float(slope), float(variance)


def _middle(values: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """The weighted mean and its standard error."""
    mean = np.average(values, weights=weight)
    misfit = (weight * (values - mean) ** 2).sum()
    return float(mean), float((_scatter(float(misfit), len(values) - 1) / weight.sum()) ** 0.5)


def _scatter(misfit: float, freedom: int) -> float:
    """How much middles scatter, as a share of what their spreads allow (squared): nearly always far less, but never taken for nothing."""
    return max(misfit / max(freedom, 1), _LEAST_SCATTER)
