"""The bars of a replay: of the midpoint, as a recording of quotes knows no trades; as far as it has been played."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import groupby

from paiid.domain.bars import Bar, Timeframe, bar_start_us
from paiid.domain.quotes import Quote

MOST_BARS = 200_000
"""Minutes that are kept, of all symbols together; of each symbol the newest."""
_FEWEST = 60


class Minutes:
    """Minute bars of each symbol, which grow with every quote that has both sides. `volume` is 0, `vwap` and `trades` are not known."""

    def __init__(self, symbols: Iterable[str]) -> None:
        names = list(symbols)
        self._most = max(_FEWEST, MOST_BARS // max(1, len(names)))
        self._bars: dict[str, deque[Bar]] = {symbol: deque(maxlen=self._most) for symbol in names}

    def add(self, quote: Quote) -> None:
        """Quotes of a symbol come in the order of their time."""
        if quote.bid <= 0 or quote.ask <= 0:
            return
        bars, mid = self._bars[quote.symbol], quote.mid
        start_us = bar_start_us(Timeframe.MINUTE_1, quote.as_of_us)
        if not bars or bars[-1].start_us != start_us:
            bars.append(Bar(start_us, mid, mid, mid, mid, Decimal(0)))
            return
        last = bars[-1]
        bars[-1] = replace(last, high=max(last.high, mid), low=min(last.low, mid), close=mid)

    def find(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        """As `Feed.fetch_bars`."""
        if limit <= 0:
            return []
        groups = groupby(self._bars.get(symbol, ()), key=lambda bar: bar_start_us(timeframe, bar.start_us))
        found = [
            _aggregate(begins_us, list(some)) for begins_us, some in groups if start_us <= begins_us < end_us
        ]
        return found[-limit:]


def _aggregate(start_us: int, bars: Sequence[Bar]) -> Bar:
    return Bar(
        start_us,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        Decimal(0),
    )
