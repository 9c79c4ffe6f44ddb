"""The walk at many instants at once, in numpy, with the very bits that `walk` gives one by one.

Whole numbers and the exactly defined IEEE operations in the same order: that is all there is to it. Only this module and those that
build on it (`trades`, `table`, `history`) know numpy, and they are imported when the first bars are asked for.
"""

import numpy as np
from numpy.typing import NDArray

from paiid.feeds.simulated.walk import (
    GOLDEN,
    INVERSE,
    MASK,
    MIX_1,
    MIX_2,
    Line,
    Octave,
    Walk,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_CHUNK = 16_384
"""Instants that are computed together: what is in between stays in the processor's cache."""


def hashes(seed: int, parts: Ints) -> NDArray[np.uint64]:
    """`hash64(seed, part)` of each."""
    value = parts.astype(np.uint64)
    value += np.uint64((seed + GOLDEN) & MASK)
    value ^= value >> np.uint64(30)
    value *= np.uint64(MIX_1)
    value ^= value >> np.uint64(27)
    value *= np.uint64(MIX_2)
    value ^= value >> np.uint64(31)
    return value


def prices(walk: Walk, at_us: Ints) -> Floats:
    """`walk.price` at each of these instants, which must be in order."""
    slow, factor = _line(walk.slow, at_us), _line(walk.factor, at_us)
    found = np.empty(len(at_us))
    for start in range(0, len(at_us), _CHUNK):
        part = slice(start, start + _CHUNK)
        chunk = at_us[part]
        total = np.zeros(len(chunk))
        for octave in walk.fast:
            total += _octave(octave, chunk)
        total += slow[part]
        total += walk.beta * factor[part]
        found[part] = walk.level * _exponential(total)
    return found


def _knots(octave: Octave, index: Ints) -> Floats:
    hashed = hashes(octave.seed, index + 1)
    total = (hashed & np.uint64(0xFFFFFFFF)) + (hashed >> np.uint64(32))
    found = total.astype(np.float64)
    found *= octave.scale
    found -= octave.amplitude
    return found


def _octave(octave: Octave, at_us: Ints) -> Floats:
    place = at_us + octave.phase
    index = place >> octave.number
    place &= octave.mask
    share = place * octave.unit
    first = int(index[0])
    span = int(index[-1]) - first + 2
    if span <= 2 * len(index):
        knots = _knots(octave, np.arange(first, first + span, dtype=np.int64))
        index -= first
        left: Floats = knots[index]
        right: Floats = knots[index + 1]
    else:
        left, right = _knots(octave, index), _knots(octave, index + 1)
    smooth = share * 2.0
    np.subtract(3.0, smooth, out=smooth)
    share *= share
    share *= smooth
    right -= left
    right *= share
    right += left
    return right


def _points(line: Line, index: Ints) -> Floats:
    at_us = index << line.grid
    total = np.zeros(len(index)) if line.slower is None else _line(line.slower, at_us)
    for start in range(0, len(index), _CHUNK):
        part = slice(start, start + _CHUNK)
        for octave in line.octaves:
            total[part] += _octave(octave, at_us[part])
    return total


def _line(line: Line, at_us: Ints) -> Floats:
    """`line.at`: its points are computed for as many instants as possible at once, as there are far fewer of them."""
    index = at_us >> line.grid
    first = int(index[0])
    span = int(index[-1]) - first + 2
    if span <= 2 * len(index):
        points = _points(line, np.arange(first, first + span, dtype=np.int64))
        index -= first
        left: Floats = points[index]
        right: Floats = points[index + 1]
    else:
        left, right = _points(line, index), _points(line, index + 1)
    right -= left
    right *= (at_us & line.mask) * line.unit
    right += left
    return right


def _exponential(x: Floats) -> Floats:
    y = x * 0.015625
    total = np.ones(len(x))
    for n in range(11, 0, -1):
        total *= y
        total *= INVERSE[n]
        total += 1.0
    for _ in range(6):
        total *= total
    return total
