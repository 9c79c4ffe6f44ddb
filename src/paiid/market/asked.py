"""Reads what a caller asks of market data: lists of symbols, days, instants. Every refusal is a 422 that names the field."""

import re
from datetime import date, datetime, time

from paiid.domain.calendar import eastern_us
from paiid.domain.errors import Code, FieldError, Problem, invalid_field
from paiid.domain.instruments import parse_any_symbol

MAX_SYMBOLS = 50
"""Symbols of one call."""
MAX_SYMBOLS_TEXT = 1200
"""Characters of the list, which is room for 50 OCC symbols."""
MAX_MOMENT = 40
"""Characters of an instant."""
FIRST_DAY = date(1970, 1, 2)
LAST_DAY = date(2200, 1, 1)
_MOST_ERRORS = 20
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)


def parse_symbols(text: str) -> list[str]:
    """Symbols in the order named, doubles folded. Raises Problem (422) for bad ones, none, or too many."""
    wanted: dict[str, None] = {}
    errors: list[FieldError] = []
    for part in text.split(","):
        try:
            wanted[parse_any_symbol(part.strip(" "))] = None
        except ValueError as error:
            errors.append(FieldError("symbols", "symbol", f"{part[:24]!a}: {error}"))
    if errors:
        detail = f"symbols: {errors[0].message}"
        raise Problem(Code.VALIDATION, detail, errors=errors[:_MOST_ERRORS])
    if len(wanted) > MAX_SYMBOLS:
        raise invalid_field("symbols", "too_many", f"at most {MAX_SYMBOLS} symbols a call")
    return list(wanted)


def parse_one_symbol(text: str) -> str:
    """A ticker or an OCC symbol in its compact form. Raises Problem (422)."""
    try:
        return parse_any_symbol(text)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None


def parse_day(field: str, text: str) -> date:
    """A calendar day. Raises Problem (422)."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise invalid_field(field, "date", "there is no such day") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise invalid_field(field, "range", f"the calendar reaches from {FIRST_DAY} to {LAST_DAY}")
    return day


def parse_moment(field: str, text: str) -> int:
    """An instant in RFC 3339, or a date, which is its midnight Eastern; microseconds, UTC. Raises Problem (422)."""
    if _DAY.match(text):
        return eastern_us(parse_day(field, text), time())
    if not _INSTANT.match(text):
        raise invalid_field(
            field,
            "instant",
            "send a date such as 2026-11-27, or an instant with its zone such as 2026-11-27T14:30:00Z "
            "(in an address a + is written %2B)",
        )
    try:
        moment = datetime.fromisoformat(text.upper())
        # Only now, for the zone may lead out of the years there are.
        micros = moment.microsecond + int(moment.replace(microsecond=0).timestamp()) * 1_000_000
    except (ValueError, OverflowError):
        raise invalid_field(field, "instant", "there is no such instant") from None
    if not eastern_us(FIRST_DAY, time()) <= micros <= eastern_us(LAST_DAY, time()):
        raise invalid_field(field, "range", f"instants reach from {FIRST_DAY} to {LAST_DAY}")
    return micros


def parse_text(field: str, text: str) -> str:
    """What somebody looks for. Raises Problem (422) where nothing is left of it, or it has what nobody can see."""
    words = " ".join(text.split(" ")).strip(" ")
    if not words:
        raise invalid_field(field, "empty", "say what to look for: a symbol, or a part of a name")
    if not words.isprintable():
        raise invalid_field(field, "characters", "leave out control characters and the like")
    return words
