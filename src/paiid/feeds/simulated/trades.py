"""What trades in the simulated market: in each minute at the first quote, one in the middle, and the last one that begin in it.

A quote's tick comes up to four times a second, which would be a hundred million prices a symbol in two years. So the bars are made of
these three quotes a minute: each of their prices was shown as the `last` of a quote, the close of a day is the `prev_close` of the next one,
and each stands for a number of trades and shares that follow from the same dice.
"""

import numpy as np
from numpy.typing import NDArray

from paiid.feeds.simulated.paths import Ints, hashes, prices
from paiid.feeds.simulated.table import Table
from paiid.feeds.simulated.tape import THIN_SIZE, THIN_SPREAD, Tape

_SHARES_PER_SIZE = 10
"""Shares traded for each share of a size that could be shown."""
_MOST_TRADES = 64


def minutes_of(tape: Tape, minutes: Ints, regular: NDArray[np.bool_], now_us: int) -> Table:
    """The minute bars of these minutes since 1970, in order, from the quotes that have begun by now; the last one may
    be growing, or not have begun. `regular` tells for each whether it is in a regular session."""
    offsets = np.array(tape.traded_ticks, dtype=np.int64)
    ticks = (minutes[:, np.newaxis] * tape.ticks_a_minute + offsets).ravel()
    begin_us = ticks * tape.interval_us + tape.phase_us
    count = int(np.searchsorted(begin_us, now_us, side="right"))
    ticks, begin_us = ticks[:count], begin_us[:count]
    of_minute = np.repeat(minutes, len(offsets))[:count]
    is_regular = np.repeat(regular, len(offsets))[:count]
    if not count:
        return Table(*(ticks for _ in range(8)))
    dice = hashes(tape.dice_seed, ticks)
    price = _last_cents(tape, prices(tape.walk, begin_us), is_regular, dice)
    shares, trades = _sizes(tape, is_regular, dice)
    each = Table(of_minute, price, price, price, price, shares, trades, price * shares)
    return each.grouped(of_minute)


def _last_cents(
    tape: Tape, price: NDArray[np.float64], regular: NDArray[np.bool_], dice: NDArray[np.uint64]
) -> Ints:
    """The `last` of the quotes, in cents (`Tape._sides`, `_last`)."""
    half = price * tape.half_spread
    half *= np.where(regular, 1.0, THIN_SPREAD)
    bid = np.maximum(1, ((price - half) * 100).astype(np.int64))
    ask = np.maximum(bid + 1, ((price + half) * 100).astype(np.int64) + 1)
    return np.where(dice & np.uint64(1), ask, bid)


def _sizes(tape: Tape, regular: NDArray[np.bool_], dice: NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Shares and trades of each."""
    span = tape.most_lots - tape.fewest_lots + 1
    lots = (dice >> np.uint64(33) & np.uint64(0xFFFF)).astype(np.int64) % span + tape.fewest_lots
    trades = (dice >> np.uint64(49)).astype(np.int64) % _MOST_TRADES + 1
    lots = np.where(regular, lots * _SHARES_PER_SIZE, lots * _SHARES_PER_SIZE // THIN_SIZE)
    trades = np.where(regular, trades, trades // THIN_SIZE + 1)
    return lots * tape.lot, trades
