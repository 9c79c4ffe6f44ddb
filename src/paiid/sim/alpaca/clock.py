"""The market's clock and its calendar, in New York's time (`/v2/clock`, `/v2/calendar`)."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.calendar import EASTERN, MarketHours, Session, eastern_date
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.errors import unprocessable
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.values import date_of, eastern_stamp, one_of

_FIRST, _LAST = date(1970, 1, 1), date(2029, 12, 31)
_LONGEST_BREAK = timedelta(days=15)
_ROWS_IN_A_ROW = 500


async def get_clock(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/clock`. A market that never closes says that it opens and closes at its next day's end."""
    now_us, hours = exchange.clock.now_us(), exchange.hours
    session = hours.coming_session(now_us)
    opens_us = session.open_us if session.open_us > now_us else _session_after(hours, session.day).open_us
    return Answer(
        {
            "timestamp": eastern_stamp(now_us, fraction=True),
            "is_open": hours.is_open(now_us),
            "next_open": eastern_stamp(opens_us),
            "next_close": eastern_stamp(hours.next_roll_us(now_us)),
        }
    )


def _session_after(hours: MarketHours, day: date) -> Session:
    return hours.sessions(day + timedelta(days=1), day + _LONGEST_BREAK)[0]


async def get_calendar(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/calendar`: trading days only; without bounds all that Alpaca knows, 1970 to 2029. `date_type` says which
    date the bounds are about."""
    query = request.query_params
    first = date_of(query["start"], "start") if query.get("start") else _FIRST
    last = date_of(query["end"], "end") if query.get("end") else _LAST
    kind = one_of((query.get("date_type") or "TRADING").upper(), "date_type", ("TRADING", "SETTLEMENT"))
    if first > last:
        raise unprocessable("start date must be before end date")
    first, last = max(first, _FIRST), min(last, _LAST)
    if first > last:
        return Answer([])
    settles = kind == "SETTLEMENT"
    # The day before the first one may settle in the range, and the last one settles on the day after it.
    begin = first - _LONGEST_BREAK if settles else first
    sessions = exchange.hours.sessions(begin, last + _LONGEST_BREAK)
    rows: list[dict[str, Any]] = []
    for session, following in pairwise(sessions):
        if len(rows) % _ROWS_IN_A_ROW == 0:
            # Sixty years of days are long enough for an order to wait.
            await exchange.clock.sleep(0)
        if first <= (following.day if settles else session.day) <= last:
            rows.append(_day_json(exchange, session, following.day))
    return Answer(rows)


def _day_json(exchange: Exchange, session: Session, settlement: date) -> dict[str, Any]:
    return {
        "date": str(session.day),
        "open": f"{_clock_time(session.open_us, session.day):%H:%M}",
        "close": f"{_clock_time(session.close_us, session.day):%H:%M}",
        "session_open": "0400",
        "session_close": "1700" if session.early else "2000",
        "settlement_date": str(settlement),
    }


def _clock_time(at_us: int, day: date) -> datetime:
    """New York's time of an instant; the session of a market that never closes begins on the day before."""
    local = datetime.fromtimestamp(at_us // 1_000_000, EASTERN)
    return local if eastern_date(at_us) == day else local.replace(hour=0, minute=0)
