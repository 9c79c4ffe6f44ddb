"""The points at which boundaries and premiums are computed, and how fine they are in each mode; made once for each size."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from paiid.domain.pricing.terms import Accuracy, FloatArray


@dataclass(frozen=True, slots=True)
class Nodes:
    """How finely a boundary is computed: Chebyshev points of the curve, Gauss points of its equation, Newton steps, and Gauss
    points of the value."""

    points: int
    inner: int
    steps: int
    outer: int


FAST = Nodes(points=8, inner=16, steps=4, outer=20)
ACCURATE = Nodes(points=20, inner=40, steps=6, outer=56)
NODES: dict[Accuracy, Nodes] = {"fast": FAST, "accurate": ACCURATE}


@dataclass(frozen=True, slots=True)
class Grid:
    """The points of a curve over x = sqrt(time) in (0, 1], the first one 1, and for each the Gauss points of the integral from 0
    to it. With t - u = x^2 sin^2, u = x^2 cos^2 both ends of the integrand are smooth in the angle."""

    x: FloatArray  # (points,)
    inner_x: FloatArray  # (points, inner): where the curve is asked
    sine: FloatArray  # (inner,)
    weight: FloatArray  # (inner,): of 2 sin cos d(angle)
    matrix: FloatArray  # (points, inner, points): from values at x to values at inner_x


def _gauss_angle(count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sine, cosine and weight (with 2 sin cos in it) of Gauss-Legendre points of an angle in [0, pi/2]."""
    points, weights = np.polynomial.legendre.leggauss(count)
    angle = (points + 1) * np.pi / 4
    sine, cosine = np.sin(angle), np.cos(angle)
    return sine, cosine, weights * np.pi / 4 * 2 * sine * cosine


def _points(count: int) -> tuple[FloatArray, FloatArray]:
    """Chebyshev points in (0, 1] with the end 1 and without the end 0 (Radau), and their barycentric weights."""
    x = (1 + np.cos(2 * np.pi * np.arange(count) / (2 * count - 1))) / 2
    gaps = x[:, None] - x[None, :] + np.eye(count)
    weights = 1 / gaps.prod(1)
    return x, weights / np.abs(weights).max()


def _interpolation(x: FloatArray, weights: FloatArray, at: FloatArray) -> FloatArray:
    """The matrix (at..., points) that takes values at x to values of their polynomial."""
    distance = at[..., None] - x
    distance = np.where(distance == 0, 1e-300, distance)
    matrix = weights / distance
    return np.asarray(matrix / matrix.sum(-1, keepdims=True))


@lru_cache(maxsize=32)
def grid(points: int, inner: int) -> Grid:
    x, weights = _points(points)
    sine, cosine, weight = _gauss_angle(inner)
    inner_x = x[:, None] * cosine[None, :]
    return Grid(x, inner_x, sine, weight, _interpolation(x, weights, inner_x))


@dataclass(frozen=True, slots=True)
class Quadrature:
    """The Gauss points of the value, and the matrix that takes a curve to them."""

    sine: FloatArray  # (outer,): sqrt(1 - u)
    cosine: FloatArray  # (outer,): sqrt(u)
    weight: FloatArray
    matrix: FloatArray  # (outer, points)


@lru_cache(maxsize=32)
def quadrature(points: int, outer: int) -> Quadrature:
    """The points for a curve of `points` and a value of `outer` of them."""
    x, weights = _points(points)
    sine, cosine, weight = _gauss_angle(outer)
    return Quadrature(sine, cosine, weight, _interpolation(x, weights, cosine))
