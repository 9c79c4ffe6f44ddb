"""A simulated Alpaca with everything below it: books in a directory of its own, over the simulated market."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from paiid import __version__
from paiid.core.clock import Clock
from paiid.sim.alpaca.accounts import SIM_TERMS
from paiid.sim.alpaca.app import SimApp, create_sim
from paiid.sim.alpaca.exchange import SimOptions
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.stream import StreamOptions
from paiid.sim.engine.books import Wish, database_url, matching, opened_books

__all__ = ["SimWish", "database_url", "opened"]


@dataclass(frozen=True, slots=True)
class SimWish(Wish):
    """How a simulated Alpaca is wanted. `rate_limit` requests of an account in a minute, 0 for no limit; `key` is a pair of
    keys beside the default one; `data` is the plan of its market data."""

    rate_limit: int = 200
    key: tuple[str, str] | None = None
    max_connections: int = 2
    text_frames: bool = False
    data: DataOptions = field(default_factory=DataOptions)


@asynccontextmanager
async def opened(wish: SimWish, clock: Clock) -> AsyncIterator[SimApp]:
    """The app over running books, whose database is migrated. Raises BadKeys, OSError, DatabaseUnavailable."""
    async with opened_books(wish, SIM_TERMS, clock) as books:
        facts: dict[str, Any] = {
            "simulates": "alpaca",
            "version": __version__,
            "seed": wish.seed,
            "hours": wish.hours,
            "rate_limit_per_minute": wish.rate_limit,
            "partial_fills": wish.partial_fills,
        }
        sim = create_sim(
            venue=books.venue, db=books.db, market=books.market, hours=books.hours, clock=clock,
            data_dir=wish.data_dir,
            options=SimOptions(rate_limit_per_minute=wish.rate_limit),
            stream_options=StreamOptions(wish.max_connections, wish.text_frames),
            data_options=wish.data,
            seed=wish.seed, sync_ledger=wish.sync_ledger, facts=facts,
        )  # fmt: skip
        if wish.key is not None:
            sim.exchange.accounts.add(*wish.key)
        async with matching(books.venue, clock):
            yield sim
