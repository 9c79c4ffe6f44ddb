"""The whole service over a simulated Tradier in the same process, with real sockets in between and short waits."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import httpx2

from paiid.app import create_app
from paiid.brokers import Broker, BrokerOrderView
from paiid.brokers.tradier import TradierBroker, TradierKeys, TradierTimings
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.calendar import AlwaysOpen
from paiid.sim.engine.market import DEEP
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from paiid.sim.tradier.app import SimApp
from paiid.sim.tradier.world import SimWish, opened
from paiid.trading.timings import Timings
from tests.alpaca_gate import Gate
from tests.alpaca_world import BRISK, CENT, PATIENCE_S, Meddle
from tests.conftest import _running
from tests.moved_clock import away_from_midnight, later_s, move_database
from tests.world import App, Client, make_settings

BRISK_LOOKS = TradierTimings(
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
    # The simulator's heartbeat comes once a minute.
    silence_s=90.0,
    reply_s=1.0,
    request_s=0.8,
)
PLENTY = 50_000
"""Requests a minute: without a limit in the headers, the adapter would hold itself to Tradier's own."""
_VENUE_S = 5.0


def keys_of(url: str, stream: str | None = None, token: str = DEFAULT_TOKEN) -> TradierKeys:
    """The simulator's default token; the stream may be reached on another line."""
    return TradierKeys(
        token, f"{url}/v1", (stream or url).replace("http", "ws", 1) + "/v1", account_id=DEFAULT_ACCOUNT
    )


def brisk_broker(clock: Clock, keys: TradierKeys, **more: Any) -> TradierBroker:
    """The adapter with short waits, in a market that never closes."""
    chosen: dict[str, Any] = {
        "lookup_lag_s": 0.1, "refusal_lookup_delay_s": 0.1, "timings": BRISK_LOOKS, "hours": AlwaysOpen(),
    }  # fmt: skip
    return TradierBroker(clock, keys, **{**chosen, **more})


@asynccontextmanager
async def simulator(
    data: Path, template: Path, clock: Clock, **wish: Any
) -> AsyncIterator[tuple[SimApp, str]]:
    """A simulator on a socket, with its books in this directory; its URL. `wish` is more of `SimWish`."""
    data.mkdir(parents=True, exist_ok=True)
    if not (data / "sim.db").exists():
        shutil.copy(template, data / "sim.db")
    wanted = SimWish(data, **{"rate_limit": PLENTY, "partial_fills": 0.0, **wish})
    async with opened(wanted, clock) as sim, running(sim) as url:
        yield sim, url


class TradierWorld:
    """An app with its owner, and the simulator that is its broker. `rest` and `stream` are the lines between them."""

    def __init__(self, sim: SimApp, url: str, app: App, owner: Client, rest: Gate, stream: Gate) -> None:
        self.sim, self.url, self.app, self.owner = sim, url, app, owner
        self.rest, self.stream = rest, stream
        self.db: Database = app.state.db
        self.number = DEFAULT_ACCOUNT
        self.account = ""
        self.broker: Broker
        self.adapter: TradierBroker
        self.asked: list[tuple[httpx2.Request, bytes]] = []
        """Final answers, with the requests that must be answered so for ever."""
        self.doubted: list[dict[str, Any]] = []
        """Orders of answers that were not final."""

    # -- the market and its faults ------------------------------------------------------------------

    def price(self, symbol: str) -> Decimal:
        """About what it costs now, to the cent."""
        quote = self.sim.market.newest(symbol)
        assert quote is not None
        return quote.ask.quantize(CENT, ROUND_HALF_UP)

    def pin(self, symbol: str, price: Decimal | None = None, *, size: int | None = None) -> Decimal:
        """Show one price until told otherwise, and so many shares on either side; the price."""
        at = self.price(symbol) if price is None else price.quantize(CENT, ROUND_HALF_UP)
        shares = DEEP if size is None else Decimal(size)
        self.sim.market.pin(symbol, at - CENT, at, shares, shares)
        return at

    def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.sim.faults.add({"kind": kind, **wish})

    def played(self) -> int:
        """How many faults have been played so far."""
        return sum(self.sim.faults.played.values())

    async def until_played(self, before: int) -> None:
        """Until another fault than these has been played: one that never is proves nothing."""

        async def more() -> bool:
            return self.played() > before

        await self.until(more)

    # -- orders -------------------------------------------------------------------------------------

    async def final(self, method: str, path: str, key: str, **kw: Any) -> dict[str, Any]:
        """Ask under a key until the answer is final, and remember it."""
        headers = {
            "Idempotency-Key": key,
            "Authorization": f"Bearer {self.owner.token}",
            **kw.pop("headers", {}),
        }
        async with asyncio.timeout(PATIENCE_S):
            while True:
                request = self.app.http.build_request(method, path, headers=headers, **kw)
                answer = await self.app.http.send(request)
                # 429: there was no place in the broker's budget, and the same key tries again.
                # 503: it found no turn at the database of a busy machine, and nothing was done.
                if answer.status_code not in (202, 409, 429, 503):
                    break
                if answer.status_code == 202:
                    self.doubted += answer.json()["orders"]
                await asyncio.sleep(0.05)
        assert answer.status_code == 200, answer.text
        self.asked.append((request, answer.content))
        found: dict[str, Any] = answer.json()
        return found

    async def execute(self, *wanted: dict[str, Any], key: str | None = None) -> list[dict[str, Any]]:
        """The orders of a call as they have come out."""
        name = key or f"test-{secrets.token_hex(8)}"
        answer = await self.final("POST", "/api/trading/execute", name, json={"orders": list(wanted)})
        told: list[dict[str, Any]] = answer["orders"]
        return told

    async def order(self, order_id: str) -> dict[str, Any]:
        """One order as it is told now."""
        found: dict[str, Any] = (await self.owner.get(f"/api/trading/orders/{order_id}")).json()
        return found

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for something that must come."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await holds()):
                await asyncio.sleep(0.02)
            return found

    async def until_status(self, order_id: str, *statuses: str) -> dict[str, Any]:
        """The order once its status is one of these."""

        async def has() -> dict[str, Any] | None:
            one = await self.order(order_id)
            return one if one["status"] in statuses else None

        found: dict[str, Any] = await self.until(has)
        return found

    async def by_hand(self, method: str, path: str, **kw: Any) -> httpx2.Response:
        """What the account's owner does at the broker himself, past us; `path` is behind his account's, such as
        `/orders`, and a form is `data`."""
        headers = {"authorization": f"Bearer {DEFAULT_TOKEN}", "accept": "application/json"}
        async with httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, headers=headers
        ) as client:
            answer = await client.request(method, f"/v1/accounts/{self.number}{path}", **kw)
        assert answer.is_success, answer.text
        return answer

    async def told_there(self, broker_order_id: str) -> dict[str, Any]:
        """The order as the simulator tells it over HTTP."""
        answer = await self.by_hand("GET", f"/orders/{broker_order_id}?includeTags=true")
        found: dict[str, Any] = answer.json()["order"]
        return found

    async def until_there(self, broker_order_id: str, *statuses: str) -> None:
        """Wait until the broker, whatever it tells us, has the order in one of these statuses of its own."""

        async def has() -> bool:
            return (await self.told_there(broker_order_id))["status"] in statuses

        await self.until(has)

    async def until_listened_to(self) -> None:
        """Until somebody listens to the updates: a fault of the stream needs an update that is sent to somebody."""

        async def listens() -> bool:
            return any(self.sim.stream.connections.values())

        await self.until(listens)

    # -- the end of a case --------------------------------------------------------------------------

    async def quiesce(self) -> None:
        """Until the simulator does nothing by itself any more."""
        async with httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, timeout=PATIENCE_S
        ) as client:
            answer = await client.post("/sim/quiesce", json={"timeout_s": PATIENCE_S - 5})
        assert answer.json()["quiet"], answer.text

    async def working(self) -> Sequence[BrokerOrderView]:
        """What works at the broker, past its wire: the orders of its venue."""
        return await self.sim.exchange.venue.fetch_open_orders(self.number, _VENUE_S)

    async def cancel_all(self) -> None:
        """Cancel everything through the service, until nothing works at the broker."""
        answer = await self.owner.delete("/api/trading/orders")
        assert answer.status_code == 200, answer.text

        async def gone() -> bool:
            return not await self.working()

        await self.until(gone)

    async def ready(self) -> None:
        """Until the account is there, and its books agree."""

        async def open_() -> bool:
            rows = (await self.owner.get("/api/accounts")).json()
            (found,) = [one for one in rows if one["broker"] == "tradier"] or [None]
            self.account = "" if found is None else found["id"]
            return found is not None and found["reconcile_problem"] is None

        await self.until(open_)


@asynccontextmanager
async def tradier_world(
    database_url: str,
    directory: Path,
    template: Path,
    *,
    timings: Timings = BRISK,
    meddle: Meddle = lambda inner: inner,
    clock: Clock | None = None,
    wish: dict[str, Any] | None = None,
    looks: TradierTimings = BRISK_LOOKS,
    **broker: Any,
) -> AsyncIterator[TradierWorld]:
    """The app over a migrated database with a simulator of its own (`wish`: how it differs, as in `SimWish`); `meddle` gets
    between adapter and service, `looks` are the adapter's waits, `broker` is more of its own. Without a clock it is not near midnight, nor is the database."""
    the_clock = clock or away_from_midnight()
    if clock is None and database_url.startswith("postgresql"):
        await move_database(database_url, later_s())
    async with AsyncExitStack() as stack:
        sim, url = await stack.enter_async_context(
            simulator(directory / "sim", template, the_clock, **(wish or {}))
        )
        rest, stream = Gate(int(url.rpartition(":")[2])), Gate(int(url.rpartition(":")[2]))
        for gate in (rest, stream):
            await gate.mend()
            stack.push_async_callback(gate.cut)
        keys = keys_of(f"http://127.0.0.1:{rest.port}", stream=f"http://127.0.0.1:{stream.port}")
        settings = make_settings(database_url, directory, broker="tradier")
        bare = brisk_broker(the_clock, keys, timings=looks, **broker)
        adapter = meddle(bare)
        application = create_app(settings, broker=adapter, timings=timings, clock=the_clock)
        await stack.enter_async_context(_running(application))
        app = await stack.enter_async_context(App(application, settings))
        world = TradierWorld(sim, url, app, await app.owner(), rest, stream)
        world.broker, world.adapter = adapter, bare
        await world.ready()
        yield world
