"""Dividends and splits: `GET /v1/corporate-actions` of the market data API."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import SYMBOL_PATTERN
from paiid.domain.money import round_money
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.values import date_of, fields_of, price_of, rows_of, text_of
from paiid.feeds.alpaca.wire import LIST_CAP, Wire

_SYMBOLS_A_CALL = 100
_MAX_PAGES = 20
_BEFORE, _AFTER = timedelta(days=10), timedelta(days=120)
"""Start and end are of the day on which Alpaca processes an action, which for a dividend is the day it is paid; so the days around the
ex-date are asked for, and the ex-date is looked at here. A dividend that is paid later than this is missed."""


async def fetch_corporate_actions(
    wire: Wire, symbols: Sequence[str], ex_date: date
) -> Sequence[CorporateAction]:
    """Cash dividends, and forward and reverse splits, with this ex-date. Dividends in shares are not told: the documents do not say
    what their rate counts. Raises FeedUnavailable."""
    asked = sorted({symbol for symbol in symbols if SYMBOL_PATTERN.match(symbol) and "/" not in symbol})
    found: dict[CorporateAction, None] = {}
    for at in range(0, len(asked), _SYMBOLS_A_CALL):
        some = asked[at : at + _SYMBOLS_A_CALL]
        async for told in _pages(wire, some, ex_date):
            found |= dict.fromkeys(_read(told, frozenset(some), ex_date))
    return tuple(found)


async def _pages(wire: Wire, symbols: Sequence[str], ex_date: date) -> Any:
    query = {
        "symbols": ",".join(symbols),
        "types": "cash_dividend,forward_split,reverse_split",
        "start": (ex_date - _BEFORE).isoformat(),
        "end": (ex_date + _AFTER).isoformat(),
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
    for row in rows_of(told.get("cash_dividends")):
        amount, symbol = price_of(fields_of(row).get("rate")), text_of(fields_of(row).get("symbol"))
        if amount and symbol in symbols and date_of(row.get("ex_date")) == ex_date:
            special = "special cash dividend" if row.get("special") is True else "cash dividend"
            yield CorporateAction(symbol, ex_date, "dividend", round_money(amount), description=special)
    for name in ("forward_splits", "reverse_splits"):
        for row in rows_of(told.get(name)):
            new, old = price_of(fields_of(row).get("new_rate")), price_of(fields_of(row).get("old_rate"))
            symbol = text_of(fields_of(row).get("symbol"))
            if new and old and new != old and symbol in symbols and date_of(row.get("ex_date")) == ex_date:
                words = f"split {new.normalize():f} for {old.normalize():f}"
                yield CorporateAction(symbol, ex_date, "split", ratio=Decimal(new) / old, description=words)
