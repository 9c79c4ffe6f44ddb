"""Values on Alpaca's wire: decimals as texts, instants with nanoseconds, and the times of New York."""

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from paiid.core.instants import instant
from paiid.domain.calendar import EASTERN, eastern_us
from paiid.domain.money import plain
from paiid.sim.alpaca.errors import invalid

# Fifteen digits before the point: what decimal arithmetic takes apart to the billionth.
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})\Z", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,9}\Z", re.ASCII)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)?)?\Z", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_ODD = 7919
"""A prime, so that the nanoseconds of an instant look like what a real clock gives."""


def text_of(value: Decimal | None) -> str | None:
    """A decimal as text with no more digits than it needs; null stays null."""
    return None if value is None else str(plain(value))


def stamp(at_us: int | None) -> str | None:
    """RFC 3339 in UTC with up to nine decimals, as Go writes it: no zeros at the end. The nanoseconds below our
    microseconds are made of these, so that clients meet nine digits and the same instant always reads the same."""
    if at_us is None:
        return None
    text = instant(at_us)
    assert text is not None
    return f"{text[:-1]}{at_us * _ODD % 1000:03}".rstrip("0").rstrip(".") + "Z"


def eastern_stamp(at_us: int, *, fraction: bool = False) -> str:
    """RFC 3339 with New York's offset, to the second or with nine decimals."""
    moment = (_EPOCH + timedelta(microseconds=at_us)).astimezone(EASTERN)
    text = moment.replace(microsecond=0).isoformat()
    if not fraction:
        return text
    return f"{text[:19]}.{at_us % 1_000_000:06}{at_us * _ODD % 1000:03}{text[19:]}"


def decimal_of(value: Any, name: str) -> Decimal | None:
    """A number or a text that is one; null and an empty text are None. Raises AlpacaError `invalid {name}`."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise invalid(f"invalid {name}")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if not _DECIMAL.match(text):
        raise invalid(f"invalid {name}")
    return Decimal(text)


def text_field(value: Any, name: str) -> str | None:
    """A text; null and an empty one are None. Raises AlpacaError."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise invalid(f"invalid {name}")
    return value


def bool_field(value: Any, name: str) -> bool:
    """A JSON boolean, or its name as text; null is false. Raises AlpacaError."""
    if value is None or value == "":
        return False
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise invalid(f"invalid {name}")


def integer_of(text: str, name: str, least: int, most: int) -> int:
    """A whole number of a query. Raises AlpacaError."""
    if not _INTEGER.match(text) or not least <= int(text) <= most:
        raise invalid(f"invalid {name}: must be {least} to {most}")
    return int(text)


def instant_of(text: str, name: str) -> int:
    """Microseconds of an RFC 3339 instant, or of the midnight in New York that begins a date. Raises AlpacaError."""
    # A '+' that was not escaped in a query arrives as a blank.
    found = _INSTANT.match(re.sub(r" (\d\d:\d\d)\Z", r"+\1", text) if "T" in text else text)
    try:
        if found is None:
            raise ValueError(text)
        day = _known(date.fromisoformat(found[1]))
        if found[2] is None:
            return eastern_us(day, time())
        offset = "+00:00" if found[4] in (None, "Z", "z") else found[4]
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{offset}")
        seconds = int((moment - _EPOCH).total_seconds())
    except (ValueError, OverflowError) as error:
        raise invalid(f"invalid {name}") from error
    return seconds * 1_000_000 + int((found[3] or "0").ljust(6, "0")[:6])


def _known(day: date) -> date:
    """A day of our times. Raises ValueError for one so far off that calendars end."""
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(day)
    return day


def date_of(text: str, name: str) -> date:
    """A date, or the date of an instant. Raises AlpacaError."""
    try:
        return _known(date.fromisoformat(text[:10]))
    except ValueError:
        raise invalid(f"invalid {name}") from None


def one_of(text: str, name: str, allowed: tuple[str, ...]) -> str:
    """One of some words. Raises AlpacaError."""
    if text not in allowed:
        raise invalid(f"invalid {name}")
    return text
