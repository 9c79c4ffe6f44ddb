"""Snapshots of option contracts (`/v1beta1/options/snapshots`), without Greeks, as the free feed has them."""

from datetime import date
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.instruments import parse_symbol
from paiid.domain.occ import OptionContract
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.marketdata.gate import bad
from paiid.sim.alpaca.marketdata.latest import quote_of, trade_of
from paiid.sim.alpaca.marketdata.params import (
    Page,
    check_feed,
    page_size,
    page_token,
    read_page_token,
    symbols_in,
)
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.values import date_of, decimal_of, instant_of, one_of

__all__ = ["chain_snapshots", "contract_snapshots"]

_LIMIT, _MOST = 100, 1000
_IN_A_ROW = 50


async def contract_snapshots(side: DataSide, request: Request) -> Response:
    """`GET /v1beta1/options/snapshots?symbols=`."""
    feed = check_feed(request, options=True)
    return await _answer(side, request, symbols_in(request, options=True), feed)


async def chain_snapshots(side: DataSide, request: Request) -> Response:
    """`GET /v1beta1/options/snapshots/{underlying}`."""
    feed = check_feed(request, options=True)
    try:
        ticker = parse_symbol(request.path_params["underlying"])
    except ValueError:
        raise bad("invalid underlying symbol") from None
    return await _answer(side, request, await _listed(side, request, ticker), feed)


async def _answer(side: DataSide, request: Request, symbols: list[str], feed: str) -> Response:
    limit, page = page_size(request, _LIMIT, _MOST), read_page_token(request)
    since = request.query_params.get("updated_since")
    since_us = instant_of(since, "updated_since") if since else None
    found: dict[str, dict[str, Any]] = {}
    for symbol in sorted(symbols):
        if page is not None and symbol < page.symbol:
            continue
        look = side.looks.look(symbol)
        if look is None or (since_us is not None and look.at_us < since_us):
            continue
        if len(found) % _IN_A_ROW == 0:
            # A chain is long enough for an order to wait.
            await side.exchange.clock.sleep(0)
        if len(found) == limit:
            return Answer({"snapshots": found, "next_page_token": page_token(Page(symbol, 0))})
        told = {"latestQuote": quote_of(side, symbol, feed), "latestTrade": trade_of(side, symbol, feed)}
        found[symbol] = {key: one for key, one in told.items() if one is not None}
    return Answer({"snapshots": found, "next_page_token": None})


async def _listed(side: DataSide, request: Request, ticker: str) -> list[str]:
    """The contracts on a ticker that the query is about."""
    query = request.query_params
    kind = query.get("type")
    if kind:
        one_of(kind, "type", ("call", "put"))
    least = decimal_of(query.get("strike_price_gte"), "strike_price_gte")
    most = decimal_of(query.get("strike_price_lte"), "strike_price_lte")
    root = (query.get("root_symbol") or "").upper()
    first, last = _expirations(request)

    def wanted(one: OptionContract) -> bool:
        return (
            (not kind or one.option_type == kind)
            and (not root or one.root == root)
            and (least is None or one.strike >= least)
            and (most is None or one.strike <= most)
        )

    found: list[str] = []
    for expiration in await side.market.fetch_expirations(ticker):
        if first <= expiration <= last:
            contracts = await side.market.fetch_contracts(ticker, expiration)
            found += [one.symbol for one in contracts if wanted(one)]
    return found


def _expirations(request: Request) -> tuple[date, date]:
    """From when to when contracts may expire."""
    query = request.query_params
    exact = query.get("expiration_date")
    if exact:
        day = date_of(exact, "expiration_date")
        return day, day
    least, most = query.get("expiration_date_gte"), query.get("expiration_date_lte")
    return (
        date_of(least, "expiration_date_gte") if least else date.min,
        date_of(most, "expiration_date_lte") if most else date.max,
    )
