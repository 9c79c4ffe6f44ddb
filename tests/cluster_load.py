"""Orders at a steady rate through one address, each asked again under its key until its answer is final, on connections of raw bytes."""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

CALLERS = 40
"""Connections; an order for which none is free waits."""
NOT_FINAL = frozenset({202, 409, 502, 503})
PATIENCE_S = 40.0
_SLOW_PER_S = 10
_BROKEN = (OSError, asyncio.IncompleteReadError)


@dataclass
class Asked:
    """One key: every status it was answered with (0: the connection broke), and the last body."""

    key: str
    body: dict[str, Any]
    statuses: list[int] = field(default_factory=list)
    answer: bytes = b""

    @property
    def final(self) -> bool:
        """Whether it has come to an end."""
        return bool(self.statuses) and self.statuses[-1] not in NOT_FINAL and self.statuses[-1] != 0

    @property
    def orders(self) -> list[dict[str, Any]]:
        """Of the final answer."""
        found: list[dict[str, Any]] = json.loads(self.answer)["orders"]
        return found


class Line:
    """One connection that asks, and that is opened again when it breaks."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def execute(self, key: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body. Raises OSError, IncompleteReadError where the connection breaks."""
        payload = json.dumps(body).encode()
        head = (
            f"POST /api/trading/execute HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\n"
            f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        try:
            writer.write(head.encode() + payload)
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            headers = dict(one.split(b": ", 1) for one in lines[1:] if b": " in one)
            answer = await reader.readexactly(int(headers[b"content-length"]))
        except BaseException:
            self.close()
            raise
        if headers.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split(b" ")[1]), answer

    def close(self) -> None:
        """Hang up."""
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None


@dataclass
class Load:
    """What was asked so far."""

    port: int
    token: str
    name: str
    asked: list[Asked] = field(default_factory=list)

    async def settle(self, one: Asked, line: Line) -> None:
        """Ask until the answer is final. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while not one.final:
                try:
                    status, one.answer = await line.execute(one.key, one.body)
                except _BROKEN:
                    status = 0
                one.statuses.append(status)
                if not one.final:
                    await asyncio.sleep(0.1)

    @property
    def retried(self) -> list[Asked]:
        """Those that were answered more than once, or whose connection broke."""
        return [one for one in self.asked if len(one.statuses) > 1]

    def statuses(self) -> dict[int, int]:
        """How often each was answered."""
        return dict(Counter(status for one in self.asked for status in one.statuses))


def order_of(number: int) -> dict[str, Any]:
    """Buy one, sell one."""
    side = ("buy", "sell")[number % 2]
    return {"orders": [{"symbol": ("KO", "PEP")[number // 2 % 2], "side": side, "qty": 1}]}


@contextlib.asynccontextmanager
async def loading(port: int, token: str, per_s: float, name: str, most: int = 10**9) -> AsyncIterator[Load]:
    """So many orders a second until the end of the block, ten of them a second behind the first `most`; then all are settled."""
    load = Load(port, token, name)
    due: asyncio.Queue[Asked | None] = asyncio.Queue()
    ending = asyncio.Event()

    async def pace() -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, next_s - loop.time()))
            next_s += 1 / per_s if number < most else 1 / _SLOW_PER_S
            if ending.is_set():
                break
            one = Asked(f"{name}-{number:06d}", order_of(number))
            load.asked.append(one)
            due.put_nowait(one)
        for _ in range(CALLERS):
            due.put_nowait(None)

    async def work() -> None:
        line = Line(port, token)
        try:
            while (one := await due.get()) is not None:
                await load.settle(one, line)
        finally:
            line.close()

    tasks = [asyncio.create_task(pace()), *(asyncio.create_task(work()) for _ in range(CALLERS))]
    try:
        yield load
    finally:
        ending.set()
        await asyncio.gather(*tasks)
