"""Reading orders: today's list, the days before, and one by its number (tradier.md, section 6.6)."""

from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any

from starlette.requests import Request

from paiid.core.db import Tx
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.sim.tradier.accounts import SimAccount, SimUser
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.families import Family, load_families, load_touched
from paiid.sim.tradier.gate import TradierError, account_of, params_of, unauthorized
from paiid.sim.tradier.ids import Placed
from paiid.sim.tradier.parse import boolean, invalid, whole
from paiid.sim.tradier.render import FINAL, order_json
from paiid.sim.tradier.shapes import Rows, Told, as_rows

__all__ = ["day_of", "find_family", "get_order", "list_orders"]

_DAY = timedelta(days=1)
_MOST_DAYS = 31
_LIMIT, _MOST, _PAGES = 25, 1000, 1_000_000


async def list_orders(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/accounts/{id}/orders`: those of today in New York; `filter=all` those of up to a month."""
    account = account_of(exchange, user, request)
    params = await params_of(request)
    tags = boolean(params.get("includeTags"), "includeTags")
    scope = (params.get("filter") or "intraday").lower()
    if scope not in ("intraday", "all"):
        raise invalid("filter")
    span = _span(exchange, params) if scope == "all" else None
    limit = whole(
        params.get("limit"), "limit", _LIMIT if span is not None else exchange.options.page_size, _MOST
    )
    page = whole(params.get("page"), "page", 1, _PAGES)
    async with exchange.db.read() as tx:
        wanted = await _today(tx, exchange, account) if span is None else _within(exchange, account, span)
        seen = [one for one in wanted if not exchange.faults.hides(str(one.id), one.at_us)]
        if span is not None or "page" in params or "limit" in params:
            seen = seen[(page - 1) * limit : page * limit]
        families = await load_families(tx, [one for one in seen if one.id not in exchange.settled])
    told = {one.placed.id: _settle(exchange, one) for one in families if one.is_taken}
    rows = [told.get(one.id) or exchange.settled.get(one.id) for one in seen]
    return Told(
        {"orders": Rows("order", [one if tags else _untagged(one) for one in rows if one is not None])}
    )


def _settle(exchange: TradierExchange, family: Family) -> dict[str, Any]:
    """The order object with its tag; kept for good once nothing can change it any more, so that a long day's list stays
    quick."""
    body = order_json(exchange, family, tags=True)
    members = [body, *as_rows(body.get("leg"))]
    if all(one["status"] in FINAL and not _is_bare(one) for one in members) and not family.working:
        exchange.settled[family.placed.id] = body
    return body


def _is_bare(body: Mapping[str, Any]) -> bool:
    """Whether a fault still hides what a fill has brought."""
    return body["status"] == "filled" and body.get("exec_quantity") == 0


def _untagged(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in body.items() if name != "tag"}


async def get_order(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/accounts/{id}/orders/{order_id}`."""
    account = account_of(exchange, user, request)
    tags = boolean((await params_of(request)).get("includeTags"), "includeTags")
    family, index = await find_family(exchange, account, request.path_params["order_id"])
    if exchange.faults.hides(str(family.placed.id), family.placed.at_us):
        raise unauthorized(account.number)
    return Told({"order": order_json(exchange, family, index, tags=tags, detail=True)})


async def find_family(exchange: TradierExchange, account: SimAccount, text: str) -> tuple[Family, int | None]:
    """An order by its number, and which member of its request it is (None: the whole). Raises TradierError 401, the same
    for an order that there is not, that is another's, and that the day has taken along (tradier.md, section 6.7)."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
    found = exchange.register.find(number)
    if found is None or found[0].account != account.number:
        raise unauthorized(account.number)
    placed, index = found
    async with exchange.db.read() as tx:
        family = (await load_families(tx, [placed]))[0]
    if not family.is_taken or not _is_remembered(exchange, family):
        raise unauthorized(account.number)
    return family, index


def _is_remembered(exchange: TradierExchange, family: Family) -> bool:
    start_us = exchange.day_start_us()
    if family.placed.at_us >= start_us:
        return True
    if exchange.options.sandbox:
        return False
    changed_us = max((chain[-1].updated_at_us for chain in family.chains.values()), default=0)
    return bool(family.working) or changed_us >= start_us


async def _today(tx: Tx, exchange: TradierExchange, account: SimAccount) -> Sequence[Placed]:
    """What the list of this day has: requests of the day and, but in a sandbox, older ones that work or have changed."""
    start_us = exchange.day_start_us()
    fresh = [one for one in exchange.register.of_account(account.number) if one.at_us >= start_us]
    if exchange.options.sandbox:
        return fresh
    touched = await load_touched(tx, exchange.register, account.number, start_us)
    return [*(one for one in touched if one.at_us < start_us), *fresh]


def _within(exchange: TradierExchange, account: SimAccount, span: tuple[int, int]) -> Sequence[Placed]:
    """Requests of these days. A sandbox has forgotten all but today's."""
    from_us = max(span[0], exchange.day_start_us()) if exchange.options.sandbox else span[0]
    mine = exchange.register.of_account(account.number)
    return [one for one in mine if from_us <= one.at_us < span[1]]


def _span(exchange: TradierExchange, params: dict[str, str]) -> tuple[int, int]:
    """The days of `date`, or from `start` to `end`, both included; a month up to today if nothing is said."""
    today = eastern_date(exchange.clock.now_us())
    if params.get("date"):
        first = last = day_of(params["date"], "date")
    else:
        last = day_of(params["end"], "end") if params.get("end") else today
        first = day_of(params["start"], "start") if params.get("start") else last - (_MOST_DAYS - 1) * _DAY
    if first > last:
        raise invalid("start", "must be on or before end.")
    if (last - first).days >= _MOST_DAYS:
        raise TradierError(400, "Invalid parameter, start: the range spans more than a month.")
    return eastern_us(first, time()), eastern_us(last + _DAY, time())


def day_of(text: str, name: str) -> date:
    """A day as YYYY-MM-DD. Raises TradierError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise invalid(name) from None
    if len(text) != len("YYYY-MM-DD") or not 1970 <= day.year <= 2200:
        raise invalid(name)
    return day
