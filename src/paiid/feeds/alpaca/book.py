"""What is known of each symbol: quotes, last trades and previous closes, which Alpaca tells apart, merged into one quote."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours, eastern_date
from paiid.domain.quotes import Quote

MOST_REMEMBERED = 4096
_FUTURE_US = 86_400_000_000
"""An instant further ahead than this is no instant: it would keep everything that comes after it away. Less far, it may be our own
clock that was set back."""
_SKEW_US = 5_000_000
"""Their clock may be ahead of ours by this much without anything being wrong."""
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Sides:
    """Bid and ask at one instant; 0 is none."""

    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    at_us: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one answer said of a symbol. `closes` are (day, close) of the newest daily bars, the newest first."""

    sides: Sides | None
    last: Decimal | None
    last_us: int
    closes: tuple[tuple[date, Decimal], ...]


@dataclass(slots=True)
class _Known:
    symbol: str
    sides: Sides | None = None
    last: Decimal = _ZERO
    last_us: int = 0
    doubtful: bool = False
    at_us: int = 0
    prev_close: Decimal = _ZERO
    prev_day: date | None = None
    sequence: int = 0
    confirmed_us: int = 0
    asked_day: date | None = None


class Book:
    """Merges what comes in any order: what is older than what is known changes nothing.

    `sequence` is the instant of the newest part in microseconds, made to grow where two changes share one: a restart or another
    replica goes on above it, and the same quote has nearly always the same number everywhere.
    """

    def __init__(self, clock: Clock, source: str) -> None:
        self._clock = clock
        self._source = source
        self._hours = ExchangeHours()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.counts: Counter[str] = Counter()
        """What the stream told that was no news, by reason, as the filter behind us would name it."""

    def note_sides(self, symbol: str, sides: Sides) -> Quote | None:
        """From the stream: the quote where this is news, else None."""
        known = self._of(symbol)
        self._doubt_the_future(known, sides.at_us)
        if not self._newer(known, sides):
            self.counts[self._reason(sides.at_us, sides == known.sides)] += 1
            return None
        known.sides = sides
        return self._changed(known)

    def note_trade(self, symbol: str, price: Decimal, at_us: int) -> Quote | None:
        """From the stream: the quote where this is news, else None. Without bid and ask it is no quote yet."""
        known = self._of(symbol)
        self._doubt_the_future(known, at_us)
        same = (known.last, known.last_us) == (price, at_us)
        if at_us < known.last_us or self._impossible(at_us) or same or price <= 0:
            self.counts[self._reason(at_us, same)] += 1
            return None
        known.last, known.last_us, known.doubtful = price, at_us, False
        return None if known.sides is None else self._changed(known)

    def note_snapshot(self, symbol: str, snapshot: Snapshot, asked_us: int) -> Quote | None:
        """From an answer to a question that was asked at `asked_us`: the quote as it is now known, None where nothing is told.
        Where the answer is not behind the stream, it confirms that there is nothing newer."""
        known = self._of(symbol)
        self._doubt_the_future(known, max(snapshot.last_us, snapshot.sides.at_us if snapshot.sides else 0))
        news = self._take_close(known, snapshot)
        if snapshot.sides is not None and self._newer(known, snapshot.sides):
            known.sides, news = snapshot.sides, True
        newer = snapshot.last_us > known.last_us or known.doubtful
        if snapshot.last and newer and not self._impossible(snapshot.last_us):
            news = news or (known.last, known.last_us) != (snapshot.last, snapshot.last_us)
            known.last, known.last_us, known.doubtful = snapshot.last, snapshot.last_us, False
        if known.sides is None and not known.last:
            return None
        behind = (
            known.sides is not None
            and snapshot.sides is not None
            and snapshot.sides.at_us < known.sides.at_us
        )
        if not behind:
            known.confirmed_us = max(known.confirmed_us, asked_us)
        return self._changed(known) if news else self._quote(known)

    def doubt_last(self, symbol: str) -> None:
        """Its last trade was corrected or taken back: the next snapshot says what counts."""
        known = self._known.get(symbol)
        if known is not None:
            known.doubtful, known.asked_day = True, None

    def needs_close(self, symbol: str) -> bool:
        """Whether nobody has asked for the previous close since the last one there was."""
        known = self._known.get(symbol)
        return known is None or known.asked_day != self._closed_day()

    def find(self, symbol: str) -> Quote | None:
        """As it is known now."""
        known = self._known.get(symbol)
        if known is None or (known.sides is None and not known.last):
            return None
        return self._quote(known)

    def _take_close(self, known: _Known, snapshot: Snapshot) -> bool:
        """The close of the last session that is over, from whichever of the daily bars is of it. Where both are of later days, as on
        a simulated market that never closes, the older one's."""
        known.asked_day = closed_day = self._closed_day()
        over = [one for one in snapshot.closes if one[0] <= closed_day] or list(snapshot.closes[1:])
        if not over:
            return False
        day, close = over[0]
        if known.prev_day is not None and day < known.prev_day:
            return False
        changed = close != known.prev_close
        known.prev_day, known.prev_close = day, close
        return changed

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
            known.last, known.last_us, known.doubtful = _ZERO, 0, True

    def _newer(self, known: _Known, sides: Sides) -> bool:
        if self._impossible(sides.at_us):
            return False
        return known.sides is None or (sides.at_us >= known.sides.at_us and sides != known.sides)

    def _reason(self, at_us: int, same: bool) -> str:
        if at_us <= 0:
            return "nonsense"
        return "from_the_future" if self._impossible(at_us) else "duplicate" if same else "backward"

    def _impossible(self, at_us: int) -> bool:
        return at_us <= 0 or at_us > self._clock.now_us() + _FUTURE_US

    def _changed(self, known: _Known) -> Quote:
        # A trade that is taken back leaves an older one as the last; the quote itself does not grow older by that.
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
            prev_close=known.prev_close,
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
