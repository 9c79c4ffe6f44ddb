"""Answers what options there are on a ticker, at what prices, and what they are worth: encoded once, kept until something changes."""

from collections.abc import Sequence
from datetime import date

from fastapi import Request, Response

from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date
from paiid.domain.errors import Code, Problem
from paiid.feeds import FeedUnavailable
from paiid.market.flights import Flights
from paiid.market.service import MarketService
from paiid.options.answers import Answer, Answers
from paiid.options.asked import Asked
from paiid.options.chains import ChainReader
from paiid.options.contract_terms import kind_of
from paiid.options.pool import PricingPool
from paiid.options.views import chain_view, expirations_view, nothing_view

COUNTED_S = 300.0
"""How long the replicas share how many strikes there are."""
Counted = tuple[date, int, str]
"""An expiration, how many strikes it has, and its kind."""


class OptionsService:
    """Of the chains that `chains` reads and prices in `pool`."""

    def __init__(self, market: MarketService, clock: Clock, chains: ChainReader, pool: PricingPool) -> None:
        self._market = market
        self._clock = clock
        self.pool = pool
        self.chains = chains
        self.answers = Answers(pool)
        self._counts: Flights[str, tuple[Counted, ...]] = Flights()

    async def expirations(self, request: Request, symbol: str) -> Response:
        """A bare array by date. Raises Problem: 404 for an unknown ticker, 503 where the source is silent and has never told them."""
        days = await self.chains.expirations(symbol)
        today = await self._today(symbol, days)
        kept = self.answers.find(("expirations", symbol, today), days)
        if kept is None:
            try:
                rows = await self._counts.fly(symbol, lambda: self._count(symbol, days))
            except FeedUnavailable as silent:
                detail = f"There are no options data now: {silent}."
                raise Problem(Code.MARKET_DATA_UNAVAILABLE, detail) from None
            kept = Answer(expirations_view(rows, today, self._market.source), days)
            self.answers.keep(("expirations", symbol, today), kept)
        return await self.answers.reply(request, kept)

    async def _today(self, symbol: str, days: Sequence[date]) -> date:
        """The day from which expirations are counted: of a recording it is that of the recording."""
        if days and self._market.source == "replay":
            contracts = await self._market.contracts(symbol, days[0])
            quotes = await self._market.quotes([one.symbol for one in contracts[:1]], follow=False)
            for quote in quotes.values():
                if quote.recorded_at_us is not None:
                    return eastern_date(quote.recorded_at_us)
        return eastern_date(self._clock.now_us())

    async def _count(self, symbol: str, days: Sequence[date]) -> tuple[Counted, ...]:
        """Where each expiration costs a request the replicas count once."""
        key = (symbol, *(day.isoformat() for day in days))
        read = await self._market.shared.read(
            "strikes", key, tuple[Counted, ...], lambda _: COUNTED_S, lambda: self._counted(symbol, days)
        )
        return read.value

    async def _counted(self, symbol: str, days: Sequence[date]) -> tuple[Counted, ...]:
        known = frozenset(days)
        found = []
        for day in days:
            contracts = await self._market.contracts(symbol, day)
            found.append((day, len({one.strike for one in contracts}), kind_of(day, known)))
        return tuple(found)

    async def chain(self, request: Request, symbol: str, asked: Asked) -> Response:
        """The contracts that were asked for, priced. Raises Problem as `ChainReader.load` does."""
        listed = await self.chains.expirations(symbol)
        if not listed:
            reason = f"{symbol} is known, but no options are listed on it."
            return await self.answers.reply(
                request, Answer(nothing_view(symbol, self._market.source, reason), None)
            )
        days = asked.days(listed)
        if days is not None and not days:
            reason = "No expiration lies between these days; see /api/options/expirations."
            return await self.answers.reply(
                request, Answer(nothing_view(symbol, self._market.source, reason), None)
            )
        chain = await self.chains.load(symbol, days, asked.accuracy)
        key = (symbol, days, asked)
        kept = self.answers.find(key, chain)
        if kept is None:
            body = await self.pool.run(chain_view, chain, asked)
            kept = await self.pool.run(Answer, body, chain)
            self.answers.keep(key, kept)
        return await self.answers.reply(request, kept)
