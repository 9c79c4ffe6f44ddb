"""The market data routes: quotes, clock, calendar."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from paiid.auth.access import may
from paiid.domain.errors import Code as ErrorCode
from paiid.domain.errors import FieldError, Problem, invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_symbol
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService

router = APIRouter(prefix="/api/market", tags=["market"])
MAX_SYMBOLS = 50
"""Symbols of one call."""
MAX_SYMBOLS_TEXT = 512
"""Characters of the list, which is room for 50 of the longest."""
MAX_CALENDAR_DAYS = 366
"""Calendar days of one call."""
_MOST_ERRORS = 20
_DEFAULT_DAYS = 30
_FIRST_DAY = date(1970, 1, 2)
_LAST_DAY = date(2200, 1, 1)

Reader = Annotated[Principal, Depends(may("read"))]
Day = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Such as 2026-11-27, both included."),
]


def _market(request: Request) -> MarketService:
    market: MarketService = request.app.state.market
    return market


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.get("/quotes", summary="The newest quotes")
async def get_quotes(
    request: Request,
    user: Reader,
    symbols: Annotated[
        str,
        Query(
            max_length=MAX_SYMBOLS_TEXT,
            description=f"Comma separated, at most {MAX_SYMBOLS}.",
            examples=["AAPL,SPY"],
        ),
    ],
) -> Response:
    """A bare array in the order asked, doubles folded: symbol, bid, ask, bid_size, ask_size, last, prev_close,
    change, change_pct, source, as_of, stale, delayed. Prices are dollars, sizes shares. A symbol that does not
    exist is a 422 that names it, and every other one that does not, so that nobody mistakes silence for a
    quote."""
    if len(request.query_params.getlist("symbols")) > 1:
        raise invalid_field("symbols", "doubled", "name symbols once, with commas between them")
    wanted = parse_symbols(symbols)
    try:
        found = await _market(request).encoded_quotes(wanted)
    except FeedUnavailable as silent:
        raise Problem(ErrorCode.MARKET_DATA_UNAVAILABLE, f"There are no quotes now: {silent}.") from None
    unknown = [symbol for symbol in wanted if symbol not in found]
    if unknown:
        raise Problem(
            ErrorCode.VALIDATION,
            f"There is no quote for {', '.join(unknown)}; check the spelling or leave it out.",
            errors=[FieldError("symbols", "unknown_symbol", f"there is no {symbol}") for symbol in unknown],
        )
    return _json(b"[" + b",".join([found[symbol] for symbol in wanted]) + b"]")


@router.get("/clock", summary="Whether the market is open")
async def get_clock(request: Request, user: Reader) -> Response:
    """Instants in UTC. `next_roll` is when the trading day ends: day orders expire then. A market that never
    closes has null for `next_open` and `next_close`."""
    return _json(_market(request).clock())


@router.get("/calendar", summary="The trading days of this market")
async def get_calendar(request: Request, user: Reader, start: Day = None, end: Day = None) -> Response:
    """A bare array of trading days with open and close in UTC, by default the coming 30 days. Beyond the years
    whose holidays are published, `certain` is false and only weekends are left out."""
    market = _market(request)
    first = _day("start", start) or market.today()
    last = _day("end", end) or min(first + timedelta(days=_DEFAULT_DAYS), _LAST_DAY)
    if not 0 <= (last - first).days < MAX_CALENDAR_DAYS:
        raise invalid_field(
            "end", "range", f"end must not be before start, and less than {MAX_CALENDAR_DAYS} days after it"
        )
    return _json(market.calendar(first, last))


def _day(field: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise invalid_field(field, "date", "there is no such day") from None
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise invalid_field(field, "range", f"the calendar reaches from {_FIRST_DAY} to {_LAST_DAY}")
    return day


def parse_symbols(text: str) -> list[str]:
    """Symbols in the order named, doubles folded. Raises Problem (422) for bad ones, none, or too many."""
    wanted: dict[str, None] = {}
    errors: list[FieldError] = []
    for part in text.split(","):
        try:
            wanted[parse_symbol(part.strip(" "))] = None
        except ValueError as error:
            errors.append(FieldError("symbols", "symbol", f"{part[:16]!a}: {error}"))
    if errors:
        detail = f"symbols: {errors[0].message}"
        raise Problem(ErrorCode.VALIDATION, detail, errors=errors[:_MOST_ERRORS])
    if len(wanted) > MAX_SYMBOLS:
        raise invalid_field("symbols", "too_many", f"at most {MAX_SYMBOLS} symbols a call")
    return list(wanted)
