"""Single values out of market data that may be anything: what can be used, or None; never an exception. What orders need too is in
`wires/values`."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from paiid.domain.money import MONEY_SCALE, QTY_SCALE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WIDE = Context(prec=60)
_FURTHEST = 40
_LONGEST_TEXT = 256
_LARGEST_PRICE = Decimal("1e9")
_LARGEST_SIZE = Decimal("9e9")
"""Both leave room below the signed 64-bit integers in which the ledger keeps millionths and billionths."""
_LARGEST_FIGURE = 1e9
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


def text_of(value: object) -> str | None:
    """A printable text of at most 256 characters that is not empty."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        return None
    return value.strip() or None


def digits_of(text: str) -> Decimal | None:
    """The number that a JSON text has, digit by digit; None where no Decimal can hold it."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _number(value: object, places: int, largest: Decimal) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, str, float, Decimal)):
        return None
    if not isinstance(value, Decimal):
        if isinstance(value, str) and len(value) > _FURTHEST:
            return None
        if isinstance(value, int) and abs(value) > largest:
            return None
        # A float of MessagePack has more bits than the price had digits: the shortest text that means it is the price.
        found = digits_of(str(value))
        if found is None:
            return None
        value = found
    if not value.is_finite() or not 0 <= value <= largest or (value and value.adjusted() < -_FURTHEST):
        return None
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and (exponent < -places or exponent > 0):
        value = value.quantize(Decimal(1).scaleb(-places if exponent < 0 else 0), ROUND_HALF_EVEN, _WIDE)
    return value


def price_of(value: object) -> Decimal | None:
    """Dollars from 0 up, to the millionth that the ledger keeps."""
    return _number(value, MONEY_SCALE, _LARGEST_PRICE)


def size_of(value: object) -> Decimal | None:
    """Shares or contracts from 0 up, to the billionth that the ledger keeps."""
    return _number(value, QTY_SCALE, _LARGEST_SIZE)


def count_of(value: object) -> int | None:
    """A whole number from 0 up."""
    number = _number(value, 0, _LARGEST_SIZE)
    return None if number is None else int(number)


def whole_of(value: object) -> int | None:
    """A whole number from 0 up that is told as one: nothing is rounded."""
    number = size_of(value)
    return int(number) if number is not None and number == int(number) else None


def figure_of(value: object) -> float | None:
    """A finite number of either sign, of a size that some model may have found."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    if isinstance(value, str) and len(value) > _FURTHEST:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= _LARGEST_FIGURE else None


def date_of(value: object) -> date | None:
    """A calendar day told as YYYY-MM-DD."""
    if not isinstance(value, str) or not _DATE.match(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def micros_of(at: datetime) -> int:
    """Microseconds since the epoch; an instant without a zone is UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def rfc3339(at_us: int) -> str:
    """An instant as Alpaca's queries take it."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")
