"""What a source of market data is to us: one Protocol for the simulated market and for real vendors."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote


class FeedUnavailable(Exception):
    """The source cannot be reached or answered nonsense. The text is safe to show."""


class Feed(Protocol):
    """Quotes of one source. Nothing here is ever made up to fill a hole: no quote is None."""

    source: str
    resend_interval_s: float
    """In a session a quote older than this is stale (contract S5)."""
    delayed: bool

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        """The instrument, or None where the source does not know it. Raises FeedUnavailable."""
        ...

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The newest quote of each known symbol; unknown ones are left out. Raises FeedUnavailable."""
        ...

    def newest(self, symbol: str) -> Quote | None:
        """The newest quote that is in memory, without waiting; None where there is none yet."""
        ...

    def quotes(self, symbols: Sequence[str]) -> AsyncIterator[Quote]:
        """Every new quote of these symbols as it comes, until cancelled."""
        ...

    async def start(self) -> None:
        """Connect, if there is something to connect to."""
        ...

    async def stop(self) -> None:
        """Disconnect; returns within a second."""
        ...
