"""The newest quotes of many symbols in a few calls: stock and option snapshots (alpaca.md, section 16)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date
from paiid.domain.instruments import SYMBOL_PATTERN, is_option
from paiid.domain.occ import find_contract
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.book import Book, Sides, Snapshot
from paiid.feeds.alpaca.values import price_of, size_of, text_of
from paiid.feeds.alpaca.wire import LIST_CAP, Answer, Wire
from paiid.wires.values import fields_of, instant_of

SYMBOLS_A_CALL = 100
MOST_ASKED = 2_000
_MAX_PAGES = 20
_MAX_REFUSED = 5
_ZERO = Decimal(0)


class Snapshots:
    """Asks, and tells the book."""

    def __init__(self, clock: Clock, wire: Wire, book: Book, venue: str) -> None:
        self._clock = clock
        self._wire = wire
        self._book = book
        self._venue = venue

    async def fetch(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The newest quote of each symbol that Alpaca knows; others are left out. Raises FeedUnavailable."""
        known = [symbol for symbol in dict.fromkeys(symbols) if is_asked_for(symbol)]
        if len(known) > MOST_ASKED:
            raise FeedUnavailable(f"at most {MOST_ASKED} symbols can be asked for at once")
        found: dict[str, Quote] = {}
        for options in (False, True):
            kind = [symbol for symbol in known if is_option(symbol) is options]
            for at in range(0, len(kind), SYMBOLS_A_CALL):
                found |= await self._fetch_some(kind[at : at + SYMBOLS_A_CALL], options=options)
        return {symbol: found[symbol] for symbol in known if symbol in found}

    async def _fetch_some(self, symbols: list[str], *, options: bool) -> dict[str, Quote]:
        asked_us, found = self._clock.now_us(), {}
        for symbol, told in (await self._ask(symbols, options=options)).items():
            quote = self._book.note_snapshot(symbol, read_snapshot(told), asked_us)
            if quote is not None:
                found[symbol] = quote
        return found

    async def _ask(self, symbols: list[str], *, options: bool) -> dict[str, Any]:
        """One call, and once more without each symbol that Alpaca names as invalid: one such refuses the whole call."""
        for _ in range(_MAX_REFUSED):
            if not symbols:
                return {}
            answer, rows = await self._pages(symbols, options=options)
            if answer.ok:
                return {symbol: rows[symbol] for symbol in symbols if symbol in rows}
            named = set(re.findall(r"[A-Z0-9./]+", answer.message.upper()))
            left = [symbol for symbol in symbols if symbol not in named]
            if len(left) == len(symbols):
                if len(symbols) == 1:
                    return {}
                raise FeedUnavailable(
                    f"Alpaca's market data refused the question for quotes ({answer.status})"
                )
            symbols = left
        raise FeedUnavailable("Alpaca's market data refused the question for quotes again and again")

    async def _pages(self, symbols: list[str], *, options: bool) -> tuple[Answer, dict[str, Any]]:
        query = {"symbols": ",".join(symbols)}
        if not options:
            query["feed"] = self._venue
        rows: dict[str, Any] = {}
        for _ in range(_MAX_PAGES):
            answer = await self._wire.get(
                "/v1beta1/options/snapshots" if options else "/v2/stocks/snapshots", query, cap=LIST_CAP
            )
            if not answer.ok:
                return answer, {}
            if not isinstance(answer.data, dict):
                raise FeedUnavailable("Alpaca's market data answered without quotes")
            # Stocks are told by symbol at the top, options below `snapshots`; both are understood in either place.
            below = answer.data.get("snapshots")
            rows |= below if isinstance(below, dict) else answer.data
            token = text_of(answer.data.get("next_page_token"))
            if token is None or query.get("page_token") == token:
                return answer, rows
            query["page_token"] = token
        return answer, rows


def is_asked_for(symbol: str) -> bool:
    """Whether it is a symbol in its canonical form; Alpaca has no slash in a ticker."""
    if is_option(symbol):
        contract = find_contract(symbol)
        return contract is not None and contract.symbol == symbol
    return bool(SYMBOL_PATTERN.match(symbol)) and "/" not in symbol


def read_snapshot(told: object) -> Snapshot:
    """What can be used of one symbol's snapshot, of a stock or an option."""
    snapshot = fields_of(told)
    trade = fields_of(snapshot.get("latestTrade"))
    last, last_us = price_of(trade.get("p")), instant_of(trade.get("t"))
    return Snapshot(
        sides=_read_sides(fields_of(snapshot.get("latestQuote"))),
        last=last if last_us is not None else None,
        last_us=last_us or 0,
        closes=tuple(_read_closes(snapshot)),
    )


def _read_sides(told: Mapping[str, Any]) -> Sides | None:
    at_us = instant_of(told.get("t"))
    bid, ask = price_of(told.get("bp", _ZERO)), price_of(told.get("ap", _ZERO))
    if at_us is None or bid is None or ask is None:
        return None
    return Sides(
        bid, size_of(told.get("bs", _ZERO)) or _ZERO, ask, size_of(told.get("as", _ZERO)) or _ZERO, at_us
    )


def _read_closes(snapshot: Mapping[str, Any]) -> Iterator[tuple[date, Decimal]]:
    for name in ("dailyBar", "prevDailyBar"):
        bar = fields_of(snapshot.get(name))
        close, start_us = price_of(bar.get("c")), instant_of(bar.get("t"))
        if close and start_us is not None:
            yield eastern_date(start_us), close
