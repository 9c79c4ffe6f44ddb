"""Which option contracts the simulated market lists on one symbol: a function of seed and instant, like its price.

An expiration is listed with strikes to 30 percent on both sides of the price of that instant, and every four weeks gets
those around the price of then, as exchanges add strikes where a price has gone. Nothing listed is ever taken away
before it expires, and nothing depends on who asked.
"""

from collections.abc import Iterator
from decimal import Decimal
from math import ceil, floor

from paiid.domain.occ import OptionContract, OptionType, root_for
from paiid.feeds.simulated.expirations import Expiration, Expirations
from paiid.feeds.simulated.listing import Listing
from paiid.feeds.simulated.walk import Line, Walk

_REACH = 0.3
_WEEK_US = 7 * 86_400_000_000
_ADDED_EVERY_US = 4 * _WEEK_US
_RIGHTS: tuple[OptionType, ...] = ("call", "put")
# Distance of strikes in tenths of a dollar, up to which level of the listing.
_STEPS = ((50, 10), (200, 25), (700, 50))
_WIDEST_STEP = 100


class Chain:
    """The contracts on one symbol; remembers the strikes of the expirations that were asked for."""

    def __init__(
        self, seed: int, listing: Listing, expirations: Expirations, factor: Line | None = None
    ) -> None:
        self.root = root_for(listing.symbol)
        self._walk = Walk(seed, listing, factor)
        self._expirations = expirations
        self._step = next((step for level, step in _STEPS if listing.level <= level), _WIDEST_STEP)
        self._kept: dict[Expiration, tuple[int, dict[Decimal, int]]] = {}

    def strikes(self, expiration: Expiration, at_us: int) -> dict[Decimal, int]:
        """The strikes listed at an instant, in order, each with the instant since when it is."""
        # The last ones come a week before the end: what is added later nobody could get out of.
        latest_us = min(at_us, expiration.until_us - _WEEK_US)
        rounds = (latest_us - expiration.added_from_us) // _ADDED_EVERY_US
        kept = self._kept.get(expiration)
        if kept is not None and kept[0] == rounds:
            return kept[1]
        since: dict[Decimal, int] = {}
        for added_us in _instants(expiration, rounds):
            for strike in self._around(self._walk.price(added_us)):
                since.setdefault(strike, added_us)
        strikes = dict(sorted(since.items()))
        listed = self._expirations.listed(at_us)
        self._kept = {one: kept for one, kept in self._kept.items() if one.day in listed}
        self._kept[expiration] = (rounds, strikes)
        return strikes

    def contracts(self, expiration: Expiration, at_us: int) -> Iterator[OptionContract]:
        """Call and put of each strike, from the lowest up."""
        return (contract for contract, _ in self.listed(expiration, at_us))

    def listed(self, expiration: Expiration, at_us: int) -> Iterator[tuple[OptionContract, int]]:
        """The same, each with the instant since when it is listed."""
        for strike, since_us in self.strikes(expiration, at_us).items():
            for right in _RIGHTS:
                yield OptionContract(self.root, expiration.day, right, strike), since_us

    def _around(self, price: float) -> Iterator[Decimal]:
        tenths = price * 10 / self._step
        for number in range(max(1, ceil(tenths * (1 - _REACH))), floor(tenths * (1 + _REACH)) + 1):
            yield Decimal(number * self._step).scaleb(-1)


def _instants(expiration: Expiration, rounds: int) -> Iterator[int]:
    """When strikes were added, up to that many rounds behind `added_from_us`: at the listing, and every four weeks."""
    yield expiration.since_us
    earlier = (expiration.added_from_us - expiration.since_us - 1) // _ADDED_EVERY_US
    for number in range(-earlier, rounds + 1):
        yield expiration.added_from_us + number * _ADDED_EVERY_US
