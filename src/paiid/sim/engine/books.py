"""What every simulator has below it: books in a directory of its own, a venue that keeps them, and the simulated market."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, make_database
from paiid.core.leases import Leases
from paiid.domain.calendar import MarketHours, hours_of
from paiid.domain.instruments import Instrument
from paiid.domain.terms import AccountTerms
from paiid.domain.valuation import closing_price
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.listing import LISTINGS
from paiid.sim.engine.market import SimMarket

__all__ = ["Books", "ListedFeed", "Wish", "database_url", "matching", "opened_books"]

_MATCH_S = 20.0
"""How long to wait for the lease of a process that was killed a moment ago."""
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Wish:
    """How any simulator is wanted. `partial_fills` is a rate from 0 to 1."""

    data_dir: Path
    seed: int = 1
    hours: Literal["always", "exchange"] = "always"
    partial_fills: float = 0.1
    sync_ledger: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """A venue that is not started yet, with what it runs on."""

    db: Database
    venue: PaperBroker
    market: SimMarket
    hours: MarketHours


class ListedFeed(SimulatedFeed):
    """The simulated market, which can say what it lists."""

    def instruments(self) -> Sequence[Instrument]:
        """All shares."""
        return [Instrument(one.symbol, one.name, "stock", fractionable=True) for one in LISTINGS.values()]


def database_url(data_dir: Path) -> str:
    """Where the books are."""
    return f"sqlite:///{(data_dir / 'sim.db').absolute()}"


@asynccontextmanager
async def opened_books(wish: Wish, terms: AccountTerms, clock: Clock) -> AsyncIterator[Books]:
    """The books, whose database is migrated. Raises DatabaseUnavailable."""
    hours = hours_of(wish.hours)
    feed = ListedFeed(clock, hours, wish.seed)
    market = SimMarket(feed, seed=wish.seed, partial_rate=wish.partial_fills)

    async def close_of(symbol: str, roll_us: int) -> Decimal | None:
        if hours.previous_roll_us(clock.now_us()) != roll_us:
            return None
        return closing_price(feed.newest(symbol), roll_us)

    db = make_database(database_url(wish.data_dir), clock)
    await db.start()
    try:
        venue = PaperBroker(
            db, clock, market.newest, hours, Leases(db, new_id(clock, "sim")), terms=terms,
            close_of=close_of, actions_of=feed.fetch_corporate_actions,
        )  # fmt: skip
        yield Books(db, venue, market, hours)
    finally:
        await db.stop()


@asynccontextmanager
async def matching(venue: PaperBroker, clock: Clock) -> AsyncIterator[None]:
    """The venue at work."""
    await venue.start()
    try:
        end_s = clock.monotonic_s() + _MATCH_S
        while not venue.is_matching and clock.monotonic_s() < end_s:
            await clock.sleep(_LOOK_S)
        yield
    finally:
        await venue.stop()
