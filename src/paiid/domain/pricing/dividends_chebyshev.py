"""Polynomials through values at Chebyshev points, many at a time: their coefficients, and their first two derivatives.

L. N. Trefethen, Approximation Theory and Approximation Practice, SIAM 2013, chapters 2 to 4.
"""

from functools import lru_cache

import numpy as np

from paiid.domain.pricing.terms import FloatArray


@lru_cache(maxsize=32)
def nodes(count: int) -> FloatArray:
    """The extrema of the Chebyshev polynomial, ascending from -1 to 1."""
    return np.asarray(-np.cos(np.pi * np.arange(count) / (count - 1)))


@lru_cache(maxsize=32)
def coefficients(count: int) -> FloatArray:
    """The matrix from values at the nodes to coefficients of T_0, T_1, ..."""
    return np.asarray(np.linalg.inv(basis(nodes(count), count)[0].T))


def basis(at: FloatArray, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """T_0 .. T_(count-1) and their first two derivatives at these points, (count, points) each."""
    value, first, second = np.zeros((3, count, len(at)))
    value[0] = 1.0
    if count > 1:
        value[1], first[1] = at, 1.0
    twice = 2 * at
    for k in range(2, count):
        value[k] = twice * value[k - 1] - value[k - 2]
        first[k] = twice * first[k - 1] + 2 * value[k - 1] - first[k - 2]
        second[k] = twice * second[k - 1] + 4 * first[k - 1] - second[k - 2]
    return value, first, second
