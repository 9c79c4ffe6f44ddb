"""A simulated Alpaca with everything below it: books in a directory of its own, over the simulated market."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from paiid import __version__
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock, new_id
from paiid.core.db import make_database
from paiid.core.leases import Leases
from paiid.domain.calendar import hours_of
from paiid.domain.instruments import Instrument
from paiid.domain.valuation import closing_price
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.listing import LISTINGS
from paiid.sim.alpaca.accounts import SIM_TERMS
from paiid.sim.alpaca.app import SimApp, create_sim
from paiid.sim.alpaca.exchange import SimOptions
from paiid.sim.alpaca.market import SimMarket
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.stream import StreamOptions

__all__ = ["SimWish", "database_url", "opened"]

_MATCH_S = 20.0
"""How long to wait for the lease of a process that was killed a moment ago."""
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class SimWish:
    """How a simulator is wanted. `partial_fills` is a rate from 0 to 1; `key` a pair of keys beside the default one;
    `rate_limit` requests of an account in a minute, 0 for no limit; `data` is the plan of its market data."""

    data_dir: Path
    seed: int = 1
    hours: Literal["always", "exchange"] = "always"
    rate_limit: int = 200
    partial_fills: float = 0.1
    key: tuple[str, str] | None = None
    max_connections: int = 2
    text_frames: bool = False
    sync_ledger: bool = False
    data: DataOptions = field(default_factory=DataOptions)


class _ListedFeed(SimulatedFeed):
    """The simulated market, which can say what it lists."""

    def instruments(self) -> Sequence[Instrument]:
        """All shares."""
        return [Instrument(one.symbol, one.name, "stock", fractionable=True) for one in LISTINGS.values()]


def database_url(data_dir: Path) -> str:
    """Where the books are."""
    return f"sqlite:///{(data_dir / 'sim.db').absolute()}"


@asynccontextmanager
async def opened(wish: SimWish, clock: Clock) -> AsyncIterator[SimApp]:
    """The app over running books, whose database is migrated. Raises BadKeys, OSError, DatabaseUnavailable."""
    hours = hours_of(wish.hours)
    feed = _ListedFeed(clock, hours, wish.seed)
    market = SimMarket(feed, seed=wish.seed, partial_rate=wish.partial_fills)

    async def close_of(symbol: str, roll_us: int) -> Decimal | None:
        if hours.previous_roll_us(clock.now_us()) != roll_us:
            return None
        return closing_price(feed.newest(symbol), roll_us)

    db = make_database(database_url(wish.data_dir), clock)
    await db.start()
    try:
        venue = PaperBroker(
            db, clock, market.newest, hours, Leases(db, new_id(clock, "sim")), terms=SIM_TERMS,
            close_of=close_of, actions_of=feed.fetch_corporate_actions,
        )  # fmt: skip
        facts: dict[str, Any] = {
            "simulates": "alpaca",
            "version": __version__,
            "seed": wish.seed,
            "hours": wish.hours,
            "rate_limit_per_minute": wish.rate_limit,
            "partial_fills": wish.partial_fills,
        }
        sim = create_sim(
            venue=venue, db=db, market=market, hours=hours, clock=clock, data_dir=wish.data_dir,
            options=SimOptions(rate_limit_per_minute=wish.rate_limit),
            stream_options=StreamOptions(wish.max_connections, wish.text_frames),
            data_options=wish.data,
            seed=wish.seed, sync_ledger=wish.sync_ledger, facts=facts,
        )  # fmt: skip
        if wish.key is not None:
            sim.exchange.accounts.add(*wish.key)
        await venue.start()
        try:
            end_s = clock.monotonic_s() + _MATCH_S
            while not venue.is_matching and clock.monotonic_s() < end_s:
                await clock.sleep(_LOOK_S)
            yield sim
        finally:
            await venue.stop()
    finally:
        await db.stop()
