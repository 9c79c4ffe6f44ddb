"""The days on which the New York Stock Exchange is closed or closes at 13:00, as a plain table.

Source: the holiday calendars the NYSE publishes, extended by its rule 7.2 (a holiday on a Sunday is kept on the
Monday, one on a Saturday on the Friday before, except New Year's Day, which is then not kept). 2025-01-09 was the
day of mourning for President Carter. A test works the whole table out again from the rules.
"""

from datetime import date

FIRST_YEAR = 2024
LAST_YEAR = 2030

# Columns: New Year, Martin Luther King, Washington, Good Friday, Memorial, Juneteenth, Independence, Labor,
# Thanksgiving, Christmas; special closures stand at the end of their year.
_CLOSED = """
2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02 2024-11-28 2024-12-25
2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19 2025-07-04 2025-09-01 2025-11-27 2025-12-25 2025-01-09
2026-01-01 2026-01-19 2026-02-16 2026-04-03 2026-05-25 2026-06-19 2026-07-03 2026-09-07 2026-11-26 2026-12-25
2027-01-01 2027-01-18 2027-02-15 2027-03-26 2027-05-31 2027-06-18 2027-07-05 2027-09-06 2027-11-25 2027-12-24
2028-01-17 2028-02-21 2028-04-14 2028-05-29 2028-06-19 2028-07-04 2028-09-04 2028-11-23 2028-12-25
2029-01-01 2029-01-15 2029-02-19 2029-03-30 2029-05-28 2029-06-19 2029-07-04 2029-09-03 2029-11-22 2029-12-25
2030-01-01 2030-01-21 2030-02-18 2030-04-19 2030-05-27 2030-06-19 2030-07-04 2030-09-02 2030-11-28 2030-12-25
"""

# The day before Independence Day, the day after Thanksgiving, Christmas Eve; where each is a trading day.
_EARLY_CLOSE = """
2024-07-03 2024-11-29 2024-12-24
2025-07-03 2025-11-28 2025-12-24
2026-11-27 2026-12-24
2027-11-26
2028-07-03 2028-11-24
2029-07-03 2029-11-23 2029-12-24
2030-07-03 2030-11-29 2030-12-24
"""


def _days(table: str) -> frozenset[date]:
    return frozenset(date.fromisoformat(day) for day in table.split())


CLOSED = _days(_CLOSED)
EARLY_CLOSE = _days(_EARLY_CLOSE)
