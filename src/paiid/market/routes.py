"""The market data routes: quotes, clock, calendar."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from paiid.auth.access import may
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.domain.calendar import in_table, sessions_between
from paiid.domain.errors import Code as ErrorCode
from paiid.domain.errors import FieldError, Problem, invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_symbol
from paiid.domain.money import plain
from paiid.domain.quotes import Quote
from paiid.market.service import MarketService

router = APIRouter(prefix="/api/market", tags=["market"])
MAX_SYMBOLS = 50
MAX_CALENDAR_DAYS = 366
Reader = Annotated[Principal, Depends(may("read"))]


def _market(request: Request) -> MarketService:
    market: MarketService = request.app.state.market
    return market


def _json(value: Any) -> Response:
    return Response(encode(value), media_type="application/json")


@router.get("/quotes", summary="The newest quotes")
async def get_quotes(
    request: Request,
    user: Reader,
    symbols: Annotated[
        str, Query(max_length=512, description="Comma separated, at most 50.", examples=["AAPL,SPY"])
    ],
) -> Response:
    """A bare array in the order asked, one item a symbol. A symbol that does not exist is a 422 that names it."""
    wanted = parse_symbols(symbols)
    market = _market(request)
    found = await market.quotes(wanted)
    unknown = [symbol for symbol in wanted if symbol not in found]
    if unknown:
        raise Problem(
            ErrorCode.VALIDATION,
            f"No quotes for {', '.join(unknown)}; check the spelling or leave them out.",
            errors=[FieldError("symbols", "unknown_symbol", f"there is no {symbol}") for symbol in unknown],
        )
    return _json([quote_view(found[symbol], market.delayed) for symbol in wanted])


@router.get("/clock", summary="Whether the market is open")
async def get_clock(request: Request, user: Reader) -> Response:
    """Instants in UTC; `next_roll` is when the trading day ends and day orders expire."""
    market = _market(request)
    now_us = request.app.state.clock.now_us()
    hours = market.hours
    return _json(
        {
            "time": instant(now_us),
            "is_open": hours.is_open(now_us),
            "trading_day": hours.trading_day(now_us).isoformat(),
            "next_open": instant(hours.next_open_us(now_us)),
            "next_roll": instant(hours.next_roll_us(now_us)),
            "source": market.source,
        }
    )


@router.get("/calendar", summary="Sessions of the New York Stock Exchange")
async def get_calendar(
    request: Request, user: Reader, start: date | None = None, end: date | None = None
) -> Response:
    """Trading days only; beyond the holiday table (`complete: false`) only weekends are known."""
    today = _market(request).hours.trading_day(request.app.state.clock.now_us())
    first = start or today
    last = end or first + timedelta(days=30)
    if last < first or (last - first).days >= MAX_CALENDAR_DAYS:
        raise invalid_field(
            "end", "range", f"end is at or after start and within {MAX_CALENDAR_DAYS} days of it"
        )
    if not date(1970, 1, 2) <= first <= last <= date(2200, 1, 1):
        raise invalid_field("start", "range", "the calendar reaches from 1970-01-02 to 2200-01-01")
    return _json(
        [
            {
                "date": one.day.isoformat(),
                "open": instant(one.open_us),
                "close": instant(one.close_us),
                "early_close": one.early,
                "complete": in_table(one.day),
            }
            for one in sessions_between(first, last)
        ]
    )


def parse_symbols(text: str) -> list[str]:
    """Symbols in the order named, doubles folded. Raises Problem (422) for a bad one, none, or too many."""
    wanted: dict[str, None] = {}
    for part in text.split(","):
        try:
            wanted[parse_symbol(part.strip(" "))] = None
        except ValueError as error:
            raise invalid_field("symbols", "symbol", f"{part[:16]!r}: {error}") from None
    if len(wanted) > MAX_SYMBOLS:
        raise invalid_field("symbols", "too_many", f"at most {MAX_SYMBOLS} symbols a call")
    return list(wanted)


def quote_view(quote: Quote, delayed: bool) -> dict[str, Any]:
    """A quote as users see it: prices in dollars, sizes in shares, change against the last close."""
    change = quote.last - quote.prev_close
    return {
        "symbol": quote.symbol,
        "bid": plain(quote.bid),
        "ask": plain(quote.ask),
        "bid_size": plain(quote.bid_size),
        "ask_size": plain(quote.ask_size),
        "last": plain(quote.last),
        "prev_close": plain(quote.prev_close),
        "change": plain(change),
        "change_pct": plain((change / quote.prev_close * 100).quantize(Decimal("0.0001")))
        if quote.prev_close
        else None,
        "source": quote.source,
        "as_of": instant(quote.as_of_us),
        "stale": quote.stale,
        "delayed": delayed,
    }
