"""What a source of market data is to us: one Protocol for the simulated market, recordings, and real vendors."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote


class FeedUnavailable(Exception):
    """The source cannot be reached or answered nonsense. The text is safe to show."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The connection is there and the other side has said something, be it only that it is alive."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone; the feed opens another by itself. `reason` is safe to show."""

    reason: str


FeedEvent = Quote | Heard | Lost


class Feed(Protocol):
    """Quotes of one source. Nothing here is ever made up to fill a hole: no quote is None.

    A symbol is a ticker, or the OCC symbol of an option contract in its compact form. A contract is known from its
    listing until the end of its last trading day.
    """

    source: str
    resend_interval_s: float
    """In a session a quote that was not confirmed for longer than this is stale (contract S5)."""
    heartbeat_s: float
    """While it listens the feed yields something at least this often; beyond it, it is down. At most 4 s."""
    poll_s: float
    """How often at most `fetch_quotes` may be asked where nothing can be listened to."""
    most_streamed: int
    """Symbols that it streams at once."""
    delayed: bool
    indices: Sequence[tuple[str, str]]
    """(name, symbol) of what stands for the indices of a dashboard; a symbol is a ticker of this source."""

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        """The instrument, or None where the source does not know it. Raises FeedUnavailable."""
        ...

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        """Tickers whose symbol or name has the text, the best match first: the symbol itself, symbols that begin so, names.
        Raises FeedUnavailable."""
        ...

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The newest quote of each known symbol; unknown ones are left out. Raises FeedUnavailable."""
        ...

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        """The bars that begin in [start, end), oldest first, the newest `limit` of them; none where nothing traded or the symbol is
        unknown. The last one may still be growing. Raises FeedUnavailable."""
        ...

    def newest(self, symbol: str) -> Quote | None:
        """The quote of this moment where the source is a function of time or sits in memory; None where one has to listen."""
        ...

    def listen(self) -> AsyncIterator[FeedEvent]:
        """Every new quote of the symbols that are followed, and signs of life, until closed; reconnects by itself. At most one
        listener at a time. After a (re)connection each symbol followed is told anew. Never raises but on cancellation."""
        ...

    def follow(self, symbols: Sequence[str]) -> None:
        """From now on listen to exactly these, at most `most_streamed`; may be called at any time, before `listen` too."""
        ...

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        """The expirations of the options on a ticker, in order; empty where there are none. Raises FeedUnavailable."""
        ...

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        """The contracts on a ticker that expire then, by strike and the call first; empty where there are none.
        Raises FeedUnavailable."""
        ...

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        """The contracts on a ticker that expire from the first to the last of these days with what the source tells of each, by
        expiration, strike, the call first, adjusted roots after the plain one; empty where there are none. Raises FeedUnavailable."""
        ...

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        """The cash dividends of a ticker that are announced with an ex-date from the first to the last of these days, in order.
        Raises FeedUnavailable."""
        ...

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        """The dividends and splits of these tickers whose ex-date this is. Raises FeedUnavailable."""
        ...

    async def start(self) -> None:
        """Make what the calls need; connects nothing."""
        ...

    async def stop(self) -> None:
        """Disconnect; returns within a second."""
        ...
