"""A whole option chain: who is listed, from the trading API, and what the market data tell of each (alpaca.md, sections 12 and 16).

Greeks and implied volatility are passed on as Alpaca computes them. Its documents do not name the units; the reference's example fits ours
and no other in size (70 days, a volatility of 0.1432, a spot near 655: vega comes to 1.02 a point where 1.0321 is told), so nothing is
converted: theta a day, vega a point of volatility, rho a point of the rate, volatility a fraction a year. That a day of theta is a calendar
day, and the rate and dividends behind, are not confirmed.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours, eastern_date
from paiid.domain.occ import find_contract
from paiid.domain.option_chain import ChainRow, VendorGreeks
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.book import Book
from paiid.feeds.alpaca.listing import Listed, Listing
from paiid.feeds.alpaca.snapshots import read_snapshot
from paiid.feeds.alpaca.values import figure_of, text_of, whole_of
from paiid.feeds.alpaca.wire import LIST_CAP, Wire
from paiid.wires.values import fields_of, instant_of

PAGE = 1000
MOST_PAGES = 110
"""A hundred thousand contracts, and some that were listed meanwhile."""
QUOTES_RESERVE = 40
"""Requests a minute that a chain leaves to quotes: whoever looks at chains must not make the prices of others stale."""
_ROWS_IN_A_ROW = 50
"""Before others have their turn: some milliseconds."""
_LONGEST_BREAK = timedelta(days=10)
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")


class Chains:
    """Asks for the list (`Listing` remembers it) and for all snapshots, and puts the two together by symbol."""

    def __init__(self, clock: Clock, wire: Wire, listing: Listing, source: str) -> None:
        self._clock = clock
        self._wire = wire
        self._listing = listing
        self._source = source
        self._hours = ExchangeHours()

    async def fetch(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        """As `Feed.fetch_chain`. A contract whose words cannot be used costs only them; a page that fails costs the chain. Raises
        FeedUnavailable."""
        listed = {one.contract.symbol: one for one in await self._listing.fetch_listed(symbol, first, last)}
        if not listed:
            return ()
        self._afford(len(listed))
        found: dict[str, ChainRow] = {}
        asked_us, day = self._clock.now_us(), self._newest_day()
        # Of its own: a chain would drive what is followed out of the one that remembers.
        book = Book(self._clock, self._source)
        days = [one.contract.expiration for one in listed.values()]
        async for name, told in self._snapshots(symbol, min(days), max(days)):
            known = listed.get(name) or _not_listed_yet(name, symbol, first, last)
            if known is not None:
                quote = book.note_snapshot(name, read_snapshot(told), asked_us)
                found[name] = _row(known, quote, fields_of(told), day)
        rows = [
            found.pop(name) if name in found else _row(known, None, {}, day) for name, known in listed.items()
        ]
        # The list is in order, and sorting takes a while: only what came after it has to find its place.
        return sorted([*rows, *found.values()], key=lambda row: row.order) if found else rows

    def _afford(self, contracts: int) -> None:
        """Half a chain is none: what cannot be paid for is not begun. Raises FeedUnavailable."""
        pages, left = -(-contracts // PAGE), self._wire.left - QUOTES_RESERVE
        if pages > MOST_PAGES:
            raise FeedUnavailable(f"a chain of {contracts} contracts is too long to be asked for at once")
        if pages > left:
            raise FeedUnavailable(
                f"a chain of {contracts} contracts takes {pages} of the {self._wire.limit} requests a minute at "
                f"Alpaca, and {max(0, left)} are left for it"
            )

    async def _snapshots(self, symbol: str, first: date, last: date) -> AsyncIterator[tuple[str, Any]]:
        query = {
            "limit": str(PAGE),
            "expiration_date_gte": first.isoformat(),
            "expiration_date_lte": last.isoformat(),
        }
        path, seen = f"/v1beta1/options/snapshots/{quote(symbol, safe='')}", set[str]()
        for _ in range(MOST_PAGES):
            answer = await self._wire.get(path, query, cap=LIST_CAP)
            told = fields_of(answer.data)
            if not answer.ok or not isinstance(told.get("snapshots"), dict):
                raise FeedUnavailable(f"Alpaca's market data did not tell the option chain ({answer.status})")
            for at, (name, one) in enumerate(told["snapshots"].items(), start=1):
                yield name, one
                if at % _ROWS_IN_A_ROW == 0:
                    await asyncio.sleep(0)
            token = told.get("next_page_token")
            if token is None or token == "":
                return
            if text_of(token) is None or token in seen:
                break
            seen.add(token)
            query["page_token"] = token
        raise FeedUnavailable("Alpaca's option chain could not be read to its end")

    def _newest_day(self) -> date:
        """The day of the last session that has begun: of which a daily bar is that tells today's volume."""
        now_us = self._clock.now_us()
        today = eastern_date(now_us)
        near = self._hours.sessions(today - _LONGEST_BREAK, today)
        return max(one.day for one in near if one.open_us <= now_us)


def _not_listed_yet(name: str, symbol: str, first: date, last: date) -> Listed | None:
    """A contract that came after the list was asked for; what else is not in the list is of another day or ticker, or over."""
    contract = find_contract(name)
    if contract is None or contract.symbol != name or contract.underlying != symbol:
        return None
    if not first <= contract.expiration <= last:
        return None
    return Listed(contract, True, None if contract.adjusted else 100, None, None)


def _row(known: Listed, quote: Quote | None, told: Mapping[str, Any], newest_day: date) -> ChainRow:
    bar = fields_of(told.get("dailyBar"))
    begins_us = instant_of(bar.get("t"))
    is_new = begins_us is not None and eastern_date(begins_us) >= newest_day
    return ChainRow(
        known.contract,
        quote,
        volume=whole_of(bar.get("v")) if is_new else None,
        open_interest=known.open_interest,
        open_interest_day=known.open_interest_day,
        size=known.size,
        vendor=read_greeks(told),
    )


def read_greeks(told: Mapping[str, Any]) -> VendorGreeks | None:
    """Of a snapshot; None where it has none that can be used. A volatility that is not above zero is none."""
    greeks = fields_of(told.get("greeks"))
    volatility = figure_of(told.get("impliedVolatility"))
    found = VendorGreeks(
        volatility if volatility is not None and volatility > 0 else None,
        *(figure_of(greeks.get(name)) for name in _GREEKS),
    )
    return found if found != _NOTHING else None


_NOTHING = VendorGreeks(None, None, None, None, None, None)
