"""Dividends and splits: `GET /v1/corporate-actions` of the market data API."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import SYMBOL_PATTERN
from paiid.domain.money import round_money
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.values import date_of, price_of, text_of
from paiid.feeds.alpaca.wire import LIST_CAP, Wire
from paiid.wires.values import fields_of, rows_of

_SYMBOLS_A_CALL = 100
_MAX_PAGES = 20
_BEFORE, _AFTER = timedelta(days=10), timedelta(days=120)
"""Start and end are of the day on which Alpaca processes an action, which for a dividend is the day it is paid; so the days around the
ex-date are asked for, and the ex-date is looked at here. A dividend that is paid later than this is missed."""
_TYPES = "cash_dividend,forward_split,reverse_split"
_ANNOUNCED = timedelta(days=370)
_DAYS_A_CALL = timedelta(days=230)
"""Of ex-dates; with the days around them less than a year."""


async def fetch_corporate_actions(
    wire: Wire, symbols: Sequence[str], ex_date: date
) -> Sequence[CorporateAction]:
    """Cash dividends, and forward and reverse splits, with this ex-date. Dividends in shares are not told: the documents do not say
    what their rate counts. Raises FeedUnavailable."""
    asked = sorted({symbol for symbol in symbols if SYMBOL_PATTERN.match(symbol) and "/" not in symbol})
    found: dict[CorporateAction, None] = {}
    for at in range(0, len(asked), _SYMBOLS_A_CALL):
        some = asked[at : at + _SYMBOLS_A_CALL]
        async for told in _pages(wire, some, ex_date, ex_date):
            found |= dict.fromkeys(_read(told, frozenset(some), ex_date))
    return tuple(found)


async def fetch_dividends(
    wire: Wire, symbol: str, first: date, last: date, today: date
) -> Sequence[CorporateAction]:
    """As `Feed.fetch_dividends`, by ex-date, up to a year back and a year ahead: no company announces further. Raises FeedUnavailable."""
    if not SYMBOL_PATTERN.match(symbol) or "/" in symbol:
        return ()
    first, last = max(first, today - _ANNOUNCED), min(last, today + _ANNOUNCED)
    found: dict[CorporateAction, None] = {}
    while first <= last:
        until = min(last, first + _DAYS_A_CALL)
        async for told in _pages(wire, [symbol], first, until, types="cash_dividend"):
            found |= dict.fromkeys(_dividends(told, frozenset((symbol,)), first, until))
        first = until + timedelta(days=1)
    return sorted(found, key=lambda one: one.ex_date)


async def _pages(wire: Wire, symbols: Sequence[str], first: date, last: date, *, types: str = _TYPES) -> Any:
    query = {
        "symbols": ",".join(symbols),
        "types": types,
        "start": (first - _BEFORE).isoformat(),
        "end": (last + _AFTER).isoformat(),
        "limit": "1000",
    }
    for _ in range(_MAX_PAGES):
        answer = await wire.get("/v1/corporate-actions", query, cap=LIST_CAP)
        if not answer.ok:
            raise FeedUnavailable(
                f"Alpaca's market data refused the question for corporate actions ({answer.status})"
            )
        told = fields_of(answer.data)
        if not isinstance(told.get("corporate_actions"), dict):
            raise FeedUnavailable("Alpaca's market data answered without corporate actions")
        yield told["corporate_actions"]
        token = text_of(told.get("next_page_token"))
        if token is None or query.get("page_token") == token:
            return
        query["page_token"] = token


def _read(told: Mapping[str, Any], symbols: frozenset[str], ex_date: date) -> Iterator[CorporateAction]:
    yield from _dividends(told, symbols, ex_date, ex_date)
    for name in ("forward_splits", "reverse_splits"):
        for row in rows_of(told.get(name)):
            new, old = price_of(fields_of(row).get("new_rate")), price_of(fields_of(row).get("old_rate"))
            symbol = text_of(fields_of(row).get("symbol"))
            if new and old and new != old and symbol in symbols and date_of(row.get("ex_date")) == ex_date:
                words = f"split {new.normalize():f} for {old.normalize():f}"
                yield CorporateAction(symbol, ex_date, "split", ratio=Decimal(new) / old, description=words)


def _dividends(
    told: Mapping[str, Any], symbols: frozenset[str], first: date, last: date
) -> Iterator[CorporateAction]:
    for row in rows_of(told.get("cash_dividends")):
        amount, symbol = price_of(fields_of(row).get("rate")), text_of(fields_of(row).get("symbol"))
        ex_date = date_of(fields_of(row).get("ex_date"))
        # Less than the ledger can keep is nothing.
        paid = round_money(amount) if amount else None
        if paid and symbol in symbols and ex_date is not None and first <= ex_date <= last:
            special = "special cash dividend" if row.get("special") is True else "cash dividend"
            yield CorporateAction(symbol, ex_date, "dividend", paid, description=special)
