"""Where the value before an ex-date is kept: points of a sum that stands for an integral against a Gaussian, dense where the value bends.

The points are those of Gauss and Legendre in a variable t in (0, 1) with log price = edge +- h sinh(theta t): about evenly spaced within
h of the edge, where the value has its finest structure, and ever wider beyond, up to what the Gaussian that looks at it still sees.
"""

from functools import lru_cache

import numpy as np

from paiid.domain.pricing.terms import FloatArray

_MOST_POINTS = 600


def panel(
    edge: FloatArray,
    end: FloatArray,
    fine: FloatArray,
    kernel: FloatArray,
    spacing: float,
    by_fold: float,
    least: int,
) -> tuple[FloatArray, FloatArray]:
    """Log prices and weights (problems, points) from `edge`, where they are dense, to `end` on either side of it, all (problems, 1).
    `fine`: size of the structure at the edge; `kernel`: standard deviation of the Gaussian; `spacing`: in those, how far apart at most;
    `by_fold` points at least for each e-fold of the grading, and `least` on top."""
    width = np.abs(end - edge)
    fold = np.arcsinh(width / fine)
    t = np.linspace(0, 1, 33)
    steep = fine * fold * np.cosh(fold * t)
    need = float((steep * np.pi * np.sqrt(t * (1 - t)) / (spacing * kernel)).max())
    need = max(need, by_fold * float(fold.max()))
    count = least + 4 * int(np.ceil(min(need, _MOST_POINTS) / 4))
    point, weight = _gauss(count)
    side = np.where(end < edge, -1.0, 1.0)
    return edge + side * fine * np.sinh(fold * point), weight * fine * fold * np.cosh(fold * point)


@lru_cache(maxsize=256)
def _gauss(count: int) -> tuple[FloatArray, FloatArray]:
    point, weight = np.polynomial.legendre.leggauss(count)
    return 0.5 * (point + 1), 0.5 * weight
