"""A price path that is a pure function of seed, symbol and instant: no state, no replay from a beginning.

The logarithm of the price is a sum of value noise in octaves of 2 s to about a year. The knots of each octave are
hashes, joined smoothly; an octave's amplitude grows with the square root of its period, as Brownian motion does, so
the path looks like a price at every scale and stays near its level for ever. Whole-number hashes and the IEEE
operations that are exactly defined (+, -, x, /, square root) are all it uses, so every machine sees the same market.
"""

from math import sqrt

from paiid.feeds.simulated.listing import Listing

_MASK = (1 << 64) - 1
_FIRST_OCTAVE = 1
_LAST_OCTAVE = 25
_YEAR_S = 365.25 * 86_400
# With this factor the annualised volatility of steps comes out near the listing's (a test measures it).
_AMPLITUDE = 0.46
_SQRT3 = 1.7320508075688772


def hash64(seed: int, *parts: int) -> int:
    """A well-mixed 64-bit hash of whole numbers (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    value = seed & _MASK
    for part in parts:
        value = (value + 0x9E3779B97F4A7C15 + (part & _MASK)) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        value ^= value >> 31
    return value


def exponential(x: float) -> float:
    """e**x for |x| < 3 by a fixed series, so that no machine's math library has a say."""
    y = x / 64.0
    term = total = 1.0
    for n in range(1, 12):
        term = term * y / n
        total += term
    for _ in range(6):
        total *= total
    return total


def _normal(hashed: int) -> float:
    """About a standard normal: the sum of four uniform 16-bit numbers (Irwin-Hall), scaled."""
    total = (hashed & 0xFFFF) + (hashed >> 16 & 0xFFFF) + (hashed >> 32 & 0xFFFF) + (hashed >> 48)
    return (total / 65535.0 - 2.0) * _SQRT3


class _Octave:
    """Noise of one period; remembers the two knots it stands between."""

    __slots__ = ("_amplitude", "_index", "_left", "_phase", "_rate", "_right", "_seed")

    def __init__(self, seed: int, number: int, scale: float) -> None:
        period_s = float(1 << number)
        self._seed = hash64(seed, number)
        self._rate = 1.0 / period_s
        # Knots of different octaves must not fall on the same instants: all would come to rest there at once.
        self._phase = (hash64(self._seed, 0) & 0xFFFF) / 65536.0
        self._amplitude = scale * sqrt(period_s / _YEAR_S)
        self._index = -2
        self._left = self._right = 0.0

    def _knot(self, index: int) -> float:
        return self._amplitude * _normal(hash64(self._seed, index + 1))

    def at(self, seconds: float) -> float:
        """The octave's share of the logarithm of the price."""
        place = seconds * self._rate + self._phase
        index = int(place)
        if index != self._index:
            self._left = self._right if index == self._index + 1 else self._knot(index)
            self._right = self._knot(index + 1)
            self._index = index
        share = place - index
        return self._left + (self._right - self._left) * (share * share * (3.0 - 2.0 * share))


class Walk:
    """The path of one symbol. Knots are remembered, so that the next instant costs a few multiplications."""

    def __init__(self, seed: int, listing: Listing) -> None:
        self.seed = hash64(seed, int.from_bytes(listing.symbol.encode(), "big"))
        self._level = listing.level
        scale = listing.volatility_pct / 100.0 * _AMPLITUDE
        self._octaves = [_Octave(self.seed, k, scale) for k in range(_FIRST_OCTAVE, _LAST_OCTAVE + 1)]

    def price(self, at_us: int) -> float:
        """Dollars at an instant from 1970 on."""
        seconds = at_us / 1_000_000
        total = 0.0
        for octave in self._octaves:
            total += octave.at(seconds)
        return self._level * exponential(total)
