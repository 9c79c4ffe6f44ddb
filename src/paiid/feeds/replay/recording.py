"""A file of recorded quotes: reading it row by row, and the one look through it that finds what is wrong before anything is played.

CSV, plain or gzip, UTF-8, with the header `time_et,symbol,bid,bid_size,ask,ask_size`: a time of day in US Eastern without an offset
(`2013-10-08T04:00:00`, fractions of a second allowed), dollars, shares. A bid or ask of 0 is none. Rows are in the order of time; one that
is up to a minute earlier than one before it is taken as if it came at the same time.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO, TypeVar

from paiid.domain.calendar import EASTERN
from paiid.domain.instruments import is_option, parse_symbol

HEADER = ["time_et", "symbol", "bid", "bid_size", "ask", "ask_size"]
MOST_ROWS = 5_000_000
MOST_SYMBOLS = 4096
MOST_CHARACTERS = 1024
"""Of one line."""
MOST_DISORDER_US = 60_000_000
MOST_DOLLARS = Decimal(10_000_000)
MOST_SHARES = Decimal(10_000_000_000)
_MOST_PLACES = 9
_TO_THE_MINUTE = len("2013-10-08T04:00")
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)
_T = TypeVar("_T")


class ReplayError(Exception):
    """The recording cannot be played. The text is safe to show and names the line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded quote. `played_us` is its time, or the latest time before it in the file if that is later."""

    number: int
    symbol: str
    recorded_us: int
    played_us: int
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal


@dataclass(frozen=True, slots=True)
class Contents:
    """What a recording holds: its symbols in the order in which they come, from when to when, and the longest time that a symbol goes
    without a row."""

    symbols: tuple[str, ...]
    first_us: int
    last_us: int
    rows: int
    longest_gap_us: int


def look_through(path: Path) -> Contents:
    """Read it once, keeping nothing. Raises ReplayError."""
    latest: dict[str, int] = {}
    first_us = last_us = longest_gap_us = count = 0
    for row in rows(path):
        before_us = latest.get(row.symbol)
        if before_us is None:
            if len(latest) >= MOST_SYMBOLS:
                raise ReplayError(f"line {row.number + 1}: more than {MOST_SYMBOLS} symbols")
        else:
            longest_gap_us = max(longest_gap_us, row.played_us - before_us)
        latest[row.symbol] = row.played_us
        count += 1
        if count == 1:
            first_us = row.played_us
        last_us = row.played_us
    if not count:
        raise ReplayError("line 1: no rows behind the header")
    return Contents(tuple(latest), first_us, last_us, count, longest_gap_us)


def rows(path: Path) -> Generator[Row, None, None]:
    """The rows of a file, read as they are asked for. Raises ReplayError."""
    return table(path, HEADER, _Reader().row)


def header_of(path: Path) -> list[str]:
    """The fields of the first line. Raises ReplayError."""
    try:
        with _opened(path) as file:
            return next(csv.reader(_short_lines(file)), [])
    except _UNREADABLE as error:
        raise _cannot_be_read(0, error) from error


def table(
    path: Path, header: list[str], read: Callable[[int, list[str]], _T], most_rows: int = MOST_ROWS
) -> Generator[_T, None, None]:
    """What `read` makes of the number (from 1 on) and the fields of each row; it raises BadRowError. Raises ReplayError."""
    number = 1
    try:
        with _opened(path) as file:
            lines = csv.reader(_short_lines(file))
            if next(lines, None) != header:
                raise ReplayError(f"line 1: the header must be {','.join(header)}")
            for number, fields in enumerate(lines, start=2):
                if number - 1 > most_rows:
                    raise ReplayError(f"line {number}: more than {most_rows} rows")
                if len(fields) != len(header):
                    raise BadRowError(f"{len(fields)} fields instead of {len(header)}")
                yield read(number - 1, fields)
    except BadRowError as error:
        raise ReplayError(f"line {number}: {error}") from None
    except _UNREADABLE as error:
        raise _cannot_be_read(number, error) from error


def _cannot_be_read(number: int, error: Exception) -> ReplayError:
    return ReplayError(f"the file cannot be read behind line {number} ({type(error).__name__})")


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open("rt", encoding="utf-8", newline="")


def _short_lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(MOST_CHARACTERS + 1):
        if len(line) > MOST_CHARACTERS:
            raise csv.Error
        yield line


class BadRowError(Exception):
    """What is wrong with a row."""


class _Reader:
    """Turns fields into rows; remembers the minute and the latest time."""

    def __init__(self) -> None:
        self._minute = ""
        self._minute_us = 0
        self._latest_us = 0
        self._symbols: dict[str, str] = {}

    def row(self, number: int, fields: list[str]) -> Row:
        recorded_us = self._time_us(fields[0])
        if self._latest_us - recorded_us > MOST_DISORDER_US:
            raise BadRowError("more than a minute earlier than a row before it")
        self._latest_us = max(self._latest_us, recorded_us)
        return Row(
            number,
            self._symbol(fields[1]),
            recorded_us,
            self._latest_us,
            amount_of("bid", fields[2], MOST_DOLLARS),
            amount_of("bid_size", fields[3], MOST_SHARES),
            amount_of("ask", fields[4], MOST_DOLLARS),
            amount_of("ask_size", fields[5], MOST_SHARES),
        )

    def _time_us(self, text: str) -> int:
        minute, rest = text[:_TO_THE_MINUTE], text[_TO_THE_MINUTE:]
        try:
            if minute != self._minute:
                moment = datetime.fromisoformat(minute)
                if len(minute) < _TO_THE_MINUTE or moment.tzinfo is not None or moment.year < 1971:
                    raise ValueError
                self._minute_us = int(moment.replace(tzinfo=EASTERN).timestamp()) * 1_000_000
                self._minute = minute
            seconds = Decimal(rest.removeprefix(":")) if rest else Decimal(0)
        except (ValueError, InvalidOperation, OverflowError):
            seconds = Decimal(-1)
        if not seconds.is_finite() or not 0 <= seconds < 60 or (rest and rest[0] != ":"):
            raise BadRowError("time_et is not a time such as 2013-10-08T04:00:00")
        return self._minute_us + int(seconds * 1_000_000)

    def _symbol(self, text: str) -> str:
        known = self._symbols.get(text)
        if known is not None:
            return known
        try:
            right = parse_symbol(text) == text and not is_option(text)
        except ValueError:
            right = False
        if not right:
            raise BadRowError("symbol is not a ticker such as SPY or BRK.B")
        if len(self._symbols) < MOST_SYMBOLS:
            self._symbols[text] = text
        return text


def amount_of(name: str, text: str, most: Decimal) -> Decimal:
    """A number from 0 up. Raises BadRowError."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= most:
        raise BadRowError(f"{name} is not a number from 0 to {most}")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MOST_PLACES:
        raise BadRowError(f"{name} has more than {_MOST_PLACES} decimal places")
    return amount
