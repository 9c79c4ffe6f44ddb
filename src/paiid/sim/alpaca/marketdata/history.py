"""Bars of the past, page by page (`/v2/stocks/bars`, `/v2/stocks/{symbol}/bars`, `/v1beta1/options/bars`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.marketdata.gate import bad
from paiid.sim.alpaca.marketdata.params import (
    LENGTH_US,
    Page,
    check_feed,
    page_size,
    page_token,
    read_page_token,
    read_sort,
    symbol_in,
    symbols_in,
    timeframe_in,
)
from paiid.sim.alpaca.marketdata.shapes import bar_body
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.marketdata.wire import written
from paiid.sim.alpaca.values import instant_of

__all__ = ["option_bars", "stock_bars", "symbol_bars"]

_FEWEST = 1000
"""Bars' lengths that are looked through at once, as nights and weekends have none."""
_MOST_LOOKS = 50
"""Looks for one page; what has not been found by then is on the next one."""


@dataclass(frozen=True, slots=True)
class _Range:
    """What is asked for: bars that begin in [start, end), microseconds."""

    timeframe: Timeframe
    start_us: int
    end_us: int
    descending: bool


async def stock_bars(side: DataSide, request: Request) -> Response:
    """`GET /v2/stocks/bars`: sorted by symbol, then by time."""
    symbols, _ = symbols_in(request), check_feed(request)
    bars, following = await _page(side, request, symbols)
    return Answer({"bars": bars, "next_page_token": following})


async def symbol_bars(side: DataSide, request: Request) -> Response:
    """`GET /v2/stocks/{symbol}/bars`."""
    symbol, _ = symbol_in(request), check_feed(request)
    bars, following = await _page(side, request, [symbol])
    return Answer({"symbol": symbol, "bars": bars.get(symbol, []), "next_page_token": following})


async def option_bars(side: DataSide, request: Request) -> Response:
    """`GET /v1beta1/options/bars`."""
    symbols, _ = symbols_in(request, options=True), check_feed(request, options=True)
    bars, following = await _page(side, request, symbols)
    return Answer({"bars": bars, "next_page_token": following})


async def _page(
    side: DataSide, request: Request, symbols: Sequence[str]
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """Bars of one page by symbol, and the token of the next one."""
    asked, left = _range(side, request), page_size(request)
    page = read_page_token(request)
    found: dict[str, list[dict[str, Any]]] = {}
    for symbol in sorted(symbols):
        if page is not None and symbol < page.symbol:
            continue
        if left == 0:
            return found, page_token(Page(symbol, asked.end_us if asked.descending else asked.start_us))
        here = asked
        if page is not None and symbol == page.symbol:
            here = _resumed(asked, page)
        bars, next_us = await _some(side, symbol, here, left)
        if bars:
            found[symbol] = [written(bar_body(one)) for one in bars]
            left -= len(bars)
        if next_us is not None:
            return found, page_token(Page(symbol, next_us))
    return found, None


async def _some(side: DataSide, symbol: str, asked: _Range, count: int) -> tuple[Sequence[Bar], int | None]:
    """At most so many bars of a symbol, and where it goes on; None where it does not."""
    if asked.descending:
        newest = await side.market.fetch_bars(
            symbol, asked.timeframe, asked.start_us, asked.end_us, count + 1
        )
        page = list(reversed(newest))[:count]
        return page, page[-1].start_us if len(newest) > count else None
    found: list[Bar] = []
    most = max(count + 1, _FEWEST)
    span_us = most * LENGTH_US[asked.timeframe]
    at_us = asked.start_us
    for _ in range(_MOST_LOOKS):
        if at_us >= asked.end_us:
            return found, None
        until_us = min(asked.end_us, at_us + span_us)
        more = await side.market.fetch_bars(symbol, asked.timeframe, at_us, until_us, most + 1)
        found += more
        if len(found) > count:
            return found[:count], found[count].start_us
        at_us = until_us if more else await _behind_the_gap(side, symbol, asked, until_us, span_us)
    return found, at_us if at_us < asked.end_us else None


async def _behind_the_gap(side: DataSide, symbol: str, asked: _Range, from_us: int, span_us: int) -> int:
    """An instant less than a span before the next bar; the end of the range where there is none."""

    async def is_empty(until_us: int) -> bool:
        return not await side.market.fetch_bars(symbol, asked.timeframe, from_us, until_us, 1)

    until_us = asked.end_us
    if from_us >= until_us or await is_empty(until_us):
        return until_us
    while until_us - from_us > span_us:
        middle_us = (from_us + until_us) // 2
        if await is_empty(middle_us):
            from_us = middle_us
        else:
            until_us = middle_us
    return from_us


def _range(side: DataSide, request: Request) -> _Range:
    query, now_us = request.query_params, side.exchange.clock.now_us()
    timeframe, descending = timeframe_in(request), read_sort(request) == "desc"
    start, end = query.get("start"), query.get("end")
    start_us = max(0, instant_of(start, "start")) if start else eastern_us(eastern_date(now_us), time())
    # The end is part of the range.
    end_us = instant_of(end, "end") + 1 if end else now_us + 1
    if start_us >= end_us:
        raise bad("end should not be before start")
    return _Range(timeframe, start_us, min(end_us, now_us + 1), descending)


def _resumed(asked: _Range, page: Page) -> _Range:
    """The rest of the range from where a page begins; a token of another query cannot widen it."""
    start_us, end_us = asked.start_us, asked.end_us
    if asked.descending:
        end_us = min(end_us, page.at_us)
    else:
        start_us = max(start_us, page.at_us)
    return _Range(asked.timeframe, start_us, max(start_us, end_us), asked.descending)
