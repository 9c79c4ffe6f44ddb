"""What the nightly file of the clearing firm tells: trades and bookings of the days before, and gains (tradier.md, sections
5.5 and 5.6)."""

from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from starlette.requests import Request

from paiid.brokers import BrokerActivity, BrokerExecution
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.instruments import is_option, multiplier_of
from paiid.domain.money import ZERO, plain, round_cents
from paiid.domain.occ import find_contract
from paiid.sim.tradier.accounts import SimAccount, SimUser
from paiid.sim.tradier.exchange import CALL_S, TradierExchange
from paiid.sim.tradier.gate import TradierError, account_of, params_of
from paiid.sim.tradier.order_reads import day_of
from paiid.sim.tradier.parse import boolean, invalid, whole
from paiid.sim.tradier.render import wire_symbol
from paiid.sim.tradier.shapes import Rows, Told, number
from paiid.sim.tradier.trades import Closed, Trades

__all__ = ["closed_today", "get_gainloss", "get_history", "load_trades"]

_Row = TypeVar("_Row")
_TYPES = (
    "trade", "option", "ach", "wire", "dividend", "fee", "tax", "journal", "check", "transfer", "adjustment",
    "interest",
)  # fmt: skip
_KINDS = {
    "expiration": "option",
    "exercise": "option",
    "assignment": "option",
    "split": "adjustment",
    "other": "adjustment",
    "dividend": "dividend",
    "fee": "fee",
    "interest": "interest",
    "transfer": "transfer",
    "journal": "journal",
    "adjustment": "adjustment",
}
_OPTION_CODES = {"expiration": "OPTEXP", "exercise": "OPTEXER", "assignment": "OPTASSIGN"}
_LIMIT, _GAINS, _MOST, _PAGES = 25, 100, 1000, 1_000_000
_EVER = (date(1970, 1, 1), date(2200, 1, 1))


async def get_history(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/accounts/{id}/history`: newest first, nothing of today. Raises TradierError, in a sandbox always."""
    account = account_of(exchange, user, request)
    _check_production(exchange)
    params = await params_of(request)
    kind = params.get("type")
    if kind and kind not in _TYPES:
        raise invalid("type")
    first, last = _days(params)
    prints = await exchange.venue.fetch_executions(account.number, 0, CALL_S)
    activities = await exchange.venue.fetch_activities(account.number, 0, CALL_S)
    events = [(one.executed_at_us, one.execution_id, one.symbol, _trade(one)) for one in prints]
    events += [(one.at_us, one.activity_id, one.symbol, _booking(one)) for one in activities]
    until_us = exchange.day_start_us()
    wanted = params.get("symbol", "").upper().replace("/", ".")
    exact = boolean(params.get("exactMatch"), "exactMatch")
    rows = [
        event
        for at_us, _, symbol, event in sorted(events, key=lambda one: one[:2], reverse=True)
        if at_us < until_us
        and first <= eastern_date(at_us) <= last
        and (not kind or event["type"] == kind)
        and (symbol == wanted if exact and wanted else wanted in symbol)
    ]
    return Told({"history": Rows("event", _page(params, rows, _LIMIT))})


async def get_gainloss(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/accounts/{id}/gainloss`: what was closed before today. Raises TradierError, in a sandbox always."""
    account = account_of(exchange, user, request)
    _check_production(exchange)
    params = await params_of(request)
    by, direction = params.get("sortBy") or "closeDate", (params.get("sort") or "desc").lower()
    if by not in ("openDate", "closeDate"):
        raise invalid("sortBy")
    if direction not in ("asc", "desc"):
        raise invalid("sort")
    first, last = _days(params)
    until_us = exchange.day_start_us()
    wanted = params.get("symbol", "").upper().replace("/", ".")
    found = [
        one
        for one in (await load_trades(exchange, account)).closed
        if one.closed_us < until_us and first <= eastern_date(one.closed_us) <= last and wanted in one.symbol
    ]
    found.sort(
        key=lambda one: one.opened_us if by == "openDate" else one.closed_us, reverse=direction == "desc"
    )
    return Told({"gainloss": Rows("closed_position", [_gain(one) for one in _page(params, found, _GAINS)])})


async def load_trades(exchange: TradierExchange, account: SimAccount) -> Trades:
    """Everything that was booked in an account, added up. Raises BrokerError."""
    prints = await exchange.venue.fetch_executions(account.number, 0, CALL_S)
    return Trades.of(prints, await exchange.venue.fetch_activities(account.number, 0, CALL_S))


async def closed_today(exchange: TradierExchange, account: SimAccount) -> Decimal:
    """What has been earned since midnight by closing. Raises BrokerError."""
    start_us = eastern_us(eastern_date(exchange.clock.now_us()), time())
    closed = (await load_trades(exchange, account)).closed
    return sum((one.gain for one in closed if one.closed_us >= start_us), ZERO)


def _check_production(exchange: TradierExchange) -> None:
    if exchange.options.sandbox:
        raise TradierError(400, "Account history is not available in the sandbox.")


def _days(params: dict[str, str]) -> tuple[date, date]:
    first = day_of(params["start"], "start") if params.get("start") else _EVER[0]
    last = day_of(params["end"], "end") if params.get("end") else _EVER[1]
    return first, last


def _page(params: dict[str, str], rows: Sequence[_Row], default: int) -> Sequence[_Row]:
    limit = whole(params.get("limit"), "limit", default, _MOST)
    page = whole(params.get("page"), "page", 1, _PAGES)
    return rows[(page - 1) * limit : page * limit]


def _midnight(at_us: int, fraction: str = "") -> str:
    return f"{eastern_date(at_us)}T00:00:00{fraction}Z"


def _trade(one: BrokerExecution) -> dict[str, Any]:
    signed = one.qty if one.side == "buy" else -one.qty
    amount = round_cents(-signed * one.price * multiplier_of(one.symbol) - one.fee)
    return {
        "amount": number(amount),
        "date": _midnight(one.executed_at_us),
        "type": "trade",
        "trade": {
            "commission": number(one.fee),
            "description": _description(one.symbol),
            "price": number(one.price),
            "quantity": number(signed),
            "symbol": wire_symbol(one.symbol),
            "trade_type": "Option" if is_option(one.symbol) else "Equity",
        },
    }


def _description(symbol: str) -> str:
    contract = find_contract(symbol) if is_option(symbol) else None
    if contract is None:
        return wire_symbol(symbol)
    day = f"{contract.expiration:%m/%d/%y}"
    return f"{contract.option_type.upper()} {contract.root:<6} {day}   {plain(contract.strike)}"


def _booking(one: BrokerActivity) -> dict[str, Any]:
    """The detail stands under `option` for what options do, under `journal` for journals, else under `adjustment`."""
    kind = _KINDS[one.kind]
    detail: dict[str, Any] = {"description": one.description, "quantity": number(one.qty)}
    key = kind if kind in ("option", "journal") else "adjustment"
    if kind == "option":
        detail = {"option_type": _OPTION_CODES[one.kind], **detail}
    return {
        "amount": number(round_cents(one.cash)),
        "date": _midnight(one.at_us),
        "type": kind,
        key: detail,
    }


def _gain(one: Closed) -> dict[str, Any]:
    days = (eastern_date(one.closed_us) - eastern_date(one.opened_us)) // timedelta(days=1)
    return {
        "close_date": _midnight(one.closed_us, ".000"),
        "cost": number(round_cents(one.cost)),
        "gain_loss": number(round_cents(one.gain)),
        "gain_loss_percent": number(round_cents(one.gain * 100 / one.cost)) if one.cost else number(ZERO),
        "open_date": _midnight(one.opened_us, ".000"),
        "proceeds": number(round_cents(one.proceeds)),
        "quantity": number(one.qty),
        "symbol": wire_symbol(one.symbol),
        "term": days,
    }
