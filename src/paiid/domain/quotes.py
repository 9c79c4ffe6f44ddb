"""A quote: what a market shows for one symbol at one instant."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask in dollars with sizes in shares, as the source showed them.

    `sequence` grows with every new quote of the symbol from its source; the paper venue lets each quote's
    size be taken once. `as_of_us` is microseconds since the epoch, UTC. A bid or ask of 0 is none; so is a `last` or
    `prev_close` of 0: the source did not tell one.

    `confirmed_us`: when the source was last known to have nothing newer, where that is later than `as_of_us` (a quiet
    symbol's quote may be old and yet the newest). `recorded_at_us`: of a recording, when it really was.
    """

    symbol: str
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    last: Decimal
    prev_close: Decimal
    as_of_us: int
    sequence: int
    source: str
    stale: bool = False
    confirmed_us: int = 0
    recorded_at_us: int | None = None

    @property
    def mid(self) -> Decimal:
        """Halfway between bid and ask, in dollars."""
        return (self.bid + self.ask) / 2
