"""Lists what options there are on a ticker, with the quotes the feed has for them."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from paiid.core.clock import Clock
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.domain.calendar import eastern_date
from paiid.domain.errors import Code, Problem, invalid_field, not_found
from paiid.domain.money import plain
from paiid.domain.occ import OptionContract
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService


class OptionsService:
    """Answers as encoded JSON. Raises Problem: 404 for a ticker without options, 503 where the feed is silent."""

    def __init__(self, market: MarketService, clock: Clock) -> None:
        self._market = market
        self._clock = clock

    async def expirations(self, symbol: str) -> bytes:
        """A bare array by date: date, days_to_expiry, strikes (how many), source."""
        today = eastern_date(self._clock.now_us())
        try:
            days = await self._market.expirations(symbol)
            strikes = [len({one.strike for one in await self._market.contracts(symbol, day)}) for day in days]
        except FeedUnavailable as silent:
            raise _silent(silent) from None
        if not days:
            raise not_found("optionable symbol")
        return encode(
            [
                {
                    "date": day.isoformat(),
                    "days_to_expiry": (day - today).days,
                    "strikes": count,
                    "source": self._market.source,
                }
                for day, count in zip(days, strikes, strict=True)
            ]
        )

    async def chain(self, symbol: str, expiration: date) -> bytes:
        """All contracts of one expiration with their quotes, by strike; prices in dollars a share, None where nobody
        quotes."""
        try:
            contracts = await self._market.contracts(symbol, expiration)
            quotes = await self._market.quotes([symbol, *(one.symbol for one in contracts)], follow=False)
        except FeedUnavailable as silent:
            raise _silent(silent) from None
        if not contracts:
            raise invalid_field(
                "expiration",
                "unknown_expiration",
                f"There are no options on {symbol} that expire on {expiration}; see /api/options/expirations/{symbol}.",
            )
        underlying = quotes.get(symbol)
        sides = {
            kind: [contract_view(one, quotes) for one in contracts if one.option_type == kind]
            for kind in ("call", "put")
        }
        return encode(
            {
                "symbol": symbol,
                "expiration_date": expiration.isoformat(),
                "underlying_price": None if underlying is None else plain(underlying.mid),
                "calls": sides["call"],
                "puts": sides["put"],
                "total_contracts": len(contracts),
                "source": self._market.source,
                "as_of": None if underlying is None else instant(underlying.as_of_us),
                "stale": underlying is None or underlying.stale,
            }
        )


def contract_view(contract: OptionContract, quotes: Mapping[str, Quote]) -> dict[str, Any]:
    """One contract with its quote; sizes in contracts."""
    quote = quotes.get(contract.symbol)
    return {
        "symbol": contract.symbol,
        "option_type": contract.option_type,
        "strike_price": plain(contract.strike),
        "expiration_date": contract.expiration.isoformat(),
        "bid": _price(None if quote is None else quote.bid),
        "ask": _price(None if quote is None else quote.ask),
        "bid_size": None if quote is None else plain(quote.bid_size),
        "ask_size": None if quote is None else plain(quote.ask_size),
        "last_price": _price(None if quote is None else quote.last),
        "as_of": None if quote is None else instant(quote.as_of_us),
        "stale": quote is None or quote.stale,
    }


def _price(price: Decimal | None) -> Decimal | None:
    """A side that nobody quotes is 0 in a quote, and null to a reader."""
    return plain(price) if price else None


def _silent(silent: FeedUnavailable) -> Problem:
    return Problem(Code.MARKET_DATA_UNAVAILABLE, f"There are no options data now: {silent}.")
