"""The quotes of one simulated symbol: the walk cut into ticks, with a spread, sizes and a last price."""

from collections.abc import Callable
from decimal import Decimal

from paiid.domain.quotes import Quote
from paiid.feeds.simulated.listing import Listing
from paiid.feeds.simulated.walk import Line, Walk, factor_of, hash64

MINUTE_US = 60_000_000
# Divisors of a minute in microseconds, so that every minute has the same ticks: 1000 to 250 ms apart.
_TICKS_A_MINUTE = (60, 64, 75, 80, 96, 100, 120, 125, 128, 150, 160, 192, 200, 240)
# Streams of dice of one symbol; the octaves of its walk use the small numbers.
_INTERVAL_DICE = 1000
_SIZE_DICE = 1001
_SMALLEST_SHARES = 100
_DEEPEST_DOLLARS = 500_000
# Outside the regular session few trade: the spread is this much wider, and sizes this much smaller.
THIN_SPREAD = 3.0
THIN_SIZE = 10


def _always(at_us: int) -> bool:
    return True


class Tape:
    """The quotes of one symbol; remembers the newest and the last close.

    A quote is in force for one tick of `interval_us` (250 to 1000 ms), which begins `phase_us` later than a multiple of it,
    each symbol its own. `sequence` is the number of the tick since 1970, and `as_of_us` its first instant; a tick belongs to the session of that instant.
    """

    def __init__(self, seed: int, listing: Listing, factor: Line | None = None) -> None:
        """`factor`: the market factor of this seed, where it is shared."""
        self.symbol = listing.symbol
        factor = factor if factor is not None else factor_of(seed)
        self.walk = Walk(seed, listing, factor)
        # Of its own, so that looking back to the close does not make the newest walk forget its knots.
        self._close_walk = Walk(seed, listing, factor)
        self.half_spread = listing.spread_bps / 20_000
        self.lot = listing.round_lot
        self.fewest_lots = -(-_SMALLEST_SHARES // self.lot)
        self.most_lots = max(self.fewest_lots + 1, int(_DEEPEST_DOLLARS / listing.level) // self.lot)
        dice = hash64(self.walk.seed, _INTERVAL_DICE)
        self.ticks_a_minute = _TICKS_A_MINUTE[dice % len(_TICKS_A_MINUTE)]
        self.interval_us = MINUTE_US // self.ticks_a_minute
        self.traded_ticks = (0, self.ticks_a_minute // 2, self.ticks_a_minute - 1)
        """Of each minute: the quotes whose last price makes the bars (`trades`)."""
        self.phase_us = (dice >> 8) % self.interval_us
        self.dice_seed = hash64(self.walk.seed, _SIZE_DICE)
        self._newest: Quote | None = None
        self._close_of_us = -1
        self._close = Decimal(0)

    def tick(self, at_us: int) -> int:
        """The number of the tick in force at an instant."""
        return (at_us - self.phase_us) // self.interval_us

    def begins_us(self, tick: int) -> int:
        """The first instant of a tick."""
        return tick * self.interval_us + self.phase_us

    def until_next_us(self, at_us: int) -> int:
        """Microseconds until the next tick."""
        return self.interval_us - (at_us - self.phase_us) % self.interval_us

    def quote(self, at_us: int, roll_us: int, is_regular: Callable[[int], bool] = _always) -> Quote:
        """The quote in force at an instant; `roll_us` is the end of the last trading day, and `is_regular` says
        whether an instant is in a regular session."""
        tick = self.tick(at_us)
        newest = self._newest
        if newest is not None and newest.sequence == tick and self._close_of_us == roll_us:
            return newest
        if self._close_of_us != roll_us:
            self._close = self._closing_price(roll_us)
            self._close_of_us = roll_us
        as_of_us = self.begins_us(tick)
        thin = not is_regular(as_of_us)
        bid, ask = self._sides(self.walk, tick, THIN_SPREAD if thin else 1.0)
        dice = hash64(self.dice_seed, tick)
        self._newest = Quote(
            symbol=self.symbol,
            bid=bid,
            ask=ask,
            bid_size=self._size(dice >> 1 & 0xFFFF, thin),
            ask_size=self._size(dice >> 17 & 0xFFFF, thin),
            last=_last(bid, ask, dice),
            prev_close=self._close,
            as_of_us=as_of_us,
            sequence=tick,
            source="simulated",
        )
        return self._newest

    def _closing_price(self, roll_us: int) -> Decimal:
        """The last price of the last quote of the day that ended then."""
        tick = self.tick(roll_us - 1)
        return _last(*self._sides(self._close_walk, tick), hash64(self.dice_seed, tick))

    def _sides(self, walk: Walk, tick: int, width: float = 1.0) -> tuple[Decimal, Decimal]:
        """Bid and ask in whole cents around the walk: rounded outwards, so they never meet."""
        price = walk.price(self.begins_us(tick))
        half = price * self.half_spread * width
        bid = max(1, int((price - half) * 100))
        ask = max(bid + 1, int((price + half) * 100) + 1)
        return Decimal(bid).scaleb(-2), Decimal(ask).scaleb(-2)

    def _size(self, dice: int, thin: bool) -> Decimal:
        lots = self.fewest_lots + dice % (self.most_lots - self.fewest_lots + 1)
        return Decimal((max(1, lots // THIN_SIZE) if thin else lots) * self.lot)


def _last(bid: Decimal, ask: Decimal, dice: int) -> Decimal:
    """The last trade met one of the two sides."""
    return ask if dice & 1 else bid
