"""American options without cash dividends, contract by contract: price and Greeks.

Each contract gets its own boundary. Where thousands share few expirations `american_chain` is much faster. The formulas are in
`american_curve`, `american_premium` and `two_boundaries`.
"""

import numpy as np

from paiid.domain.pricing import american_double, american_premium, european
from paiid.domain.pricing.american_curve import solve_curve
from paiid.domain.pricing.american_nodes import NODES, quadrature
from paiid.domain.pricing.american_quoted import Quoted, assemble, put_in
from paiid.domain.pricing.american_terms import Scaled
from paiid.domain.pricing.terms import Accuracy, Contracts, FloatArray, Market, Values


def value(contracts: Contracts, market: Market, volatility: FloatArray, accuracy: Accuracy) -> Values:
    """Price and Greeks; cash dividends are not looked at. Contracts as `terms` says, finite, spot and strike above zero, time and
    volatility at least zero."""
    return value_quoted(Quoted.of(contracts, market), volatility, accuracy)


def value_quoted(quoted: Quoted, volatility: FloatArray, accuracy: Accuracy) -> Values:
    """The same of contracts that are joined with their market."""
    scaled = Scaled.of(quoted.put, quoted.years, quoted.rate, quoted.dividend_yield, volatility)
    values = european.value(quoted.contracts, quoted.market, volatility)
    if scaled.alive.any():
        some = scaled.alive
        put_in(values, some, _single(quoted.part(some), scaled, volatility[some], accuracy))
    if scaled.double.any():
        some = scaled.double
        put_in(values, some, american_double.value(quoted.part(some), volatility[some], accuracy))
    # Where the right to exercise early was left out because it is worth next to nothing.
    gain = np.where(quoted.put, quoted.strike - quoted.spot, quoted.spot - quoted.strike)
    np.maximum(values.price, gain, out=values.price)
    return values


def _single(quoted: Quoted, scaled: Scaled, volatility: FloatArray, accuracy: Accuracy) -> Values:
    """Of contracts with one boundary, all of `scaled.alive`."""
    nodes, some = NODES[accuracy], scaled.alive
    curve = solve_curve(scaled.problem(), nodes)
    points = quadrature(nodes.points, nodes.outer)
    problem = curve.problem
    extra = american_premium.premium(
        quoted.log_spot,
        curve.log_at(points),
        curve.log_now,
        problem.rate,
        problem.yield_,
        problem.deviation,
        points,
        curve.moves(points),
    )
    return assemble(
        quoted,
        extra,
        (scaled.rate[some], scaled.yield_[some], scaled.deviation[some]),
        scaled.years[some],
        volatility,
        quoted.log_spot <= curve.log_now,
    )
