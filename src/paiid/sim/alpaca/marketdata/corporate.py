"""Dividends and splits (`/v1/corporate-actions`), as the market announces them by ex-date."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.calendar import eastern_date
from paiid.domain.corporate import CorporateAction
from paiid.domain.money import plain
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.ids import named
from paiid.sim.alpaca.marketdata.gate import bad
from paiid.sim.alpaca.marketdata.params import (
    Page,
    check_feed,
    page_size,
    page_token,
    read_page_token,
    read_sort,
    symbols_in,
)
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.values import date_of

__all__ = ["corporate_actions"]

_LIMIT, _MOST = 100, 1000
_MOST_DAYS = 370
_NO_SYMBOL = "A"
"""A page of these begins at a number of actions, not at a symbol."""
_KINDS = {
    "cash_dividend": "cash_dividends",
    "forward_split": "forward_splits",
    "reverse_split": "reverse_splits",
}
_OTHERS = (
    "unit_split", "stock_dividend", "spin_off", "cash_merger", "stock_merger", "stock_and_cash_merger", "redemption",
    "name_change", "worthless_removal", "rights_distribution",
)  # fmt: skip


async def corporate_actions(side: DataSide, request: Request) -> Response:
    """`GET /v1/corporate-actions`: at most a year of them."""
    query = request.query_params
    check_feed(request)
    symbols = (
        symbols_in(request) if query.get("symbols") else [one.symbol for one in side.market.instruments()]
    )
    types = query.get("types", "").split(",") if query.get("types") else [*_KINDS]
    if any(one not in _KINDS and one not in _OTHERS for one in types):
        raise bad("invalid types")
    limit, descending = page_size(request, _LIMIT, _MOST), read_sort(request) == "desc"
    today = eastern_date(side.exchange.clock.now_us())
    first = date_of(query["start"], "start") if query.get("start") else today
    last = date_of(query["end"], "end") if query.get("end") else max(first, today)
    if last < first:
        raise bad("end should not be before start")
    if (last - first).days > _MOST_DAYS:
        raise bad(f"at most {_MOST_DAYS} days at a time")
    page = read_page_token(request)
    begin = 0 if page is None else page.at_us
    found: list[tuple[str, dict[str, Any]]] = []
    day = first
    while day <= last:
        for one in await side.market.fetch_corporate_actions(symbols, day):
            kind, row = _row(one)
            if kind in types:
                found.append((_KINDS[kind], row))
        day += timedelta(days=1)
    if descending:
        found.reverse()
    end = begin + limit
    told: dict[str, list[dict[str, Any]]] = {}
    for key, row in found[begin:end]:
        told.setdefault(key, []).append(row)
    following = page_token(Page(_NO_SYMBOL, end)) if len(found) > end else None
    return Answer({"corporate_actions": told, "next_page_token": following})


def _row(one: CorporateAction) -> tuple[str, dict[str, Any]]:
    """Its type and its object. The market tells the ex-date only; the other dates say the same."""
    day = str(one.ex_date)
    row: dict[str, Any] = {
        "id": named("action", f"{one.symbol}:{one.kind}:{day}"),
        "symbol": one.symbol,
        "cusip": "",
        "ex_date": day,
        "process_date": day,
        "record_date": day,
        "payable_date": day,
    }
    if one.kind == "dividend":
        return "cash_dividend", {**row, "rate": plain(one.amount), "special": False, "foreign": False}
    if one.ratio > 1:
        return "forward_split", {**row, "new_rate": plain(one.ratio), "old_rate": 1}
    del row["cusip"]
    # A reverse split is told as one new share for so many old ones.
    rates = {"new_rate": 1, "old_rate": plain((1 / one.ratio).quantize(Decimal("0.000001")))}
    return "reverse_split", {**row, "old_cusip": "", "new_cusip": "", **rates}
