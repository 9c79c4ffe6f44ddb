"""Replicas as processes on one token of a simulated Tradier that counts, and callers who retry as a client should."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.both_books import BothBooks
from tests.fault.processes import Server, execute
from tests.fault.stream_listeners import SocketListener
from tests.tradier_counted import CountedTradier
from tests.tradier_referee import referee_of

PATIENCE_S = 60.0
"""For what must come; only guards against hanging."""
_KEYS = itertools.count()


@dataclass(frozen=True, slots=True)
class Told:
    """One answer to an order. `status` 0: the connection broke."""

    key: str
    at: int
    status: int
    body: Any
    retry_after: str | None


@dataclass
class TradierFleet:
    """The servers, some of which may be dead, and all that was asked of them."""

    tradier: CountedTradier
    database_url: str
    servers: Sequence[Server]
    account: str = ""
    told: list[Told] = field(default_factory=list)
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    finals: dict[str, Any] = field(default_factory=dict)
    listeners: list[SocketListener] = field(default_factory=list)
    _clients: dict[int, httpx2.AsyncClient] = field(default_factory=dict)

    # -- life ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The first one alone, until it leads in everything; then the others."""
        first, *others = self.servers
        await first.start()
        await first.sign_in()
        for one in others:
            one.token = first.token
        await self.until(lambda: self.tradier.listeners == (1, 1), "the first one listens")
        await asyncio.gather(*(one.start() for one in others))
        await self.until_compared(0)

    async def until_compared(self, at: int) -> None:
        """Until the account is there and its books agree."""

        async def agrees() -> bool:
            rows = (await self.client(at).get("/api/accounts")).json()
            found = [one for one in rows if one["broker"] == "tradier"]
            self.account = found[0]["id"] if found else ""
            return bool(found) and found[0]["reconcile_problem"] is None

        async with asyncio.timeout(PATIENCE_S):
            while not await agrees():
                await asyncio.sleep(0.05)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for what must come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            logs = "\n".join(one.output() for one in self.servers)
            raise AssertionError(f"never: {what}; {self.tradier.listeners}\n{logs}") from None

    def client(self, at: int) -> httpx2.AsyncClient:
        """Of one server; kept."""
        if at not in self._clients:
            self._clients[at] = self.servers[at].client(timeout_s=10.0)
        return self._clients[at]

    @property
    def alive(self) -> list[int]:
        """Servers that run."""
        return [at for at, one in enumerate(self.servers) if one.running]

    async def bus_is(self, up: bool) -> None:
        """Until every server knows that the bus is up, or that it is not."""
        await self._all_say(lambda status: status["bus"]["up"] is up)

    async def feed_is_up(self) -> None:
        """Until every server says that market data come."""
        await self._all_say(lambda status: status["feed"]["status"] == "up")

    async def _all_say(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        async def says(at: int) -> bool:
            return holds((await self.client(at).get("/api/stream/status")).json())

        async with asyncio.timeout(PATIENCE_S):
            while not all([await says(at) for at in self.alive]):
                await asyncio.sleep(0.05)

    def listen(self, at: int, *symbols: str) -> SocketListener:
        """A WebSocket of one server, which is the only one that it goes to."""
        one = SocketListener(
            [self.servers[at]], 0, self.servers[at].token, self.account, f"socket {at}", symbols=symbols
        )
        self.listeners.append(one)
        one.begin()
        return one

    async def end(self) -> None:
        """Hang up."""
        for one in self.listeners:
            await one.end()
        for client in self._clients.values():
            await client.aclose()

    # -- orders -------------------------------------------------------------------------------------

    async def ask(self, key: str, order: dict[str, Any], at: int) -> None:
        """Ask one server once, whatever it answers."""
        self.asked[key] = order
        told = await self._ask(at, key)
        if told.status == 200:
            self.finals[key] = told.body

    async def settle(self, key: str, order: dict[str, Any], at: int | None = None) -> Any:
        """Ask under a key, of one server or of whichever lives, until the answer is final; that."""
        self.asked[key] = order
        turns = itertools.count(next(_KEYS))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                here = self.alive if at is None else [at]
                if not here:
                    await asyncio.sleep(0.1)
                    continue
                told = await self._ask(here[next(turns) % len(here)], key)
                if told.status not in (0, 202, 409, 429, 503):
                    assert told.status == 200, told
                    self.finals[key] = told.body
                    return told.body
                await asyncio.sleep(0.25 if told.status == 429 else 0.1)

    async def settle_all(self) -> None:
        """Every key that has no final answer yet."""
        left = self.asked.keys() - self.finals.keys()
        await asyncio.gather(*(self.settle(key, self.asked[key]) for key in sorted(left)))

    def orders(self) -> list[dict[str, Any]]:
        """All that were answered finally."""
        return [order for body in self.finals.values() for order in body["orders"]]

    async def _ask(self, at: int, key: str) -> Told:
        body = {"orders": [self.asked[key]], "account": self.account}
        try:
            answer = await execute(self.client(at), key, body)
        except httpx2.TransportError:
            told = Told(key, at, 0, None, None)
        else:
            told = Told(key, at, answer.status_code, answer.json(), answer.headers.get("retry-after"))
        self.told.append(told)
        return told

    @asynccontextmanager
    async def trading(self, callers: int, pause_s: float = 0.1) -> AsyncIterator[None]:
        """Callers who never cease to order, one order after the other, through whichever replica there is."""
        ending = asyncio.Event()

        async def call(number: int) -> None:
            while not ending.is_set():
                await self.settle(f"fleet-{next(_KEYS):06d}", order_of(number))
                await asyncio.sleep(pause_s)

        tasks = [asyncio.create_task(call(number)) for number in range(callers)]
        try:
            yield
        finally:
            ending.set()
            await asyncio.gather(*tasks)

    @property
    def accepted(self) -> int:
        """Orders that were placed."""
        return sum(order["state"] == "ACCEPTED" for order in self.orders())

    def reasons(self) -> set[str]:
        """Why orders were rejected."""
        return {one["reason"]["code"] for one in self.orders() if one["state"] == "REJECTED"}

    async def left_for_orders(self, at: int) -> int:
        """How many orders this server believes that Tradier would take now."""
        told = (await self.client(at).get("/api/health/detailed")).json()
        (left,) = [one["left_for_orders"] for one in told["budgets"] if one["name"] == "tradier trading"]
        return int(left)

    # -- the end ------------------------------------------------------------------------------------

    async def judge(self) -> None:
        """Every answer is replayed and true: what was accepted was placed once, what was not never; and the books agree."""
        assert all(one.retry_after is not None for one in self.told if one.status == 429)
        for key, body in list(self.finals.items()):
            assert await self.settle(key, self.asked[key]) == body
        self.assert_placed_once()
        async with referee_of(self.tradier.directory, self.database_url) as referee:
            await self._agreed(referee)

    def assert_placed_once(self) -> None:
        """By the simulator's ledger."""
        placed = self.tradier.placed()
        assert not [tag for tag, times in placed.items() if times > 1]
        orders = self.orders()
        for order in orders:
            assert placed[order["client_order_id"]] == (order["state"] == "ACCEPTED"), order
        assert len(placed) == self.accepted

    async def _agreed(self, referee: BothBooks) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_S
        while wrong := await referee.differences():
            assert loop.time() < end, wrong
            await asyncio.sleep(0.1)


def order_of(number: int) -> dict[str, Any]:
    """Of each kind some: bought at the market, or resting."""
    if number % 3 == 2:
        return {"symbol": "PEP", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.00}
    return {"symbol": "KO", "side": "buy", "qty": 1}
