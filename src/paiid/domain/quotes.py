"""A quote: what a market shows for one symbol at one instant."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask in dollars with sizes in shares, as the source showed them.

    `sequence` grows with every new quote of the symbol from its source; the paper venue lets each quote's
    size be taken once. `as_of_us` and `prev_close_at_us` are microseconds since the epoch, UTC.
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

    @property
    def mid(self) -> Decimal:
        """Halfway between bid and ask, in dollars."""
        return (self.bid + self.ask) / 2
