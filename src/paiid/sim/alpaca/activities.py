"""What happened in an account, print by print and booking by booking (`/v2/account/activities`)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers import BrokerActivity
from paiid.core.db import Tx
from paiid.domain.calendar import EASTERN, eastern_date, eastern_us
from paiid.domain.instruments import is_option, multiplier_of
from paiid.domain.money import ZERO, round_cents
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.errors import invalid, not_found
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.ids import EXECUTION, ORDER, named, venue_id, wire_id
from paiid.sim.alpaca.queries import (
    Print,
    PrintFilter,
    find_print_at_us,
    list_activities,
    list_prints,
)
from paiid.sim.alpaca.values import date_of, instant_of, integer_of, one_of, stamp, text_of

_PAGE = 100
_FILL = "FILL"
_NO_FILLS = frozenset({
    "ACATC", "ACATS", "CFEE", "CIL", "CSD", "CSR", "CSW", "DIV", "DIVCGL", "DIVCGS", "DIVFEE",
    "DIVFT", "DIVNRA", "DIVROC", "DIVTW", "DIVTXEX", "FEE", "FOPT", "FXTRD", "INT", "INTNRA",
    "INTTW", "JNL", "JNLC", "JNLS", "MA", "MEM", "NC", "OCT", "OPASN", "OPCA", "OPCSH", "OPEXC",
    "OPEXP", "OPTRD", "PTC", "PTR", "REORG", "SC", "SPIN", "SPLIT", "SSO", "SSP", "SWP", "TRANS",
    "VOF", "WH",
})  # fmt: skip
_KINDS = {
    "dividend": "DIV",
    "split": "SPLIT",
    "fee": "FEE",
    "interest": "INT",
    "transfer": "CSD",
    "journal": "JNLC",
    "adjustment": "JNLC",
    "other": "MEM",
}
_TOKEN = re.compile(r"[0-9]{17}::([0-9A-Fa-f-]{36})\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Wanted:
    fills: bool
    others: frozenset[str]
    after_us: int | None
    until_us: int | None
    order_id: str | None
    descending: bool
    page_size: int
    page_token: str | None


async def list_account_activities(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/account/activities` and `GET /v2/account/activities/{type}`."""
    wanted = _wanted(request)
    async with exchange.db.read() as tx:
        rows = await _page(tx, account, wanted)
    return Answer(rows)


def _wanted(request: Request) -> _Wanted:
    query = request.query_params
    one = request.path_params.get("activity_type")
    given = query.get("activity_types")
    category = query.get("category")
    if (one or given) and category:
        raise invalid("only one of activity_types and category is accepted")
    types = {kind.strip().upper() for kind in (one or given or "").split(",") if kind.strip()}
    if not types <= _NO_FILLS | {_FILL}:
        raise invalid("invalid activity type")
    if category:
        one_of(category, "category", ("trade_activity", "non_trade_activity"))
        types = {_FILL} if category == "trade_activity" else set(_NO_FILLS)
    types = types or {_FILL, *_NO_FILLS}
    after_us = instant_of(query["after"], "after") if query.get("after") else None
    until_us = instant_of(query["until"], "until") if query.get("until") else None
    if query.get("date"):
        if after_us is not None or until_us is not None:
            raise invalid("date is not accepted together with after and until")
        day = date_of(query["date"], "date")
        after_us = eastern_us(day, time()) - 1
        until_us = eastern_us(day + timedelta(days=1), time())
    order_id = None
    if query.get("order_id"):
        order_id = venue_id(ORDER, query["order_id"])
        if order_id is None:
            raise invalid("order_id is missing")
    return _Wanted(
        fills=_FILL in types,
        others=frozenset(types - {_FILL}) if order_id is None else frozenset(),
        after_us=after_us,
        until_us=until_us,
        order_id=order_id,
        descending=one_of(query.get("direction") or "desc", "direction", ("asc", "desc")) == "desc",
        page_size=integer_of(query.get("page_size") or str(_PAGE), "page_size", 1, _PAGE),
        page_token=query.get("page_token") or None,
    )


async def _page(tx: Tx, account: SimAccount, wanted: _Wanted) -> list[dict[str, Any]]:
    """One page: executions and other activities in one order, by instant and then by the venue's id."""
    others = await list_activities(tx, account.number) if wanted.others or wanted.page_token else ()
    beyond = None
    if wanted.page_token is not None:
        beyond = await _place_of(tx, account, wanted.page_token, others)
    rows: list[tuple[tuple[int, str], dict[str, Any]]] = []
    if wanted.fills:
        prints = await list_prints(
            tx,
            account.number,
            PrintFilter(
                wanted.after_us, wanted.until_us, wanted.order_id, beyond, wanted.descending, wanted.page_size
            ),
        )
        rows += [
            ((one.execution.executed_at_us, one.execution.execution_id), fill_json(one)) for one in prints
        ]
    for activity in others:
        place, told = (activity.at_us, activity.activity_id), activity_json(activity)
        if told["activity_type"] in wanted.others and _within(place, wanted, beyond):
            rows.append((place, told))
    rows.sort(key=lambda row: row[0], reverse=wanted.descending)
    return [told for _, told in rows[: wanted.page_size]]


def _within(place: tuple[int, str], wanted: _Wanted, beyond: tuple[int, str] | None) -> bool:
    if wanted.after_us is not None and place[0] <= wanted.after_us:
        return False
    if wanted.until_us is not None and place[0] >= wanted.until_us:
        return False
    if beyond is None:
        return True
    return place < beyond if wanted.descending else place > beyond


async def _place_of(tx: Tx, account: SimAccount, token: str, others: Any) -> tuple[int, str]:
    """Where the item stands that a page begins behind. Raises AlpacaError."""
    found = _TOKEN.match(token)
    execution_id = None if found is None else venue_id(EXECUTION, found[1])
    if found is None or execution_id is None:
        raise invalid("invalid page_token")
    at_us = await find_print_at_us(tx, account.number, execution_id)
    if at_us is not None:
        return at_us, execution_id
    for one in others:
        if named("activity", one.activity_id) == found[1].lower():
            return one.at_us, one.activity_id
    raise not_found("page_token not found")


def _id_of(at_us: int, uuid: str) -> str:
    """An activity's id begins with New York's time to the millisecond."""
    local = (_EPOCH + timedelta(microseconds=at_us)).astimezone(EASTERN)
    return f"{local:%Y%m%d%H%M%S}{at_us // 1000 % 1000:03}::{uuid}"


def fill_json(one: Print) -> dict[str, Any]:
    """An execution. A sale that opens a short position has the side `sell_short`."""
    done = one.execution
    leaves = max(ZERO, one.order_qty - one.cum_qty)
    whole = leaves == 0 and one.order_status == "FILLED"
    short = done.side == "sell" and one.position_intent == "sell_to_open" and not is_option(done.symbol)
    return {
        "activity_type": _FILL,
        "id": _id_of(done.executed_at_us, wire_id(done.execution_id)),
        "order_id": wire_id(done.broker_order_id),
        "order_status": "filled" if whole else "partially_filled",
        "symbol": done.symbol,
        "side": "sell_short" if short else done.side,
        "qty": text_of(done.qty),
        "cum_qty": text_of(one.cum_qty),
        "leaves_qty": text_of(leaves),
        "price": text_of(done.price),
        "transaction_time": stamp(done.executed_at_us),
        "type": "fill" if whole else "partial_fill",
    }


def type_of(activity: BrokerActivity) -> str:
    """Alpaca's name for a booking of the venue: of an exercise or assignment the contract's side has one and the
    shares' side another; an expiration that pays was settled in cash."""
    if activity.kind in ("exercise", "assignment"):
        if not is_option(activity.symbol):
            return "OPTRD"
        return "OPEXC" if activity.kind == "exercise" else "OPASN"
    if activity.kind == "expiration":
        return "OPCSH" if activity.cash else "OPEXP"
    if activity.kind == "transfer" and activity.cash < 0:
        return "CSW"
    return _KINDS[activity.kind]


def activity_json(activity: BrokerActivity) -> dict[str, Any]:
    """Anything that is no execution."""
    kind = type_of(activity)
    told: dict[str, Any] = {
        "activity_type": kind,
        "id": _id_of(activity.at_us, named("activity", activity.activity_id)),
        "date": str(eastern_date(activity.at_us)),
        "created_at": stamp(activity.at_us),
        "net_amount": text_of(round_cents(activity.cash)),
        "description": activity.description,
        "symbol": activity.symbol,
        "qty": text_of(activity.qty),
        "status": "executed",
    }
    if kind == "DIV":
        told["per_share_amount"] = text_of(activity.price)
        told["qty"] = text_of(_shares_of(activity))
    elif activity.price:
        told["price"] = text_of(activity.price)
    if kind in ("OPEXC", "OPASN", "OPTRD"):
        told["group_id"] = named("activity-group", activity.activity_id.removesuffix("-shares"))
    return told


def _shares_of(activity: BrokerActivity) -> Decimal:
    """How many shares a dividend was for."""
    if not activity.price:
        return ZERO
    return (activity.cash / activity.price / multiplier_of(activity.symbol)).quantize(Decimal("1e-6"))
