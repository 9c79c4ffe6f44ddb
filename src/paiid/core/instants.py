"""Instants on the wire: RFC 3339 in UTC, from microseconds since the epoch, without going through floats."""

import re
from datetime import datetime
from functools import lru_cache

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def instant(at_us: int | None) -> str | None:
    """RFC 3339 in UTC with microseconds."""
    if at_us is None:
        return None
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """The part that the instants of one second share."""
    days, rest = divmod(seconds, 86_400)
    year, month, day = _civil(days)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{secs:02}"


def _civil(days: int) -> tuple[int, int, int]:
    """Days since 1970-01-01 to year, month, day (H. Hinnant, chrono-compatible date algorithms)."""
    shifted = days + 719_468
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    day_of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def parse_instant(text: str) -> int | None:
    """Microseconds since the epoch of an instant in RFC 3339 with its zone; None where it is none."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        # In whole seconds first, without rounding; the zone may lead out of the years there are.
        return moment.microsecond + int(moment.replace(microsecond=0).timestamp()) * 1_000_000
    except (ValueError, OverflowError):
        return None
