"""Assets: what can be traded here, by symbol or by id (`/v2/assets`)."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.instruments import Instrument, is_option, parse_any_symbol
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.errors import not_found
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.ids import parse_uuid
from paiid.sim.alpaca.values import one_of

_FUNDS = frozenset({"SPY", "QQQ", "IWM", "TLT"})
_EXCHANGES = ("AMEX", "ARCA", "ASCX", "BATS", "CRYPTO", "NASDAQ", "NYSE", "NYSEARCA", "OTC")


def exchange_of(symbol: str) -> str:
    """Where it is listed; the market does not tell, so funds are said to be at Arca and the rest at NASDAQ."""
    if is_option(symbol):
        return ""
    return "ARCA" if symbol in _FUNDS else "NASDAQ"


def asset_json(exchange: Exchange, one: Instrument) -> dict[str, Any]:
    """The asset object. Short sales need as much as the venue asks for (docs/paper.md)."""
    return {
        "id": exchange.asset_ids.of(one.symbol),
        "class": "us_option" if is_option(one.symbol) else "us_equity",
        "exchange": exchange_of(one.symbol),
        "symbol": one.symbol,
        "name": one.name,
        "status": "active",
        "tradable": one.tradable,
        "marginable": not is_option(one.symbol),
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "100",
        "shortable": one.shortable,
        "easy_to_borrow": one.shortable,
        "borrow_status": "easy_to_borrow" if one.shortable else "hard_to_borrow",
        "fractionable": one.fractionable,
        "attributes": attributes_of(one),
        "cusip": None,
    }


def attributes_of(one: Instrument) -> list[str]:
    """What Alpaca says of an asset beside its fields; every share here has options."""
    return [] if is_option(one.symbol) else ["has_options"]


async def symbol_of_id(exchange: Exchange, asset_id: str) -> str | None:
    """The symbol behind an asset id. An id is made of the symbol, so one of a contract that has not been told since the
    start is looked for among all contracts, at most once for each trading day."""
    symbol = exchange.asset_ids.symbol_of(asset_id)
    if symbol is not None or not exchange.asset_ids.may_look(
        exchange.hours.trading_day(exchange.clock.now_us())
    ):
        return symbol
    for one in exchange.market.instruments():
        # Tens of thousands of contracts: orders need not wait for all of them.
        await exchange.clock.sleep(0)
        for expiration in await exchange.market.fetch_expirations(one.symbol):
            for contract in await exchange.market.fetch_contracts(one.symbol, expiration):
                exchange.asset_ids.of(contract.symbol)
    return exchange.asset_ids.symbol_of(asset_id)


async def find_symbol(exchange: Exchange, text: str) -> str | None:
    """The symbol that a path names by itself or by its asset id; None where it is neither."""
    if parse_uuid(text) is not None:
        return await symbol_of_id(exchange, text)
    try:
        return parse_any_symbol(text)
    except ValueError:
        return None


async def list_assets(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/assets`."""
    query = request.query_params
    status = query.get("status") or "all"
    one_of(status, "status", ("active", "inactive", "all"))
    classes = (query.get("asset_class") or "us_equity").split(",")
    venue = query.get("exchange")
    if venue:
        one_of(venue, "exchange", _EXCHANGES)
    wanted = set(filter(None, (query.get("attributes") or "").split(",")))
    found: Sequence[Instrument] = exchange.market.instruments()
    if status == "inactive" or "us_equity" not in classes:
        found = ()
    return Answer(
        [
            asset_json(exchange, one)
            for one in found
            if (not venue or exchange_of(one.symbol) == venue)
            and (not wanted or wanted & set(attributes_of(one)))
        ]
    )


async def get_asset(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/assets/{symbol or id}`."""
    text = request.path_params["symbol"]
    symbol = await find_symbol(exchange, text)
    instrument = None if symbol is None else await exchange.market.fetch_instrument(symbol)
    if instrument is None:
        raise not_found(f"asset not found for {text}")
    return Answer(asset_json(exchange, instrument))
