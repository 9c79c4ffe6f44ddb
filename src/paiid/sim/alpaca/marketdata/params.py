"""Reads the queries of the market data routes: symbols, feeds, timeframes, ranges and page tokens."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from paiid.domain.bars import Timeframe
from paiid.domain.instruments import is_option, parse_any_symbol
from paiid.sim.alpaca.marketdata.gate import bad
from paiid.sim.alpaca.values import integer_of

__all__ = [
    "LENGTH_US",
    "Page",
    "check_feed",
    "page_size",
    "page_token",
    "read_page_token",
    "read_sort",
    "symbol_in",
    "symbols_in",
    "timeframe_in",
]

MOST_SYMBOLS, MOST_CONTRACTS = 500, 100
LIMIT, MOST = 1000, 10_000
_STOCK_FEEDS = ("iex", "sip", "delayed_sip", "otc", "boats", "overnight")
_OPTION_FEEDS = ("indicative", "opra")
_ADJUSTMENTS = ("raw", "split", "dividend", "spin-off", "all")
_TIMEFRAME = re.compile(r"([0-9]{1,2})(Min|T|Hour|H|Day|D|Week|W|Month|M)\Z", re.ASCII)
_LONG = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}
_MINUTE_US = 60_000_000
_DAY_US = 86_400_000_000
LENGTH_US = {
    Timeframe.MINUTE_1: _MINUTE_US,
    Timeframe.MINUTE_5: 5 * _MINUTE_US,
    Timeframe.MINUTE_15: 15 * _MINUTE_US,
    Timeframe.MINUTE_30: 30 * _MINUTE_US,
    Timeframe.HOUR_1: 60 * _MINUTE_US,
    Timeframe.HOUR_4: 240 * _MINUTE_US,
    Timeframe.DAY_1: _DAY_US,
    Timeframe.WEEK_1: 7 * _DAY_US,
    Timeframe.MONTH_1: 28 * _DAY_US,
}
"""How long a bar lasts at least."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page begins: with this symbol, at this instant (microseconds; of bars) or behind it."""

    symbol: str
    at_us: int


def symbols_in(request: Request, *, options: bool = False) -> list[str]:
    """The `symbols` of a query, each once. Raises AlpacaError 400."""
    asked = [one.strip() for one in request.query_params.get("symbols", "").split(",")]
    if not any(asked):
        raise bad("symbols is required")
    found = list(dict.fromkeys(_canonical(one, options) for one in asked if one))
    most = MOST_CONTRACTS if options else MOST_SYMBOLS
    if len(found) > most:
        raise bad(f"too many symbols: at most {most}")
    return found


def symbol_in(request: Request) -> str:
    """The `{symbol}` of a path. Raises AlpacaError 400."""
    return _canonical(request.path_params["symbol"], options=False)


def _canonical(text: str, options: bool) -> str:
    try:
        symbol = parse_any_symbol(text)
        if is_option(symbol) is not options:
            raise ValueError(text)
    except ValueError:
        raise bad("invalid symbol") from None
    return symbol


def check_feed(request: Request, *, options: bool = False) -> str:
    """The feed that is asked for, the best one by default. Raises AlpacaError 400."""
    known = _OPTION_FEEDS if options else _STOCK_FEEDS
    feed = request.query_params.get("feed") or ("opra" if options else "sip")
    if feed not in known:
        raise bad("invalid feed")
    currency = request.query_params.get("currency") or "USD"
    if currency != "USD":
        raise bad("invalid currency")
    return feed


def timeframe_in(request: Request) -> Timeframe:
    """The timeframe, in Alpaca's long or short form; those of the market only. Raises AlpacaError 400."""
    text = request.query_params.get("timeframe") or "1Min"
    found = _TIMEFRAME.match(text)
    adjustment = request.query_params.get("adjustment") or "raw"
    if any(one not in _ADJUSTMENTS for one in adjustment.split(",")):
        raise bad("invalid adjustment")
    try:
        if found is None:
            raise ValueError(text)
        return Timeframe(f"{int(found[1])}{_LONG.get(found[2], found[2])}")
    except ValueError:
        raise bad("invalid timeframe") from None


def page_size(request: Request, default: int = LIMIT, most: int = MOST) -> int:
    """The `limit`. Raises AlpacaError."""
    return integer_of(request.query_params.get("limit") or str(default), "limit", 1, most)


def read_sort(request: Request) -> Literal["asc", "desc"]:
    """The order in time. Raises AlpacaError 400."""
    sort = request.query_params.get("sort") or "asc"
    if sort == "asc":
        return "asc"
    if sort == "desc":
        return "desc"
    raise bad("invalid sort")


def page_token(page: Page) -> str:
    """A page as clients carry it around."""
    return base64.urlsafe_b64encode(f"{page.symbol}|{page.at_us}".encode()).decode()


def read_page_token(request: Request) -> Page | None:
    """The page that is asked for, None for the first. Raises AlpacaError 400."""
    token = request.query_params.get("page_token")
    if not token:
        return None
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode("ascii")
        symbol, bar, at = text.partition("|")
        if not bar or not at.isdigit() or len(at) > 18:
            raise ValueError(token)
        return Page(parse_any_symbol(symbol), int(at))
    except (binascii.Error, ValueError):
        raise bad("invalid page_token") from None
