"""Option chains: one request for each expiration (tradier.md, sections 8.2 and 8.3).

Greeks are of ORATS, computed once an hour, and passed on as they are told. The reference does not name their units. The sizes of its example
fit ours (a theta of cents for a day, a vega of one dollar for a point of volatility, a rho of cents for a point of the rate) and no others,
so nothing is converted; that a day of theta is a calendar day, and the rate and dividends behind, are not confirmed. The volatility is that of
the middle of bid and ask; 0.0 is none. How old they are (`updated_at`) is not told further, as its zone is not confirmed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import CONTRACT_SIZE
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.option_chain import ChainRow, VendorGreeks
from paiid.feeds import FeedUnavailable
from paiid.feeds.tradier.asking import LIST_CAP, Asking, container_of
from paiid.feeds.tradier.book import Book
from paiid.feeds.tradier.listing import Listing, size_of_contract
from paiid.feeds.tradier.rows import Row, read_row
from paiid.feeds.tradier.symbols import to_wire
from paiid.feeds.tradier.values import figure_of, whole_of
from paiid.wires.governor import Priority
from paiid.wires.tradier.lists import as_list
from paiid.wires.values import fields_of

QUOTES_SHARE = 0.45
"""Of the budget, left to quotes: whoever looks at chains must not make the prices of others stale."""
_AT_ONCE = 4
"""Requests of one chain that are under way at a time."""
_LISTED_S = 900.0
MOST_LISTED = 512
"""Expirations whose contracts are remembered; each has some hundreds."""
_ROWS_IN_A_ROW = 50
"""Before others have their turn: some milliseconds."""
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")


@dataclass(frozen=True, slots=True)
class _Listed:
    """The standard contracts of an expiration, as they were at a monotonic instant."""

    at_s: float
    contracts: tuple[OptionContract, ...]


class Chains:
    """Asks for chains. What is listed is remembered for a quarter of an hour; prices are not."""

    def __init__(
        self, clock: Clock, asking: Asking, listing: Listing, source: str, hours: MarketHours
    ) -> None:
        self._clock = clock
        self._asking = asking
        self._listing = listing
        self._source = source
        self._hours = hours
        self._listed: OrderedDict[tuple[str, date], _Listed] = OrderedDict()

    async def fetch(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        """As `Feed.fetch_chain`, by as many requests as there are expirations. A contract whose words cannot be used costs only
        itself; a request that fails costs the chain, for half a chain is none. Raises FeedUnavailable."""
        days = [day for day in await self._listing.fetch_expirations(symbol) if first <= day <= last]
        self._afford(len(days))
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(day: date) -> list[ChainRow]:
            async with turns:
                return await self._fetch_day(symbol, day, greeks=True)

        tasks = [asyncio.create_task(one(day), name="paiid-tradier-chain") for day in days]
        try:
            return [row for rows in await asyncio.gather(*tasks) for row in rows]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        """The standard contracts that expire then, by strike and the call first. Raises FeedUnavailable."""
        if expiration not in await self._listing.fetch_expirations(symbol):
            return ()
        kept = self._listed.get((symbol, expiration))
        if kept is None or self._clock.monotonic_s() - kept.at_s > _LISTED_S:
            await self._fetch_day(symbol, expiration, greeks=False)
            kept = self._listed[symbol, expiration]
        return kept.contracts

    def _afford(self, requests: int) -> None:
        """What cannot be paid for is not begun. Raises FeedUnavailable."""
        budget = self._asking.budget
        left = min(budget.left - int(budget.limit * QUOTES_SHARE), budget.left_for(Priority.READ))
        if requests > max(0, left):
            raise FeedUnavailable(
                f"a chain of {requests} expirations takes as many of the {budget.limit} requests a minute at Tradier, and "
                f"{max(0, left)} are left for it; fewer expirations can be asked for"
            )

    async def _fetch_day(self, symbol: str, day: date, *, greeks: bool) -> list[ChainRow]:
        query = {"symbol": to_wire(symbol), "expiration": day.isoformat(), "greeks": str(greeks).lower()}
        asked_us = self._clock.now_us()
        answer = await self._asking.get("/markets/options/chains", query, cap=LIST_CAP, slow=True)
        # Of its own: a chain would drive what is followed out of the one that remembers.
        book, found = Book(self._clock, self._source, self._hours), dict[str, ChainRow]()
        # 400 and 404: that expiration has gone since it was listed.
        told = as_list(container_of(answer, "options"), "option") if answer.ok else []
        for at, one in enumerate(told, start=1):
            row = read_row(one)
            contract = None if row is None else find_contract(row.symbol)
            if row is not None and contract is not None and _is_of(contract, symbol, day):
                found[row.symbol] = _chain_row(row, contract, book, asked_us)
            if at % _ROWS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        rows = sorted(found.values(), key=lambda row: row.order)
        self._remember(symbol, day, rows)
        return rows

    def _remember(self, symbol: str, day: date, rows: list[ChainRow]) -> None:
        standard = tuple(row.contract for row in rows if row.size == CONTRACT_SIZE)
        self._listed[symbol, day] = _Listed(self._clock.monotonic_s(), standard)
        self._listed.move_to_end((symbol, day))
        if len(self._listed) > MOST_LISTED:
            self._listed.popitem(last=False)


def _is_of(contract: OptionContract, symbol: str, day: date) -> bool:
    return contract.underlying == symbol and contract.expiration == day


def _chain_row(row: Row, contract: OptionContract, book: Book, asked_us: int) -> ChainRow:
    return ChainRow(
        contract,
        book.note_row(row, asked_us),
        volume=whole_of(row.fields.get("volume")),
        open_interest=whole_of(row.fields.get("open_interest")),
        size=size_of_contract(row, contract),
        vendor=read_greeks(row.fields.get("greeks")),
    )


def read_greeks(told: object) -> VendorGreeks | None:
    """None where there are none that can be used: `greeks` may be null, absent, or the text "null"."""
    greeks = fields_of(told)
    volatility = figure_of(greeks.get("mid_iv"))
    found = VendorGreeks(
        volatility if volatility is not None and volatility > 0 else None,
        *(figure_of(greeks.get(name)) for name in _GREEKS),
    )
    return found if found != _NOTHING else None


_NOTHING = VendorGreeks(None, None, None, None, None, None)
