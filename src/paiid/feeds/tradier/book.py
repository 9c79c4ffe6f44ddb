"""What is known of each symbol: quotes, last trades and closes, which Tradier tells apart, merged into one quote."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours, MarketHours, eastern_date
from paiid.domain.quotes import Quote
from paiid.feeds.tradier.rows import Row, Sides

MOST_REMEMBERED = 4096
_FUTURE_US = 86_400_000_000
"""An instant further ahead than this is no instant: it would keep everything that comes after it away. Less far, it may be our own
clock that was set back."""
_SKEW_US = 5_000_000
"""Their clock may be ahead of ours by this much without anything being wrong."""
_ZERO = Decimal(0)


@dataclass(slots=True)
class _Known:
    symbol: str
    sides: Sides | None = None
    last: Decimal = _ZERO
    last_us: int = 0
    at_us: int = 0
    prev_close: Decimal = _ZERO
    closed_day: date | None = None
    """The session that `prev_close` is of."""
    sequence: int = 0
    confirmed_us: int = 0
    streamed_us: int = 0
    """When the stream last said something of its bid and ask, by our clock."""


class Book:
    """Merges what comes in any order: what is older than what is known changes nothing.

    Tradier's dates are often whole seconds, so several quotes may have the same: on the stream the later word counts, and an answer
    to a question counts against the stream's word of the same instant only if nothing was streamed since it was asked.
    `sequence` is the instant of the newest part in microseconds, made to grow where two changes share one: a restart or another
    replica goes on above it.
    """

    def __init__(self, clock: Clock, source: str, hours: MarketHours | None = None) -> None:
        """`hours` say which session is over, the exchange's where nothing is said."""
        self._clock = clock
        self._source = source
        self._hours = hours or ExchangeHours()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.counts: Counter[str] = Counter()
        """What the stream told that was no news, by reason, as the filter behind us would name it."""

    def note_sides(self, symbol: str, sides: Sides) -> Quote | None:
        """From the stream: the quote where this is news, or where it says again what is known, which confirms it; else None."""
        known = self._of(symbol)
        now_us = known.streamed_us = self._clock.now_us()
        self._doubt_the_future(known, sides.at_us)
        if sides == known.sides:
            # A quiet symbol is told again about every 20 s (section 9.4): there is nothing newer.
            self.counts["duplicate"] += 1
            known.confirmed_us = max(known.confirmed_us, now_us)
            return self._quote(known)
        if self._impossible(sides.at_us) or (known.sides is not None and sides.at_us < known.sides.at_us):
            self.counts[self._reason(sides.at_us)] += 1
            return None
        known.sides = sides
        return self._changed(known)

    def note_trade(self, symbol: str, price: Decimal, at_us: int) -> Quote | None:
        """From the stream: the quote where this is news, else None. Without bid and ask it is no quote yet."""
        known = self._of(symbol)
        self._doubt_the_future(known, at_us)
        if (known.last, known.last_us) == (price, at_us):
            self.counts["duplicate"] += 1
            return None
        if at_us < known.last_us or self._impossible(at_us) or price <= 0:
            self.counts[self._reason(at_us)] += 1
            return None
        known.last, known.last_us = price, at_us
        return None if known.sides is None else self._changed(known)

    def note_close(self, symbol: str, prev_close: Decimal) -> Quote | None:
        """From the stream: the previous close. During a session it is clear of which day that is; else it is asked for."""
        known = self._of(symbol)
        now_us, closed_day = self._clock.now_us(), self._closed_day()
        same = (known.closed_day, known.prev_close) == (closed_day, prev_close)
        if not prev_close or same or not self._hours.is_open(now_us):
            return None
        known.prev_close, known.closed_day = prev_close, closed_day
        return None if known.sides is None else self._changed(known)

    def note_row(self, row: Row, asked_us: int) -> Quote | None:
        """From an answer to a question that was asked at `asked_us`: the quote as it is now known, None where nothing is told. Where
        the answer is not behind the stream, it confirms that there is nothing newer."""
        known = self._of(row.symbol)
        self._doubt_the_future(known, max(row.last_us, row.sides.at_us if row.sides else 0))
        news = self._take_close(known, row)
        behind = self._is_behind(known, row.sides, asked_us)
        if row.sides is not None and not behind and not self._impossible(row.sides.at_us):
            news = news or row.sides != known.sides
            known.sides = row.sides
        if row.last and row.last_us >= known.last_us and not self._impossible(row.last_us):
            # Of the same instant the stream's word is the later one.
            newer = row.last_us > known.last_us or not known.last
            if newer and (known.last, known.last_us) != (row.last, row.last_us):
                known.last, known.last_us, news = row.last, row.last_us, True
        if known.sides is None and not known.last:
            return None
        if not behind:
            known.confirmed_us = max(known.confirmed_us, asked_us)
        return self._changed(known) if news else self._quote(known)

    def needs_close(self, symbol: str) -> bool:
        """Whether the close of the last session that is over is not known of it."""
        known = self._known.get(symbol)
        return known is None or known.closed_day != self._closed_day()

    def find(self, symbol: str) -> Quote | None:
        """As it is known now."""
        known = self._known.get(symbol)
        if known is None or (known.sides is None and not known.last):
            return None
        return self._quote(known)

    def _take_close(self, known: _Known, row: Row) -> bool:
        """The close of the last session that is over. From its end on that is `close`; until Tradier tells it nobody knows, for
        `prevclose` is then still the day before. Once a session is on, or it is another day and `close` is gone, it is `prevclose`."""
        now_us, closed_day = self._clock.now_us(), self._closed_day()
        if self._hours.is_open(now_us):
            close = row.prev_close
        elif row.close is not None:
            close = row.close
        else:
            close = row.prev_close if eastern_date(now_us) != closed_day else None
        if close is None or (known.closed_day, known.prev_close) == (closed_day, close):
            return False
        known.prev_close, known.closed_day = close, closed_day
        return True

    def _is_behind(self, known: _Known, sides: Sides | None, asked_us: int) -> bool:
        if known.sides is None:
            return False
        if sides is None or sides.at_us < known.sides.at_us:
            return True
        return sides.at_us == known.sides.at_us and sides != known.sides and known.streamed_us >= asked_us

    def _closed_day(self) -> date:
        return eastern_date(self._hours.previous_roll_us(self._clock.now_us()))

    def _doubt_the_future(self, known: _Known, at_us: int) -> None:
        """What is known from far ahead was a mistake once something plausible comes; else it would keep that away until its time."""
        latest_us = self._clock.now_us() + _SKEW_US
        if known.at_us <= latest_us or not 0 < at_us <= latest_us:
            return
        known.at_us = 0
        if known.sides is not None and known.sides.at_us > latest_us:
            known.sides = None
        if known.last_us > latest_us:
            known.last, known.last_us = _ZERO, 0

    def _reason(self, at_us: int) -> str:
        if at_us <= 0:
            return "nonsense"
        return "from_the_future" if self._impossible(at_us) else "backward"

    def _impossible(self, at_us: int) -> bool:
        return at_us <= 0 or at_us > self._clock.now_us() + _FUTURE_US

    def _changed(self, known: _Known) -> Quote:
        known.at_us = max(known.at_us, known.last_us, 0 if known.sides is None else known.sides.at_us)
        known.sequence = max(known.sequence + 1, known.at_us)
        return self._quote(known)

    def _quote(self, known: _Known) -> Quote:
        sides = known.sides
        return Quote(
            symbol=known.symbol,
            bid=_ZERO if sides is None else sides.bid,
            ask=_ZERO if sides is None else sides.ask,
            bid_size=_ZERO if sides is None else sides.bid_size,
            ask_size=_ZERO if sides is None else sides.ask_size,
            last=known.last,
            # One of a day before the last session would be taken for that session's.
            prev_close=known.prev_close if known.closed_day == self._closed_day() else _ZERO,
            as_of_us=self._not_ahead(known.at_us),
            sequence=known.sequence,
            source=self._source,
            confirmed_us=known.confirmed_us,
        )

    def _not_ahead(self, at_us: int) -> int:
        """No quote is from the future; one that is far ahead is left to be judged by whoever sees all of them."""
        now_us = self._clock.now_us()
        return now_us if now_us < at_us <= now_us + _SKEW_US else at_us

    def _of(self, symbol: str) -> _Known:
        known = self._known.get(symbol)
        if known is None:
            known = self._known[symbol] = _Known(symbol)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(symbol)
        return known
