"""Puts whose yield is below their negative rate: exercised between two prices, held above and below them.

The interest on the strike costs, but the shares cost more to be short of, until they are nearly worthless (L. Andersen and M. Lake, "Fast
American option pricing: the double-boundary case", Wilmott 2021). The two boundaries may meet, after which nothing is exercised early.
Such markets are rare, so this is the slow and plain way: the right may be used at M moments; between them the premium over the
European value, which dies out on both sides, is carried back by its Fourier transform, exactly in time; and M is let grow: the error
is a series in 1/M (as in R. Geske and H. Johnson, "The American put option valued analytically", Journal of Finance 39, 1984), and
Richardson's extrapolation takes its first terms away.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from paiid.domain.pricing.american_terms import european
from paiid.domain.pricing.terms import Accuracy, FloatArray

_MOMENTS: dict[Accuracy, tuple[int, ...]] = {"fast": (24, 48, 96), "accurate": (32, 64, 128, 256)}
_MARGIN = 9.0
"""Deviations beyond the strike and the lower boundary at which nothing of the premium is left."""
_FINEST = 1 << 15
_ERROR = 2e-7
"""About what is left of the premium's error, in strikes."""
LEAST_DEVIATION = 1e-4
"""Less is taken for this: the premium hardly depends on it any more."""
_COARSEST: dict[Accuracy, int] = {"fast": 1 << 10, "accurate": 1 << 12}
"""Points of the logarithm of the price at least, and at most."""


class Worth(NamedTuple):
    """The premium over the European value in the normal form (as `american_premium.Premium`): it, S d/dS and S^2 d2/dS2; and whether
    exercise is due (1.0)."""

    price: FloatArray
    first: FloatArray
    second: FloatArray
    done: FloatArray


def premium(log_spot: FloatArray, rate: float, yield_: float, deviation: float, accuracy: Accuracy) -> Worth:
    """The premium of one problem (yield < rate < 0, over one unit of time) at many prices (their logarithms). Where exercise is worth
    more than what is found, what it gives."""
    moments = _MOMENTS[accuracy]
    deviation = max(deviation, LEAST_DEVIATION)
    table = [
        _with_moments(log_spot, rate, yield_, deviation, count, _COARSEST[accuracy]) for count in moments
    ]
    finest = table[-1][0]
    power = 2.0
    while len(table) > 1:
        table = [(power * fine - coarse) / (power - 1) for coarse, fine in pairwise(table)]
        power *= 2
    price, slope, bend = table[0]
    plain = european(log_spot, rate, yield_, deviation)
    gain = -np.expm1(log_spot) - plain.price
    spot = np.exp(log_spot)
    # Where exercise is due, holding until the next moment costs a little, which the extrapolation takes away but for its errors.
    done = (gain >= price) | ((gain >= finest) & (price - gain < _ERROR))
    return Worth(
        np.where(done, gain, np.maximum(price, 0.0)),
        np.where(done, -spot - plain.first, slope),
        np.where(done, -plain.second, bend - slope),
        done.astype(np.float64),
    )


def _with_moments(
    log_spot: FloatArray, rate: float, yield_: float, deviation: float, moments: int, coarsest: int
) -> FloatArray:
    """Premium, its first and second derivative by the logarithm of the price, exercise at the start left out: (3, prices)."""
    step = 1 / moments
    drift = rate - yield_ - deviation**2 / 2
    low = np.log(rate / yield_) - _MARGIN * deviation - abs(drift)
    high = _MARGIN * deviation + abs(drift)
    low, high = min(low, log_spot.min() - deviation), max(high, log_spot.max() + deviation)
    wanted = (high - low) / (0.5 * deviation * np.sqrt(step))
    count = int(2 ** np.ceil(np.log2(np.clip(wanted, coarsest, _FINEST))))
    width = (high - low) / count
    grid = low + width * np.arange(count)
    frequency = 2 * np.pi * np.fft.rfftfreq(count, width)
    turn = np.exp(step * (1j * frequency * drift - deviation**2 / 2 * frequency**2 - rate))
    gain = -np.expm1(grid)
    spectrum = np.zeros(len(frequency), dtype=np.complex128)
    for moment in range(1, moments):
        gone = moment * step
        plain = european(grid, rate * gone, yield_ * gone, deviation * gone**0.5)
        held = np.fft.irfft(spectrum * turn, count)
        spectrum = np.fft.rfft(np.maximum(held, gain - plain.price))
    spectrum *= turn
    # The trigonometric polynomial at the prices themselves.
    weight = np.full(len(frequency), 2.0 / count)
    weight[0] /= 2
    waves = np.exp(1j * np.outer(log_spot - low, frequency)) * (spectrum * weight)
    return np.stack(
        [waves.real.sum(1), (1j * frequency * waves).real.sum(1), -(frequency**2 * waves).real.sum(1)]
    )
