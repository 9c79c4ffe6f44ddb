"""The whole service over a simulated Alpaca in the same process, with real sockets in between and short deadlines."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import httpx2

from paiid.app import create_app
from paiid.brokers import Broker
from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys, StreamTimings
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import Database
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.app import LEDGER_FILE, SimApp
from paiid.sim.alpaca.ids import wire_id
from paiid.sim.alpaca.world import SimWish, opened
from paiid.sim.engine.market import DEEP
from paiid.sim.engine.serve import running
from paiid.trading.timings import Timings
from tests.alpaca_gate import Gate
from tests.alpaca_referee import Referee, changed_answers
from tests.conftest import _running
from tests.orders_world import QUICK
from tests.world import App, Client, make_settings

PATIENCE_S = 25.0
"""Only guards against hanging."""
CENT = Decimal("0.01")
BRISK = replace(
    QUICK,
    # As long as a commit may take on a busy machine: what passes it is not sent, which is not what these tests ask.
    send_window_s=2.0,
    # A busy machine may keep an answer that long; what the tests make late is later.
    broker_deadline_s=1.0,
    # More than both together by what a busy machine may keep a request on its way.
    horizon_s=4.0,
    watch_lookup_s=60.0,
    update_retry_s=0.1,
    poll_s=0.4,
    stream_late_s=0.8,
    compare_s=1.0,
    # Longer than a busy machine may need to book a print: two looks that differ would refuse the next order.
    recompare_s=1.0,
)
BRISK_STREAM = StreamTimings(
    first_pause_s=0.1,
    longest_pause_s=0.6,
    stable_s=1.0,
    unauthorized_pause_s=0.5,
    reply_s=1.0,
    ping_s=0.5,
    silence_s=1.0,
    request_s=0.6,
    reread_pause_s=0.1,
)
WORKING = ("NEW", "PARTIALLY_FILLED", "HELD")
Meddle = Callable[[Broker], Broker]


def keys_of(url: str, secret: str = DEFAULT_SECRET, stream: str | None = None) -> AlpacaKeys:
    """The simulator's default pair of keys; the stream may be reached on another line."""
    return AlpacaKeys(
        "paper", DEFAULT_KEY_ID, secret, url, (stream or url).replace("http", "ws", 1) + "/stream"
    )


def brisk_broker(clock: Clock, keys: AlpacaKeys, **more: Any) -> AlpacaBroker:
    """The adapter with short waits."""
    chosen: dict[str, Any] = {"lookup_lag_s": 0.1, "refusal_lookup_delay_s": 0.1, "timings": BRISK_STREAM}
    return AlpacaBroker(clock, [keys], **{**chosen, **more})


@asynccontextmanager
async def simulator(
    data: Path, template: Path, clock: Clock, *, partial_fills: float = 0.0
) -> AsyncIterator[tuple[SimApp, str]]:
    """A simulator on a socket, with its books in this directory; its URL."""
    data.mkdir(parents=True, exist_ok=True)
    if not (data / "sim.db").exists():
        shutil.copy(template, data / "sim.db")
    # Without a limit to tell, the adapter would hold itself to Alpaca's 200 requests a minute.
    wish = SimWish(data, rate_limit=9_000, partial_fills=partial_fills)
    async with opened(wish, clock) as sim, running(sim) as url:
        yield sim, url


class AlpacaWorld:
    """An app with its owner, the simulator that is its broker, and the referee between them."""

    def __init__(
        self, sim: SimApp, url: str, app: App, owner: Client, referee: Referee, rest: Gate, stream: Gate
    ) -> None:
        self.rest = rest
        self.stream = stream
        self.sim = sim
        self.url = url
        self.app = app
        self.owner = owner
        self.referee = referee
        self.db: Database = app.state.db
        self.account = ""
        self.broker: Broker
        self.adapter: AlpacaBroker
        self.asked: list[tuple[httpx2.Request, bytes]] = []
        """Final answers, with the requests that must be answered so for ever."""
        self.doubted: list[dict[str, Any]] = []
        """Orders of answers that were not final."""

    # -- the market ---------------------------------------------------------------------------------

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

    # -- faults -------------------------------------------------------------------------------------

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
        """Ask under a key until the answer is final, and remember it. A broker that takes nothing for a moment, for what a
        case before this one did to its limit, is waited for as any caller would."""
        headers = {
            "Idempotency-Key": key,
            "Authorization": f"Bearer {self.owner.token}",
            **kw.pop("headers", {}),
        }
        async with asyncio.timeout(PATIENCE_S):
            while True:
                request = self.app.http.build_request(method, path, headers=headers, **kw)
                answer = await self.app.http.send(request)
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

    async def until_there(self, broker_order_id: str, *statuses: str) -> None:
        """Wait until the broker, whatever it tells us, has the order in one of these statuses."""

        async def has() -> bool:
            rows = (await self.referee.read()).their_orders
            return any(wire_id(r["id"]) == broker_order_id and r["status"] in statuses for r in rows)

        await self.until(has)

    async def told_there(self, broker_order_id: str) -> dict[str, Any]:
        """The order as the simulator tells it over HTTP."""
        found: dict[str, Any] = (await self.by_hand("GET", f"/v2/orders/{broker_order_id}")).json()
        return found

    async def by_hand(self, method: str, path: str, **kw: Any) -> httpx2.Response:
        """What the account's owner does at the broker himself, past us."""
        keys = {"APCA-API-KEY-ID": DEFAULT_KEY_ID, "APCA-API-SECRET-KEY": DEFAULT_SECRET}
        async with httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, headers=keys
        ) as client:
            answer = await client.request(method, path, **kw)
        assert answer.is_success, answer.text
        return answer

    async def until_listened_to(self) -> None:
        """Until somebody listens to the updates: a fault of the stream needs an update that is sent to somebody."""

        async def listens() -> bool:
            return any(self.sim.hub.audience.counts.values())

        await self.until(listens)

    # -- the end of a case --------------------------------------------------------------------------

    async def quiesce(self) -> None:
        """Until the simulator does nothing by itself any more."""
        async with httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, timeout=PATIENCE_S
        ) as client:
            answer = await client.post("/sim/quiesce", json={"timeout_s": PATIENCE_S - 5})
        assert answer.json()["quiet"], answer.text

    async def agree(self) -> None:
        """Both sides must come to agree, and every final answer must still be what it was."""
        await self.quiesce()
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_S
        while wrong := await self.referee.differences():
            assert loop.time() < end, wrong
            await asyncio.sleep(0.05)
        assert await changed_answers(self.app.http, self.asked) == []

    async def end(self) -> None:
        """After a case: faults off, both sides agree; then everything that works is cancelled, and they agree again."""
        self.sim.faults.remove()
        await self.agree()
        if await self.working():
            answer = await self.owner.delete("/api/trading/orders")
            assert answer.status_code == 200, answer.text

            async def gone() -> bool:
                return not await self.working()

            await self.until(gone)
            await self.agree()
        self.asked.clear()
        # A connection that this case has reset must not be what the next one begins with.
        for session in self.adapter._sessions.all:
            await session.wire.close()

        async def free() -> bool:
            numbers = [one.number for one in self.adapter._sessions.all if one.number is not None]
            return all(self.adapter.order_free_in_s(number) is None for number in numbers)

        # Nor must a budget that it has closed.
        await self.until(free)

    async def working(self) -> int:
        """How many orders work at the broker."""
        return sum(row["status"] in WORKING for row in (await self.referee.read()).their_orders)

    async def ready(self) -> None:
        """Until the account is there, and its books agree."""

        async def open_() -> bool:
            rows = (await self.owner.get("/api/accounts")).json()
            (found,) = [one for one in rows if one["broker"] == "alpaca"] or [None]
            self.account = "" if found is None else found["id"]
            return found is not None and found["reconcile_problem"] is None

        await self.until(open_)


@asynccontextmanager
async def alpaca_world(
    database_url: str,
    directory: Path,
    template: Path,
    *,
    timings: Timings = BRISK,
    meddle: Meddle = lambda inner: inner,
    clock: Clock | None = None,
    partial_fills: float = 0.0,
    **broker: Any,
) -> AsyncIterator[AlpacaWorld]:
    """The app over a migrated database with a simulator of its own; `meddle` gets between adapter and service."""
    the_clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        sim, url = await stack.enter_async_context(
            simulator(directory / "sim", template, the_clock, partial_fills=partial_fills)
        )
        rest, stream = Gate(int(url.rpartition(":")[2])), Gate(int(url.rpartition(":")[2]))
        for gate in (rest, stream):
            await gate.mend()
            stack.push_async_callback(gate.cut)
        keys = keys_of(f"http://127.0.0.1:{rest.port}", stream=f"http://127.0.0.1:{stream.port}")
        settings = make_settings(database_url, directory, broker="alpaca")
        bare = brisk_broker(the_clock, keys, **broker)
        adapter = meddle(bare)
        application = create_app(settings, broker=adapter, timings=timings, clock=the_clock)
        await stack.enter_async_context(_running(application))
        app = await stack.enter_async_context(App(application, settings))
        referee = Referee(sim.exchange.db, directory / "sim" / LEDGER_FILE, app.state.db)
        world = AlpacaWorld(sim, url, app, await app.owner(), referee, rest, stream)
        world.broker, world.adapter = adapter, bare
        await world.ready()
        yield world
