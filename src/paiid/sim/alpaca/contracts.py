"""Option contracts (`/v2/options/contracts`)."""

import base64
import binascii
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.calendar import eastern_date
from paiid.domain.instruments import has_penny_ticks, is_option
from paiid.domain.money import plain
from paiid.domain.occ import OptionContract, find_contract
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.assets import find_symbol
from paiid.sim.alpaca.errors import invalid, not_found
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.parse import canonical_symbol
from paiid.sim.alpaca.values import bool_field, date_of, decimal_of, integer_of, one_of, text_of

_LIMIT, _MOST = 100, 10_000
_SATURDAY, _SUNDAY = 5, 6


def contract_json(
    exchange: Exchange, contract: OptionContract, *, deliverables: bool = False
) -> dict[str, Any]:
    """The contract object; what the market does not tell is left out."""
    symbol, underlying = contract.symbol, contract.underlying
    told: dict[str, Any] = {
        "id": exchange.asset_ids.of(symbol),
        "symbol": symbol,
        "name": f"{underlying} {contract.expiration:%b %d %Y} {plain(contract.strike)} "
        f"{contract.option_type.capitalize()}",
        "status": "active",
        "tradable": True,
        "expiration_date": str(contract.expiration),
        "root_symbol": contract.root,
        "underlying_symbol": underlying,
        "underlying_asset_id": exchange.asset_ids.of(underlying),
        "type": contract.option_type,
        "style": "american",
        "strike_price": text_of(contract.strike),
        "multiplier": "100",
        "size": "100",
        "ppind": has_penny_ticks(underlying),
    }
    quote = exchange.market.newest(symbol)
    if quote is not None and quote.prev_close > 0:
        told["close_price"] = text_of(quote.prev_close)
        roll_us = exchange.hours.previous_roll_us(exchange.clock.now_us())
        told["close_price_date"] = str(eastern_date(roll_us))
    activity = exchange.market.activity(symbol)
    if activity is not None:
        told["open_interest"] = str(activity.open_interest)
        told["open_interest_date"] = str(activity.open_interest_day)
    if deliverables:
        told["deliverables"] = [
            {
                "type": "equity",
                "symbol": underlying,
                "asset_id": exchange.asset_ids.of(underlying),
                "amount": "100",
                "allocation_percentage": "100",
                "settlement_type": "T+1",
                "settlement_method": "CCC",
                "delayed_settlement": False,
            }
        ]
    return told


async def list_contracts(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/options/contracts`."""
    query = request.query_params
    limit = integer_of(query.get("limit") or str(_LIMIT), "limit", 1, _MOST)
    behind = _unpaged(query["page_token"]) if query.get("page_token") else ""
    deliverables = bool_field(query.get("show_deliverables"), "show_deliverables")
    wanted = _filter(exchange, request)
    found = [one for one in await _listed(exchange, request) if wanted(one) and one.symbol > behind]
    found.sort(key=lambda one: one.symbol)
    page = found[:limit]
    more = len(found) > limit
    return Answer(
        {
            "option_contracts": [contract_json(exchange, one, deliverables=deliverables) for one in page],
            "next_page_token": _paged(page[-1].symbol) if more else None,
        }
    )


async def get_contract(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/options/contracts/{symbol or id}`."""
    text = request.path_params["symbol"]
    symbol = await find_symbol(exchange, text)
    contract = find_contract(symbol) if symbol is not None and is_option(symbol) else None
    if contract is None or await exchange.market.fetch_instrument(contract.symbol) is None:
        raise not_found(f"option contract {text} not found")
    return Answer(contract_json(exchange, contract, deliverables=True))


def _paged(symbol: str) -> str:
    return base64.urlsafe_b64encode(symbol.encode()).decode()


def _unpaged(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise invalid("invalid page_token") from None


async def _listed(exchange: Exchange, request: Request) -> list[OptionContract]:
    """All contracts on the wanted tickers that expire on the wanted days."""
    query = request.query_params
    if query.get("status") == "inactive":
        return []
    asked = [one.strip() for one in (query.get("underlying_symbols") or "").split(",") if one.strip()]
    tickers = [canonical_symbol(one) for one in asked] or [
        one.symbol for one in exchange.market.instruments()
    ]
    first, last = _expirations(exchange, request)
    found: list[OptionContract] = []
    for ticker in dict.fromkeys(tickers):
        if is_option(ticker):
            raise invalid("invalid underlying_symbols")
        for expiration in await exchange.market.fetch_expirations(ticker):
            if first <= expiration <= last:
                found.extend(await exchange.market.fetch_contracts(ticker, expiration))
    return found


def _expirations(exchange: Exchange, request: Request) -> tuple[date, date]:
    """From when to when contracts may expire: without a word to the coming weekend."""
    query = request.query_params
    exact = query.get("expiration_date")
    if exact:
        day = date_of(exact, "expiration_date")
        return day, day
    least, most = query.get("expiration_date_gte"), query.get("expiration_date_lte")
    first = date_of(least, "expiration_date_gte") if least else date.min
    if most:
        return first, date_of(most, "expiration_date_lte")
    if least:
        # Who names a beginning past the weekend would get nothing for ever.
        weekend = _weekend(max(first, eastern_date(exchange.clock.now_us())))
    else:
        weekend = _weekend(eastern_date(exchange.clock.now_us()))
    return first, weekend


def _weekend(day: date) -> date:
    """The Sunday of the coming weekend: of the next one on a weekend, when this week's contracts are gone."""
    days = _SUNDAY - day.weekday()
    return day + timedelta(days=days if day.weekday() < _SATURDAY else days + 7)


def _filter(exchange: Exchange, request: Request) -> Callable[[OptionContract], bool]:
    query = request.query_params
    one_of(query.get("status") or "active", "status", ("active", "inactive"))
    kind = query.get("type")
    if kind:
        one_of(kind, "type", ("call", "put"))
    style = one_of(query.get("style") or "american", "style", ("american", "european"))
    root = query.get("root_symbol")
    least: Decimal | None = decimal_of(query.get("strike_price_gte"), "strike_price_gte")
    most: Decimal | None = decimal_of(query.get("strike_price_lte"), "strike_price_lte")
    penny = bool_field(query.get("ppind"), "ppind") if query.get("ppind") else None

    def wanted(one: OptionContract) -> bool:
        return (
            style == "american"
            and (not kind or one.option_type == kind)
            and (not root or one.root == root.upper())
            and (least is None or one.strike >= least)
            and (most is None or one.strike <= most)
            and (penny is None or has_penny_ticks(one.underlying) == penny)
        )

    return wanted
