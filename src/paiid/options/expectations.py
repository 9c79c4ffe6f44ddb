"""Which rate, dividends and yield a chain is priced with: what the owner says, else what the source has announced, else what the chain implies."""

from collections import OrderedDict
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date
from paiid.domain.errors import Problem
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.domain.rate_curve import RateCurve
from paiid.feeds import FeedUnavailable
from paiid.market.flights import Flights
from paiid.market.service import MarketService
from paiid.market.shared_reads import Read
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from paiid.options.pricing import Told, in_order, rate_from
from paiid.options.records import NONE, Assumed, Payment, Spot

ANNOUNCED_S = 3600.0
"""How long the announced dividends of a ticker are remembered."""
RATE_S = 900.0
"""How long an implied rate stands."""
RETRY_S = 60.0
"""When to ask again where the source did not say."""
MOST_KEPT = 1024
_FURTHEST = timedelta(days=365 * 4)
_DAY = timedelta(days=1)
# The rate is implied from these expirations, whatever is asked for, so that one contract has one value: days to them.
_RATE_AT = (90, 200, 380)
_RATE_FROM_DAYS = 30

T = TypeVar("T")


class Expectations:
    """Remembers by ticker. Where neither setting nor curve tells the rate it is implied, from up to three expirations about a quarter, half a year
    and a year away; the yield is implied for each expiration by itself, on top of the cash dividends that are known."""

    def __init__(self, market: MarketService, clock: Clock, given: Given, pool: PricingPool) -> None:
        self._market = market
        self._clock = clock
        self._given = given
        self._pool = pool
        self._payments: OrderedDict[str, tuple[float, tuple[Payment, ...], str]] = OrderedDict()
        self._rates: OrderedDict[str, tuple[float, Assumed]] = OrderedDict()
        self._rate_flights: Flights[str, Read[Assumed]] = Flights(call_s=30.0)
        self._payment_flights: Flights[str, tuple[Payment, ...]] = Flights()

    async def told(
        self,
        symbol: str,
        rows: tuple[ChainRow, ...],
        quote: Quote | None,
        spot: Spot | None,
        now_us: int,
        priced_at_us: int,
    ) -> Told:
        """All that is known of these rows. Never raises for a source that does not tell dividends."""
        payments, source = await self._dividends(symbol, eastern_date(priced_at_us))
        told = Told(
            symbol=symbol,
            source=self._market.source,
            delayed=self._market.delayed,
            rows=rows,
            underlying_price=_price(quote),
            as_of_us=None if quote is None else quote.as_of_us,
            fetched_us=now_us,
            priced_at_us=priced_at_us,
            spot=spot,
            rate=NONE,
            dividend_yield=self._yield(symbol, source),
            payments=payments,
            dividends_source=source,
        )
        return replace(told, rate=await self._rate(told))

    def _yield(self, symbol: str, dividends_source: str) -> Assumed | None:
        given = self._given.yields.get(symbol)
        if given is not None:
            return Assumed(given, "setting")
        return NONE if dividends_source == "dividends_file" else None

    # -- dividends ----------------------------------------------------------------------------------

    async def _dividends(self, symbol: str, today: date) -> tuple[tuple[Payment, ...], str]:
        given = self._given.dividends.get(symbol)
        if given is not None:
            coming = tuple(Payment(one.ex_date, one.amount) for one in given if one.ex_date >= today)
            return coming, "dividends_file"
        now_s = self._clock.monotonic_s()
        kept = self._payments.get(symbol)
        if kept is None or now_s >= kept[0]:
            try:
                found = await self._payment_flights.fly(symbol, lambda: self._announced(symbol, today))
                kept = (now_s + ANNOUNCED_S, found, "announced" if found else "none")
            except FeedUnavailable:
                kept = (now_s + RETRY_S, *(kept[1:] if kept is not None else ((), "none")))
            _remember(self._payments, symbol, kept)
        return tuple(one for one in kept[1] if one.ex_date >= today), kept[2]

    async def _announced(self, symbol: str, today: date) -> tuple[Payment, ...]:
        found = await self._market.dividends(symbol, today, today + _FURTHEST)
        by_day: dict[date, Decimal] = {}
        for one in found:
            if one.kind == "dividend" and one.amount > 0:
                by_day[one.ex_date] = by_day.get(one.ex_date, Decimal(0)) + one.amount
        return tuple(Payment(day, by_day[day]) for day in sorted(by_day))

    # -- the rate -----------------------------------------------------------------------------------

    async def _rate(self, told: Told) -> Assumed | RateCurve:
        if self._given.rate is not None:
            return self._given.rate
        now_s = self._clock.monotonic_s()
        kept = self._rates.get(told.symbol)
        if kept is None or now_s >= kept[0]:
            try:
                read = await self._rate_flights.fly(told.symbol, lambda: self._shared_rate(told))
                kept = (now_s + RATE_S - read.age_s, read.value)
            except (FeedUnavailable, Problem):
                kept = (now_s + RETRY_S, NONE if kept is None else kept[1])
            _remember(self._rates, told.symbol, kept)
        return kept[1]

    async def _shared_rate(self, told: Told) -> Read[Assumed]:
        """One for all replicas, so that one contract has one value on all of them, and it costs the source its requests once. It is implied
        with the dividends that are assumed: who assumes others, by his settings, has another rate."""
        paid = (f"{one.ex_date.isoformat()}:{one.amount}" for one in told.payments)
        return await self._market.shared.read(
            "rate",
            (told.symbol, *paid),
            Assumed,
            lambda rate: 0.0 if rate.source == NONE.source else RATE_S,
            lambda: self._implied(told),
        )

    async def _implied(self, told: Told) -> Assumed:
        if told.spot is None or not told.rows:
            return NONE
        today = eastern_date(told.priced_at_us)
        listed = [
            day
            for day in await self._market.expirations(told.symbol)
            if (day - today).days >= _RATE_FROM_DAYS
        ]
        days = {min(listed, key=lambda day: abs((day - today).days - away)) for away in _RATE_AT if listed}
        rows: list[ChainRow] = []
        for day in sorted(days):
            some = [row for row in told.rows if row.contract.expiration == day]
            rows += some or await self._market.chain(told.symbol, day, day)
        rate = await self._pool.run(lambda: rate_from(replace(told, rows=in_order(rows))))
        return NONE if rate is None else Assumed(rate, "parity")


def _remember(kept: OrderedDict[str, T], symbol: str, one: T) -> None:
    kept[symbol] = one
    kept.move_to_end(symbol)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)


def _price(quote: Quote | None) -> Decimal | None:
    if quote is None:
        return None
    if quote.bid > 0 and quote.ask > 0:
        return quote.mid
    return quote.last if quote.last > 0 else None
