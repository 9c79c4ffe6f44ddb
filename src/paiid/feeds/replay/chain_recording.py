"""A file with a whole option chain at one close, and a file with the daily bars that tell what the underlying cost then.

CSV, plain or gzip, UTF-8. A chain has the header `expiration,right,strike,bid,bid_size,ask,ask_size,open_interest`; its ticker and day
are in its name, `chain_aapl_20140606.csv.gz`: as it was at the close of that day. Daily bars have the header
`date,open,high,low,close,volume` and their ticker in their name, `daily_aapl.csv.gz`; prices as traded. Dollars, contracts; a bid or ask
that is empty or 0 is none, an open interest that is empty was not told.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from paiid.domain.calendar import session_of
from paiid.domain.instruments import parse_symbol
from paiid.domain.occ import BadContract, OptionContract
from paiid.feeds.replay.recording import MOST_DOLLARS, BadRowError, ReplayError, amount_of, table

CHAIN_HEADER = ["expiration", "right", "strike", "bid", "bid_size", "ask", "ask_size", "open_interest"]
DAYS_HEADER = ["date", "open", "high", "low", "close", "volume"]
MOST_CONTRACTS = 100_000
MOST_DAYS = 50_000
_MOST_QUOTED = Decimal(1_000_000_000)
_CHAIN_NAME = re.compile(r"chain_([a-z]+(?:\.[a-z]+)?)_(\d{8})\.csv(?:\.gz)?\Z", re.ASCII | re.IGNORECASE)
_DAYS_NAME = re.compile(r"daily_([a-z]+(?:\.[a-z]+)?)\.csv(?:\.gz)?\Z", re.ASCII | re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecordedContract:
    """One row of a chain."""

    contract: OptionContract
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    open_interest: int | None


@dataclass(frozen=True, slots=True)
class RecordedChain:
    """All options on a ticker at `at_us`, the close of a day, by expiration, strike, and the call first."""

    symbol: str
    day: date
    at_us: int
    rows: tuple[RecordedContract, ...]


@dataclass(frozen=True, slots=True)
class RecordedDays:
    """The closes of a ticker by day, in order."""

    symbol: str
    closes: dict[date, Decimal]

    def at(self, day: date) -> tuple[Decimal, Decimal] | None:
        """The close of a day and the one before it (0 where there is none); None where the day is not recorded."""
        if day not in self.closes:
            return None
        before = max((one for one in self.closes if one < day), default=None)
        return self.closes[day], Decimal(0) if before is None else self.closes[before]


def read_chain(path: Path) -> RecordedChain:
    """Raises ReplayError."""
    found = _CHAIN_NAME.match(path.name)
    if found is None:
        raise ReplayError("a chain is named by its ticker and day, such as chain_aapl_20140606.csv.gz")
    symbol, text = _ticker(found[1]), found[2]
    day = _date(f"{text[:4]}-{text[4:6]}-{text[6:]}")
    session = None if day is None else session_of(day)
    if day is None or session is None:
        raise ReplayError(f"{text} in the name is no trading day")
    rows: dict[OptionContract, RecordedContract] = {}

    def read(number: int, fields: list[str]) -> RecordedContract:
        one = _contract(symbol, day, fields)
        if one.contract in rows:
            raise BadRowError("the contract is there already")
        return one

    for one in table(path, CHAIN_HEADER, read, MOST_CONTRACTS):
        rows[one.contract] = one
    if not rows:
        raise ReplayError("line 1: no rows behind the header")
    ordered = sorted(rows, key=lambda one: (one.expiration, one.strike, one.option_type))
    return RecordedChain(symbol, day, session.close_us, tuple(rows[one] for one in ordered))


def read_days(path: Path) -> RecordedDays:
    """Raises ReplayError."""
    found = _DAYS_NAME.match(path.name)
    if found is None:
        raise ReplayError("daily bars are named by their ticker, such as daily_aapl.csv.gz")
    symbol, closes = _ticker(found[1]), dict[date, Decimal]()

    def read(number: int, fields: list[str]) -> tuple[date, Decimal]:
        day = _date(fields[0])
        if day is None or (closes and day <= next(reversed(closes))):
            raise BadRowError("date is not a day such as 2014-06-06 behind the one before it")
        return day, amount_of("close", fields[4], MOST_DOLLARS)

    for day, close in table(path, DAYS_HEADER, read, MOST_DAYS):
        closes[day] = close
    if not closes:
        raise ReplayError("line 1: no rows behind the header")
    return RecordedDays(symbol, closes)


def _contract(symbol: str, day: date, fields: list[str]) -> RecordedContract:
    expiration = _date(fields[0])
    if expiration is None or expiration < day:
        raise BadRowError(f"expiration is not a day such as 2014-06-21 from {day} on")
    try:
        contract = OptionContract.of(
            symbol, fields[1], amount_of("strike", fields[2], MOST_DOLLARS), expiration
        )
    except BadContract as error:
        raise BadRowError(str(error)) from None
    held = amount_of("open_interest", fields[7], _MOST_QUOTED) if fields[7] else None
    if held is not None and held != int(held):
        raise BadRowError("open_interest is not a whole number")
    limits = (MOST_DOLLARS, _MOST_QUOTED, MOST_DOLLARS, _MOST_QUOTED)
    bid, bid_size, ask, ask_size = (
        amount_of(name, text or "0", most)
        for name, text, most in zip(CHAIN_HEADER[3:7], fields[3:7], limits, strict=True)
    )
    return RecordedContract(contract, bid, bid_size, ask, ask_size, None if held is None else int(held))


def _ticker(text: str) -> str:
    try:
        return parse_symbol(text)
    except ValueError:
        raise ReplayError(f"{text} in the name is no ticker") from None


def _date(text: str) -> date | None:
    if not _DAY.match(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
