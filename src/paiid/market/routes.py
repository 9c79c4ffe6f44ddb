"""The market data routes: quotes, bars, search, indices, clock, calendar."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from paiid.auth.access import may
from paiid.domain.bars import Timeframe
from paiid.domain.errors import Code as ErrorCode
from paiid.domain.errors import FieldError, Problem, invalid_field, not_found
from paiid.domain.identity import Principal
from paiid.domain.instruments import is_option
from paiid.feeds import FeedUnavailable
from paiid.market.asked import (
    LAST_DAY,
    MAX_MOMENT,
    MAX_SYMBOLS,
    MAX_SYMBOLS_TEXT,
    parse_day,
    parse_moment,
    parse_one_symbol,
    parse_symbols,
    parse_text,
)
from paiid.market.bars import MOST_BARS
from paiid.market.etag import answer
from paiid.market.search import MAX_FOUND, MAX_TEXT
from paiid.market.service import MarketService

router = APIRouter(prefix="/api/market", tags=["market"])
MAX_CALENDAR_DAYS = 366
"""Calendar days of one call."""
_DEFAULT_DAYS = 30
_DEFAULT_BARS = 100
_DEFAULT_FOUND = 10

Reader = Annotated[Principal, Depends(may("read"))]
Day = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Such as 2026-11-27, both included."),
]
Moment = Annotated[
    str | None,
    Query(
        max_length=MAX_MOMENT,
        description="A date, which is its midnight Eastern, or an instant with its zone. Bars begin at `start` or later, and before `end`.",
        examples=["2026-11-27", "2026-11-27T14:30:00Z"],
    ),
]


def _market(request: Request) -> MarketService:
    market: MarketService = request.app.state.market
    return market


def _silent(what: str, silent: FeedUnavailable) -> Problem:
    return Problem(ErrorCode.MARKET_DATA_UNAVAILABLE, f"There are no {what} now: {silent}.")


@router.get("/quotes", summary="The newest quotes")
async def get_quotes(
    request: Request,
    user: Reader,
    symbols: Annotated[
        str,
        Query(
            max_length=MAX_SYMBOLS_TEXT,
            description=f"Tickers and OCC symbols of options, comma separated, at most {MAX_SYMBOLS}.",
            examples=["AAPL,SPY", "AAPL,AAPL261218C00265000"],
        ),
    ],
) -> Response:
    """A bare array in the order asked, doubles folded: symbol, bid, ask, bid_size, ask_size, last, prev_close,
    change, change_pct, source, as_of, stale, delayed; `cached` and `age_s` where it comes from a cache, `recorded_at` for a
    recording. Prices are dollars a share, sizes shares or contracts; a bid of 0 is no bid. A symbol that does not exist, such as
    that of an option that has expired, is a 422 that names it, and every other one that does not, so that nobody mistakes
    silence for a quote."""
    if len(request.query_params.getlist("symbols")) > 1:
        raise invalid_field("symbols", "doubled", "name symbols once, with commas between them")
    wanted = parse_symbols(symbols)
    try:
        found = await _market(request).encoded_quotes(wanted)
    except FeedUnavailable as silent:
        raise _silent("quotes", silent) from None
    unknown = [symbol for symbol in wanted if symbol not in found]
    if unknown:
        raise Problem(
            ErrorCode.VALIDATION,
            f"There is no quote for {', '.join(unknown)}; check the spelling or leave it out.",
            errors=[FieldError("symbols", "unknown_symbol", f"there is no {symbol}") for symbol in unknown],
        )
    return answer(request, b"[" + b",".join([found[symbol] for symbol in wanted]) + b"]")


@router.get("/bars/{symbol}", summary="What a symbol did, in bars")
async def get_bars(
    request: Request,
    user: Reader,
    symbol: Annotated[str, Path(max_length=24, description="A ticker, or an option's OCC symbol.")],
    timeframe: Annotated[Timeframe, Query(description="How long a bar lasts.")] = Timeframe.DAY_1,
    start: Moment = None,
    end: Moment = None,
    limit: Annotated[int, Query(ge=1, le=MOST_BARS)] = _DEFAULT_BARS,
) -> Response:
    """`{symbol, timeframe, bars, source, as_of}`, with `stale` and `cached` where they are true. The newest `limit` bars that begin
    in [start, end), oldest first: t, open, high, low, close, volume, vwap, trades. Without `end` the last one is still growing. To
    page back, ask again with `end` set to the `t` of the oldest. 404 for a symbol that does not exist."""
    wanted = parse_one_symbol(symbol)
    start_us = None if start is None else parse_moment("start", start)
    end_us = None if end is None else parse_moment("end", end)
    if start_us is not None and end_us is not None and start_us >= end_us:
        raise invalid_field(
            "end", "range", "end must be later than start: bars that begin at end are not told"
        )
    market = _market(request)
    try:
        body, count = await market.encoded_bars(wanted, timeframe, start_us, end_us, limit)
        if count == 0 and await market.instrument(wanted) is None:
            raise not_found("symbol")
    except FeedUnavailable as silent:
        raise _silent("bars", silent) from None
    if count == 0 and is_option(wanted):
        raise invalid_field(
            "symbol",
            "no_bars",
            f"{market.source} has no bars of {wanted}: it tells none of options, or nobody traded it then",
        )
    return answer(request, body)


@router.get("/search", summary="Find a symbol")
async def get_search(
    request: Request,
    user: Reader,
    q: Annotated[
        str, Query(min_length=1, max_length=MAX_TEXT, description="A symbol, or a part of it or of a name.")
    ],
    limit: Annotated[int, Query(ge=1, le=MAX_FOUND)] = _DEFAULT_FOUND,
) -> Response:
    """A bare array, the best match first: the symbol itself, symbols that begin so, then names. Items: symbol, name,
    asset_class, tradable, source."""
    try:
        return answer(request, await _market(request).search(parse_text("q", q), limit))
    except FeedUnavailable as silent:
        raise _silent("symbols", silent) from None


@router.get("/indices", summary="What stands for the indices")
async def get_indices(request: Request, user: Reader) -> Response:
    """A bare array of quotes, as from /quotes, of what stands for the indices of a dashboard: `name` is the index, `symbol` the
    fund that is quoted in its place, and `proxy` is true for that reason. Empty where the source has none."""
    try:
        return answer(request, await _market(request).indices())
    except FeedUnavailable as silent:
        raise _silent("indices", silent) from None


@router.get("/clock", summary="Whether the market is open")
async def get_clock(request: Request, user: Reader) -> Response:
    """Instants in UTC. `is_open` is the regular session, `is_extended` also the hours around it in which an order
    for extended hours can trade. `next_roll` is when the trading day ends: day orders expire then. A market that never
    closes has null for `next_open` and `next_close`."""
    return Response(_market(request).clock(), media_type="application/json")


@router.get("/calendar", summary="The trading days of this market")
async def get_calendar(request: Request, user: Reader, start: Day = None, end: Day = None) -> Response:
    """A bare array of trading days with open and close in UTC, by default the coming 30 days; `early_close` tells half days.
    Beyond the years whose holidays are published, `certain` is false and only weekends are left out."""
    market = _market(request)
    first = market.today() if start is None else parse_day("start", start)
    last = min(first + timedelta(days=_DEFAULT_DAYS), LAST_DAY) if end is None else parse_day("end", end)
    if not 0 <= (last - first).days < MAX_CALENDAR_DAYS:
        raise invalid_field(
            "end", "range", f"end must not be before start, and less than {MAX_CALENDAR_DAYS} days after it"
        )
    return answer(request, market.calendar(first, last))
