"""The price at which an American option is exercised, as a curve over the time left, and what the option is worth above it.

Everything here is normalised: strike 1, and time counted in lifetimes, so that a contract is three numbers: `R = rate * years`,
`Q = yield * years`, `s = volatility * sqrt(years)`. A call on S with rate r and yield q is S puts on 1/S with rate q and yield r
(McDonald and Schroder, "A parity result for American options", Journal of Computational Finance 1, 1998), so only puts are solved.

The method is that of L. Andersen, M. Lake and D. Offengenden, "High-performance American option pricing", Journal of Computational Finance
20 (2016): the curve is a polynomial over the square root of time, times a function with the right behaviour at expiration, and solves
an integral equation at Chebyshev points. Ours is the condition that the delta is -1 on the curve (smooth pasting):

    B(t) e^{-Qt} [N(d+(t, B(t))) + Q int_0^t e^{Qu} N(d+(t-u, B(t)/B(u))) du]
        = int_0^t e^{-R(t-u)} n(d-(t-u, B(t)/B(u))) (R - Q B(u)) / (s sqrt(t-u)) du,
    d+-(t, z) = (ln z + (R - Q +- s^2/2) t) / (s sqrt(t)),

solved by Newton's method with all its derivatives, for which few steps are enough. The value is then the European one and the
interest saved by exercising (I. J. Kim, "The analytic valuation of American options", Review of Financial Studies 3, 1990):

    V(S) = v(S) + int_0^1 [R e^{-R(1-u)} N(-d-(1-u, S/B(u))) - Q S e^{-Q(1-u)} N(-d+(1-u, S/B(u)))] du.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from paiid.domain.pricing.american_nodes import Grid, Nodes, Quadrature
from paiid.domain.pricing.american_nodes import grid as made_grid
from paiid.domain.pricing.terms import FloatArray

_PHI0 = 1 / np.sqrt(2 * np.pi)


_CHUNK_ELEMENTS = 40_000
"""Elements of an array that is worked on at once: more would not stay in the cache."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Puts struck at 1 that live for one unit of time and have one exercise boundary: arrays of one length, `rate` above zero or zero
    with a negative `yield_`, `deviation` above zero."""

    rate: FloatArray
    yield_: FloatArray
    deviation: FloatArray
    log_start: FloatArray
    """Of the boundary at expiration: min(1, rate / yield)."""
    depth: FloatArray
    """How far below `log_start` the boundary of a perpetual put lies."""

    @staticmethod
    def of(rate: FloatArray, yield_: FloatArray, deviation: FloatArray) -> "Problem":
        below = yield_ > rate
        log_start = np.log(np.where(below, rate, 1.0) / np.where(below, yield_, 1.0))
        variance = deviation * deviation
        drift = (rate - yield_) / variance - 0.5
        root = np.sqrt(drift * drift + 2 * rate / variance)
        # The negative root of the characteristic equation, without cancellation.
        power = np.where(drift > 0, -(drift + root), -2 * rate / variance / np.maximum(root - drift, 1e-300))
        power = np.minimum(power, -1e-300)
        depth = log_start - np.log(power / (power - 1))
        return Problem(rate, yield_, deviation, log_start, np.maximum(depth, 1e-12))

    def part(self, some: slice) -> "Problem":
        return Problem(
            self.rate[some],
            self.yield_[some],
            self.deviation[some],
            self.log_start[some],
            self.depth[some],
        )

    def leading(self, x: FloatArray) -> FloatArray:
        """About how far below `log_start` the curve lies at x = sqrt(time), with its behaviour at expiration: sqrt(t log 1/t) where
        the yield is at most the rate, 0.639 s sqrt(t) above (J. Evans, R. Kuske and J. Keller, "American options on assets with
        dividends near expiry", Mathematical Finance 12, 2002), joined so that no layer is left between them."""
        lean = np.maximum(self.rate - self.yield_, 0) / self.deviation
        both = np.minimum(self.rate, np.maximum(self.yield_, 0))
        pull = x * (lean + both * x)
        height = np.sqrt(np.log1p(1 / (8 * np.pi * np.maximum(pull * pull, 1e-200))))
        below = self.yield_ > self.rate
        beyond = np.maximum(height + self.log_start / (self.deviation * x), -100.0) - 0.639
        height = np.where(below, 0.639 + (beyond + np.sqrt(beyond * beyond + 0.2)) / 2, height)
        simple = self.deviation * x * height
        ratio = simple / self.depth
        return np.asarray(simple / np.sqrt(1 + ratio * ratio))


@dataclass(frozen=True, slots=True)
class Moves:
    """How the logarithm of the boundary moves at the points of a quadrature, by deviation, rate and yield."""

    by_deviation: FloatArray
    by_rate: FloatArray
    by_yield: FloatArray


@dataclass(frozen=True, slots=True)
class Curve:
    """The boundary of each problem: its logarithm is `log_start - leading(x) * shape(x)`; `shape` (points, batch) and, where asked for,
    the derivatives of the logarithm at the same points by deviation, by rate and by yield, less `start_by_...` and over `-leading`."""

    problem: Problem
    shape: FloatArray
    by_deviation: FloatArray
    by_rate: FloatArray
    by_yield: FloatArray

    @property
    def log_now(self) -> FloatArray:
        """The logarithm of the boundary with the whole life left."""
        return np.asarray(self.problem.log_start - self.problem.leading(np.ones(1)) * self.shape[0])

    def log_at(self, points: Quadrature) -> FloatArray:
        """The logarithm of the boundary at the points of a quadrature, (outer, batch)."""
        down = self.problem.leading(points.cosine[:, None]) * (points.matrix @ self.shape)
        return np.asarray(self.problem.log_start - down)

    def move_by_deviation(self, points: Quadrature) -> FloatArray:
        """Its derivative by deviation alone."""
        return -self.problem.leading(points.cosine[:, None]) * (points.matrix @ self.by_deviation)

    def moves(self, points: Quadrature) -> Moves:
        """Its derivatives at the points of a quadrature, (outer, batch) each."""
        problem = self.problem
        leading = problem.leading(points.cosine[:, None])
        below = problem.yield_ > problem.rate
        start_by_rate = np.where(below, 1 / np.where(below, problem.rate, 1.0), 0.0)
        start_by_yield = np.where(below, -1 / np.where(below, problem.yield_, 1.0), 0.0)
        return Moves(
            -leading * (points.matrix @ self.by_deviation),
            start_by_rate - leading * (points.matrix @ self.by_rate),
            start_by_yield - leading * (points.matrix @ self.by_yield),
        )


def solve_curve(problem: Problem, nodes: Nodes) -> Curve:
    """The boundaries of many puts at once."""
    batch = len(problem.rate)
    size = max(8, _CHUNK_ELEMENTS // (nodes.points * nodes.inner))
    found = np.empty((4, nodes.points, batch))
    for start in range(0, batch, size):
        some = slice(start, start + size)
        found[:, :, some] = _newton(problem.part(some), nodes)
    return Curve(problem, found[0], found[1], found[2], found[3])


def _newton(problem: Problem, nodes: Nodes) -> FloatArray:
    """Shape and its derivatives (4, points, batch)."""
    grid = made_grid(nodes.points, nodes.inner)
    leading = problem.leading(grid.x[:, None])
    inner_leading = problem.leading(grid.inner_x[..., None])
    shape = np.ones_like(leading)
    highest = problem.depth / leading
    for _ in range(nodes.steps):
        terms = _Terms.at(problem, grid, shape, leading, inner_leading)
        step = np.linalg.solve(terms.jacobian(grid, leading, inner_leading), -terms.residual.T[..., None])
        moved = shape + step[..., 0].T
        shape = np.minimum(np.clip(moved, 0.4 * shape, 2.5 * shape), highest)
    terms = _Terms.at(problem, grid, shape, leading, inner_leading)
    right = np.stack(terms.by_parameters(grid), axis=-1)  # (points, batch, 3)
    jacobian = terms.jacobian(grid, leading, inner_leading)
    right = np.concatenate([terms.residual[..., None], right], axis=-1)
    solved = -np.linalg.solve(jacobian, right.transpose(1, 0, 2)).transpose(2, 1, 0)
    solved[0] += shape
    return np.asarray(solved)


@dataclass(frozen=True, slots=True)
class _Terms:
    """The equation at every point of the curves, left side less right side, and what its derivatives are made of."""

    problem: Problem
    residual: FloatArray  # (points, batch)
    own: FloatArray  # (points, batch): its derivative by the logarithm of the boundary at this very point
    past: FloatArray  # (points, inner, batch): by the logarithms of the boundary before it
    at_end: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    kernel: FloatArray
    carry: FloatArray
    lift: FloatArray
    gain: FloatArray
    pull: FloatArray
    normal: FloatArray

    @staticmethod
    def at(
        problem: Problem, grid: Grid, shape: FloatArray, leading: FloatArray, inner_leading: FloatArray
    ) -> "_Terms":
        rate, yield_, s = problem.rate, problem.yield_, problem.deviation
        points, inner = grid.inner_x.shape
        log_now = problem.log_start - leading * shape
        past = (grid.matrix.reshape(points * inner, points) @ shape).reshape(points, inner, -1)
        past *= inner_leading
        np.subtract(problem.log_start, past, out=past)  # the logarithm of the boundary at u
        root = (grid.x[:, None] * grid.sine)[..., None]  # sqrt(t - u)
        lapse = root * root
        spread = s * root
        pull = log_now[:, None] - past  # d-
        pull /= spread
        pull += (rate - yield_ - s * s / 2) / s * root
        weight = (grid.x[:, None] ** 2 * grid.weight)[..., None]
        kernel = np.exp(-0.5 * pull * pull - rate * lapse)
        kernel *= weight * _PHI0 / root
        kernel /= s
        normal = ndtr(pull + spread)
        normal *= weight * np.exp(-yield_ * lapse)
        carry = kernel * np.exp(past)
        lift = yield_ * carry
        gain = rate * kernel - lift
        slope = gain * pull / spread
        boundary = np.exp(log_now)
        x = grid.x[:, None]
        minus = (log_now + (rate - yield_ - s * s / 2) * x * x) / (s * x)
        plus = minus + s * x
        density = boundary * _PHI0 * np.exp(-0.5 * plus * plus - yield_ * x * x)
        held = boundary * ndtr(plus) * np.exp(-yield_ * x * x)
        left = held + yield_ * boundary * normal.sum(1)
        own = left + density / (s * x) + (lift + slope).sum(1)
        return _Terms(
            problem=problem,
            residual=left - gain.sum(1),
            own=own,
            past=-slope,
            at_end=(minus, density, held, boundary),
            kernel=kernel,
            carry=carry,
            lift=lift,
            gain=gain,
            pull=pull,
            normal=normal,
        )

    def jacobian(self, grid: Grid, leading: FloatArray, inner_leading: FloatArray) -> FloatArray:
        """(batch, points, points): derivatives of the residuals by the shape at every point."""
        # past (p, inner, batch) against matrix (p, inner, points): one product of matrices for each point.
        by_past = np.matmul((self.past * inner_leading).transpose(0, 2, 1), grid.matrix)  # (p, batch, points)
        jacobian = -by_past.transpose(1, 0, 2)
        index = np.arange(len(grid.x))
        jacobian[:, index, index] -= (self.own * leading).T
        return np.asarray(jacobian)

    def by_parameters(self, grid: Grid) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives of the residuals by deviation, rate and yield, the shapes held."""
        problem = self.problem
        rate, yield_, s = problem.rate, problem.yield_, problem.deviation
        minus, density, held, boundary = self.at_end
        x = grid.x[:, None]
        root = (x * grid.sine)[..., None]
        lapse = root * root
        plus = self.pull + s * root
        by_deviation = -density * minus / s - (
            self.lift * root * self.pull + self.gain * (self.pull * plus - 1) / s
        ).sum(1)
        tilt = self.gain * self.pull * root / s
        by_rate = density * x / s + (self.lift * lapse + self.gain * lapse + tilt - self.kernel).sum(1)
        carried = boundary * (self.normal * (1 - yield_ * lapse)).sum(1)
        by_yield = (
            -x * x * held - density * x / s + carried - (self.lift * lapse + tilt).sum(1) + self.carry.sum(1)
        )
        # Where the boundary starts from rate / yield, all of it moves with them.
        together = self.own + self.past.sum(1)
        below = yield_ > rate
        by_rate = by_rate + np.where(below, together / np.where(below, rate, 1.0), 0.0)
        by_yield = by_yield - np.where(below, together / np.where(below, yield_, 1.0), 0.0)
        return by_deviation, by_rate, by_yield
