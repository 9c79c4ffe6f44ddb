"""The quotes of one simulated symbol: the walk cut into ticks, with a spread, sizes and a last price."""

from decimal import Decimal

from paiid.domain.quotes import Quote
from paiid.feeds.simulated.listing import Listing
from paiid.feeds.simulated.walk import Walk, hash64

_FASTEST_TICK_MS = 250
_SLOWEST_TICK_MS = 1000
# Streams of dice of one symbol; the octaves of its walk use the small numbers.
_INTERVAL_DICE = 1000
_SIZE_DICE = 1001
_SMALLEST_SHARES = 100
_DEEPEST_DOLLARS = 500_000


class Tape:
    """The quotes of one symbol; remembers the newest and the last close.

    A quote is in force for one tick of `interval_us` (250 to 1000 ms, each symbol its own). `sequence` is the
    number of the tick since 1970, and `as_of_us` its first instant.
    """

    def __init__(self, seed: int, listing: Listing) -> None:
        self.symbol = listing.symbol
        self._walk = Walk(seed, listing)
        # Of its own, so that looking back to the close does not make the newest walk forget its knots.
        self._close_walk = Walk(seed, listing)
        self._half_spread = listing.spread_bps / 20_000
        self._lot = listing.round_lot
        self._fewest_lots = -(-_SMALLEST_SHARES // self._lot)
        self._most_lots = max(self._fewest_lots + 1, int(_DEEPEST_DOLLARS / listing.level) // self._lot)
        span = _SLOWEST_TICK_MS - _FASTEST_TICK_MS + 1
        self.interval_us = (_FASTEST_TICK_MS + hash64(self._walk.seed, _INTERVAL_DICE) % span) * 1000
        self._dice_seed = hash64(self._walk.seed, _SIZE_DICE)
        self._newest: Quote | None = None
        self._close_of_us = -1
        self._close = Decimal(0)

    def quote(self, at_us: int, roll_us: int) -> Quote:
        """The quote in force at an instant; `roll_us` is the end of the last trading day."""
        tick = at_us // self.interval_us
        newest = self._newest
        if newest is not None and newest.sequence == tick and self._close_of_us == roll_us:
            return newest
        if self._close_of_us != roll_us:
            self._close = self._closing_price(roll_us)
            self._close_of_us = roll_us
        bid, ask = self._sides(self._walk, tick)
        dice = hash64(self._dice_seed, tick)
        self._newest = Quote(
            symbol=self.symbol,
            bid=bid,
            ask=ask,
            bid_size=self._size(dice >> 1 & 0xFFFF),
            ask_size=self._size(dice >> 17 & 0xFFFF),
            last=_last(bid, ask, dice),
            prev_close=self._close,
            as_of_us=tick * self.interval_us,
            sequence=tick,
            source="simulated",
        )
        return self._newest

    def _closing_price(self, roll_us: int) -> Decimal:
        """The last price of the last quote of the day that ended then."""
        tick = (roll_us - 1) // self.interval_us
        return _last(*self._sides(self._close_walk, tick), hash64(self._dice_seed, tick))

    def _sides(self, walk: Walk, tick: int) -> tuple[Decimal, Decimal]:
        """Bid and ask in whole cents around the walk: rounded outwards, so they never meet."""
        price = walk.price(tick * self.interval_us)
        half = price * self._half_spread
        bid = max(1, int((price - half) * 100))
        ask = max(bid + 1, int((price + half) * 100) + 1)
        return Decimal(bid).scaleb(-2), Decimal(ask).scaleb(-2)

    def _size(self, dice: int) -> Decimal:
        return Decimal((self._fewest_lots + dice % (self._most_lots - self._fewest_lots + 1)) * self._lot)


def _last(bid: Decimal, ask: Decimal, dice: int) -> Decimal:
    """The last trade met one of the two sides."""
    return ask if dice & 1 else bid
