"""The whole service over a simulated Alpaca in the same process, with real sockets between them, for many orders."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from paiid.app import create_app
from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys, StreamTimings
from paiid.core.clock import SystemClock
from paiid.sim.alpaca.accounts import SIM_TERMS
from paiid.sim.alpaca.app import LEDGER_FILE, SimApp
from paiid.sim.alpaca.serve import running
from paiid.sim.alpaca.world import SimWish, opened
from paiid.trading.timings import Timings
from tests.alpaca_referee import Referee
from tests.conftest import _running
from tests.world import App, Client, make_settings

KEY_ID, SECRET = "PKTESTSTORM000000001", "test-secret-storm-0000000000000000000001"
PATIENCE_S = 40.0
"""Only guards against hanging."""
STORMY = Timings(
    send_window_s=2.0,
    # The whole of it shares one loop with the simulator and eight callers: an answer takes its time without a fault, too.
    broker_deadline_s=1.0,
    call_budget_s=5.0,
    unknown_wait_s=0.2,
    horizon_s=6.0,
    sweep_s=0.2,
    dispatch_slack_s=0.3,
    first_lookups_s=(0.1, 0.3, 0.6),
    late_lookup_s=0.5,
    watch_lookup_s=0.3,
    update_retry_s=0.1,
    poll_s=0.4,
    stream_late_s=0.8,
    compare_s=3.0,
    recompare_s=1.0,
)
STREAM = StreamTimings(
    first_pause_s=0.1, longest_pause_s=0.6, stable_s=1.0, unauthorized_pause_s=0.5, reply_s=1.0, ping_s=0.5,
    silence_s=1.0, request_s=0.6, reread_pause_s=0.1,
)  # fmt: skip


@dataclass
class StormWorld:
    """The simulator, the app whose broker it is, and its owner."""

    sim: SimApp
    url: str
    app: App
    owner: Client
    referee: Referee
    asked: list[tuple[httpx2.Request, bytes]] = field(default_factory=list)
    """Final answers, with the requests that must be answered so for ever."""

    def price(self, symbol: str) -> Decimal:
        """About what it costs now, to the cent."""
        quote = self.sim.market.newest(symbol)
        assert quote is not None
        return round(quote.ask, 2)

    async def order(self, order_id: str) -> dict[str, Any]:
        """One order as it is told now."""
        found: dict[str, Any] = (await self.owner.get(f"/api/trading/orders/{order_id}")).json()
        return found

    async def quiesce(self) -> None:
        """Until the simulator does nothing by itself any more."""
        async with httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, timeout=PATIENCE_S
        ) as client:
            answer = await client.post("/sim/quiesce", json={"timeout_s": PATIENCE_S - 5})
        assert answer.json()["quiet"], answer.text

    async def ready(self) -> None:
        """Until the account is there, and its books agree."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = (await self.owner.get("/api/account")).json()
                if told.get("broker") == "alpaca" and told["reconciled_at"] and not told["only_reduces"]:
                    return
                await asyncio.sleep(0.05)


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
        settings = make_settings(database_url, directory, broker="alpaca", sim_seed=seed)
        application = create_app(settings, broker=broker, timings=STORMY, clock=clock)
        await stack.enter_async_context(_running(application))
        app = await stack.enter_async_context(App(application, settings))
        referee = Referee(sim.exchange.db, directory / "sim" / LEDGER_FILE, app.state.db)
        world = StormWorld(sim, url, app, await app.owner(), referee)
        await world.ready()
        yield world
