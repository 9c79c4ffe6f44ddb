"""How a contract can be exercised and when its life ends, by its root: shares and funds are American, most indices are not.

Sources: the contract specifications that Cboe publishes for SPX, SPXW, XSP, VIX, RUT, DJX, OEX and XEO, and Nasdaq for NDX and XND.
"""

from datetime import date, time, timedelta
from functools import lru_cache

from paiid.domain.calendar import eastern_us, session_of
from paiid.domain.occ import OptionContract

EUROPEAN_ROOTS = frozenset(
    {"SPX", "SPXW", "XSP", "XSPW", "NDX", "NDXP", "XND", "RUT", "RUTW", "MRUT", "VIX", "VIXW", "DJX", "XEO", "MXEA", "MXEF", "XSPAM", "CBTX", "MBTX"}
)  # fmt: skip
"""Exercised at expiration only. OEX, alone among indices, is American."""
MORNING_ROOTS = frozenset({"SPX", "NDX", "RUT", "VIX", "VIXW", "DJX", "MXEA", "MXEF"})
"""Settled at the opening of the day they expire (SPX and its like on the third Friday; their weekly series have roots of their own and are
settled at the close)."""
_OPEN = time(9, 30)
_CLOSE = time(16, 0)
_DAY = timedelta(days=1)
_LONGEST_BREAK = 7


def is_european(root: str) -> bool:
    """Whether contracts of this root can be exercised at expiration only."""
    return root in EUROPEAN_ROOTS


def expires_us(contract: OptionContract) -> int:
    """The last instant of a contract's life, microseconds since the epoch: the regular close of the last session up to its expiration, the
    opening for roots that are settled then."""
    return _end_us(contract.expiration, contract.root in MORNING_ROOTS)


def exercise_ends_us(day: date) -> int:
    """The close of the last session up to a day."""
    return _end_us(day, False)


def ex_date_us(day: date) -> int:
    """When the price falls by a dividend: the opening of its ex-date."""
    return eastern_us(day, _OPEN)


@lru_cache(maxsize=1024)
def _end_us(day: date, morning: bool) -> int:
    # Until 2015 monthly contracts expired on Saturdays, and some days are holidays.
    for before in range(_LONGEST_BREAK):
        session = session_of(day - before * _DAY)
        if session is not None:
            return session.open_us if morning else session.close_us
    return eastern_us(day, _OPEN if morning else _CLOSE)


def kind_of(day: date, others: frozenset[date]) -> str:
    """`monthly` where it is the expiration of a month's third Friday, `quarterly` on the last trading day of a quarter, else `weekly`; `daily`
    on other days than the last of a week that has a later one."""
    third = _third_friday(day)
    if day in (third, _trading_day(third), third + _DAY):
        return "monthly"
    if day.month % 3 == 0 and _is_last_of_month(day):
        return "quarterly"
    week_end = day + timedelta(days=4 - day.weekday())
    return "weekly" if day.weekday() >= 4 or not _later_in_week(day, week_end, others) else "daily"


def _later_in_week(day: date, friday: date, others: frozenset[date]) -> bool:
    return any(day < one <= friday for one in others)


def _third_friday(day: date) -> date:
    first = day.replace(day=1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)


def _trading_day(day: date) -> date:
    while session_of(day) is None:
        day -= _DAY
    return day


def _is_last_of_month(day: date) -> bool:
    following = day + _DAY
    while session_of(following) is None:
        following += _DAY
    return following.month != day.month
