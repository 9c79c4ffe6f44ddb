"""A price path that is a pure function of seed, symbol and instant: no state, no replay from a beginning.

The logarithm of the price is a sum of value noise in octaves of 2 s to about a year. The knots of each octave are
hashes, joined smoothly; an octave's amplitude grows with the square root of its period, as Brownian motion does, so
the path looks like a price at every scale and stays near its level for ever. A hash and IEEE additions and
multiplications are all it uses, so every machine sees the same market.
"""

from paiid.feeds.simulated.listing import Listing

_MASK = (1 << 64) - 1
_FIRST_OCTAVE = 1
_LAST_OCTAVE = 25
_YEAR_S = 365.25 * 86_400
# With this factor the annualised volatility of daily steps comes out near the listing's (a test measures it).
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


class Walk:
    """The path of one symbol. Knots are remembered, so that the next instant costs a few multiplications."""

    def __init__(self, seed: int, listing: Listing) -> None:
        name = int.from_bytes(listing.symbol.encode(), "big")
        self.seed = hash64(seed, name)
        self._level = listing.level
        scale = listing.volatility_pct / 100.0 * _AMPLITUDE
        self._octaves = [
            (2.0**k, scale * (2.0**k / _YEAR_S) ** 0.5) for k in range(_FIRST_OCTAVE, _LAST_OCTAVE + 1)
        ]
        self._knots: list[tuple[int, float, float]] = [(-1, 0.0, 0.0)] * len(self._octaves)

    def price(self, at_us: int) -> float:
        """Dollars at an instant."""
        seconds = at_us / 1_000_000
        total = 0.0
        for k, (period, amplitude) in enumerate(self._octaves):
            place = seconds / period
            index = int(place)
            share = place - index
            known, left, right = self._knots[k]
            if known != index:
                left = _normal(hash64(self.seed, k, index))
                right = _normal(hash64(self.seed, k, index + 1))
                self._knots[k] = (index, left, right)
            smooth = share * share * (3.0 - 2.0 * share)
            total += amplitude * (left + (right - left) * smooth)
        return self._level * exponential(total)
