"""The interest that pricing assumes where the owner says it: one rate, or a curve over days, both in percent a year."""

import csv
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise

MOST_POINTS = 1000
MOST_DAYS = 36_525
PERCENT = (-10.0, 50.0)
_HEADER = ["days", "percent"]
_YEAR = 365.0


@dataclass(frozen=True, slots=True)
class RateCurve:
    """Percent a year, continuously compounded, by calendar days from today; straight between points, flat beyond them."""

    days: tuple[float, ...]
    percent: tuple[float, ...]

    def rate(self, years: float) -> float:
        """The rate up to then, a fraction a year."""
        at = years * _YEAR
        if at <= self.days[0]:
            return self.percent[0] / 100
        for (day, percent), (next_day, next_percent) in pairwise(zip(self.days, self.percent, strict=True)):
            if at <= next_day:
                return (percent + (next_percent - percent) * (at - day) / (next_day - day)) / 100
        return self.percent[-1] / 100


def parse_rate_curve(text: str) -> RateCurve:
    """A curve from CSV with the header `days,percent`, days growing. Raises TableError."""
    problems: list[str] = []
    days: list[float] = []
    percents: list[float] = []
    for number, row in table_rows(text, _HEADER, MOST_POINTS, problems):
        day, percent = _number(row[0]), _number(row[1])
        if day is None or not 0 <= day <= MOST_DAYS:
            problems.append(f"line {number}: days is not a number from 0 to {MOST_DAYS}")
        elif days and day <= days[-1]:
            problems.append(f"line {number}: days does not grow")
        elif percent is None or not PERCENT[0] <= percent <= PERCENT[1]:
            problems.append(f"line {number}: percent is not a number from {PERCENT[0]:g} to {PERCENT[1]:g}")
        else:
            days.append(day)
            percents.append(percent)
    if not days and not problems:
        problems.append("has no points")
    if problems:
        raise TableError(problems)
    return RateCurve(tuple(days), tuple(percents))


class TableError(ValueError):
    """A file that cannot be used: one problem a line, none of which repeats the file's text."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def table_rows(text: str, header: list[str], most: int, problems: list[str]) -> list[tuple[int, list[str]]]:
    """The rows of a CSV behind its header, each with the number of its line; blank lines and those that begin with # are left out. What is
    wrong with the table itself is added to `problems`."""
    found: list[tuple[int, list[str]]] = []
    reader = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""))
    seen = False
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row) or row[0].startswith("#"):
                continue
            if not seen:
                seen = True
                if [cell.lower() for cell in row] != header:
                    problems.append(f"line {reader.line_num}: the first line must be {','.join(header)}")
                    return []
            elif len(row) != len(header):
                problems.append(f"line {reader.line_num}: must have {len(header)} values")
            elif len(found) >= most:
                problems.append(f"has more than {most} lines")
                break
            else:
                found.append((reader.line_num, row))
    except csv.Error:
        problems.append(f"line {reader.line_num}: is not CSV")
    if not seen and not problems:
        problems.append(f"is empty; the first line must be {','.join(header)}")
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None
