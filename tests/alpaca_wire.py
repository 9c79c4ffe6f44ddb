"""A scripted stand-in for Alpaca's two servers over real sockets: it answers what a test tells it to, and keeps what it
was asked."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from paiid.brokers.alpaca import AlpacaBroker, StreamTimings
from paiid.brokers.alpaca.keys import AlpacaKeys
from paiid.core.clock import SystemClock

NUMBER = "PA3TEST000001"
KEY_ID = "PKTEST0000000000KEY1"
SECRET = "test-secret-0000000000000000000000000001"
ORDER_ID = "61e69015-8549-4bfd-b9c3-01e75843f47d"
QUICK = StreamTimings(
    first_pause_s=0.02,
    longest_pause_s=0.12,
    unauthorized_pause_s=0.1,
    reply_s=2.0,
    ping_s=0.1,
    # A machine that stands still for a moment is no silence; who asks about silence makes it short.
    silence_s=10.0,
    request_s=5.0,
    reread_pause_s=0.02,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def told(status: int, body: Any = None, **headers: str) -> Answer:
    """A JSON answer (or text as it is), with `x_ratelimit_remaining` as a header's name."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        content = (
            b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        )
        writer.write(head(status, len(content), **headers) + content)

    return answer


def head(status: int, length: int, **headers: str) -> bytes:
    """The first lines of an answer."""
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {length}", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def silence(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing, for as long as the client stays."""
    await asyncio.sleep(30)


async def hangs_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and closes."""
    writer.close()


async def resets(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and tears the connection down."""
    writer.transport.abort()


def resets_mid_body(status: int = 200) -> Answer:
    """Half of an answer, then a reset."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, 1000) + b'{"id":"half')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    return answer


async def trickles(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """An answer that never stops to come, a byte at a time."""
    writer.write(head(200, 1_000_000))
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)


def floods(length: int) -> Answer:
    """A valid answer of this many bytes."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, length))
        left = length - 2
        with contextlib.suppress(ConnectionError):
            writer.write(b"[")
            while left > 0:
                writer.write(b" " * min(left, 65536))
                left -= 65536
                await writer.drain()
            writer.write(b"]")

    return answer


class AlpacaWire:
    """HTTP on one port, the stream on another. A route without a script answers 404 as Alpaca does."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.routes: dict[tuple[str, str], deque[Answer]] = {}
        self.default: Answer = told(404, {"code": 40410000, "message": "endpoint not found"})
        self.accepted = 0
        self.stream = StreamServer()
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.say("GET", "/v2/account", told(200, account()))

    def say(self, method: str, path: str, *answers: Answer) -> None:
        """Answers of a route in turn; the last one again and again."""
        self.routes[(method, path)] = deque(answers)

    def requests(self, method: str, path: str) -> list[Asked]:
        """What came to a route."""
        return [one for one in self.asked if (one.method, one.path) == (method, path)]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        await self.stream.start()

    async def stop(self) -> None:
        await self.stream.stop()
        await self.close_http()

    async def close_http(self) -> None:
        """Listen no more, and hang up on everybody."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def keys(self, **changes: str) -> AlpacaKeys:
        """A pair for this server."""
        told_keys = {
            "key_id": KEY_ID,
            "secret": SECRET,
            "api_url": self.url,
            "stream_url": self.stream.url,
        } | changes
        return AlpacaKeys("paper", **told_keys)

    def broker(self, **options: Any) -> AlpacaBroker:
        """A broker with one pair for this server."""
        return AlpacaBroker(SystemClock(), [self.keys()], **({"timings": QUICK} | options))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
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
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(first[1])
    return Asked(
        first[0],
        unquote(parts.path),
        dict(parse_qsl(parts.query)),
        headers,
        json.loads(content) if content else None,
    )


class StreamServer:
    """The trade-update stream as it is documented, with the oddities that a test turns on."""

    def __init__(self) -> None:
        self.form: str | None = None
        """`documented` or `current`: the only message with keys that it takes; None: either."""
        self.good_keys = True
        self.binary = True
        self.refuse_with: deque[tuple[int, dict[str, str]]] = deque()
        """Statuses (with headers) for the next handshakes."""
        self.streams = ["trade_updates"]
        self.hold_listening = asyncio.Event()
        self.hold_listening.set()
        self.messages: list[dict[str, Any]] = []
        self.open: list[ServerConnection] = []
        self.opened = 0
        self.url = ""
        self._server: Any = None

    async def start(self) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._handshake, ping_interval=None, compression=None
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/stream"

    async def stop(self) -> None:
        for one in self.open:
            one.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def tell(self, data: Any) -> None:
        """One trade update to whoever listens."""
        await self.send({"stream": "trade_updates", "data": data})

    async def send(self, message: Any) -> None:
        """Any message; a text goes out as it is."""
        text = message if isinstance(message, str) else json.dumps(message)
        for one in list(self.open):
            await one.send(text.encode() if self.binary else text)

    def drop(self) -> None:
        """Tear every connection down."""
        for one in list(self.open):
            one.transport.abort()

    def fall_silent(self) -> None:
        """Read nothing any more, so that no ping is answered; the connections stay."""
        for one in list(self.open):
            one.transport.pause_reading()

    async def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        if not self.refuse_with:
            return None
        status, headers = self.refuse_with.popleft()
        refused = connection.respond(status, "no\n")
        for name, value in headers.items():
            refused.headers[name] = value
        return refused

    async def _serve(self, connection: ServerConnection) -> None:
        self.opened += 1
        authorized = False
        try:
            async for frame in connection:
                message = json.loads(frame)
                self.messages.append(message)
                if message["action"] in ("authenticate", "auth"):
                    authorized = self._accepts(message)
                    await self._say(
                        connection,
                        "authorization",
                        {"status": "authorized" if authorized else "unauthorized", "action": "authenticate"},
                    )
                    if not authorized:
                        return
                elif message["action"] == "listen":
                    await self.hold_listening.wait()
                    await self._say(connection, "listening", {"streams": self.streams})
                    self.open.append(connection)
        except ConnectionClosed:
            pass
        finally:
            if connection in self.open:
                self.open.remove(connection)

    def _accepts(self, message: dict[str, Any]) -> bool:
        documented = message["action"] == "authenticate"
        if self.form is not None and (self.form == "documented") != documented:
            return False
        told_keys = message.get("data", {}).get("secret_key") if documented else message.get("secret")
        return self.good_keys and told_keys == SECRET

    async def _say(self, connection: ServerConnection, stream: str, data: Any) -> None:
        text = json.dumps({"stream": stream, "data": data})
        await connection.send(text.encode() if self.binary else text)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[AlpacaWire]:
    """A server for one test."""
    wire = AlpacaWire()
    await wire.start()
    try:
        yield wire
    finally:
        await wire.stop()


def account(**changes: Any) -> dict[str, Any]:
    """`GET /v2/account`, as far as it is read."""
    return {
        "id": "6f6f0f0e-5d07-4cb0-9d31-1c6c1a9f1111", "account_number": NUMBER, "status": "ACTIVE", "currency": "USD",
        "cash": "98765.43", "buying_power": "395061.72", "options_trading_level": 3, "equity": "98765.43",
        "long_market_value": "0", "short_market_value": "0", "multiplier": "4", "account_blocked": False,
        "trading_blocked": False, "trade_suspended_by_user": False,
    } | changes  # fmt: skip


def order(**changes: Any) -> dict[str, Any]:
    """The order object of the reference's section 7."""
    return {
        "id": ORDER_ID, "client_order_id": "r1-0001", "created_at": "2026-10-08T14:45:10.120304050Z",
        "updated_at": "2026-10-08T14:45:10.125060708Z", "submitted_at": "2026-10-08T14:45:10.124050607Z",
        "filled_at": None, "expired_at": None, "expires_at": "2026-10-08T20:00:00Z", "canceled_at": None,
        "failed_at": None, "replaced_at": None, "replaced_by": None, "replaces": None,
        "asset_id": "0a1b2c3d-0000-4000-8000-00000000a551", "symbol": "XYZ", "asset_class": "us_equity",
        "notional": None, "qty": "10", "filled_qty": "0", "filled_avg_price": None, "order_class": "",
        "order_type": "limit", "type": "limit", "side": "buy", "position_intent": "buy_to_open",
        "time_in_force": "day", "limit_price": "65.25", "stop_price": None, "status": "pending_new",
        "extended_hours": False, "legs": None, "trail_percent": None, "trail_price": None, "hwm": None,
        "subtag": None, "source": None,
    } | changes  # fmt: skip


def bracket(**changes: Any) -> dict[str, Any]:
    """A bracket told nested: entry, take profit, stop loss."""
    common = {"order_class": "bracket", "symbol": "XYZ", "qty": "10"}
    profit = order(
        **common,
        id="tp-1",
        client_order_id="auto-tp",
        side="sell",
        limit_price="70",
        status="held",
        position_intent=None,
    )
    loss = order(
        **common, id="sl-1", client_order_id="auto-sl", side="sell", type="stop", order_type="stop", limit_price=None,
        stop_price="60", status="held", position_intent=None,
    )  # fmt: skip
    return order(**common, legs=[profit, loss]) | changes


def spread(**changes: Any) -> dict[str, Any]:
    """A spread told nested, with the empty texts of the reference's section 7."""
    legs = [
        order(
            id=f"leg-{at}", client_order_id=f"auto-{at}", symbol=symbol, qty="2", ratio_qty="1", side=side, type="",
            order_type="", limit_price=None, position_intent=f"{side}_to_open", order_class="mleg",
        )
        for at, (symbol, side) in enumerate([("SPY261218P00640000", "sell"), ("SPY261218P00630000", "buy")], 1)
    ]  # fmt: skip
    empty = {"symbol": "", "asset_id": "", "asset_class": "", "side": "", "position_intent": None}
    return order(**empty, order_class="mleg", qty="2", limit_price="-0.85", legs=legs) | changes


def fill(**changes: Any) -> dict[str, Any]:
    """A FILL activity."""
    return {
        "activity_type": "FILL", "id": "20261008104510130::11111111-2222-4333-8444-555555555555", "order_id": ORDER_ID,
        "order_status": "filled", "symbol": "XYZ", "side": "buy", "qty": "4", "cum_qty": "4", "leaves_qty": "6",
        "price": "65.25", "transaction_time": "2026-10-08T14:45:10.13Z", "type": "partial_fill",
    } | changes  # fmt: skip
