"""The market's clock and its calendar, in New York's time (`/v1/markets/clock`, `/v1/markets/calendar`; tradier.md, section 8.9)."""

from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Any

from paiid.domain.calendar import EASTERN, MarketHours, Session, eastern_date
from paiid.sim.tradier.markets.asked import Asked, flag_of, invalid
from paiid.sim.tradier.markets.late import DELAY_S
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.shapes import Rows, Told

__all__ = ["calendar", "clock", "session_name"]

_YEARS = (2012, 2035)
_DAY = timedelta(days=1)
_PRE, _POST, _POST_EARLY = "04:00", "20:00", "17:00"
_CLOSED = "Market is closed"


async def clock(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/clock`; `delayed`: as the market was 15 minutes ago."""
    late_us = int(DELAY_S * 1_000_000) if flag_of(asked, "delayed") else 0
    at_us, hours = side.exchange.clock.now_us() - late_us, side.exchange.hours
    state, next_state, changes_us = _state(hours, at_us)
    return Told(
        {
            "clock": {
                "date": str(eastern_date(at_us)),
                "description": _description(hours, at_us, state),
                "state": state,
                "timestamp": at_us // 1_000_000,
                "next_change": f"{_local(changes_us):%H:%M}",
                "next_state": next_state,
            }
        }
    )


async def calendar(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/calendar`: every day of a month, by default of this one."""
    today = eastern_date(side.exchange.clock.now_us())
    month = _whole(asked, "month", 1, 12, today.month)
    year = _whole(asked, "year", *_YEARS, today.year)
    first = date(year, month, 1)
    last = date(year, month, monthrange(year, month)[1])
    sessions = {one.day: one for one in side.exchange.hours.sessions(first, last)}
    days = [first + n * _DAY for n in range((last - first).days + 1)]
    rows = [_day_body(one, sessions.get(one)) for one in days]
    return Told({"calendar": {"month": month, "year": year, "days": Rows("day", rows)}})


def session_name(hours: MarketHours, at_us: int) -> str:
    """`premarket`, `open`, `postmarket` or `closed`."""
    if hours.is_open(at_us):
        return "open"
    if not hours.is_extended(at_us):
        return "closed"
    coming = hours.coming_session(at_us)
    return "premarket" if coming.day == eastern_date(at_us) else "postmarket"


def _state(hours: MarketHours, at_us: int) -> tuple[str, str, int]:
    """What the market is in, what comes next, and when. One that never closes goes from one day into the next."""
    state = session_name(hours, at_us)
    if hours.never_closes:
        return state, "open", hours.next_roll_us(at_us)
    if state == "open":
        return state, "postmarket", hours.next_roll_us(at_us)
    if state == "premarket":
        return state, "open", hours.next_open_us(at_us)
    if state == "postmarket":
        return state, "closed", hours.extended_end_us(at_us)
    return state, "premarket", hours.next_extended_us(at_us)


def _description(hours: MarketHours, at_us: int, state: str) -> str:
    if state == "open":
        session = hours.coming_session(at_us)
        return f"Market is open from {_local(session.open_us):%H:%M} to {_local(session.close_us):%H:%M}"
    return {"premarket": "Market is in premarket", "postmarket": "Market is in postmarket"}.get(
        state, _CLOSED
    )


def _day_body(day: date, session: Session | None) -> dict[str, Any]:
    """A day without a session has no hours. The session of a market that never closes begins on the day before."""
    if session is None:
        return {"date": str(day), "status": "closed", "description": _CLOSED}
    opens, closes = _local(session.open_us), f"{_local(session.close_us):%H:%M}"
    body: dict[str, Any] = {"date": str(day), "status": "open", "description": "Market is open"}
    if opens.date() < day:
        return {**body, "open": {"start": "00:00", "end": closes}}
    begins = f"{opens:%H:%M}"
    ends = _POST_EARLY if session.early else _POST
    return {
        **body,
        "premarket": {"start": _PRE, "end": begins},
        "open": {"start": begins, "end": closes},
        "postmarket": {"start": closes, "end": ends},
    }


def _local(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, EASTERN)


def _whole(asked: Asked, name: str, least: int, most: int, default: int) -> int:
    text = asked.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and least <= int(text) <= most):
        raise invalid(name)
    return int(text)
