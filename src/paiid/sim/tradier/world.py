"""A simulated Tradier with everything below it: books in a directory of its own, over the simulated market."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from paiid import __version__
from paiid.core.clock import Clock
from paiid.sim.engine.books import ListedFeed, Wish, database_url, matching, opened_books
from paiid.sim.tradier.account_stream import AccountStreamOptions
from paiid.sim.tradier.accounts import SIM_TERMS
from paiid.sim.tradier.app import SimApp, create_sim
from paiid.sim.tradier.exchange import SimOptions
from paiid.sim.tradier.markets.late import LateClock
from paiid.sim.tradier.markets.side import MarketOptions
from paiid.sim.tradier.rate import SANDBOX_LIMITS, RateLimits

__all__ = ["SimWish", "database_url", "opened"]


@dataclass(frozen=True, slots=True)
class SimWish(Wish):
    """How a simulated Tradier is wanted. `rate_limit` requests of a token in a minute in each bucket, 0 for no limit, None for
    Tradier's own; `rate_window_s` is how long that minute lasts. `token` is one more token, with the number of its account (None:
    the next one)."""

    sandbox: bool = False
    null_text: bool = True
    allow_market_first_leg: bool = False
    rate_limit: int | None = None
    rate_window_s: float = 60.0
    token: tuple[str, str | None] | None = None
    stream: AccountStreamOptions = field(default_factory=AccountStreamOptions)
    markets: MarketOptions = field(default_factory=MarketOptions)

    @property
    def limits(self) -> RateLimits:
        """Of each bucket."""
        limits = SANDBOX_LIMITS if self.sandbox else RateLimits()
        if self.rate_limit is not None:
            limits = RateLimits.of(self.rate_limit)
        return replace(limits, window_s=self.rate_window_s)


@asynccontextmanager
async def opened(wish: SimWish, clock: Clock) -> AsyncIterator[SimApp]:
    """The app over running books, whose database is migrated. Raises BadToken, OSError, DatabaseUnavailable."""
    async with opened_books(wish, SIM_TERMS, clock) as books:
        delayed = ListedFeed(LateClock(clock), books.hours, wish.seed) if wish.sandbox else None
        limits = wish.limits
        facts: dict[str, Any] = {
            "simulates": "tradier",
            "version": __version__,
            "seed": wish.seed,
            "hours": wish.hours,
            "sandbox": wish.sandbox,
            "null_text": wish.null_text,
            "market_first_legs": "allow" if wish.allow_market_first_leg else "deny",
            "rate_limits_per_minute": {
                "standard": limits.standard,
                "market": limits.market,
                "trading": limits.trading,
            },
            "partial_fills": wish.partial_fills,
        }
        options = SimOptions(
            sandbox=wish.sandbox,
            null_text=wish.null_text,
            allow_market_first_leg=wish.allow_market_first_leg,
            limits=limits,
        )
        sim = create_sim(
            venue=books.venue, db=books.db, market=books.market, hours=books.hours, clock=clock,
            data_dir=wish.data_dir, options=options, stream_options=wish.stream, market_options=wish.markets,
            delayed=delayed, seed=wish.seed, sync_ledger=wish.sync_ledger, facts=facts,
        )  # fmt: skip
        if wish.token is not None:
            sim.exchange.accounts.add(*wish.token)
        async with matching(books.venue, clock):
            yield sim
