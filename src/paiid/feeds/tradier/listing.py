"""What can be traded, as far as Tradier tells: instruments by their quotes, search, expirations (tradier.md, sections 8.1, 8.3, 8.9)."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours, eastern_date, eastern_us
from paiid.domain.instruments import CONTRACT_SIZE, Instrument, is_option, option_tick
from paiid.domain.occ import OptionContract, find_contract
from paiid.feeds.search import best_matches
from paiid.feeds.tradier.asking import LIST_CAP, Asking, container_of
from paiid.feeds.tradier.quotes import Quotes
from paiid.feeds.tradier.rows import Row
from paiid.feeds.tradier.symbols import from_wire, is_asked_for, to_wire
from paiid.feeds.tradier.values import date_of, whole_of
from paiid.wires.tradier.lists import as_list
from paiid.wires.values import fields_of, text_of, word_of

_DAY_S = 86_400.0
_EXPIRATIONS_S = 900.0
_UNKNOWN_S = 60.0
MOST_INSTRUMENTS = 4_096
MOST_TICKERS = 1_024
"""Whose expirations are remembered."""
_LONGEST_QUERY = 64
_CLOSE = time(16, 0)
_TRADED = ("stock", "etf")
_TOLD = ("stock", "etf", "index", "mutual_fund")


class Listing:
    """Asks once and remembers: instruments for a day, expirations for a quarter of an hour, what is unknown for a minute."""

    def __init__(self, clock: Clock, asking: Asking, quotes: Quotes) -> None:
        self._clock = clock
        self._asking = asking
        self._quotes = quotes
        self._hours = ExchangeHours()
        self._instruments: OrderedDict[str, tuple[float, Instrument | None]] = OrderedDict()
        self._expirations: OrderedDict[str, tuple[float, tuple[date, ...]]] = OrderedDict()

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        """A ticker or an unexpired standard contract; None: there is none. Indices and funds are known and not tradable. Whether
        shares can be borrowed is not told by a quote, so `shortable` is false. Raises FeedUnavailable."""
        if not is_asked_for(symbol):
            return None
        now_s = self._clock.monotonic_s()
        kept = self._instruments.get(symbol)
        if kept is None or now_s - kept[0] > (_UNKNOWN_S if kept[1] is None else _DAY_S):
            kept = self._instruments[symbol] = (now_s, await self._ask(symbol))
            self._instruments.move_to_end(symbol)
            if len(self._instruments) > MOST_INSTRUMENTS:
                self._instruments.popitem(last=False)
        instrument = kept[1]
        if instrument is not None and instrument.last_trade_us is not None:
            return instrument if instrument.last_trade_us > self._clock.now_us() else None
        return instrument

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        """Stocks and exchange-traded funds by name (`search`) and by symbol (`lookup`). Raises FeedUnavailable."""
        text = " ".join(text[:_LONGEST_QUERY].split())
        if not text or limit <= 0 or not text.isprintable():
            return ()
        by_name, by_symbol = await asyncio.gather(
            self._securities("/markets/search", {"q": text, "indexes": "false"}),
            self._securities("/markets/lookup", {"q": to_wire(text), "types": ",".join(_TRADED)}),
        )
        return best_matches((by_name | by_symbol).values(), text, limit)

    async def fetch_expirations(self, symbol: str) -> tuple[date, ...]:
        """The days on which contracts of any root on a ticker expire and that are not over, in order. Raises FeedUnavailable."""
        if is_option(symbol) or not is_asked_for(symbol):
            return ()
        now_s = self._clock.monotonic_s()
        kept = self._expirations.get(symbol)
        if kept is None or now_s - kept[0] > (_EXPIRATIONS_S if kept[1] else _UNKNOWN_S):
            kept = self._expirations[symbol] = (now_s, await self._ask_expirations(symbol))
            if len(self._expirations) > MOST_TICKERS:
                self._expirations.popitem(last=False)
        self._expirations.move_to_end(symbol)
        first = self._first_day()
        return tuple(day for day in kept[1] if day >= first)

    async def _ask(self, symbol: str) -> Instrument | None:
        contract = find_contract(symbol) if is_option(symbol) else None
        if contract is not None and contract.expiration < self._first_day():
            return None
        answered = (await self._quotes.fetch_rows([symbol])).get(symbol)
        if answered is None:
            return None
        return _stock(answered.row) if contract is None else self._option(answered.row, contract)

    def _option(self, row: Row, contract: OptionContract) -> Instrument | None:
        if size_of_contract(row, contract) != CONTRACT_SIZE:
            return None
        return Instrument(
            contract.symbol,
            contract.name,
            "option",
            tick=option_tick(contract.symbol, Decimal(3)),
            contract=contract,
            last_trade_us=self._last_trade_us(contract.expiration),
        )

    async def _securities(self, path: str, query: dict[str, str]) -> dict[str, Instrument]:
        answer = await self._asking.get(path, query, cap=LIST_CAP)
        if not answer.ok:
            # 400 and 404: there is nothing like that.
            return {}
        rows = as_list(container_of(answer, "securities"), "security")
        return {one.symbol: one for one in map(_read_security, rows) if one is not None}

    async def _ask_expirations(self, symbol: str) -> tuple[date, ...]:
        query = {"symbol": to_wire(symbol), "includeAllRoots": "true", "expirationType": "true"}
        answer = await self._asking.get("/markets/options/expirations", query, cap=LIST_CAP)
        if not answer.ok:
            return ()
        return tuple(sorted(set(_days_of(container_of(answer, "expirations")))))

    def _first_day(self) -> date:
        """The first expiration whose last trading day is not over."""
        now_us = self._clock.now_us()
        day = eastern_date(now_us)
        return day if self._last_trade_us(day) > now_us else day + timedelta(days=1)

    def _last_trade_us(self, expiration: date) -> int:
        """The close of the last session up to the expiration."""
        near = self._hours.sessions(expiration - timedelta(days=10), expiration)
        return near[-1].close_us if near else eastern_us(expiration, _CLOSE)


def size_of_contract(row: Row, contract: OptionContract) -> int | None:
    """Shares that a contract is about; None for an adjusted one, and where what is told is no number of shares."""
    if contract.adjusted:
        return None
    size = row.fields.get("contract_size", CONTRACT_SIZE)
    return whole_of(size) or None


def _days_of(told: Any) -> Iterator[date]:
    """Both forms: plain dates, or objects with details (section 8.3)."""
    for one in (*as_list(told, "date"), *as_list(told, "expiration")):
        day = date_of(fields_of(one).get("date") if isinstance(one, dict) else one)
        if day is not None:
            yield day


def _stock(row: Row) -> Instrument | None:
    kind = word_of(row.fields.get("type"))
    if kind not in _TOLD:
        return None
    name = text_of(row.fields.get("description")) or row.symbol
    return Instrument(row.symbol, name, "stock", tradable=kind in _TRADED, shortable=False)


def _read_security(row: object) -> Instrument | None:
    told = fields_of(row)
    symbol = from_wire(told.get("symbol"))
    if symbol is None or is_option(symbol) or word_of(told.get("type")) not in _TRADED:
        return None
    return Instrument(symbol, text_of(told.get("description")) or symbol, "stock", shortable=False)
