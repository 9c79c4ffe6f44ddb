"""Snapshots of option contracts (`/v1beta1/options/snapshots`): quotes, trades, the day's volume, and Greeks where they can be computed."""

from datetime import date, time
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.instruments import parse_symbol
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.quotes import Quote
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.marketdata.chain_faults import told_page
from paiid.sim.alpaca.marketdata.gate import bad
from paiid.sim.alpaca.marketdata.greeks import greeks_body
from paiid.sim.alpaca.marketdata.looks import Look
from paiid.sim.alpaca.marketdata.params import (
    Page,
    check_feed,
    page_size,
    page_token,
    read_page_token,
    symbols_in,
)
from paiid.sim.alpaca.marketdata.shapes import quote_body, trade_body
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.marketdata.wire import written
from paiid.sim.alpaca.values import date_of, decimal_of, instant_of, one_of

__all__ = ["chain_snapshots", "contract_snapshots"]

_LIMIT, _MOST = 100, 1000
_IN_A_ROW = 50
_WITH_GREEKS = "opra"
_CONTRACTS_A_TRADE = 8


async def contract_snapshots(side: DataSide, request: Request) -> Response:
    """`GET /v1beta1/options/snapshots?symbols=`."""
    feed = check_feed(request, options=True)
    found, following = await _page(side, request, symbols_in(request, options=True), feed)
    return Answer({"snapshots": found, "next_page_token": following})


async def chain_snapshots(side: DataSide, request: Request) -> Response:
    """`GET /v1beta1/options/snapshots/{underlying}`."""
    feed = check_feed(request, options=True)
    try:
        ticker = parse_symbol(request.path_params["underlying"])
    except ValueError:
        raise bad("invalid underlying symbol") from None
    found, following = await _page(side, request, await _listed(side, request, ticker), feed)
    again = page_token(Page(next(iter(found), ticker), 0))
    return Answer(told_page(side, request, found, following, again))


async def _page(
    side: DataSide, request: Request, symbols: list[str], feed: str
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The snapshots of a page, and the token of the next one."""
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
        if len(found) == limit:
            return found, page_token(Page(symbol, 0))
        if len(found) % _IN_A_ROW == 0:
            # A chain is long enough for an order to wait.
            await side.exchange.clock.sleep(0)
        found[symbol] = _snapshot(side, look, feed)
    return found, None


def _snapshot(side: DataSide, look: Look, feed: str) -> dict[str, Any]:
    quote, trade = look.quote, trade_body(look.quote, look.at_us, feed)
    told = {"latestQuote": written(quote_body(quote, look.at_us, feed))}
    if trade is not None:
        told["latestTrade"] = written(trade)
    # One report has it that the free feed tells none; a contract without a bid has no price that a volatility could be found for.
    if feed == _WITH_GREEKS and quote.bid > 0:
        contract, model = find_contract(quote.symbol), side.market.model(quote.symbol)
        if contract is not None and model is not None:
            told |= greeks_body(contract.option_type, float(contract.strike), model)
    return told | _bars(side, quote)


def _bars(side: DataSide, quote: Quote) -> dict[str, Any]:
    """The day's bar, if anything was traded in it, and the bar of the day before. The market knows of their prices the last two closes
    only: a day opens at the close before, and has no other prices."""
    activity = side.market.activity(quote.symbol)
    if activity is None:
        return {}
    now_us, hours, told = side.exchange.clock.now_us(), side.exchange.hours, {}
    if activity.volume:
        told["dailyBar"] = _bar(hours.trading_day(now_us), quote.prev_close, quote.last, activity.volume)
    if quote.prev_close > 0:
        day = eastern_date(hours.previous_roll_us(now_us))
        told["prevDailyBar"] = _bar(day, quote.prev_close, quote.prev_close, 1)
    return told


def _bar(day: date, opening: Decimal, close: Decimal, volume: int) -> dict[str, Any]:
    low, high = min(opening, close), max(opening, close)
    body = {"o": opening, "h": high, "l": low, "c": close, "vw": (low + high) / 2}
    return written({**body, "v": volume, "n": -(-volume // _CONTRACTS_A_TRADE), "t": eastern_us(day, time())})


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
