"""A scripted stand-in for Alpaca's market data over real sockets: a small market that a test sets, and the oddities it turns on."""

import asyncio
import contextlib
import json
import struct
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from paiid.core.clock import Clock, SystemClock
from paiid.feeds.alpaca import AlpacaDataKeys, AlpacaFeed, StreamTimings
from tests.alpaca_wire import KEY_ID, SECRET, AlpacaWire, Answer, Asked, head

QUICK = StreamTimings(
    first_pause_s=0.02,
    longest_pause_s=0.1,
    crowded_pause_s=0.1,
    slow_pause_s=0.2,
    reply_s=2.0,
    ping_s=0.05,
    silence_s=5.0,
    confirm_s=0.3,
    polled_s=0.2,
    look_s=0.02,
)
SNAPSHOTS, OPTION_SNAPSHOTS = "/v2/stocks/snapshots", "/v1beta1/options/snapshots"
STOCK_BARS, ASSETS, CONTRACTS = "/v2/stocks/bars", "/v2/assets", "/v2/options/contracts"
ACTIONS = "/v1/corporate-actions"


class Number(str):
    """A number with exactly these digits in the JSON text."""

    __slots__ = ()


def stamp(at_us: int, more_ns: int = 0) -> str:
    """RFC 3339 with nanoseconds."""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros * 1000 + more_ns:09d}Z"


def quote(
    symbol: str, bid: float, ask: float, at_us: int, *, sizes: tuple[int, int] = (100, 200)
) -> dict[str, Any]:
    """A `q` of the stream."""
    return {
        "T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": sizes[0], "ax": "V", "ap": ask, "as": sizes[1],
        "c": ["R"], "t": stamp(at_us), "z": "B",
    }  # fmt: skip


def trade(symbol: str, price: float, at_us: int, *conditions: str) -> dict[str, Any]:
    """A `t` of the stream."""
    return {
        "T": "t", "S": symbol, "i": 52983525029461, "x": "V", "p": price, "s": 100, "c": list(conditions or ("@",)),
        "t": stamp(at_us), "z": "B",
    }  # fmt: skip


def snapshot(
    bid: float, ask: float, last: float | None, at_us: int, closes: dict[str, float] | None = None
) -> dict[str, Any]:
    """A snapshot as REST tells it; `closes` by day, the newest first: of the daily bar and the one before."""
    bars = [
        {
            "c": close,
            "h": close,
            "l": close,
            "n": 9,
            "o": close,
            "t": f"{day}T05:00:00Z",
            "v": 1000,
            "vw": close,
        }
        for day, close in (closes or {"2026-11-25": 10.1, "2026-11-24": 9.9}).items()
    ]
    said: dict[str, Any] = {
        "latestQuote": {"ap": ask, "as": 200, "ax": "V", "bp": bid, "bs": 100, "bx": "V", "c": ["R"], "t": stamp(at_us), "z": "B"},
        "latestTrade": None if last is None else {"c": ["@"], "i": 1, "p": last, "s": 5, "t": stamp(at_us - 1_000_000), "x": "V", "z": "B"},
        "minuteBar": None,
    }  # fmt: skip
    return said | dict(zip(("dailyBar", "prevDailyBar"), bars, strict=False))


class DataStreamServer:
    """The data stream as section 15 of the reference has it."""

    def __init__(self) -> None:
        self.refuse_handshake_with: deque[int] = deque()
        self.refuse_auth_with: deque[int] = deque()
        self.refuse_subscribe_with: deque[int] = deque()
        self.most_symbols = 1_000_000
        self.unknown: set[str] = set()
        """Symbols that are silently left out of the acknowledgement."""
        self.one_at_a_time = False
        self.deaf = False
        """Answers nothing but the greeting."""
        self.messages: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open: dict[ServerConnection, set[str]] = {}
        self.packed: set[ServerConnection] = set()
        self.opened = self.most_open = 0
        self.url = ""
        self._server: Any = None

    async def start(self) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._handshake, ping_interval=None, compression=None
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v2/iex"

    async def stop(self) -> None:
        self.drop()
        self._server.close()
        await self._server.wait_closed()

    @property
    def subscribed(self) -> set[str]:
        """What the newest connection has subscribed."""
        return set(next(reversed(self.open.values()), set()))

    def actions(self) -> list[tuple[str, tuple[str, ...]]]:
        """What was asked, without the keys."""
        return [
            (one["action"], tuple(one.get("quotes", ()))) for one in self.messages if one["action"] != "auth"
        ]

    async def send(self, *messages: dict[str, Any]) -> None:
        """One frame to everybody, whatever is subscribed."""
        for one in list(self.open):
            await self._say(one, *messages)

    async def send_raw(self, frame: str | bytes) -> None:
        """Any frame."""
        for one in list(self.open):
            await one.send(frame)

    def drop(self) -> None:
        """Tear every connection down."""
        for one in list(self.open):
            one.transport.abort()

    def fall_silent(self) -> None:
        """Read nothing any more, so that no ping is answered; the connections stay."""
        for one in list(self.open):
            one.transport.pause_reading()

    async def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        if self.refuse_handshake_with:
            return connection.respond(self.refuse_handshake_with.popleft(), "no\n")
        if request.headers.get("content-type") == "application/msgpack":
            self.packed.add(connection)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        self.opened += 1
        try:
            await self._say(connection, {"T": "success", "msg": "connected"})
            async for frame in connection:
                message = json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
                self.messages.append(message)
                if not self.deaf and not await self._answer(connection, message):
                    return
        except ConnectionClosed:
            pass
        finally:
            self.open.pop(connection, None)
            self.packed.discard(connection)

    async def _answer(self, connection: ServerConnection, message: dict[str, Any]) -> bool:
        if message["action"] == "auth":
            code = self._refusal(message)
            if code:
                await self._say(
                    connection, {"T": "error", "code": code, "msg": "no, and your secret is none of ours"}
                )
                return False
            await self._say(connection, {"T": "success", "msg": "authenticated"})
            self.open[connection] = set()
            self.most_open = max(self.most_open, len(self.open))
            return True
        have = self.open[connection]
        asked = set(message["quotes"])
        after = have | asked if message["action"] == "subscribe" else have - asked
        code = self.refuse_subscribe_with.popleft() if self.refuse_subscribe_with else 0
        if not code and len(after) > self.most_symbols:
            code = 405
        if code:
            await self._say(connection, {"T": "error", "code": code, "msg": "no"})
            return True
        self.open[connection] = after - self.unknown
        names = sorted(self.open[connection])
        await self._say(
            connection,
            {"T": "subscription", "trades": names, "quotes": names, "bars": [], "corrections": names},
        )
        return True

    def _refusal(self, message: dict[str, Any]) -> int:
        if self.refuse_auth_with:
            return self.refuse_auth_with.popleft()
        if self.one_at_a_time and self.open:
            return 406
        return 0 if (message["key"], message["secret"]) == (KEY_ID, SECRET) else 402

    async def _say(self, connection: ServerConnection, *messages: dict[str, Any]) -> None:
        if connection not in self.packed:
            await connection.send(json.dumps(messages))
            return
        await connection.send(msgspec.msgpack.encode([_packable(one) for one in messages]))


def _packable(message: dict[str, Any]) -> dict[str, Any]:
    """With the instant as the extension that MessagePack has for it."""
    if not isinstance(message.get("t"), str):
        return message
    whole, _, fraction = message["t"].rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return message | {"t": msgspec.msgpack.Ext(-1, struct.pack(">Iq", int(fraction or 0), seconds))}


class AlpacaDataWire(AlpacaWire):
    """REST on one port, the data stream on another. `market` and `options` are snapshots by symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.data_stream = DataStreamServer()
        self.stream = self.data_stream  # type: ignore[assignment]
        self.market: dict[str, dict[str, Any]] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.say("GET", SNAPSHOTS, self._told_snapshots)
        self.say("GET", OPTION_SNAPSHOTS, self._told_option_snapshots)

    async def _told_snapshots(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        wanted = asked.query["symbols"].split(",")
        await answer_with(200, {one: self.market[one] for one in wanted if one in self.market})(asked, writer)

    async def _told_option_snapshots(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        wanted = asked.query["symbols"].split(",")
        found = {one: self.options[one] for one in wanted if one in self.options}
        await answer_with(200, {"snapshots": found, "next_page_token": None})(asked, writer)

    def data_keys(self, **changes: str) -> AlpacaDataKeys:
        """A pair for this server."""
        known = {
            "key": KEY_ID, "secret": SECRET, "data_url": self.url, "stream_url": self.data_stream.url, "trading_url": self.url,
        }  # fmt: skip
        return AlpacaDataKeys(**(known | changes))

    def feed(self, clock: Clock | None = None, **options: Any) -> AlpacaFeed:
        """A feed of this server's market."""
        return AlpacaFeed(clock or SystemClock(), self.data_keys(), **({"timings": QUICK} | options))


def answer_with(status: int, body: Any, **headers: str) -> Answer:
    """Like `told`; a `Number` keeps its digits."""
    text = json.dumps(body)
    for number in _numbers(body):
        text = text.replace(json.dumps(str(number)), str(number))

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        content = text.encode()
        writer.write(head(status, len(content), **headers) + content)

    return answer


def _numbers(value: Any) -> list[Number]:
    if isinstance(value, Number):
        return [value]
    if isinstance(value, dict):
        return [one for each in value.values() for one in _numbers(each)]
    if isinstance(value, list):
        return [one for each in value for one in _numbers(each)]
    return []


@contextlib.asynccontextmanager
async def data_serving() -> AsyncIterator[AlpacaDataWire]:
    """A server for one test."""
    wire = AlpacaDataWire()
    await wire.start()
    try:
        yield wire
    finally:
        await wire.stop()
