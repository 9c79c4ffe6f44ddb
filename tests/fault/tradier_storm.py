"""Many orders of every kind from several callers, against a simulated Tradier that fails three times in ten.

`python -m tests.fault.tradier_storm --orders 1000` runs it by itself and prints the tally.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from paiid.brokers.tradier import TradierBroker, TradierTimings
from paiid.domain.calendar import AlwaysOpen
from paiid.sim.engine.serve import running
from paiid.sim.tradier.account_stream import AccountStreamOptions
from paiid.sim.tradier.accounts import SIM_TERMS
from paiid.sim.tradier.app import LEDGER_FILE
from paiid.sim.tradier.fault_kinds import KINDS
from paiid.sim.tradier.world import SimWish, opened
from paiid.wires.tradier.keys import TradierKeys
from tests.fault.storm_world import StormWorld, served
from tests.fault.storms import SHARE, Outcome, Weather, command, play
from tests.fault.tradier_callers import TradierCaller, listed_calls
from tests.moved_clock import away_from_midnight
from tests.tradier_referee import Referee

__all__ = ["SHARE", "WEATHER", "storm", "storm_world"]

TOKEN, NUMBER = "test-token-storm-00000000000000000001", "VA00000077"
LOOKS = TradierTimings(
    working_s=0.3,
    woken_working_s=0.5,
    idle_s=0.8,
    nudged_s=(0.05, 0.2),
    gap_s=0.05,
    again_s=(0.1, 0.2, 0.4),
    first_pause_s=0.1,
    longest_pause_s=0.6,
    stable_s=1.0,
    refused_pause_s=0.5,
    not_offered_pause_s=1.0,
    # The simulator's heartbeat comes once a second here.
    silence_s=2.5,
    reply_s=1.0,
    request_s=0.8,
)
PLENTY: dict[str, Any] = {"rate_limit": 100_000}
"""With a limit of 0 it would tell of none, and the adapter would go by those it knows of."""
WEATHER = Weather(
    KINDS,
    ("submit", "replace", "cancel", "lookup", "list", "activities", "session", "accepted", "stream"),
    {"late_rejection": {"delay_ms": 40}, "filled_without_price": {"lag_ms": 300}},
    # A day that ends while the clock says that it goes on, and previews, of which the service asks for none.
    spared=frozenset({"day_rollover", "preview_down"}),
    scaled={"accepted": 0.25},
    spells=2,
)


@asynccontextmanager
async def storm_world(
    directory: Path, database_url: str, seed: int, adapter: type[TradierBroker], limits: dict[str, Any]
) -> AsyncIterator[StormWorld]:
    """Over a simulator whose account is rich, and which plays no fault yet; `limits` say how it counts requests. Both
    databases are there and migrated."""
    clock = away_from_midnight()
    async with AsyncExitStack() as stack:
        wish = SimWish(
            directory / "sim", seed=seed, **limits,
            stream=AccountStreamOptions(heartbeat_s=1.0),
        )  # fmt: skip
        sim = await stack.enter_async_context(opened(wish, clock))
        sim.exchange.accounts.add(TOKEN, NUMBER, replace(SIM_TERMS, starting_cash=Decimal(50_000_000)))
        url = await stack.enter_async_context(running(sim))
        keys = TradierKeys(TOKEN, f"{url}/v1", url.replace("http", "ws", 1) + "/v1", account_id=NUMBER)
        broker = adapter(
            clock, keys, lookup_lag_s=0.3, refusal_lookup_delay_s=0.3, timings=LOOKS, hours=AlwaysOpen()
        )
        app = await stack.enter_async_context(served(database_url, directory, seed, broker, clock))
        referee = Referee(sim.exchange.db, directory / "sim" / LEDGER_FILE, app.state.db)
        world = StormWorld(sim, url, app, await app.owner(), referee)
        world.calls = await listed_calls(world)
        await world.ready()
        yield world


async def storm(
    directory: Path,
    database_url: str,
    orders: int,
    *,
    share: float = SHARE,
    seed: int = 1,
    adapter: type[TradierBroker] = TradierBroker,
    patience_s: float = 40.0,
    limits: dict[str, Any] = PLENTY,
) -> Outcome:
    """Play it to the end: what came of it, and every way in which ledger and broker still differ."""
    async with storm_world(directory, database_url, seed, adapter, limits) as world:
        return await play(
            world, WEATHER, TradierCaller, orders, share=share, seed=seed, patience_s=patience_s
        )


if __name__ == "__main__":
    sys.exit(command("tests.fault.tradier_storm", storm, sys.argv[1:]))
