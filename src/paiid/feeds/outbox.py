"""What waits for whoever listens: the newest quote of each symbol, and whether the connection is there. It cannot grow."""

import asyncio
from collections import OrderedDict

from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, Heard, Lost


class Outbox:
    """Bounded by the symbols followed: a reader who is late gets the newest quotes, and the last word on the connection."""

    def __init__(self) -> None:
        self._quotes: OrderedDict[str, Quote] = OrderedDict()
        self._lost: Lost | None = None
        self._heard = False
        self._ended = False
        self._news = asyncio.Event()

    def put(self, quote: Quote) -> None:
        """Takes the place of an older one of the same symbol."""
        self._quotes[quote.symbol] = quote
        self._news.set()

    def heard(self) -> None:
        """The other side is there."""
        self._heard = True
        self._news.set()

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._lost, self._heard = Lost(reason), False
        self._news.set()

    def keep_only(self, symbols: frozenset[str]) -> None:
        """Forget quotes that nobody follows any more."""
        for symbol in [one for one in self._quotes if one not in symbols]:
            del self._quotes[symbol]

    def end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        self._news.set()

    async def next(self) -> FeedEvent | None:
        """The next event, waiting for it; None at the end. A loss comes first, then the quotes, then a sign of life."""
        while True:
            if self._lost is not None:
                lost, self._lost = self._lost, None
                return lost
            if self._quotes:
                return self._quotes.popitem(last=False)[1]
            if self._heard:
                self._heard = False
                return Heard()
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
