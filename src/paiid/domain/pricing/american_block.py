"""Groups of American contracts that share their boundaries: one right, time, rate and yield each, and a curve for every volatility."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from paiid.domain.pricing import american_premium
from paiid.domain.pricing.american_curve import Moves, Problem, solve_curve
from paiid.domain.pricing.american_nodes import NODES, Quadrature, quadrature
from paiid.domain.pricing.american_quoted import IndexArray, Quoted, assemble
from paiid.domain.pricing.american_search import search
from paiid.domain.pricing.american_terms import LONGEST_DRIFT, WIDEST_DRIFT
from paiid.domain.pricing.american_terms import european as plain_put
from paiid.domain.pricing.terms import Accuracy, FloatArray, Values

_SAMPLES: dict[Accuracy, tuple[float, float]] = {"fast": (5.0, 2.4), "accurate": (7.0, 6.0)}
"""Volatilities at which a group is solved: so many, and so many more for each factor e between the lowest and the highest."""
_WIDEST = 100.0
"""From the lowest to the highest volatility of a group, as a ratio; what is lower is left."""
_BELOW_EUROPEAN = 0.5
"""An American volatility is below the European one of the same price, but hardly ever by this factor."""


@dataclass(frozen=True, slots=True)
class Block:
    """Contracts sorted by group. Depths (how far the boundary lies below its start, in the logarithm) are Chebyshev series of the
    logarithm of volatility: `depth` and `depth_by_rate` (groups, outer + 1, samples), the last row that of today's boundary."""

    quoted: Quoted
    bounds: IndexArray
    """Where each group begins, and the end."""
    lowest: FloatArray
    highest: FloatArray
    depth: FloatArray
    by_rate: FloatArray
    log_start: FloatArray
    points: Quadrature

    @staticmethod
    def of(quoted: Quoted, start: FloatArray, accuracy: Accuracy) -> "Block":
        """Solve the curves of contracts, sorted by group; `start` are the European volatilities of their prices, above zero."""
        keys = np.stack([quoted.put, quoted.years, quoted.rate, quoted.dividend_yield])
        firsts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(0)])
        heads = quoted.part(firsts)
        rate, yield_ = heads.normal_rates()
        root = np.sqrt(heads.years)
        highest = np.maximum.reduceat(start, firsts) * (1 + 1e-6)
        lowest = np.minimum.reduceat(start, firsts) * _BELOW_EUROPEAN
        drift = rate - yield_
        # Below this the life is cut short, or the volatility raised (`american_terms`).
        steepest = np.maximum(drift / LONGEST_DRIFT, -drift / WIDEST_DRIFT) / root * (1 + 1e-9)
        lowest = np.maximum(np.maximum(lowest, highest / _WIDEST), steepest)
        highest = np.maximum(highest, lowest * 1.01)
        fixed, more = _SAMPLES[accuracy]
        samples = int(np.ceil(fixed + more * np.log((highest / lowest).max())))
        angle = (np.arange(samples) + 0.5) * np.pi / samples
        sigma = lowest[:, None] * (highest / lowest)[:, None] ** ((1 + np.cos(angle)) / 2)
        nodes = NODES[accuracy]
        points = quadrature(nodes.points, nodes.outer)
        shape = sigma.shape
        problem = Problem.of(
            np.broadcast_to(rate[:, None], shape).ravel(),
            np.broadcast_to(yield_[:, None], shape).ravel(),
            (sigma * root[:, None]).ravel(),
        )
        curve = solve_curve(problem, nodes)
        moves = curve.moves(points)
        put = np.broadcast_to(heads.put[:, None], shape).ravel()
        by_rate = np.where(put, moves.by_rate, moves.by_yield)
        # From values at Chebyshev points to coefficients of their series.
        series = np.cos(np.arange(samples)[:, None] * angle) * (2 / samples)
        series[0] /= 2
        log_curve = np.vstack([curve.log_at(points), curve.log_now])
        depth = problem.log_start - log_curve

        def coefficients(rows: FloatArray) -> FloatArray:
            return np.asarray(rows.reshape(len(rows), *shape).transpose(1, 0, 2) @ series.T)

        return Block(
            quoted,
            np.r_[firsts, len(start)],
            lowest,
            highest,
            coefficients(depth),
            coefficients(by_rate),
            problem.log_start.reshape(shape)[:, 0],
            points,
        )

    def _group_of(self, which: IndexArray) -> IndexArray:
        return np.asarray(np.searchsorted(self.bounds, which, side="right") - 1)

    def _basis(self, volatility: FloatArray, group: IndexArray) -> tuple[FloatArray, FloatArray]:
        """Chebyshev polynomials (samples, batch) and their derivatives by the logarithm of volatility."""
        half = np.log(self.highest / self.lowest)[group] / 2
        t = np.log(volatility / self.lowest[group]) / half - 1
        samples = self.depth.shape[2]
        values, slopes = np.ones((samples, len(t))), np.zeros((samples, len(t)))
        values[1], slopes[1] = t, 1.0
        for k in range(2, samples):
            values[k] = 2 * t * values[k - 1] - values[k - 2]
            slopes[k] = 2 * values[k - 1] + 2 * t * slopes[k - 1] - slopes[k - 2]
        return values, slopes / half

    def _sum(self, series: FloatArray, basis: FloatArray, which: IndexArray) -> FloatArray:
        """The series of each contract's group at its volatility, (rows, batch)."""
        out = np.empty((series.shape[1], len(which)))
        edges = np.searchsorted(which, self.bounds)
        for group, (first, last) in enumerate(pairwise(edges)):
            if last > first:
                np.matmul(series[group], basis[:, first:last], out=out[:, first:last])
        return out

    def solve(self, target: FloatArray, start: FloatArray) -> tuple[IndexArray, FloatArray, Values]:
        """Which contracts have their volatility within what the block spans, these volatilities, and the values there. `target` is
        prices in units of the normal form."""
        quoted = self.quoted
        group = self._group_of(np.arange(len(target)))
        rate, yield_ = quoted.normal_rates()
        root = np.sqrt(quoted.years)
        gain = -np.expm1(quoted.log_spot)

        def evaluate(volatility: FloatArray, which: IndexArray) -> tuple[FloatArray, FloatArray]:
            own = group[which]
            basis, slopes = self._basis(volatility, own)
            start_of = self.log_start[own]
            curve = start_of - self._sum(self.depth, basis, which)
            moves = self._sum(self.depth[:, :-1], slopes, which)
            deviation = volatility * root[which]
            moves /= -deviation
            log_spot, r, q = quoted.log_spot[which], rate[which], yield_[which]
            plain = plain_put(log_spot, r, q, deviation)
            extra, slope = american_premium.price_and_slope(
                log_spot, curve[:-1], r, q, deviation, self.points, moves
            )
            worth, exercised = plain.price + extra, gain[which]
            done = ((log_spot <= curve[-1]) & (plain.price <= exercised)) | (worth <= exercised)
            return (
                np.where(done, exercised, worth),
                np.where(done, 0.0, (plain.by_deviation + slope) * root[which]),
            )

        low = self.lowest[group]
        high = np.minimum(start * (1 + 1e-7), self.highest[group])
        begin = np.maximum(high, low)
        volatility, found = search(evaluate, target, gain, low, begin, begin)
        found &= (volatility > low * (1 + 1e-5)) & (high > low)
        which = np.flatnonzero(found)
        return which, volatility[which], self._values(volatility[which], which)

    def _values(self, volatility: FloatArray, which: IndexArray) -> Values:
        quoted = self.quoted.part(which)
        own = self._group_of(which)
        basis, slopes = self._basis(volatility, own)
        curve = self.log_start[own] - self._sum(self.depth, basis, which)
        deviation = volatility * np.sqrt(quoted.years)
        rate, yield_ = quoted.normal_rates()
        by_rate = self._sum(self.by_rate, basis, which)
        extra = american_premium.premium(
            quoted.log_spot,
            curve[:-1],
            curve[-1],
            rate,
            yield_,
            deviation,
            self.points,
            Moves(self._sum(self.depth[:, :-1], slopes, which) / -deviation, by_rate, by_rate),
        )
        return assemble(
            quoted,
            extra,
            (rate, yield_, deviation),
            quoted.years,
            volatility,
            quoted.log_spot <= curve[-1],
        )
