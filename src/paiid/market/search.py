"""Looks for symbols by name: what was found is remembered for a minute, for names are typed letter by letter."""

from collections import OrderedDict
from collections.abc import Sequence

from paiid.core.clock import Clock
from paiid.domain.instruments import Instrument
from paiid.feeds import Feed
from paiid.market.flights import Flights

MAX_TEXT = 64
"""Characters of what is looked for."""
MAX_FOUND = 50
"""Instruments of one answer."""
KEPT_S = 60.0
MOST_KEPT = 512
"""Searches that are remembered; the one made longest ago goes first."""

_Key = tuple[str, int]


class Searcher:
    """Searches in one feed."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._flights: Flights[_Key, Sequence[Instrument]] = Flights()
        self._kept: OrderedDict[_Key, tuple[float, str, Sequence[Instrument]]] = OrderedDict()

    async def find(self, text: str, limit: int) -> tuple[Sequence[Instrument], str, bool]:
        """The best matches first, their source, and whether they come from the cache. Raises FeedUnavailable."""
        key = (" ".join(text.split()).casefold(), limit)
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic_s() - kept[0] < KEPT_S:
            return kept[2], kept[1], True
        found = await self._flights.fly(key, lambda: self._feed.search(key[0], limit))
        source = self._feed.source
        self._kept[key] = (self._clock.monotonic_s(), source, found)
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found, source, False
