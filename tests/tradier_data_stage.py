"""A scripted stand-in for Tradier's market data over real sockets: a small market that a test sets, its streams, and a feed of it."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from paiid.core.clock import Clock
from paiid.feeds.tradier import StreamTimings, TradierFeed, TradierKeys
from tests.alpaca_data_stage import SocketClock

TOKEN = "test-token-000000000000000000000001"
QUOTES, CHAINS, EXPIRATIONS = (
    "/v1/markets/quotes",
    "/v1/markets/options/chains",
    "/v1/markets/options/expirations",
)
SEARCH, LOOKUP = "/v1/markets/search", "/v1/markets/lookup"
HISTORY, TIMESALES = "/v1/markets/history", "/v1/markets/timesales"
SESSION, EVENTS, CLOCK = "/v1/markets/events/session", "/v1/markets/events", "/v1/markets/clock"
PATIENCE_S = 20.0
"""Only guards against hanging."""
QUICK = StreamTimings(
    first_pause_s=0.02,
    longest_pause_s=0.1,
    crowded_pause_s=0.2,
    moment_s=0.02,
    slow_pause_s=0.3,
    reply_s=5.0,
    ping_s=0.05,
    silence_s=10.0,
    proof_s=0.1,
    confirm_s=0.5,
    polled_s=0.2,
    close_s=0.5,
    round_s=0.05,
    look_s=0.02,
    poll_s=0.1,
    settle_s=0.01,
    session_s=60.0,
    renew_s=0.1,
    tidy_s=0.2,
)


def values(*found: Any) -> tuple[Any, ...]:
    """Numbers of several types, to be compared by what they are."""
    return found


async def until(fact: Callable[[], Any]) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(PATIENCE_S):
        while not fact():
            await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in; `told` are its parameters, of the address or the form."""

    method: str
    path: str
    told: dict[str, str]
    headers: dict[str, str]


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
ROOMY = {"x-ratelimit-allowed": "100000", "x-ratelimit-available": "90000"}


def say(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer of JSON, or of this text."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        told = ROOMY | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [
            f"HTTP/1.1 {status} Said",
            f"content-length: {len(content)}",
            "content-type: application/json",
        ]
        lines += [f"{name}: {value}" for name, value in told.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + content)

    return answer


async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and closes."""
    writer.close()


async def be_silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing, for as long as the client stays."""
    await asyncio.sleep(60)


def row(symbol: str, bid: Any, ask: Any, at_us: int, **changes: Any) -> dict[str, Any]:
    """A stock or contract as `quotes` tells it."""
    at_ms = at_us // 1000
    told: dict[str, Any] = {
        "symbol": symbol, "description": f"{symbol} Incorporated", "exch": "Q", "type": "stock", "last": ask, "change": 0.1,
        "volume": 1000, "open": None, "high": None, "low": None, "close": None, "bid": bid, "ask": ask, "average_volume": 0,
        "last_volume": 100, "trade_date": at_ms, "prevclose": 9.9, "bidsize": 1, "bidexch": "Q", "bid_date": at_ms, "asksize": 2,
        "askexch": "Q", "ask_date": at_ms, "root_symbols": symbol,
    }  # fmt: skip
    if len(symbol) > 10:
        told |= {
            "type": "option", "underlying": symbol[:-15], "strike": int(symbol[-8:]) / 1000, "open_interest": 5121, "contract_size": 100,
            "expiration_date": f"20{symbol[-15:-13]}-{symbol[-13:-11]}-{symbol[-11:-9]}", "expiration_type": "standard",
            "option_type": "call" if symbol[-9] == "C" else "put", "root_symbol": symbol[:-15],
        }  # fmt: skip
    return told | changes


def quote(symbol: str, bid: Any, ask: Any, at_us: int, *, sizes: tuple[int, int] = (1, 2)) -> dict[str, Any]:
    """A `quote` of the stream: numbers, and dates as texts."""
    at = str(at_us // 1000)
    return {
        "type": "quote", "symbol": symbol, "bid": bid, "bidsz": sizes[0], "bidexch": "Q", "biddate": at, "ask": ask,
        "asksz": sizes[1], "askexch": "Q", "askdate": at,
    }  # fmt: skip


def trade(symbol: str, price: str, at_us: int, *, kind: str = "trade", size: str = "100") -> dict[str, Any]:
    """A `trade` or `tradex` of the stream: everything is text."""
    return {
        "type": kind, "symbol": symbol, "exch": "Q", "price": price, "size": size, "cvol": "4123", "date": str(at_us // 1000),
        "last": price,
    }  # fmt: skip


def one_or_many(name: str, rows: Sequence[Any]) -> Any:
    """A collection as Tradier tells it: null, an object, or a list."""
    return None if not rows else {name: rows[0] if len(rows) == 1 else list(rows)}


class Stream:
    """What both kinds of stream share: sessions, one connection at a time, and what they were told."""

    def __init__(self) -> None:
        self.ids: dict[str, bool] = {}
        """Whether an id was used."""
        self.refuse_session_with: deque[Answer] = deque()
        self.refuse_handshake_with: deque[int] = deque()
        self.refuse_id = 0
        """How many connections are told that their session is no good."""
        self.bad_symbols: set[str] = set()
        self.payloads: list[dict[str, Any]] = []
        self.open: list[ServerConnection | asyncio.StreamWriter] = []
        self.opened = self.most_open = 0
        self.url = ""

    @property
    def subscribed(self) -> set[str]:
        """By the newest payload, while a connection is open."""
        return set(self.payloads[-1]["symbols"]) if self.open and self.payloads else set()

    def sets(self) -> list[tuple[str, ...]]:
        """The symbols of each payload."""
        return [tuple(one["symbols"]) for one in self.payloads]

    def new_id(self) -> str:
        found = f"session-{len(self.ids)}"
        self.ids[found] = False
        return found

    def take(self, payload: dict[str, Any], *, first: bool) -> str | None:
        """What is wrong with it, if anything; an id opens one connection."""
        known = self.ids.get(payload["sessionid"])
        if self.refuse_id:
            self.refuse_id -= 1
            return "Session not found"
        if known is None or (first and known):
            return "invalid session id"
        self.ids[payload["sessionid"]] = True
        self.payloads.append(payload)
        bad = self.bad_symbols.intersection(payload["symbols"])
        return f"{min(bad)} is not a valid symbol" if bad else None

    def entered(self, connection: ServerConnection | asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open.append(connection)
        self.most_open = max(self.most_open, len(self.open))

    async def send(self, *messages: dict[str, Any]) -> None:
        """Each in a frame, or on a line, of its own."""
        for message in messages:
            await self.send_raw(json.dumps(message) + "\n")

    async def send_raw(self, piece: str | bytes) -> None:
        """Any frame, or piece of the body."""
        for one in list(self.open):
            if isinstance(one, asyncio.StreamWriter):
                content = piece.encode() if isinstance(piece, str) else piece
                one.write(b"%x\r\n" % len(content) + content + b"\r\n")
                await one.drain()
            else:
                await one.send(piece)

    def drop(self) -> None:
        """Tear every connection down."""
        for one in list(self.open):
            one.transport.abort()

    def fall_silent(self) -> None:
        """Read nothing any more, so that no ping is answered; the connections stay."""
        for one in list(self.open):
            one.transport.pause_reading()  # type: ignore[attr-defined]


class TradierDataServer:
    """REST and the HTTP stream on one port, the WebSocket on another. `market` has rows by the symbols of the wire; `chains` rows by
    (symbol, expiration)."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.routes: dict[str, deque[Answer]] = {}
        self.market: dict[str, dict[str, Any]] = {}
        self.chains: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.stream = Stream()
        self.url = self.ws_url = ""
        self._server: asyncio.Server | None = None
        self._sockets: Any = None
        self._readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.script(QUOTES, self._told_quotes)
        self.script(CHAINS, self._told_chain)
        self.script(EXPIRATIONS, self._told_expirations)
        self.script(CLOCK, say({"clock": {"state": "open"}}))
        self.script(SESSION, self._told_session)
        self.script(EVENTS, self._streamed)

    def script(self, path: str, *answers: Answer) -> None:
        """Answers of a route in turn; the last one again and again."""
        self.routes[path] = deque(answers)

    def requests(self, path: str) -> list[Asked]:
        """What came to a route."""
        return [one for one in self.asked if one.path == path]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        self._sockets = await serve(
            self._converse,
            "127.0.0.1",
            0,
            process_request=self._handshake,
            ping_interval=None,
            compression=None,
        )
        self.ws_url = f"ws://127.0.0.1:{next(iter(self._sockets.sockets)).getsockname()[1]}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self.stream.drop()
        self._sockets.close()
        await self._sockets.wait_closed()
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def keys(self, *, http: bool = False) -> TradierKeys:
        """A token for this server."""
        return TradierKeys(TOKEN, self.url, "ws" + self.url.removeprefix("http") if http else self.ws_url)

    # -- REST -----------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._readers[writer] = reader
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                answers = self.routes.get(asked.path) or deque([say("not found", 404)])
                await (answers.popleft() if len(answers) > 1 else answers[0])(asked, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            del self._readers[writer]
            writer.close()

    async def _told_quotes(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        wanted = asked.told["symbols"].split(",")
        body: dict[str, Any] = {}
        known = one_or_many("quote", [self.market[one] for one in wanted if one in self.market])
        unknown = [one for one in wanted if one not in self.market]
        if unknown:
            body["unmatched_symbols"] = one_or_many("symbol", unknown)
        await say({"quotes": body | (known or {})})(asked, writer)

    async def _told_chain(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        rows = self.chains.get((asked.told["symbol"], asked.told["expiration"]), [])
        await say({"options": one_or_many("option", rows)})(asked, writer)

    async def _told_expirations(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        days = sorted(day for symbol, day in self.chains if symbol == asked.told["symbol"])
        rows = [{"date": day, "contract_size": 100, "expiration_type": "standard"} for day in days]
        await say({"expirations": one_or_many("expiration", rows)})(asked, writer)

    async def _told_session(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if self.stream.refuse_session_with:
            await self.stream.refuse_session_with.popleft()(asked, writer)
        elif self.stream.open:
            await say("too many sessions requested", 400)(asked, writer)
        else:
            # An address that nobody should go to.
            told = {"url": "https://stream.invalid/v1/markets/events", "sessionid": self.stream.new_id()}
            await say({"stream": told})(asked, writer)

    # -- streams --------------------------------------------------------------------------------------

    async def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.stream.refuse_handshake_with:
            return connection.respond(self.stream.refuse_handshake_with.popleft(), "no\n")
        return None if request.path == EVENTS else connection.respond(404, "no\n")

    async def _converse(self, connection: ServerConnection) -> None:
        first = True
        try:
            async for frame in connection:
                if first:
                    self.stream.entered(connection)
                wrong = self.stream.take(json.loads(frame), first=first)
                first = False
                if wrong is not None:
                    await connection.send(json.dumps({"error": wrong}))
                    if "symbol" not in wrong:
                        return
        except ConnectionClosed:
            pass
        finally:
            if connection in self.stream.open:
                self.stream.open.remove(connection)

    async def _streamed(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if self.stream.refuse_handshake_with:
            await say("no", self.stream.refuse_handshake_with.popleft())(asked, writer)
            return
        payload: dict[str, Any] = asked.told | {
            name: asked.told[name].split(",") for name in ("symbols", "filter")
        }
        wrong = self.stream.take(payload, first=True)
        if wrong is not None:
            await say({"error": wrong}, 400)(asked, writer)
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self.stream.entered(writer)
        try:
            reader = self._readers[writer]
            while not reader.at_eof() and reader.exception() is None:
                await asyncio.sleep(0.005)
        finally:
            self.stream.open.remove(writer)


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
    return Asked(first[0], parts.path, dict(parse_qsl(content or parts.query)), headers)


KNOWN = ("AAPL", "BRK/B", "SPY")


class TradierDataStage:
    """`feed` over `server`. `move` lets time pass and gives each known symbol a newer quote, on the stream and in what is asked for."""

    name = "tradier"

    def __init__(self, server: TradierDataServer, clock: SocketClock, feed: TradierFeed) -> None:
        self.server = server
        self.stream = server.stream
        self.clock = clock
        self.feed = feed
        self._tasks: set[asyncio.Task[None]] = set()
        self._steps = 0
        for symbol in KNOWN:
            self._show(symbol, clock.now_us())

    def move(self, seconds: float = 2.0) -> None:
        """Must be called on the event loop."""
        self.clock.advance(seconds)
        self._steps += 1
        news: list[dict[str, Any]] = []
        at_us = self.clock.now_us()
        for symbol in KNOWN:
            self._show(symbol, at_us)
            if symbol in self.stream.subscribed:
                bid, ask = self._prices()
                news += [quote(symbol, bid, ask, at_us), trade(symbol, str(ask), at_us)]
        if news:
            task = asyncio.create_task(self.stream.send(*news))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _prices(self) -> tuple[float, float]:
        step = self._steps % 50
        return (1000 + step) / 100, (1002 + step) / 100

    def _show(self, symbol: str, at_us: int) -> None:
        bid, ask = self._prices()
        self.server.market[symbol] = row(symbol, bid, ask, at_us)


@contextlib.asynccontextmanager
async def tradier_data_serving() -> AsyncIterator[TradierDataServer]:
    """A server for one test."""
    server = TradierDataServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def tradier_data_stage(
    *, http: bool = False, clock: Clock | None = None, **options: Any
) -> AsyncIterator[TradierDataStage]:
    """A feed that is started, in the session of the day before Thanksgiving; gone at the end."""
    async with tradier_data_serving() as server:
        hand = clock or SocketClock()
        feed = TradierFeed(
            hand,
            server.keys(http=http),
            **({"timings": QUICK, "transport": "http" if http else "websocket"} | options),
        )
        await feed.start()
        try:
            yield TradierDataStage(server, hand, feed)  # type: ignore[arg-type]
        finally:
            async with asyncio.timeout(5):
                await feed.stop()
