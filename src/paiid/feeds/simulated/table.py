"""Bars in columns of whole numbers, as long as they are many: cents, shares, and sums that add exactly."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from paiid.domain.bars import Bar
from paiid.feeds.simulated.paths import Ints

_VWAP_STEP = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Table:
    """Bars in the order of their `keys` (what a key counts is the caller's business). Prices in cents, `paid` in cents times shares."""

    keys: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    shares: Ints
    trades: Ints
    paid: Ints

    def __len__(self) -> int:
        return len(self.keys)

    def columns(self) -> tuple[Ints, ...]:
        """All of them, in the order in which the constructor takes them."""
        return (self.keys, self.open, self.high, self.low, self.close, self.shares, self.trades, self.paid)

    def part(self, first: int, behind: int) -> "Table":
        """The rows from `first` up to but not including `behind`, copied, so that the rest can be forgotten."""
        return Table(*(column[first:behind].copy() for column in self.columns()))

    def rows(self, which: NDArray[np.intp]) -> "Table":
        """These rows, in this order."""
        return Table(*(column[which] for column in self.columns()))

    def grouped(self, keys: Ints) -> "Table":
        """One bar of all rows with the same key; `keys` are in order, one a row."""
        if not len(keys):
            return self
        first = np.flatnonzero(np.concatenate((np.ones(1, dtype=bool), keys[1:] != keys[:-1])))
        last = np.concatenate((first[1:], np.array([len(keys)]))) - 1
        return Table(
            keys[first],
            self.open[first],
            np.maximum.reduceat(self.high, first),
            np.minimum.reduceat(self.low, first),
            self.close[last],
            np.add.reduceat(self.shares, first),
            np.add.reduceat(self.trades, first),
            np.add.reduceat(self.paid, first),
        )

    def bars(self, starts_us: list[int]) -> list[Bar]:
        """As the rest of the world sees them, row by row; the average price to a hundredth of a cent."""
        rows = zip(*(column.tolist() for column in self.columns()[1:]), strict=True)
        return [
            Bar(
                start_us,
                Decimal(opening).scaleb(-2),
                Decimal(high).scaleb(-2),
                Decimal(low).scaleb(-2),
                Decimal(close).scaleb(-2),
                Decimal(shares),
                (Decimal(paid) / (100 * shares)).quantize(_VWAP_STEP),
                trades,
            )
            for start_us, (opening, high, low, close, shares, trades, paid) in zip(
                starts_us, rows, strict=True
            )
        ]


def empty() -> Table:
    """No bars."""
    return Table(*(np.empty(0, dtype=np.int64) for _ in range(8)))


def joined(tables: list[Table]) -> Table:
    """The rows of all, one table after the other."""
    if not tables:
        return empty()
    return Table(
        *(np.concatenate(columns) for columns in zip(*(one.columns() for one in tables), strict=True))
    )
