"""The cash dividends that the owner tells pricing to expect, and the yields, each by ticker."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal, InvalidOperation

from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import parse_symbol
from paiid.domain.rate_curve import TableError, table_rows

MOST_DIVIDENDS = 20_000
MOST_AMOUNT = Decimal(100_000)
MOST_YIELD = 100.0
_HEADER = ["symbol", "ex_date", "amount"]


def parse_dividends(text: str) -> dict[str, tuple[CorporateAction, ...]]:
    """Dividends by ticker and ex-date from CSV with the header `symbol,ex_date,amount` (dollars a share). A ticker with an amount of 0 pays
    nothing: it is there, without dividends. Raises TableError."""
    problems: list[str] = []
    found: dict[str, dict[date, CorporateAction]] = {}
    for number, row in table_rows(text, _HEADER, MOST_DIVIDENDS, problems):
        try:
            symbol = parse_symbol(row[0])
        except ValueError:
            problems.append(f"line {number}: symbol is not a ticker")
            continue
        try:
            day = date.fromisoformat(row[1])
        except ValueError:
            problems.append(f"line {number}: ex_date is not a date such as 2026-11-27")
            continue
        amount = _amount(row[2])
        if amount is None:
            problems.append(f"line {number}: amount is not a number from 0 to {MOST_AMOUNT} dollars")
            continue
        of_symbol = found.setdefault(symbol, {})
        if day in of_symbol:
            problems.append(f"line {number}: this ex_date is there twice for its symbol")
        elif amount > 0:
            of_symbol[day] = CorporateAction(symbol, day, "dividend", amount)
    if problems:
        raise TableError(problems)
    return {symbol: tuple(some[day] for day in sorted(some)) for symbol, some in found.items()}


def parse_yields(entries: Iterable[str]) -> dict[str, float]:
    """Yields by ticker, fractions a year, from entries such as `SPY=1.3` (percent). Raises ValueError, which does not repeat the entry."""
    found: dict[str, float] = {}
    for number, entry in enumerate(entries, 1):
        name, equals, text = entry.partition("=")
        try:
            symbol, percent = parse_symbol(name.strip()), float(text)
        except ValueError:
            raise ValueError(f"entry {number} is not a ticker, = and percent") from None
        if not equals or not 0 <= percent <= MOST_YIELD:
            raise ValueError(f"entry {number} has no percent from 0 to {MOST_YIELD:g}")
        if symbol in found:
            raise ValueError(f"entry {number} names a ticker for the second time")
        found[symbol] = percent / 100
    return found


def _amount(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and 0 <= value <= MOST_AMOUNT else None
