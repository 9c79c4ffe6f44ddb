"""What the market stream's messages mean for what is known, and who hears of it (tradier.md, section 9.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours
from paiid.domain.instruments import is_option
from paiid.domain.quotes import Quote
from paiid.feeds.outbox import Outbox
from paiid.feeds.tradier.book import Book
from paiid.feeds.tradier.faults import fault_of_words
from paiid.feeds.tradier.messages import Read
from paiid.feeds.tradier.rows import read_sides
from paiid.feeds.tradier.symbols import from_wire
from paiid.feeds.tradier.values import millis_us, price_of, size_of
from paiid.feeds.tradier.wanted import Wanted
from paiid.wires.values import message_of, word_of

_log = structlog.get_logger("paiid.feeds.tradier")


@dataclass(slots=True)
class Tally:
    """What is counted and learned over all connections."""

    dropped: int = 0
    """Messages that could not be used."""
    mute_s: float = 0.0
    """For how long the stream may say nothing in a session before that is looked into."""


class Hearing:
    """Takes the messages of one connection. `told_s`: when each symbol was last told or asked for on it, by the monotonic clock; one
    that is not there is told anew."""

    def __init__(self, clock: Clock, book: Book, wanted: Wanted, outbox: Outbox, tally: Tally) -> None:
        self._clock = clock
        self._book = book
        self._wanted = wanted
        self._outbox = outbox
        self._tally = tally
        self._hours = ExchangeHours()
        self.told_s: dict[str, float] = {}
        self.pieces = self.news = 0
        """What came, and how much of it was about a symbol."""
        self.news_s = clock.monotonic_s()
        """When the last of the latter came."""

    def take(self, read: Read) -> None:
        """Whatever one frame or piece had. Raises StreamFault for what is said of the session."""
        self.pieces += 1
        self._tally.dropped += read.dropped
        for message in read.messages:
            self.take_message(message)

    def take_message(self, told: Mapping[str, Any]) -> None:
        """One message, whatever it holds. Raises StreamFault for what is said of the session."""
        if "error" in told:
            self._take_error(message_of(told["error"]))
            return
        symbol, kind = from_wire(told.get("symbol")), word_of(told.get("type"))
        if symbol is None:
            self._tally.dropped += 1
            return
        self.news += 1
        self.news_s = self._clock.monotonic_s()
        if symbol not in self._wanted.all:
            # Of the set before; Tradier was told, or will be with the next session.
            return
        if kind == "quote":
            self._take_quote(symbol, told)
        elif kind in ("trade", "tradex"):
            self._take_trade(symbol, told, extended=kind == "tradex")
        elif kind == "summary":
            price = price_of(told.get("prevClose"))
            self._tell(symbol, self._book.note_close(symbol, price) if price else None)

    def _take_quote(self, symbol: str, told: Mapping[str, Any]) -> None:
        sides = read_sides(told, symbol, "biddate", "askdate", "bidsz", "asksz")
        if sides is None:
            self._book.counts["no_price"] += 1
        else:
            self._tell(symbol, self._book.note_sides(symbol, sides))

    def _take_trade(self, symbol: str, told: Mapping[str, Any], *, extended: bool) -> None:
        """`trade` leaves extended hours and odd conditions out, `tradex` has them all (section 9.4): it counts only outside of the regular
        session. Trades without a price or a size occur, and mean nothing."""
        price, at_us = price_of(told.get("price")) or price_of(told.get("last")), millis_us(told.get("date"))
        if not price or not size_of(told.get("size")) or at_us is None:
            return
        if extended and (is_option(symbol) or self._hours.is_open(at_us)):
            return
        self._tell(symbol, self._book.note_trade(symbol, price, at_us))

    def _tell(self, symbol: str, quote: Quote | None) -> None:
        # Before it was asked for, a symbol may have half of a quote: it is told once it is whole.
        if quote is not None and symbol in self.told_s:
            self.told_s[symbol] = self._clock.monotonic_s()
            self._outbox.put(quote)

    def _take_error(self, words: str) -> None:
        """Of a symbol, or of the session; then the other side closes (section 9.2)."""
        fault = fault_of_words(words)
        if fault is not None:
            raise fault
        for word in words.split():
            symbol = from_wire(word.strip("\"'.,:;"))
            if symbol is not None and symbol in self._wanted.all:
                _log.warning("tradier_stream_refused_symbol", symbol=symbol)
                self._wanted.refuse(symbol)
                return
        _log.warning("tradier_stream_error")
