"""Three replicas as processes over one PostgreSQL and one Valkey, orders that never cease, and clients on each."""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from paiid.feeds.simulated.listing import LISTINGS
from tests.fault.nursery import Nursery
from tests.fault.outages import fresh_database
from tests.fault.processes import Server, settle
from tests.fault.stream_listeners import EventsListener, Listener, SlowListener, SocketListener
from tests.fault.stream_trader import Trader, Tried
from tests.servers import PostgresServer, ValkeyServer
from tests.world import PASSWORD

REPLICAS = 3
SYMBOLS = ("AAPL", "KO", "PEP", "SPY")
MANY = tuple(LISTINGS)[:12]
HEARTBEAT_S = "1.0"
"""Of these servers, so that there are some."""
_KEYS = itertools.count()
_L = TypeVar("_L", bound=Listener)


@dataclass
class Fleet:
    """The servers, some of which may be dead, and who listens."""

    servers: list[Server]
    token: str = ""
    account: str = ""
    traders: list[Trader] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    _clients: dict[int, httpx2.AsyncClient] = field(default_factory=dict)
    _postgres: PostgresServer | None = None
    _valkey: ValkeyServer | None = None
    _working: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def postgres(self) -> PostgresServer:
        """The database of several."""
        assert self._postgres is not None
        return self._postgres

    @property
    def valkey(self) -> ValkeyServer:
        """The bus of several."""
        assert self._valkey is not None
        return self._valkey

    # -- asking -----------------------------------------------------------------------------------------

    async def get(self, at: int, path: str) -> Any:
        """An answer of one server."""
        answer = await self.client(at).get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def client(self, at: int) -> httpx2.AsyncClient:
        """Of one server; kept, for making one takes longer than asking."""
        if at not in self._clients:
            self._clients[at] = self.servers[at].client()
        return self._clients[at]

    async def status(self, at: int) -> dict[str, Any]:
        """How one server says that its streams are."""
        found: dict[str, Any] = await self.get(at, "/api/stream/status")
        return found

    async def leader(self) -> int:
        """The server that listens to the market, once all of them know of it and hear each other."""
        async with asyncio.timeout(20):
            while True:
                found = [await self.status(at) for at in range(len(self.servers))]
                leads = [at for at, one in enumerate(found) if one["feed"]["leads"]]
                epochs = {one["feed"]["epoch"] for one in found}
                if len(leads) == 1 and len(epochs) == 1 and all(one["bus"]["up"] for one in found):
                    return leads[0]
                await asyncio.sleep(0.05)

    async def rest(self, at: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """All orders and positions as one server answers."""
        orders: list[dict[str, Any]] = []
        after = ""
        while True:
            page = await self.get(
                at, f"/api/trading/orders?account={self.account}&limit=200" + (after and f"&after={after}")
            )
            orders += page["data"]
            if page["next"] is None:
                break
            after = page["next"]
        positions = await self.get(at, f"/api/portfolio/positions?account={self.account}")
        return orders, positions

    # -- clients ----------------------------------------------------------------------------------------

    def socket(
        self, at: int, name: str = "socket", token: str = "", symbols: Any = SYMBOLS
    ) -> SocketListener:
        """A WebSocket that begins at one server."""
        args = (self.servers, at, token or self.token, self.account, f"{name} {at}")
        return self._begun(SocketListener(*args, symbols=symbols))

    def slow(self, at: int, name: str, pace_s: float | None, symbols: Any = SYMBOLS) -> SlowListener:
        """A WebSocket that does not read yet, or a message each `pace_s`."""
        args = (self.servers, at, self.token, self.account, f"{name} {at}")
        return self._begun(SlowListener(*args, pace_s=pace_s, symbols=symbols))

    def events(self, at: int, name: str = "events", token: str = "") -> EventsListener:
        """A stream of server-sent events."""
        return self._begun(
            EventsListener(self.servers, at, token or self.token, self.account, f"{name} {at}")
        )

    def _begun(self, listener: _L) -> _L:
        self.listeners.append(listener)
        listener.begin()
        return listener

    async def everywhere(self) -> list[SocketListener]:
        """A WebSocket and a stream of events on each server; all have heard something of everything."""
        sockets = []
        for at in range(len(self.servers)):
            sockets.append(self.socket(at))
            self.events(at)
        await self.settled()
        return sockets

    async def settled(self) -> None:
        """Until everybody is subscribed, and has a quote of every symbol."""
        for one in self.listeners:
            await one.until(lambda it: it.subscribed)
            if isinstance(one, SocketListener):
                await one.until(lambda it: set(it.symbols) <= it.referee.quotes.keys())

    # -- orders -----------------------------------------------------------------------------------------

    @property
    def tried(self) -> list[Tried]:
        """Every answer to every trader, the oldest first."""
        return sorted((one for trader in self.traders for one in trader.tried), key=lambda one: one.at_s)

    def orders_answered(self) -> set[str]:
        """The orders of every final answer so far."""
        return {order["id"] for one in self.tried if one.status == 200 for order in one.body["orders"]}

    async def final_answers(self, count: int, since: int | None = None) -> None:
        """Until so many more orders have been answered finally."""
        since = len(self.tried) if since is None else since
        async with asyncio.timeout(60):
            while sum(one.status == 200 for one in self.tried[since:]) < count:
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def trading(
        self, through: Sequence[int] = range(REPLICAS), pause_s: float = 0.05
    ) -> AsyncIterator[None]:
        """Orders all the while through some of the servers; afterwards it is quiet, and everybody must know all there is."""
        servers = [one for at, one in enumerate(self.servers) if at in through]
        self.traders = [Trader(servers, symbol, pause_s) for symbol in ("KO", "PEP")]
        self._working = [asyncio.create_task(one.run()) for one in self.traders]
        try:
            yield
        finally:
            for one in self.traders:
                one.ending.set()
            await asyncio.gather(*self._working)
        await self.judge()

    async def judge(self) -> None:
        """The referees' word: no fault on the way, and in the end what everybody believes is what is answered."""
        at = next(at for at, one in enumerate(self.servers) if one.running)
        differences: list[str] = ["nothing was asked yet"]
        end_s = time.monotonic() + 15
        while differences and time.monotonic() < end_s:
            orders, positions = await self.rest(at)
            differences = [
                f"{one.referee.name}: {words}"
                for one in self.listeners
                for words in one.referee.differences(orders, positions)
            ]
            await asyncio.sleep(0.1 if differences else 0)
        assert differences == [], differences[:5]
        assert orders
        await self._judge_quotes()
        for one in self.listeners:
            assert one.referee.faults == [], one.referee.faults[:5]
            assert one.referee.log_resets() == [], one.referee.resets

    async def _judge_quotes(self) -> None:
        """Each symbol's newest is, at some moment, the one that its server shows: both move on."""
        wanted = {one: set(one.symbols) for one in self.listeners if isinstance(one, SocketListener)}
        end_s = time.monotonic() + 15
        while any(wanted.values()):
            for at in {one.at for one, left in wanted.items() if left}:
                symbols = set[str]().union(*(left for one, left in wanted.items() if one.at == at))
                answer = await self.get(at, f"/api/market/quotes?symbols={','.join(sorted(symbols))}")
                quotes = {one["symbol"]: one for one in answer}
                await asyncio.sleep(0.02)
                for one in wanted:
                    if one.at == at:
                        wanted[one] &= set(one.referee.stale_quotes(quotes))
            assert time.monotonic() < end_s, wanted

    # -- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Whoever is dead lives again."""
        dead = [one for one in self.servers if not one.running]
        if len(dead) == len(self.servers):
            # It brings the database up.
            await dead.pop(0).start()
        await asyncio.gather(*(one.start() for one in dead))
        if not self.token:
            await self.servers[0].sign_in()
            self.token = self.servers[0].token
            for one in self.servers:
                one.token = self.token
            self.account = (await self.get(0, "/api/accounts"))[0]["id"]

    async def hang_up(self) -> None:
        """Nobody listens any more."""
        listeners, self.listeners = self.listeners, []
        await asyncio.gather(*(one.end() for one in listeners))
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def fill_the_log(self, calls: int) -> None:
        """Ten orders a call, so that the account has much to tell."""
        body = {"orders": [{"symbol": "KO", "side": "buy", "qty": 1}] * 10}
        keys = [f"fill-{next(_KEYS):06d}" for _ in range(calls)]
        answers = await asyncio.gather(*(settle(self.client(0), key, body) for key in keys))
        assert {one.status_code for one in answers} == {200}

    async def viewer(self, email: str) -> str:
        """A token of somebody else who may look at the account."""
        client = self.client(0)
        body = {"email": email, "password": PASSWORD, "role": "viewer"}
        made = await client.post("/api/users", json=body)
        assert made.status_code == 201, made.text
        grant = f"/api/accounts/{self.account}/grants/{made.json()['id']}"
        assert (await client.put(grant, json={"access": "view"})).status_code == 200
        signed_in = await client.post("/auth/login", json={"email": email, "password": PASSWORD})
        token: str = signed_in.json()["access_token"]
        return token


@contextlib.contextmanager
def built(nursery: Nursery, home: Path) -> Iterator[Fleet]:
    """Database and bus are there; no server is, yet. Ends all of them."""
    # What is committed outlives a crash of this server, which is not so with the options of the other tests.
    postgres, valkey = PostgresServer(options=("synchronous_commit=on",)), ValkeyServer()
    servers: list[Server] = []
    try:
        postgres.start()
        valkey.start()
        url = asyncio.run(fresh_database(postgres))
        environ = {
            "REDIS_URL": valkey.url,
            "BROKER_DEADLINE_S": "3",
            "STREAM_HEARTBEAT_S": HEARTBEAT_S,
        }
        servers += [Server(nursery, url, home / f"replica-{at}", dict(environ)) for at in range(REPLICAS)]
        yield Fleet(servers, _postgres=postgres, _valkey=valkey)
    finally:
        for one in servers:
            if one.running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
        valkey.remove()
        postgres.remove()
