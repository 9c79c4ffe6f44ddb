"""The volatility that the price of an American option implies, each contract with boundaries of its own."""

import numpy as np

from paiid.domain.pricing import american_double, american_premium, european
from paiid.domain.pricing.american_curve import solve_curve
from paiid.domain.pricing.american_nodes import NODES, Nodes, quadrature
from paiid.domain.pricing.american_quoted import IndexArray, Quoted
from paiid.domain.pricing.american_search import (
    HIGHEST_DEVIATION,
    Evaluate,
    floor_of,
    search,
    statuses,
)
from paiid.domain.pricing.american_terms import Scaled, early_exercise
from paiid.domain.pricing.american_terms import european as plain_put
from paiid.domain.pricing.terms import (
    ABOVE,
    FLAT,
    IMPLIED,
    Accuracy,
    Contracts,
    FloatArray,
    Implied,
    Market,
)


def implied_volatility(
    contracts: Contracts, market: Market, price: FloatArray, accuracy: Accuracy
) -> Implied:
    """Volatilities of prices (dollars a share, anything that is no price included); cash dividends are not looked at."""
    quoted = Quoted.of(contracts, market)
    implied = european.implied_volatility(quoted.contracts, quoted.market, price)
    early, double = early_exercise(quoted.put, quoted.years, quoted.rate, quoted.dividend_yield)
    for where, of in ((early, of_single), (double, american_double.implied)):
        if where.any():
            found = of(quoted.part(where), price[where], implied.volatility[where], accuracy)
            implied.volatility[where], implied.status[where] = found.volatility, found.status
    return implied


def of_single(quoted: Quoted, price: FloatArray, start: FloatArray, accuracy: Accuracy) -> Implied:
    """The same of contracts that have one boundary; `start` is the volatility of a European with that price, or 0."""
    target = price / quoted.unit
    status = statuses(target, floor_of(quoted.log_spot, *quoted.normal_rates()), accuracy)
    volatility = np.zeros(len(target))
    some = np.flatnonzero(status == IMPLIED)
    if not len(some):
        return Implied(volatility, status)
    asked = quoted.part(some)
    root = np.sqrt(asked.years)
    highest = HIGHEST_DEVIATION / root
    known = start[some] > 0
    # The European is worth less at any volatility, so that its implied one is too high.
    high = np.where(known, np.minimum(start[some] * (1 + 1e-9) + 1e-12, highest), highest)
    begin = np.where(known, high, np.minimum(0.5, high))
    gain = -np.expm1(asked.log_spot)
    found, done = search(
        _evaluator(asked, NODES[accuracy]), target[some], gain, np.zeros(len(some)), high, begin
    )
    status[some[~done]] = FLAT
    status[some[found >= highest * (1 - 1e-6)]] = ABOVE
    volatility[some] = np.where(status[some] == IMPLIED, found, 0.0)
    return Implied(volatility, status)


def _evaluator(quoted: Quoted, nodes: Nodes) -> Evaluate:
    points = quadrature(nodes.points, nodes.outer)

    def evaluate(volatility: FloatArray, which: IndexArray) -> tuple[FloatArray, FloatArray]:
        part = quoted.part(which)
        scaled = Scaled.of(part.put, part.years, part.rate, part.dividend_yield, volatility)
        curve = solve_curve(scaled.problem(), nodes)
        problem = curve.problem
        plain = plain_put(part.log_spot, scaled.rate, scaled.yield_, scaled.deviation)
        extra, slope = american_premium.price_and_slope(
            part.log_spot,
            curve.log_at(points),
            problem.rate,
            problem.yield_,
            problem.deviation,
            points,
            curve.move_by_deviation(points),
        )
        gain = -np.expm1(part.log_spot)
        worth = plain.price + extra
        done = ((part.log_spot <= curve.log_now) & (plain.price <= gain)) | (worth <= gain)
        worth = np.where(done, gain, worth)
        return worth, np.where(done, 0.0, (plain.by_deviation + slope) * np.sqrt(scaled.years))

    return evaluate
