"""The whole service over a simulated broker in the same process, with real sockets between them, for many orders."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import httpx2

from paiid.app import create_app
from paiid.brokers import Broker
from paiid.core.clock import Clock
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.market import SimMarket
from paiid.trading.timings import Timings
from tests.both_books import BothBooks
from tests.conftest import _running
from tests.world import App, Client, make_settings

PATIENCE_S = 40.0
"""Only guards against hanging."""
STORMY = Timings(
    # As long as a commit may take on a busy machine: what passes it is not sent, and proves nothing.
    send_window_s=3.0,
    # The whole of it shares one loop with the simulator and eight callers: an answer takes its time without a fault, too.
    broker_deadline_s=1.0,
    call_budget_s=5.0,
    unknown_wait_s=0.2,
    # Longer than the simulator of a busy machine may keep an order on its way: what comes behind it halts the account.
    horizon_s=12.0,
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


class Simulator(Protocol):
    """What a storm needs of a simulated broker, whichever it is."""

    market: SimMarket
    faults: FaultBook


@dataclass
class StormWorld:
    """The simulator, the app whose broker it is, and its owner."""

    sim: Simulator
    url: str
    app: App
    owner: Client
    referee: BothBooks
    asked: list[tuple[httpx2.Request, bytes]] = field(default_factory=list)
    """Final answers, with the requests that must be answered so for ever."""
    calls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Option contracts around the price of each symbol, by strike, where a storm trades such."""

    def price(self, symbol: str) -> Decimal:
        """About what it costs now, to the cent."""
        quote = self.sim.market.newest(symbol)
        assert quote is not None
        return round(quote.ask, 2)

    async def get(self, path: str) -> dict[str, Any]:
        """An answer. Where no reader of the database of a busy machine comes free in time, it is asked again."""
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await self.owner.get(path)).status_code == 503:
                await asyncio.sleep(0.3)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def order(self, order_id: str) -> dict[str, Any]:
        """One order as it is told now."""
        return await self.get(f"/api/trading/orders/{order_id}")

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
                told = await self.get("/api/account")
                known = told.get("broker") == self.referee.broker
                if known and told["reconciled_at"] and not told["only_reduces"]:
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def served(
    database_url: str, directory: Path, seed: int, broker: Broker, clock: Clock
) -> AsyncIterator[App]:
    """The app over this broker."""
    settings = make_settings(database_url, directory, broker=broker.name, sim_seed=seed)
    application = create_app(settings, broker=broker, timings=STORMY, clock=clock)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_running(application))
        yield await stack.enter_async_context(App(application, settings))
