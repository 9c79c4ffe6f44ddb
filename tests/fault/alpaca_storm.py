"""Many orders of every kind from several callers, against a simulated Alpaca that fails three times in ten.

`python -m tests.fault.alpaca_storm --orders 1000` runs it by itself and prints the tally.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys, StreamTimings
from paiid.core.clock import SystemClock
from paiid.sim.alpaca.accounts import SIM_TERMS
from paiid.sim.alpaca.app import LEDGER_FILE
from paiid.sim.alpaca.fault_kinds import KINDS
from paiid.sim.alpaca.world import SimWish, opened
from paiid.sim.engine.serve import running
from tests.alpaca_referee import Referee
from tests.fault.alpaca_callers import AlpacaCaller
from tests.fault.storm_world import StormWorld, served
from tests.fault.storms import SHARE, Outcome, Weather, command, play

__all__ = ["SHARE", "WEATHER", "faults", "storm", "storm_world"]

KEY_ID, SECRET = "PKTESTSTORM000000001", "test-secret-storm-0000000000000000000001"
STREAM = StreamTimings(
    first_pause_s=0.1, longest_pause_s=0.6, stable_s=1.0, unauthorized_pause_s=0.5, reply_s=1.0, ping_s=0.5,
    silence_s=1.0, request_s=0.6, reread_pause_s=0.1,
)  # fmt: skip
WEATHER = Weather(KINDS, ("submit", "replace", "cancel", "lookup", "list", "activities", "stream"))


def faults(share: float, seed: int) -> list[dict[str, Any]]:
    """The wishes of this storm."""
    return WEATHER.faults(share, seed)


@asynccontextmanager
async def storm_world(
    directory: Path, database_url: str, seed: int, adapter: type[AlpacaBroker]
) -> AsyncIterator[StormWorld]:
    """Over a simulator whose account is rich, whose limit on requests is out of reach, and which plays no fault yet.
    Both databases are there and migrated."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        # With a limit of 0 it would tell of none, and the adapter would go by the 200 it knows of.
        wish = SimWish(directory / "sim", seed=seed, rate_limit=100_000)
        sim = await stack.enter_async_context(opened(wish, clock))
        sim.exchange.accounts.add(KEY_ID, SECRET, replace(SIM_TERMS, starting_cash=Decimal(50_000_000)))
        url = await stack.enter_async_context(running(sim))
        keys = AlpacaKeys("paper", KEY_ID, SECRET, url, url.replace("http", "ws", 1) + "/stream")
        broker = adapter(clock, [keys], lookup_lag_s=0.3, refusal_lookup_delay_s=0.3, timings=STREAM)
        app = await stack.enter_async_context(served(database_url, directory, seed, broker, clock))
        referee = Referee(sim.exchange.db, directory / "sim" / LEDGER_FILE, app.state.db)
        world = StormWorld(sim, url, app, await app.owner(), referee)
        await world.ready()
        yield world


async def storm(
    directory: Path,
    database_url: str,
    orders: int,
    *,
    share: float = SHARE,
    seed: int = 1,
    adapter: type[AlpacaBroker] = AlpacaBroker,
    patience_s: float = 40.0,
) -> Outcome:
    """Play it to the end: what came of it, and every way in which ledger and broker still differ."""
    async with storm_world(directory, database_url, seed, adapter) as world:
        return await play(world, WEATHER, AlpacaCaller, orders, share=share, seed=seed, patience_s=patience_s)


if __name__ == "__main__":
    sys.exit(command("tests.fault.alpaca_storm", storm, sys.argv[1:]))
