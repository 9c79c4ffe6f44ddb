"""Reads chains from the feed and has them priced, once for all who ask: shared, remembered, and kept as the last good ones."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import numpy as np

from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date
from paiid.domain.errors import Code, FieldError, Problem, invalid_field, not_found
from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing.quality import STALE
from paiid.domain.pricing.terms import Accuracy
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.market.flights import Flights
from paiid.market.service import MarketService
from paiid.options.expectations import Expectations
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from paiid.options.pricing import Told, in_order, price_chain
from paiid.options.records import PricedChain, Spot

MOST_CONTRACTS = 100_000
"""Contracts of one chain; more than that is asked for by expiration."""
MOST_ACCURATE = 250
"""Contracts with cash dividends that are valued in the accurate mode at once."""
MOST_KEPT = 150_000
"""Contracts in memory over all chains."""
FRESH_S = 1.0
"""Younger than this a chain is not asked for again; a large one, and one whose source is asked seldom, for longer (`_fresh_for_s`)."""
REPRICED_S = 15.0
"""How long values stand while no quote changes: only time passes."""
LISTED_S = 300.0
"""How long the expirations of a ticker are remembered."""
MOST_LISTED = 1024
RETRY_S = 2.0
"""How long a source that has just been silent is left alone."""
CALL_S = 30.0
"""How long the source may take for a chain, which may come in many pages."""
_PRICED_WITHIN_S = 300.0
_ROWS_OF_A_PAGE = 1000
_MOST_STALE = 16
_TWO = Decimal(2)

Key = tuple[str, tuple[date, ...], Accuracy]


@dataclass(frozen=True, slots=True)
class _Kept:
    chain: PricedChain
    told: Told
    checked_s: float
    """When the source was last known to say just this."""


class ChainReader:
    """Chains of one feed. `expectations` are what pricing assumes of rates and dividends."""

    def __init__(self, market: MarketService, clock: Clock, given: Given, pool: PricingPool) -> None:
        self._market = market
        self._clock = clock
        self._pool = pool
        self._expectations = Expectations(market, clock, given, pool)
        self._flights: Flights[Key, PricedChain] = Flights(call_s=_PRICED_WITHIN_S)
        self._listings: Flights[str, tuple[date, ...]] = Flights()
        self._listed: OrderedDict[str, tuple[float, tuple[date, ...]]] = OrderedDict()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._silent: dict[str, tuple[float, str]] = {}
        self._shown_stale: OrderedDict[Key, tuple[PricedChain, PricedChain]] = OrderedDict()

    # -- which expirations there are ----------------------------------------------------------------

    async def expirations(self, symbol: str) -> tuple[date, ...]:
        """The expirations of a ticker, in order; empty where nothing is listed on it. Raises Problem: 404 for an unknown ticker, 503 where
        the source is silent and has never told them."""
        kept = self._listed.get(symbol)
        if kept is not None and self._clock.monotonic_s() - kept[0] < LISTED_S and self._are_alive(kept[1]):
            return kept[1]
        try:
            days = await self._listings.fly(symbol, lambda: self._list(symbol))
        except FeedUnavailable as silent:
            if kept is None:
                raise _no_data(silent) from None
            return kept[1]
        if not days and await self._is_unknown(symbol):
            raise not_found("symbol")
        self._listed[symbol] = (self._clock.monotonic_s(), days)
        self._listed.move_to_end(symbol)
        while len(self._listed) > MOST_LISTED:
            self._listed.popitem(last=False)
        return days

    async def _list(self, symbol: str) -> tuple[date, ...]:
        return tuple(sorted(set(await self._market.expirations(symbol))))

    async def _is_unknown(self, symbol: str) -> bool:
        try:
            return await self._market.instrument(symbol) is None
        except FeedUnavailable as silent:
            raise _no_data(silent) from None

    def _are_alive(self, days: tuple[date, ...]) -> bool:
        """Whether the first of them has not passed since it was told; those of a recording never do."""
        return not days or self._market.source == "replay" or days[0] >= eastern_date(self._clock.now_us())

    # -- chains -------------------------------------------------------------------------------------

    async def load(
        self, symbol: str, expirations: Sequence[date] | None = None, accuracy: Accuracy = "fast"
    ) -> PricedChain:
        """The contracts on a ticker that expire on these days (None: all that are listed), priced. Empty where nothing is listed on it.

        Where the source is silent it is the last good chain, `stale` and with its age. Raises Problem: 404 for an unknown ticker, 422 for a
        day on which nothing expires and for a chain that is too large, 503 where there is nothing good.
        """
        listed = await self.expirations(symbol)
        days = listed if expirations is None else self._checked(symbol, listed, expirations)
        kept = self._find(symbol, days, accuracy)
        if kept is not None and self._is_fresh(kept):
            return self._part(kept, (symbol, days, accuracy))
        silent = self._is_silent(symbol)
        if silent is None:
            try:
                return await self._flights.fly(
                    (symbol, days, accuracy), lambda: self._read(symbol, days, accuracy)
                )
            except FeedUnavailable as problem:
                silent = problem
                if len(self._silent) >= MOST_LISTED:
                    self._silent.clear()
                self._silent[symbol] = (self._clock.monotonic_s(), str(problem))
        kept = self._find(symbol, days, accuracy) or self._find(symbol, days, None)
        if kept is None:
            raise _no_data(silent)
        return self._last_good(kept, (symbol, days, kept.chain.accuracy))

    def _part(self, kept: _Kept, key: Key) -> PricedChain:
        """What was asked for of a kept chain; the same object each time."""
        same = self._kept.get(key)
        if same is kept:
            self._kept.move_to_end(key)
            return kept.chain
        chain = kept.chain.only(key[1])
        self._keep(key, _Kept(chain, replace(kept.told, rows=chain.rows), kept.checked_s))
        return chain

    def _last_good(self, kept: _Kept, key: Key) -> PricedChain:
        """Every quote of it counts as stale. The same object for a second, so that it is encoded once for all who ask."""
        age_s = max(0, (self._clock.now_us() - kept.chain.fetched_us) // 1_000_000)
        chain = self._part(kept, key)
        shown = self._shown_stale.get(key)
        if shown is None or shown[0] is not chain or shown[1].age_s != age_s:
            flags = chain.flags | np.uint32(STALE)
            shown = (chain, replace(chain, flags=flags, stale=True, age_s=float(age_s)))
            self._shown_stale[key] = shown
            while len(self._shown_stale) > _MOST_STALE:
                self._shown_stale.popitem(last=False)
        return shown[1]

    def _checked(self, symbol: str, listed: tuple[date, ...], wanted: Sequence[date]) -> tuple[date, ...]:
        known = set(listed)
        today = eastern_date(self._clock.now_us())
        errors = [
            FieldError("expiration", "past_expiration", f"{day} has passed; what expired then is gone")
            if day < today
            else FieldError(
                "expiration",
                "unknown_expiration",
                f"There are no options on {symbol} that expire on {day}; see /api/options/expirations/{symbol}.",
            )
            for day in wanted
            if day not in known
        ]
        if errors and listed:
            raise Problem(Code.VALIDATION, errors[0].message, errors=errors[:20])
        return tuple(sorted(known.intersection(wanted)))

    def _find(self, symbol: str, days: tuple[date, ...], accuracy: Accuracy | None) -> _Kept | None:
        """A kept chain that has all these expirations, the newest of them, the smallest of equally new ones; None as accuracy is any."""
        wanted = set(days)
        found = [
            kept
            for (other, kept_days, kept_accuracy), kept in self._kept.items()
            if other == symbol and accuracy in (None, kept_accuracy) and wanted <= set(kept_days)
        ]
        return max(found, key=lambda one: (one.checked_s, -len(one.chain)), default=None)

    def _is_fresh(self, kept: _Kept) -> bool:
        return self._clock.monotonic_s() - kept.checked_s < self._fresh_for_s(len(kept.chain))

    def _fresh_for_s(self, contracts: int) -> float:
        """A source that is asked over the network has a budget, and a large chain costs it many pages."""
        return max(FRESH_S, self._market.poll_s * max(1.0, contracts / _ROWS_OF_A_PAGE))

    def _is_silent(self, symbol: str) -> FeedUnavailable | None:
        """Why the source is left alone for a moment."""
        at_s, why = self._silent.get(symbol, (0.0, ""))
        if not why or self._clock.monotonic_s() - at_s < RETRY_S:
            return FeedUnavailable(why) if why else None
        del self._silent[symbol]
        return None

    async def _read(self, symbol: str, days: tuple[date, ...], accuracy: Accuracy) -> PricedChain:
        """Ask the source, and price what has changed. Raises FeedUnavailable."""
        asked_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(CALL_S):
                rows, age_s = await self._rows(symbol, days)
                quote = await self._underlying(symbol)
        except TimeoutError:
            raise FeedUnavailable("the source did not answer in time") from None
        key = (symbol, days, accuracy)
        kept = self._kept.get(key)
        told = await self._told(symbol, rows, quote, age_s)
        if accuracy == "accurate":
            _refuse_costly(told)
        fresh = await self._pool.run(_priced, kept, told, accuracy, asked_s - age_s)
        self._keep(key, fresh)
        return fresh.chain

    async def _rows(self, symbol: str, days: tuple[date, ...]) -> tuple[tuple[ChainRow, ...], float]:
        """In order, and how many seconds ago the source told them, to this replica or another."""
        if not days:
            return (), 0.0
        found, age_s = await self._market.shared_chain(symbol, days[0], days[-1], self._fresh_for_s)
        if len(found) > MOST_CONTRACTS:
            raise invalid_field(
                "expiration",
                "too_many_contracts",
                f"{symbol} has more than {MOST_CONTRACTS} contracts; name some expirations",
            )
        wanted = set(days)
        rows = await self._pool.run(
            lambda: in_order([row for row in found if row.contract.expiration in wanted])
        )
        return rows, age_s

    async def _underlying(self, symbol: str) -> Quote | None:
        return (await self._market.quotes([symbol])).get(symbol)

    async def _told(self, symbol: str, rows: tuple[ChainRow, ...], quote: Quote | None, age_s: float) -> Told:
        now_us = self._clock.now_us()
        recorded = _recorded_us(rows)
        is_open = self._market.hours.is_open(now_us)
        roll_us = self._market.hours.previous_roll_us(now_us)
        # Where options do not trade, their quotes are of the close, and so are their values.
        priced_at_us = recorded if recorded is not None else now_us if is_open else roll_us
        close = None
        if recorded is None and not is_open and quote is not None:
            close = await self._market.closing_price(symbol, roll_us)
        told = await self._expectations.told(symbol, rows, quote, _spot(quote, close), now_us, priced_at_us)
        return replace(told, fetched_us=now_us - int(age_s * 1_000_000))

    def _keep(self, key: Key, kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(len(one.chain) + 1 for one in self._kept.values()) > MOST_KEPT:
            self._kept.popitem(last=False)


def _refuse_costly(told: Told) -> None:
    """Raises Problem (422): each contract with cash before its end takes the accurate mode nearly a tenth of a second."""
    first = min((one.ex_date for one in told.payments if one.amount > 0), default=None)
    if first is None:
        return
    costly = sum(row.contract.expiration > first for row in told.rows)
    if costly > MOST_ACCURATE:
        raise invalid_field(
            "accuracy",
            "costly",
            f"{costly} of these contracts see a cash dividend, and at most {MOST_ACCURATE} such are valued accurately at once; "
            "name one expiration, or ask for fast.",
        )


def _priced(kept: _Kept | None, told: Told, accuracy: Accuracy, asked_s: float) -> _Kept:
    """Priced anew, or what was kept where it still holds."""
    if kept is not None and _still_holds(kept.told, told):
        return _Kept(kept.chain, kept.told, asked_s)
    return _Kept(price_chain(told, accuracy), told, asked_s)


def _still_holds(before: Told, now: Told) -> bool:
    """Whether values of before are still right: nothing has changed, and hardly any time has passed."""
    return now.priced_at_us - before.priced_at_us < REPRICED_S * 1_000_000 and replace(
        now, fetched_us=0, priced_at_us=0
    ) == replace(before, fetched_us=0, priced_at_us=0)


def _recorded_us(rows: Sequence[ChainRow]) -> int | None:
    """Of a recording: the instant of its newest quote."""
    first = next((row.quote for row in rows if row.quote is not None), None)
    if first is None or first.recorded_at_us is None:
        return None
    return max(row.quote.recorded_at_us or 0 for row in rows if row.quote is not None)


def _spot(quote: Quote | None, close: Decimal | None) -> Spot | None:
    if close is not None and close > 0:
        price = float(close)
        return Spot(price, price, price, "close")
    if quote is None:
        return None
    if 0 < quote.bid <= quote.ask:
        return Spot(float((quote.bid + quote.ask) / _TWO), float(quote.bid), float(quote.ask), "mid")
    if quote.last > 0:
        price = float(quote.last)
        return Spot(price, price, price, "last")
    return None


def _no_data(silent: FeedUnavailable) -> Problem:
    return Problem(Code.MARKET_DATA_UNAVAILABLE, f"There are no options data now: {silent}.")
