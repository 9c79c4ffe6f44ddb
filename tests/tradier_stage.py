"""A scripted stand-in for Tradier's REST host over a real socket: it answers what a test tells it to, and keeps what it was asked."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from paiid.brokers.tradier.desk import Desk
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock, SystemClock
from paiid.domain.calendar import AlwaysOpen, MarketHours
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import TradierWire

NUMBER = "VA00000001"
TOKEN = "test-token-0000000000000000000001"
ORDERS = f"/v1/accounts/{NUMBER}/orders"
ORDER_ID = 228175


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in; the path decoded, the body as the form that it is."""

    method: str
    path: str
    target: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def told(status: int, body: Any = b"", content_type: str = "application/json", **headers: str) -> Answer:
    """A JSON answer; a text or bytes go out as they are. `x_ratelimit_available` is the name of a header."""
    content = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, len(content), content_type, **headers) + content)

    return answer


def says(status: int, text: str) -> Answer:
    """A plain text, as Tradier answers where it answers no JSON."""
    return told(status, text, "text/plain")


def head(status: int, length: int, content_type: str = "application/json", **headers: str) -> bytes:
    """The first lines of an answer."""
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {length}", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def silence(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing, for as long as the client stays."""
    await asyncio.sleep(60)


async def hangs_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and closes."""
    writer.close()


async def resets(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and tears the connection down."""
    writer.transport.abort()


async def breaks_off(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The first half of a yes, then a close."""
    writer.write(head(200, 1000) + b'{"order":{"id":228175,"status":"ok"')
    await writer.drain()
    writer.close()


def floods(length: int) -> Answer:
    """A valid answer of this many bytes."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        yes = json.dumps(ok()).encode()
        with contextlib.suppress(ConnectionError):
            writer.write(head(200, length) + yes)
            left = length - len(yes)
            while left > 0:
                writer.write(b" " * min(left, 65536))
                left -= 65536
                await writer.drain()

    return answer


def ok(order_id: object = ORDER_ID) -> dict[str, Any]:
    """What Tradier says to an order that it has taken (tradier.md, 6.2)."""
    return {"order": {"id": order_id, "status": "ok", "partner_id": "00000000-0000-4000-8000-000000000000"}}


def row(**changes: Any) -> dict[str, Any]:
    """An order object (tradier.md, 6.6)."""
    return {
        "id": ORDER_ID, "type": "limit", "symbol": "XYZ", "side": "buy", "quantity": 10.0, "status": "open",
        "duration": "day", "price": 65.25, "avg_fill_price": 0.0, "exec_quantity": 0.0, "last_fill_price": 0.0,
        "last_fill_quantity": 0.0, "remaining_quantity": 10.0, "create_date": "2026-10-05T14:31:02.310Z",
        "transaction_date": "2026-10-05T14:31:02.357Z", "class": "equity", "tag": "r1-0001",
    } | changes  # fmt: skip


def listed(*rows: dict[str, Any]) -> dict[str, Any]:
    """An order list by the 0/1/n rule (tradier.md, 3)."""
    if not rows:
        return {"orders": "null"}
    return {"orders": {"order": rows[0] if len(rows) == 1 else list(rows)}}


class TradierStage:
    """One server. A route without a script answers as Tradier does for what it does not know."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.routes: dict[tuple[str, str], deque[Answer]] = {}
        self.default: Answer = says(401, f"Unauthorized Account: {NUMBER}")
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self.say("GET", ORDERS, told(200, listed()))

    def say(self, method: str, path: str, *answers: Answer) -> None:
        """Answers of a route in turn; the last one again and again."""
        self.routes[(method, path)] = deque(answers)

    def requests(self, method: str, path: str = ORDERS) -> list[Asked]:
        """What came to a route."""
        return [one for one in self.asked if (one.method, one.path) == (method, path)]

    def keys(self, **changes: Any) -> TradierKeys:
        """The token for this server."""
        stream = self.url.replace("http", "ws")
        fields: dict[str, Any] = {
            "token": TOKEN,
            "api_url": self.url,
            "stream_url": stream,
            "account_id": NUMBER,
        }
        return TradierKeys(**(fields | changes))

    def session(
        self, governors: Governors | None = None, clock: Clock | None = None, **changes: Any
    ) -> Session:
        """A session of its own, closed with the server."""
        clock = clock or SystemClock()
        wire = TradierWire(clock, self.keys(**changes), governors or Governors(clock))
        self._closers.append(wire.close)
        return Session(clock, wire)

    def desk(
        self, session: Session | None = None, hours: MarketHours | None = None, clock: Clock | None = None
    ) -> Desk:
        """A desk over the list of orders as the broker reads it."""
        clock = clock or SystemClock()
        one = session or self.session(clock=clock)
        today = DayList(clock, one, ours=lambda tag: True)
        self._closers.append(today.stop)
        return Desk(clock, one, today, hours or AlwaysOpen())

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Close what was opened for it, listen no more, and hang up on everybody."""
        for close in reversed(self._closers):
            await close()
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                await self._answer_of(asked)(asked, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer_of(self, asked: Asked) -> Answer:
        answers = self.routes.get((asked.method, asked.path))
        if not answers:
            return self.default
        return answers.popleft() if len(answers) > 1 else answers[0]


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    first = (await reader.readline()).decode().split()
    if len(first) != 3:
        return None
    headers: dict[str, str] = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    content = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
    parts = urlsplit(first[1])
    query, form = dict(parse_qsl(parts.query)), dict(parse_qsl(content, strict_parsing=bool(content)))
    return Asked(first[0], unquote(parts.path), first[1], query, headers, form)


def within(seconds: float = 5.0) -> Deadline:
    """A deadline from now."""
    return Deadline(SystemClock(), seconds)


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[TradierStage]:
    """A server for one test."""
    stage = TradierStage()
    await stage.start()
    try:
        yield stage
    finally:
        await stage.stop()
