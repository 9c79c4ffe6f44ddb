"""What can be traded, as the trading API lists it: assets and option contracts (alpaca.md, section 12)."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours, eastern_date, eastern_us
from paiid.domain.instruments import CONTRACT_SIZE, Instrument, is_option, option_tick
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.option_chain import ChainRow
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.snapshots import is_asked_for
from paiid.feeds.alpaca.values import date_of, price_of, text_of, whole_of
from paiid.feeds.alpaca.wire import ASSETS_CAP, LIST_CAP, Answer, Wire
from paiid.feeds.search import best_matches
from paiid.wires.values import fields_of, rows_of

_DAY_S = 86_400.0
_CONTRACTS_S = 900.0
_UNKNOWN_S = 60.0
MOST_INSTRUMENTS = 4_096
MOST_CONTRACTS = 100_000
"""In memory, over all tickers; a large ticker has some fifteen thousand."""
_FURTHEST = timedelta(days=365 * 4)
_PAGE = 10_000
_MAX_PAGES = 20
_ROWS_IN_A_ROW = 200
"""Before others have their turn."""
_CLOSE = time(16, 0)
_LONGEST_QUERY = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """A contract as it is listed. `size` is None where it is not about a whole number of shares of the underlying alone; the open
    interest is of the end of that day."""

    contract: OptionContract
    tradable: bool
    size: int | None
    open_interest: int | None
    open_interest_day: date | None

    @property
    def standard(self) -> bool:
        """On 100 shares and nothing else: what can be traded here."""
        return self.size == CONTRACT_SIZE


@dataclass(frozen=True, slots=True)
class _Chains:
    """All contracts of a ticker by expiration, as they were at a monotonic instant."""

    at_s: float
    by_day: dict[date, tuple[Listed, ...]]
    count: int


class Listing:
    """Asks once and remembers: assets for a day, contracts for a quarter of an hour, what is unknown for a minute."""

    def __init__(self, clock: Clock, wire: Wire) -> None:
        self._clock = clock
        self._wire = wire
        self._hours = ExchangeHours()
        self._instruments: OrderedDict[str, tuple[float, Instrument | None]] = OrderedDict()
        self._chains: OrderedDict[str, _Chains] = OrderedDict()
        self._assets: dict[str, Instrument] = {}
        self._assets_at_s: float | None = None

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        """A ticker or an unexpired standard contract; None: there is none. Raises FeedUnavailable."""
        if not is_asked_for(symbol):
            return None
        now_s = self._clock.monotonic_s()
        kept = self._instruments.get(symbol)
        if kept is None or now_s - kept[0] > (_UNKNOWN_S if kept[1] is None else _DAY_S):
            found = await (self._ask_contract(symbol) if is_option(symbol) else self._ask_asset(symbol))
            kept = self._instruments[symbol] = (now_s, found)
            self._instruments.move_to_end(symbol)
            if len(self._instruments) > MOST_INSTRUMENTS:
                self._instruments.popitem(last=False)
        instrument = kept[1]
        if instrument is not None and instrument.last_trade_us is not None:
            return instrument if instrument.last_trade_us > self._clock.now_us() else None
        return instrument

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        """Among the active stocks. Raises FeedUnavailable."""
        text = text[:_LONGEST_QUERY]
        if not text.strip() or limit <= 0:
            return ()
        return best_matches((await self._all_assets()).values(), text, limit)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        """Those of the standard contracts, in order. Raises FeedUnavailable."""
        chains = await self._chains_of(symbol)
        today = self._first_day()
        return tuple(
            day for day in sorted(chains) if day >= today and any(one.standard for one in chains[day])
        )

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        """The standard contracts that expire then. Raises FeedUnavailable."""
        listed = await self.fetch_listed(symbol, expiration, expiration)
        return tuple(one.contract for one in listed if one.standard)

    async def fetch_listed(self, symbol: str, first: date, last: date) -> Sequence[Listed]:
        """All contracts on a ticker that expire from the first to the last day, adjusted ones too. Raises FeedUnavailable."""
        chains, first = await self._chains_of(symbol), max(first, self._first_day())
        return tuple(one for day in sorted(chains) if first <= day <= last for one in chains[day])

    async def _ask_asset(self, symbol: str) -> Instrument | None:
        answer = await self._wire.get(f"/v2/assets/{quote(symbol, safe='')}")
        if not answer.ok:
            return None
        if not isinstance(answer.data, dict):
            raise FeedUnavailable("Alpaca did not tell the asset")
        found = _read_asset(answer.data)
        return found if found is not None and found.symbol == symbol else None

    async def _ask_contract(self, symbol: str) -> Instrument | None:
        contract = find_contract(symbol)
        if contract is None or contract.expiration < self._first_day():
            return None
        answer = await self._wire.get(f"/v2/options/contracts/{quote(symbol, safe='')}")
        if answer.ok and not isinstance(answer.data, dict):
            raise FeedUnavailable("Alpaca did not tell the option contract")
        listed = _read_contract(answer.data) if answer.ok else None
        if listed is None or listed.contract != contract or not listed.standard:
            return None
        return Instrument(
            symbol,
            contract.name,
            "option",
            tradable=listed.tradable,
            tick=option_tick(symbol, Decimal(3)),
            contract=contract,
            last_trade_us=self._last_trade_us(contract.expiration),
        )

    async def _all_assets(self) -> dict[str, Instrument]:
        now_s = self._clock.monotonic_s()
        if self._assets_at_s is None or now_s - self._assets_at_s > _DAY_S:
            query = {"status": "active", "asset_class": "us_equity"}
            answer = await self._wire.get("/v2/assets", query, cap=ASSETS_CAP, slow=True)
            if not answer.ok or not isinstance(answer.data, list):
                raise FeedUnavailable("Alpaca did not tell the list of assets")
            found = (_read_asset(row) for row in answer.data)
            self._assets = {one.symbol: one for one in found if one is not None}
            self._assets_at_s = now_s
        return self._assets

    async def _chains_of(self, symbol: str) -> dict[date, tuple[Listed, ...]]:
        if is_option(symbol) or not is_asked_for(symbol):
            return {}
        kept = self._chains.get(symbol)
        now_s = self._clock.monotonic_s()
        if kept is None or now_s - kept.at_s > _CONTRACTS_S:
            by_day: dict[date, list[Listed]] = {}
            for one in await self._ask_contracts(symbol):
                by_day.setdefault(one.contract.expiration, []).append(one)
            ordered = {day: _in_order(some) for day, some in by_day.items()}
            kept = _Chains(now_s, ordered, sum(map(len, ordered.values())))
            self._chains[symbol] = kept
            while len(self._chains) > 1 and self._contracts_kept() > MOST_CONTRACTS:
                self._chains.popitem(last=False)
        self._chains.move_to_end(symbol)
        return kept.by_day

    def _contracts_kept(self) -> int:
        # A ticker without contracts takes a place too.
        return sum(one.count + 1 for one in self._chains.values())

    async def _ask_contracts(self, symbol: str) -> Sequence[Listed]:
        """All pages. Both bounds are always sent: without them Alpaca lists no further than the coming weekend."""
        first = self._first_day()
        query = {
            "underlying_symbols": symbol,
            "status": "active",
            "expiration_date_gte": first.isoformat(),
            "expiration_date_lte": (first + _FURTHEST).isoformat(),
            "limit": str(_PAGE),
        }
        found: dict[str, Listed] = {}
        for _ in range(_MAX_PAGES):
            answer = await self._wire.get("/v2/options/contracts", query, cap=LIST_CAP, slow=True)
            if answer.status in (404, 422) and not found:
                return ()
            for at, row in enumerate(_contract_rows(answer), start=1):
                listed = _read_contract(row)
                if listed is not None and listed.contract.underlying == symbol:
                    found[listed.contract.symbol] = listed
                if at % _ROWS_IN_A_ROW == 0:
                    await asyncio.sleep(0)
            token = text_of(fields_of(answer.data).get("next_page_token"))
            if token is None:
                return tuple(found.values())
            if query.get("page_token") == token:
                break
            query["page_token"] = token
        raise FeedUnavailable("Alpaca's list of option contracts could not be read to its end")

    def _first_day(self) -> date:
        """The first expiration whose last trading day is not over."""
        now_us = self._clock.now_us()
        day = eastern_date(now_us)
        return day if self._last_trade_us(day) > now_us else day + timedelta(days=1)

    def _last_trade_us(self, expiration: date) -> int:
        """The close of the last session up to the expiration."""
        near = self._hours.sessions(expiration - timedelta(days=10), expiration)
        return near[-1].close_us if near else eastern_us(expiration, _CLOSE)


def _in_order(listed: Sequence[Listed]) -> tuple[Listed, ...]:
    """As a chain is ordered (`ChainRow.order`), within one expiration."""
    return tuple(sorted(listed, key=lambda one: ChainRow(one.contract, None).order))


def _contract_rows(answer: Answer) -> list[Any]:
    rows = fields_of(answer.data).get("option_contracts")
    if not answer.ok or not isinstance(rows, list):
        raise FeedUnavailable("Alpaca did not tell the list of option contracts")
    return rows_of(rows)


def _read_asset(row: object) -> Instrument | None:
    """An asset of the stock market, active or not. Flags that are not told are no."""
    told = fields_of(row)
    symbol = text_of(told.get("symbol"))
    # The key is `class`, not `asset_class` as in orders.
    kind = told.get("class", told.get("asset_class"))
    if symbol is None or kind != "us_equity" or is_option(symbol) or not is_asked_for(symbol):
        return None
    return Instrument(
        symbol=symbol,
        name=text_of(told.get("name")) or symbol,
        asset_class="stock",
        tradable=told.get("tradable") is True and told.get("status") == "active",
        shortable=told.get("shortable") is True,
        fractionable=told.get("fractionable") is True,
    )


def _read_contract(row: object) -> Listed | None:
    """A contract, adjusted or not; its other deliverables, where they are told, are not read: an adjusted one has no size here."""
    told = fields_of(row)
    symbol = text_of(told.get("symbol"))
    contract = None if symbol is None else find_contract(symbol)
    if contract is None or contract.symbol != symbol:
        return None
    sizes = {price_of(told.get(name, CONTRACT_SIZE)) for name in ("size", "multiplier")}
    size = sizes.pop() if len(sizes) == 1 and not contract.adjusted else None
    return Listed(
        contract,
        told.get("tradable", True) is True and told.get("status", "active") == "active",
        int(size) if size and size == int(size) else None,
        whole_of(told.get("open_interest")),
        date_of(told.get("open_interest_date")),
    )
