"""A price path that is a pure function of seed, symbol and instant: no state, no replay from a beginning.

The logarithm of the price is beta times a market factor plus the symbol's own walk. Both are value noise in octaves of 2 s to about a
year: the knots of an octave are hashes, joined smoothly, and its amplitude grows with the square root of its period, as Brownian motion
does. So the path looks like a price at every scale and stays near its level for ever. The fastest octaves are the symbol's own
alone, as real prices hardly move together within seconds. All that is slow is computed on a grid of instants and joined by straight lines,
the factor on a grid that all symbols share.

Periods are powers of two of a microsecond, so an instant falls into an octave by shifts of whole numbers. Whole-number hashes and the IEEE
operations that are exactly defined (+, -, x, square root) are all it uses: every machine sees the same market, and `paths`, which
computes many instants at once, the same bits. The market of a seed is fixed from this version on.
"""

from math import sqrt

from paiid.feeds.simulated.listing import Listing

MASK = (1 << 64) - 1
GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
FIRST_OCTAVE, LAST_OCTAVE = 21, 45
"""Periods are powers of two of a microsecond: from 2 s to 1.1 years."""
GRID, SLOW_GRID, SLOWEST_GRID = 24, 27, 33
"""17 s, 134 s and 2.4 hours: what is computed on these grids are octaves from the 24th, the 29th and the 35th on."""
FIRST_SLOW, FIRST_SLOWEST = 29, 35
FACTOR_PCT = 14.7
"""Volatility of the market factor, percent a year; times beta it is less than any listing's own."""
_FACTOR_STREAM = 3000
_YEAR_US = 365.25 * 86_400_000_000
# With this factor the annualised volatility of steps comes out near the listing's (a test measures it).
_AMPLITUDE = 0.46
_SQRT6 = 2.449489742783178
_MOST_KEPT = 4096


def hash64(seed: int, *parts: int) -> int:
    """A well-mixed 64-bit hash of whole numbers (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    value = seed & MASK
    for part in parts:
        value = (value + GOLDEN + (part & MASK)) & MASK
        value = ((value ^ (value >> 30)) * MIX_1) & MASK
        value = ((value ^ (value >> 27)) * MIX_2) & MASK
        value ^= value >> 31
    return value


def exponential(x: float) -> float:
    """e**x for |x| < 5 by a fixed series, so that no machine's math library has a say."""
    y = x * 0.015625
    total = 1.0
    for n in range(11, 0, -1):
        total = 1.0 + y * total * INVERSE[n]
    for _ in range(6):
        total *= total
    return total


INVERSE = [0.0, *(1.0 / n for n in range(1, 12))]


class Octave:
    """Noise of one period of 2**`number` microseconds; remembers the two knots it stands between."""

    __slots__ = ("_index", "_left", "_rise", "amplitude", "mask", "number", "phase", "scale", "seed", "unit")

    def __init__(self, seed: int, number: int, volatility: float) -> None:
        """`volatility` is a fraction a year."""
        self.seed = hash64(seed, number)
        self.number = number
        self.mask = (1 << number) - 1
        self.unit = 2.0**-number
        # Knots of different octaves must not fall on the same instants: all would come to rest there at once.
        self.phase = hash64(self.seed, 0) & self.mask
        self.amplitude = volatility * _AMPLITUDE * sqrt((1 << number) / _YEAR_US) * _SQRT6
        self.scale = self.amplitude * 2.0**-32
        self._index = -2
        self._left = self._rise = 0.0

    def _knot(self, index: int) -> float:
        """About a normal number: the sum of two uniform ones of 32 bits, scaled; the many octaves make it normal."""
        hashed = hash64(self.seed, index + 1)
        return ((hashed & 0xFFFFFFFF) + (hashed >> 32)) * self.scale - self.amplitude

    def at(self, at_us: int) -> float:
        """The octave's share of the logarithm of the price."""
        place = at_us + self.phase
        index = place >> self.number
        if index != self._index:
            self._left = self._knot(index)
            self._rise = self._knot(index + 1) - self._left
            self._index = index
        share = (place & self.mask) * self.unit
        return self._left + self._rise * (share * share * (3.0 - 2.0 * share))


class Line:
    """A sum of octaves and of a slower line, computed at the instants of a grid of 2**`grid` microseconds and joined by straight lines."""

    __slots__ = ("_index", "_kept", "_left", "_rise", "grid", "mask", "octaves", "slower", "unit")

    def __init__(self, octaves: list[Octave], grid: int, slower: "Line | None" = None) -> None:
        self.octaves = octaves
        self.grid = grid
        self.slower = slower
        self.mask = (1 << grid) - 1
        self.unit = 2.0**-grid
        self._kept: dict[int, float] = {}
        self._index = -2
        self._left = self._rise = 0.0

    def point(self, index: int) -> float:
        """The value at a place of the grid; remembered, for all who share it."""
        found = self._kept.get(index)
        if found is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            at_us = index << self.grid
            found = 0.0 if self.slower is None else self.slower.at(at_us)
            for octave in self.octaves:
                found += octave.at(at_us)
            self._kept[index] = found
        return found

    def at(self, at_us: int) -> float:
        """The value at an instant."""
        index = at_us >> self.grid
        if index != self._index:
            self._left = self.point(index)
            self._rise = self.point(index + 1) - self._left
            self._index = index
        return self._left + self._rise * ((at_us & self.mask) * self.unit)


def _slow_line(seed: int, volatility: float) -> Line:
    """The octaves of minutes to a year."""
    slowest = [Octave(seed, number, volatility) for number in range(FIRST_SLOWEST, LAST_OCTAVE + 1)]
    slow = [Octave(seed, number, volatility) for number in range(FIRST_SLOW, FIRST_SLOWEST)]
    return Line(slow, SLOW_GRID, Line(slowest, SLOWEST_GRID))


def factor_of(seed: int) -> Line:
    """The market factor of a seed: what all its symbols have in common."""
    own, volatility = hash64(seed, _FACTOR_STREAM), FACTOR_PCT / 100.0
    octaves = [Octave(own, number, volatility) for number in range(GRID, FIRST_SLOW)]
    return Line(octaves, GRID, _slow_line(own, volatility))


class Walk:
    """The path of one symbol. What lies around an instant is remembered, so that the next one costs a few multiplications."""

    __slots__ = ("beta", "factor", "fast", "level", "seed", "slow")

    def __init__(self, seed: int, listing: Listing, factor: Line | None = None) -> None:
        """`factor`: that of the same seed, shared by those who want to save work."""
        self.seed = hash64(seed, int.from_bytes(listing.symbol.encode(), "big"))
        self.level = listing.level
        self.beta = listing.beta
        self.factor = factor if factor is not None else factor_of(seed)
        total, shared = listing.volatility_pct / 100.0, listing.beta * FACTOR_PCT / 100.0
        own = sqrt(total * total - shared * shared)
        self.fast = [
            Octave(self.seed, number, total if number < GRID else own)
            for number in range(FIRST_OCTAVE, FIRST_SLOW)
        ]
        self.slow = _slow_line(self.seed, own)

    def price(self, at_us: int) -> float:
        """Dollars at an instant from 1970 on."""
        total = 0.0
        for octave in self.fast:
            total += octave.at(at_us)
        total += self.slow.at(at_us)
        total += self.beta * self.factor.at(at_us)
        return self.level * exponential(total)
