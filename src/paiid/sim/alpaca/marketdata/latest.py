"""The newest quote, trade and bars of shares and contracts (`…/latest`, `/v2/stocks/snapshots`)."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.bars import Bar, Timeframe
from paiid.sim.alpaca.errors import not_found
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.marketdata.gate import DataHandler
from paiid.sim.alpaca.marketdata.params import check_feed, symbol_in, symbols_in
from paiid.sim.alpaca.marketdata.shapes import bar_body, quote_body, trade_body
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.marketdata.wire import written

__all__ = [
    "latest_bar",
    "latest_bars",
    "newest_of",
    "one_newest",
    "quote_of",
    "snapshot",
    "snapshots",
    "trade_of",
]

_HOUR_US = 3_600_000_000
_DAYS_US = 12 * 24 * _HOUR_US
"""Longer than any time without trading, so that two days of trading lie in it."""

Reader = Callable[[DataSide, str, str], dict[str, Any] | None]
"""Side, symbol, feed: the object, or None where the market knows none."""


def quote_of(side: DataSide, symbol: str, feed: str) -> dict[str, Any] | None:
    """`latestQuote`."""
    look = side.looks.look(symbol)
    return None if look is None else written(quote_body(look.quote, look.at_us, feed))


def trade_of(side: DataSide, symbol: str, feed: str) -> dict[str, Any] | None:
    """`latestTrade`."""
    look = side.looks.look(symbol)
    body = None if look is None else trade_body(look.quote, look.at_us, feed)
    return None if body is None else written(body)


def newest_of(key: str, read: Reader, *, options: bool = False) -> DataHandler:
    """A route that answers `{key: {symbol: object}}`, unknown symbols left out."""

    async def handler(side: DataSide, request: Request) -> Response:
        symbols, feed = symbols_in(request, options=options), check_feed(request, options=options)
        found = {symbol: read(side, symbol, feed) for symbol in symbols}
        return Answer({key: {symbol: one for symbol, one in found.items() if one is not None}})

    return handler


def one_newest(key: str, read: Reader) -> DataHandler:
    """A route that answers `{"symbol": …, key: object}`."""

    async def handler(side: DataSide, request: Request) -> Response:
        symbol, feed = symbol_in(request), check_feed(request)
        found = read(side, symbol, feed)
        if found is None:
            raise not_found(f"no {key} found for {symbol}")
        return Answer({"symbol": symbol, key: found})

    return handler


async def latest_bars(side: DataSide, request: Request) -> Response:
    """`GET /v2/stocks/bars/latest`."""
    symbols, _ = symbols_in(request), check_feed(request)
    found = {symbol: await _minute_bar(side, symbol) for symbol in symbols}
    return Answer(
        {"bars": {symbol: written(bar_body(bar)) for symbol, bar in found.items() if bar is not None}}
    )


async def latest_bar(side: DataSide, request: Request) -> Response:
    """`GET /v2/stocks/{symbol}/bars/latest`."""
    symbol, _ = symbol_in(request), check_feed(request)
    bar = await _minute_bar(side, symbol)
    if bar is None:
        raise not_found(f"no bar found for {symbol}")
    return Answer({"symbol": symbol, "bar": written(bar_body(bar))})


async def snapshots(side: DataSide, request: Request) -> Response:
    """`GET /v2/stocks/snapshots`: the symbols stand at the top."""
    symbols, feed = symbols_in(request), check_feed(request)
    found = {symbol: await _snapshot(side, symbol, feed) for symbol in symbols}
    return Answer({symbol: one for symbol, one in found.items() if one})


async def snapshot(side: DataSide, request: Request) -> Response:
    """`GET /v2/stocks/{symbol}/snapshot`."""
    symbol, feed = symbol_in(request), check_feed(request)
    found = await _snapshot(side, symbol, feed)
    if not found:
        raise not_found(f"no snapshot found for {symbol}")
    return Answer({"symbol": symbol, **found})


async def _snapshot(side: DataSide, symbol: str, feed: str) -> dict[str, Any]:
    """Everything about a symbol; empty where the market does not know it."""
    quote = quote_of(side, symbol, feed)
    if quote is None:
        return {}
    now_us = side.exchange.clock.now_us()
    days = list(await side.market.fetch_bars(symbol, Timeframe.DAY_1, now_us - _DAYS_US, now_us + 1, 2))
    minute = await _minute_bar(side, symbol)
    told = {
        "latestTrade": trade_of(side, symbol, feed),
        "latestQuote": quote,
        "minuteBar": None if minute is None else written(bar_body(minute)),
        "dailyBar": written(bar_body(days[-1])) if days else None,
        "prevDailyBar": written(bar_body(days[-2])) if len(days) > 1 else None,
    }
    return {key: one for key, one in told.items() if one is not None}


async def _minute_bar(side: DataSide, symbol: str) -> Bar | None:
    """The newest bar of a minute, of the hours that have ended where nothing trades now."""
    now_us, hours = side.exchange.clock.now_us(), side.exchange.hours
    end_us = now_us + 1 if hours.is_extended(now_us) else hours.previous_extended_end_us(now_us)
    bars = await side.market.fetch_bars(symbol, Timeframe.MINUTE_1, end_us - _HOUR_US, end_us, 1)
    return bars[-1] if bars else None
