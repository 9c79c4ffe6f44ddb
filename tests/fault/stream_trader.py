"""Somebody who never ceases to send orders, through whichever replica there is."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.fault.processes import Server, execute

_KEYS = itertools.count()


@dataclass(frozen=True, slots=True)
class Tried:
    """One answer to an order. `status` 0: the connection broke."""

    key: str
    status: int
    at_s: float
    body: Any


class Trader:
    """Sends orders through whichever replica there is, each under a key of its own until the answer is final."""

    def __init__(self, servers: Sequence[Server], symbol: str, pause_s: float) -> None:
        self._servers = servers
        self._symbol = symbol
        self._pause_s = pause_s
        self._random = random.Random(symbol)
        self.tried: list[Tried] = []
        self.ending = asyncio.Event()

    async def run(self) -> None:
        """Buy, sell, and now and then an order that rests."""
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                server.port: await stack.enter_async_context(server.client(timeout_s=10))
                for server in self._servers
            }
            for number in itertools.count():
                if self.ending.is_set():
                    return
                order: dict[str, Any] = {
                    "symbol": self._symbol,
                    "side": ("buy", "sell")[number % 2],
                    "qty": 1,
                }
                if number % 20 == 7:
                    order.update(type="limit", limit_price=round(1.0 + number / 100, 2), side="buy")
                await self._settle(clients, f"stream-{next(_KEYS):06d}", {"orders": [order]})
                await asyncio.sleep(self._pause_s)

    async def _settle(self, clients: dict[int, httpx2.AsyncClient], key: str, body: dict[str, Any]) -> None:
        async with asyncio.timeout(60):
            while True:
                alive = [one for one in self._servers if one.running]
                server = self._random.choice(alive or self._servers)
                try:
                    answer = await execute(clients[server.port], key, body)
                except httpx2.TransportError:
                    self.tried.append(Tried(key, 0, time.monotonic(), None))
                else:
                    self.tried.append(Tried(key, answer.status_code, time.monotonic(), answer.json()))
                    if answer.status_code not in (202, 409, 503):
                        return
                await asyncio.sleep(0.1)
