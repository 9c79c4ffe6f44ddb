"""Single values out of answers that may be anything: what can be used, or None; never an exception."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

from paiid.domain.money import MONEY_SCALE, QTY_SCALE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,18}))?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))?\Z",
    re.ASCII,
)
_WIDE = Context(prec=60)
_MAX_DIGITS = 40
_MAX_MONEY = Decimal("9E12")
_MAX_QTY = Decimal("9E9")
"""Both leave room below the signed 64-bit integers in which the ledger keeps millionths and billionths."""
_LONGEST_TEXT = 128
_LONGEST_MESSAGE = 300


def fields_of(value: object) -> Mapping[str, Any]:
    """An object's fields; of anything else none."""
    return value if isinstance(value, dict) else {}


def rows_of(value: object) -> list[Any]:
    """A list's items; of anything else none."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str | None:
    """A printable text of at most 128 characters that is not empty; a whole number counts as its digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_MAX_DIGITS:
        return str(value)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        return None
    return value.strip() or None


def word_of(value: object) -> str:
    """A keyword in lower case, "" where there is none: Alpaca has both null and "" for "does not apply"."""
    return (text_of(value) or "").lower()


def message_of(value: object) -> str:
    """The broker's own words as they may be shown and logged: printable, at most 300 characters."""
    if not isinstance(value, str):
        return ""
    shown = "".join(c if c.isprintable() else " " for c in value[: 2 * _LONGEST_MESSAGE])
    return " ".join(shown.split())[:_LONGEST_MESSAGE]


def decimal_of(value: object) -> Decimal | None:
    """A finite number of at most 40 digits, told as text or as a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    if isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        return None
    digits = str(value).strip()
    if len(digits) > _MAX_DIGITS or "_" in digits:
        return None
    try:
        number = Decimal(digits)
    except InvalidOperation:
        return None
    if not number.is_finite() or (number and not -_MAX_DIGITS < number.adjusted() < _MAX_DIGITS):
        return None
    return number if number else Decimal(0)


def money_of(value: object) -> Decimal | None:
    """Dollars, to the millionth that the ledger keeps."""
    return _rounded(value, MONEY_SCALE, _MAX_MONEY)


def qty_of(value: object) -> Decimal | None:
    """Shares or contracts, to the billionth that the ledger keeps."""
    return _rounded(value, QTY_SCALE, _MAX_QTY)


def _rounded(value: object, places: int, largest: Decimal) -> Decimal | None:
    number = decimal_of(value)
    if number is None or abs(number) > largest:
        return None
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -places:
        number = number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN, _WIDE)
    return number if number else Decimal(0)


def plain_digits(value: Decimal) -> str:
    """A number as Alpaca takes it and as ids are made of it: digits only, no exponent, no zeros at the end."""
    digits = format(value, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits in ("-0", "") else digits


def flag_of(value: object) -> bool | None:
    """A yes or no, also as text."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(word_of(value))


def instant_of(value: object) -> int | None:
    """Microseconds since the epoch from RFC 3339 with up to nanoseconds and any offset (UTC where it has none)."""
    found = _INSTANT.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[at]) for at in range(1, 7))
    micros = int((found[7] or "0")[:6].ljust(6, "0"))
    offset = timedelta(hours=int(found[10] or 0), minutes=int(found[11] or 0))
    try:
        zone = timezone(-offset if found[9] == "-" else offset)
        # A leap second is told as the second before it.
        at = datetime(year, month, day, hour, minute, min(second, 59), micros, tzinfo=zone)
        return (at - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
