"""Clients that never let up: each sends orders one after the other under keys of its own, and keeps every answer."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.fault.processes import Server, execute, settle


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: to which key, at which of the servers, when it was asked and how long it took."""

    key: str
    server: int
    asked_s: float
    took_s: float
    response: httpx2.Response | None

    @property
    def status(self) -> int:
        """0: the connection broke."""
        return 0 if self.response is None else self.response.status_code


@dataclass
class Hammer:
    """All that was sent and answered. `body` is what every request asks for."""

    servers: tuple[Server, ...]
    body: dict[str, Any]
    name: str = "hammer"
    answers: list[Answered] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Every key that was used, also where no answer came."""
        return [one.key for one in self.answers]

    async def wait_for(self, count: int, since: int = 0, status: int | None = None) -> None:
        """Until so many answers have come, counted from one of them on."""
        async with asyncio.timeout(60):
            while sum(status in (None, one.status) for one in self.answers[since:]) < count:
                await asyncio.sleep(0.02)

    async def settle_all(self, server: Server) -> dict[str, httpx2.Response]:
        """The final answer of every key, asked of one server."""
        slots = asyncio.Semaphore(16)

        async def one(key: str) -> tuple[str, httpx2.Response]:
            async with slots:
                return key, await settle(client, key, self.body)

        async with server.client() as client:
            return dict(await asyncio.gather(*(one(key) for key in self.keys)))


@asynccontextmanager
async def hammering(
    *servers: Server, body: dict[str, Any], clients: int = 4, name: str = "hammer", pause_s: float = 0.0
) -> AsyncIterator[Hammer]:
    """So many clients at each server, until the end of the block; each rests a moment behind an answer."""
    found = Hammer(servers, body, name)
    ending = asyncio.Event()
    numbers = itertools.count()

    async def work(at: int, client: httpx2.AsyncClient) -> None:
        while not ending.is_set():
            key, asked_s = f"{name}-{next(numbers):06d}", time.monotonic()
            try:
                response = await execute(client, key, body)
            except httpx2.TransportError:
                response = None
            took_s = time.monotonic() - asked_s
            found.answers.append(Answered(key, at, asked_s, took_s, response))
            await asyncio.sleep(pause_s if response is not None else max(pause_s, 0.05))

    opened = [server.client() for server in servers]
    tasks = [
        asyncio.create_task(work(at, client)) for at, client in enumerate(opened) for _ in range(clients)
    ]
    try:
        yield found
    finally:
        ending.set()
        await asyncio.gather(*tasks)
        for client in opened:
            await client.aclose()
