"""Single values out of Tradier's market data, which may be anything: what can be used, or None; never an exception."""

import re
from datetime import date
from decimal import Decimal

from paiid.wires.values import decimal_of, money_of, qty_of

_LARGEST_PRICE = Decimal("1e9")
_LARGEST_SIZE = Decimal("9e9")
_LARGEST_FIGURE = 1e9
_FIRST_MS, _LAST_MS = 946_684_800_000, 4_102_444_800_000
"""From 2000 to 2100: 0 is "never", and what is far from both is no epoch in milliseconds."""
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:T00:00:00(?:\.0+)?Z?)?\Z", re.ASCII)


def price_of(value: object) -> Decimal | None:
    """Dollars from 0 up, to the millionth that the ledger keeps."""
    return _from_zero(money_of(value), _LARGEST_PRICE)


def size_of(value: object) -> Decimal | None:
    """Shares, contracts or lots from 0 up."""
    return _from_zero(qty_of(value), _LARGEST_SIZE)


def _from_zero(number: Decimal | None, largest: Decimal) -> Decimal | None:
    if number is None or not 0 <= number <= largest:
        return None
    exponent = number.as_tuple().exponent
    # Tradier writes 100000 as 1.0E5 too: digits only from here on.
    return number.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else number


def whole_of(value: object) -> int | None:
    """A whole number from 0 up that is told as one, be it as 12 or 12.0; nothing is rounded."""
    number = decimal_of(value)
    if number is None or not 0 <= number <= _LARGEST_SIZE or number != int(number):
        return None
    return int(number)


def figure_of(value: object) -> float | None:
    """A finite number of either sign, of a size that some model may have found."""
    number = decimal_of(value)
    return float(number) if number is not None and abs(number) <= _LARGEST_FIGURE else None


def millis_us(value: object) -> int | None:
    """Microseconds since the epoch from milliseconds, told as a number or as text (section 3); None for 0, which is never."""
    number = decimal_of(value)
    if number is None or not _FIRST_MS <= number <= _LAST_MS:
        return None
    return int(number * 1000)


def seconds_us(value: object) -> int | None:
    """The same from seconds."""
    number = decimal_of(value)
    return None if number is None else millis_us(number * 1000)


def date_of(value: object) -> date | None:
    """A calendar day told as YYYY-MM-DD; a midnight behind it means nothing."""
    found = _DATE.match(value) if isinstance(value, str) else None
    try:
        return None if found is None else date.fromisoformat(found[1])
    except ValueError:
        return None
