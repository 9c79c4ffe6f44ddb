"""Quotes of shares and contracts (`/v1/markets/quotes`; tradier.md, section 8.1)."""

from decimal import Decimal
from typing import Any

from paiid.domain.instruments import Instrument, is_option
from paiid.domain.occ import OptionContract, find_contract
from paiid.sim.tradier.markets.asked import Asked, flag_of, invalid, texts_of
from paiid.sim.tradier.markets.days import Day
from paiid.sim.tradier.markets.events import shares_of_trade
from paiid.sim.tradier.markets.looks import Look
from paiid.sim.tradier.markets.names import (
    contract_name,
    exchange_of,
    expiration_type,
    find_symbol,
    lots,
    quote_exchange,
    root_of,
    security_type,
    wire_symbol,
)
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.shapes import Rows, Told, number, some

__all__ = ["option_body", "quotes", "share_body"]

_CONTRACT_SIZE = 100
_MOST = 2_000
_IN_A_ROW = 50
_PERCENT = Decimal("0.01")


async def quotes(side: MarketSide, asked: Asked) -> Told:
    """`GET|POST /v1/markets/quotes`: unknown symbols are named beside the others, and the status stays 200."""
    names, greeks = texts_of(asked, "symbols"), flag_of(asked, "greeks")
    if not names:
        raise invalid("symbols", "is required.")
    if len(names) > _MOST:
        raise invalid("symbols", f"contains more than {_MOST} symbols.")
    found: list[dict[str, Any]] = []
    unmatched: list[str] = []
    for place, name in enumerate(names):
        if place % _IN_A_ROW == 0:
            # A list is long enough for an order to wait.
            await side.exchange.clock.sleep(0)
        body = await _quote(side, name, greeks)
        if body is None:
            unmatched.append(name)
        else:
            found.append(body)
    told: dict[str, Any] = {}
    if found:
        told["quote"] = some(found)
    if unmatched:
        told["unmatched_symbols"] = Rows("symbol", unmatched)
    return Told({"quotes": told})


async def _quote(side: MarketSide, name: str, greeks: bool) -> dict[str, Any] | None:
    symbol = find_symbol(name)
    look = None if symbol is None else side.looks.look(symbol)
    instrument = None if look is None else await side.market.fetch_instrument(look.quote.symbol)
    if look is None or instrument is None:
        return None
    day = await side.days.of(look.quote)
    contract = find_contract(look.quote.symbol) if is_option(look.quote.symbol) else None
    if contract is None:
        return share_body(look, instrument, day)
    return option_body(side, look, contract, day, greeks=greeks)


def share_body(look: Look, instrument: Instrument, day: Day) -> dict[str, Any]:
    """A share. A side that there is not is null."""
    quote = look.quote
    return {
        **_head(quote.symbol, instrument.name),
        **_prices(look, day, last=number(quote.last) if quote.last > 0 else None),
        "average_volume": day.average_volume,
        "last_volume": shares_of_trade(quote.symbol) if quote.last > 0 else 0,
        "trade_date": look.at_ms if quote.last > 0 else 0,
        **_sides(look, day, no_bid=None),
        "root_symbols": root_of(quote.symbol),
    }


def option_body(
    side: MarketSide, look: Look, contract: OptionContract, day: Day, *, greeks: bool
) -> dict[str, Any]:
    """A contract; one that never traded has no last price. No bid is a bid of 0."""
    quote = look.quote
    activity = side.market.activity(quote.symbol)
    held = 0 if activity is None else activity.open_interest
    # A market in a test's hand tells of no activity: its contracts may have traded.
    traded = activity is None or bool(held or day.volume)
    traded_ms = look.at_ms if day.volume else side.exchange.hours.previous_roll_us(look.at_us) // 1000
    body = {
        **_head(quote.symbol, contract_name(contract)),
        **_prices(look, day, last=number(quote.last) if traded and quote.last > 0 else None),
        "underlying": wire_symbol(contract.underlying),
        "strike": number(contract.strike),
        "average_volume": 0,
        "last_volume": shares_of_trade(quote.symbol) if traded else 0,
        "trade_date": traded_ms if traded else 0,
        **_sides(look, day, no_bid=number(0)),
        "open_interest": held,
        "contract_size": _CONTRACT_SIZE,
        "expiration_date": str(contract.expiration),
        "expiration_type": expiration_type(contract.expiration),
        "option_type": contract.option_type,
        "root_symbol": contract.root,
    }
    if greeks:
        body["greeks"] = side.greeks.of(contract, quote)
    return body


def _head(symbol: str, description: str) -> dict[str, Any]:
    return {
        "symbol": wire_symbol(symbol),
        "description": description,
        "exch": exchange_of(symbol),
        "type": security_type(symbol),
    }


def _prices(look: Look, day: Day, *, last: Decimal | None) -> dict[str, Any]:
    """Null is what the day has not had yet. The change is that against the close before."""
    change = percent = None
    before = _before(look, day)
    if last is not None and before > 0 and day.open is not None:
        change = number(look.quote.last - before)
        percent = number(((look.quote.last - before) / before * 100).quantize(_PERCENT))
    return {
        "last": last,
        "change": change,
        "volume": day.volume,
        "open": number(day.open),
        "high": number(day.high),
        "low": number(day.low),
        "close": number(day.close),
        "change_percentage": percent,
    }


def _sides(look: Look, day: Day, *, no_bid: Decimal | None) -> dict[str, Any]:
    quote = look.quote
    has_bid, has_ask = quote.bid > 0, quote.ask > 0
    return {
        "bid": number(quote.bid) if has_bid else no_bid,
        "ask": number(quote.ask) if has_ask else None,
        "prevclose": number(_before(look, day)) if _before(look, day) > 0 else None,
        "week_52_high": number(day.week_52_high),
        "week_52_low": number(day.week_52_low),
        "bidsize": lots(quote.symbol, quote.bid_size) if has_bid else 0,
        "bidexch": quote_exchange(quote.symbol, "bid") if has_bid else None,
        "bid_date": look.at_ms if has_bid else 0,
        "asksize": lots(quote.symbol, quote.ask_size) if has_ask else 0,
        "askexch": quote_exchange(quote.symbol, "ask") if has_ask else None,
        "ask_date": look.at_ms if has_ask else 0,
    }


def _before(look: Look, day: Day) -> Decimal:
    return day.previous if day.previous is not None else look.quote.prev_close
