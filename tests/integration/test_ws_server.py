"""The WebSocket protocol below the app, over real sockets: what strangers send ends their connection, and nothing else."""

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from paiid.cli.httpserver import GuardedProtocol
from paiid.cli.serve import server_config
from paiid.cli.wsserver import MAX_FRAGMENTS, StreamProtocol
from paiid.core.clock import SystemClock
from paiid.stream.hub import Hub
from paiid.stream.sinks import CONNECTION, SseSink, WebSocketSink
from tests.stream_world import FakeProvider, messages_of

QUICK_S = 1.0
"""A machine that stands still for a moment must not be taken for a client who does."""
PATIENCE_S = 20.0
"""Only guards against hanging."""


class Quick(StreamProtocol):
    """Impatient, so that tests are quick."""

    handshake_timeout_s = QUICK_S
    end_grace_s = QUICK_S


class Few(GuardedProtocol):
    """Little room."""

    max_connections = 3


class App:
    """The least app: echoes, or gives the client to a hub; its own close on demand."""

    def __init__(self) -> None:
        self.hub = Hub(SystemClock(), behind_s=QUICK_S, sweep_s=0.02)
        self.provider = FakeProvider("value", "quotes")
        self.hub.register("quotes", self.provider)
        self.received: list[Any] = []
        self.connections: list[StreamProtocol] = []
        self.ended = asyncio.Event()
        self.let_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            try:
                await self._socket(scope, receive, send)
            finally:
                self.ended.set()

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        kind = b"text/event-stream" if scope["path"] == "/sse" else b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if scope["path"] != "/sse":
            if scope["path"] == "/slow":
                await self.let_answer.wait()
            await send({"type": "http.response.body", "body": b"ok"})
            return
        sink = SseSink(scope, end_grace_s=QUICK_S)
        subscriber = self.hub.attach(sink)
        await self.hub.subscribe(subscriber, "quotes:A", None)
        try:
            await sink.run(receive, send)
        finally:
            self.hub.detach(subscriber)
            self.ended.set()

    async def _socket(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        connection = scope["extensions"][CONNECTION]
        self.connections.append(connection)
        if scope["path"] == "/never":
            await receive()
            return
        await send({"type": "websocket.accept"})
        if scope["path"] == "/deaf":
            await self.let_answer.wait()
        if scope["path"].startswith("/hub"):
            sink = WebSocketSink(connection, "batches" if scope["path"] == "/hub-batches" else "frames")
            subscriber = self.hub.attach(sink)
            await self.hub.subscribe(subscriber, "quotes:A", None)
        while True:
            message = await receive()
            self.received.append(message.get("text", message.get("code")))
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text") == "end":
                connection.end(4403, "no")
            elif scope["path"] == "/echo":
                await send({"type": "websocket.send", "text": message["text"]})
        if scope["path"].startswith("/hub"):
            self.hub.detach(subscriber)


class Stand:
    """A server around the app."""

    def __init__(self, app: App, server: uvicorn.Server, port: int) -> None:
        self.app = app
        self.server = server
        self.port = port
        self.socks: list[socket.socket] = []

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    async def raw(self, path: str, *, rcvbuf: int | None = None) -> socket.socket:
        """A socket after its handshake, to send anything."""
        loop = asyncio.get_running_loop()
        sock = await self.plain(handshake(path), rcvbuf=rcvbuf)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await asyncio.wait_for(loop.sock_recv(sock, 1), PATIENCE_S)
        assert head.startswith(b"HTTP/1.1 101"), head
        return sock

    async def plain(self, request: bytes, *, rcvbuf: int | None = None) -> socket.socket:
        """A socket that has sent this."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        self.socks.append(sock)
        if rcvbuf is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self.port))
        await loop.sock_sendall(sock, request)
        return sock


def handshake(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a client sends it, masked with zeros."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        head += b"\xfe" + struct.pack("!H", len(payload))
    else:
        head += b"\xff" + struct.pack("!Q", len(payload))
    return head + b"\0\0\0\0" + payload


async def rest_of(sock: socket.socket) -> bytes:
    """All that still comes until the other side closes."""
    loop = asyncio.get_running_loop()
    data = b""
    while True:
        try:
            piece = await asyncio.wait_for(loop.sock_recv(sock, 65_536), PATIENCE_S)
        except ConnectionError:
            piece = b""
        if not piece:
            sock.close()
            return data
        data += piece


def close_code(data: bytes) -> int:
    """Of the close frame that these bytes end with."""
    at = data.rindex(b"\x88")
    return int(struct.unpack("!H", data[at + 2 : at + 4])[0])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(protocol: type[GuardedProtocol] = GuardedProtocol) -> AsyncIterator[Stand]:
    app = App()
    config = server_config(app, protocol)  # type: ignore[arg-type]
    config.ws = Quick
    config.log_level = "debug"
    config.loop = "none"
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve(sockets=[listener]))
    await until(lambda: server.started)
    await app.hub.start()
    it = Stand(app, server, listener.getsockname()[1])
    try:
        yield it
    finally:
        app.let_answer.set()
        for sock in it.socks:
            sock.close()
        await app.hub.stop()
        server.should_exit = True
        await task


@pytest.fixture
async def stand(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stand]:
    caplog.set_level(logging.DEBUG)
    async with serving() as it:
        yield it
    spoken = [record.getMessage() for record in caplog.records]
    assert not [one for one in spoken if "secret" in one], "no query string in the log"
    assert not [one for one in caplog.records if one.exc_info], "no traceback for what a stranger sends"


async def test_messages_go_both_ways_and_a_query_string_is_never_logged(stand: Stand) -> None:
    async with connect(stand.url("/echo?token=secret")) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
    await until(stand.app.ended.is_set)
    assert stand.app.received == ["hello", 1000]


async def test_an_open_socket_outlives_the_deadlines_of_http(stand: Stand) -> None:
    async with connect(stand.url("/echo")) as client:
        await until(lambda: len(stand.app.connections) == 1)
        await asyncio.sleep(QUICK_S * 2)
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_A09_a_handshake_the_app_does_not_answer_ends(stand: Stand) -> None:
    sock = await stand.plain(handshake("/never?secret"))
    assert await rest_of(sock) == b""
    await until(stand.app.ended.is_set)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(1, b"\xff\xfe"), 1007, id="invalid UTF-8"),
        pytest.param(frame(1, b"x" * 65_537), 1009, id="a message that is too big"),
        pytest.param(
            frame(1, b"x" * 40_000, fin=False) + frame(0, b"x" * 40_000), 1009, id="too big in two frames"
        ),
        pytest.param(
            frame(1, b"x", fin=False) + frame(0, fin=False) * MAX_FRAGMENTS, 1009, id="endless fragments"
        ),
        pytest.param(b"\x81\x05hello", 1002, id="not masked"),
        pytest.param(frame(3), 1002, id="an opcode nobody knows"),
        pytest.param(frame(0, b"x"), 1002, id="a continuation of nothing"),
        pytest.param(b"\xc1" + frame(1, b"x")[1:], 1002, id="a reserved bit"),
        pytest.param(frame(9, b"x" * 126), 1002, id="a long ping"),
        pytest.param(frame(8, b"\x00"), 1002, id="half a close code"),
        pytest.param(frame(8, b"\x03\xe8\xff"), 1007, id="a close with invalid UTF-8"),
        pytest.param(frame(1, b"x", fin=False) + frame(1, b"x"), 1002, id="a message within a message"),
    ],
)
async def test_A09_what_is_against_the_rules_closes_with_its_code(
    stand: Stand, sent: bytes, code: int
) -> None:
    sock = await stand.raw("/echo?secret")
    await asyncio.get_running_loop().sock_sendall(sock, sent)
    assert close_code(await rest_of(sock)) == code
    await until(stand.app.ended.is_set)


async def test_A09_random_bytes_end_the_connection_and_nothing_else(stand: Stand) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(20):
        sock = await stand.raw("/echo")
        await loop.sock_sendall(sock, os.urandom(3000))
        sock.shutdown(socket.SHUT_WR)
        await rest_of(sock)
    async with connect(stand.url("/echo")) as client:
        await client.send("x")
        assert await client.recv() == "x"


@pytest.mark.parametrize(
    "change",
    [
        (b"GET", b"POST"),
        (b"Version: 13", b"Version: 7"),
        (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b""),
        (b"Host: x", b"Host: x\r\n" + b"\r\n".join(b"X-%d: y" % n for n in range(200))),
        (b"Host: x", b"Host: x\r\nX-Long: " + b"y" * 20_000),
        (b"Host: x", b"Host: x\r\nX-Long: " + b"y" * 40_000),
        (b"/echo", b"/echo\xff"),
    ],
)
async def test_A09_a_bad_handshake_is_refused_with_a_problem(
    stand: Stand, change: tuple[bytes, bytes]
) -> None:
    sock = await stand.plain(handshake("/echo").replace(*change))
    answer = await rest_of(sock)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert b"application/problem+json" in answer
    assert not stand.app.connections


async def test_tiny_messages_by_the_ten_thousand_keep_nobody_waiting_and_are_all_read(stand: Stand) -> None:
    sock = await stand.raw("/hub")
    await asyncio.get_running_loop().sock_sendall(sock, frame(1, b"a") * 10_000)
    most = 0
    while len(stand.app.received) < 10_000:
        most = max(most, stand.app.connections[0].queue.qsize())
        await asyncio.sleep(0)
    assert most < 500, "what is not read yet stays in the socket"
    sock.close()


async def test_an_app_that_does_not_read_holds_the_client_back(stand: Stand) -> None:
    sock = await stand.raw("/deaf")
    sending = asyncio.create_task(
        asyncio.get_running_loop().sock_sendall(sock, frame(1, b"x" * 1000) * 20_000)
    )
    await until(lambda: stand.app.connections[0].read_paused)
    assert stand.app.connections[0].queue.qsize() < 10
    assert not sending.done()
    sending.cancel()
    sock.close()


async def test_A09_pings_of_a_client_who_reads_nothing_end_him(stand: Stand) -> None:
    sock = await stand.raw("/echo", rcvbuf=2048)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            while True:
                await loop.sock_sendall(sock, frame(9, b"x" * 125) * 500)
    sock.close()
    await until(stand.app.ended.is_set)


async def test_the_end_comes_behind_what_was_written_and_the_connection_is_gone_at_once(stand: Stand) -> None:
    async with connect(stand.url("/hub")) as client:
        await client.send("end")
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, "no")
    await until(lambda: not stand.server.server_state.connections)


async def test_A09_a_socket_keeps_counting_as_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Few) as stand:
        socks = [await stand.raw("/echo") for _ in range(3)]
        with pytest.raises(InvalidStatus) as refused:
            await connect(stand.url("/echo"))
        assert refused.value.response.status_code == 503
        socks.pop().close()
        await until(lambda: len(stand.server.server_state.connections) == 2)
        async with connect(stand.url("/echo")) as client:
            await client.send("x")
            assert await client.recv() == "x"
        for sock in socks:
            sock.close()


async def test_a_socket_asked_for_behind_a_request_without_an_answer_is_not_opened(stand: Stand) -> None:
    sock = await stand.plain(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + handshake("/echo"))
    await asyncio.sleep(0.05)
    stand.app.let_answer.set()
    answer = await rest_of(sock)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"101" not in answer
    assert not stand.app.connections


async def test_a_stop_tells_every_client_to_come_again(stand: Stand) -> None:
    async with connect(stand.url("/hub")) as client:
        await until(lambda: len(stand.app.provider.opened) == 1)
        await stand.app.hub.stop()
        assert json.loads(await client.recv())["type"] == "draining"
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


@pytest.mark.parametrize("path", ["/hub", "/hub-batches"])
async def test_events_arrive_as_whole_messages(stand: Stand, path: str) -> None:
    async with connect(stand.url(path)) as client:
        await until(lambda: stand.app.provider.opened == ["A"])
        for _ in range(3):
            stand.app.hub.put(stand.app.provider.event("A", pad="x" * 70_000))
            stand.app.hub.flush()
        got: list[Any] = []
        while len(got) < 3:
            message = json.loads(await client.recv())
            got.extend(message if path == "/hub-batches" else [message])
    assert [(one["sequence"], one["merged"]) for one in got] == [(1, 0), (2, 0), (3, 0)]


async def test_S4_a_stalled_client_is_closed_with_4408_and_delays_nobody(stand: Stand) -> None:
    stalled = await stand.raw("/hub", rcvbuf=4096)
    async with connect(stand.url("/hub")) as client:
        await until(lambda: len(stand.app.connections) == 2)
        first = stand.app.connections[0]
        count, most, number = 0, 0, 0
        while not first.close_sent:
            number += 1
            stand.app.hub.put(stand.app.provider.event("A", pad="x" * 3000))
            message = json.loads(await asyncio.wait_for(client.recv(), PATIENCE_S))
            count += 1 + message["merged"]
            most = max(most, first.unsent())
        data = await rest_of(stalled)
    assert count == number, "the other one got everything meanwhile"
    assert most < 64 * 1024 + 8_000, "what he does not read is not kept for him"
    assert close_code(data) == 4408
    await until(lambda: not stand.server.server_state.connections)


async def test_S4_a_stalled_reader_of_sse_is_cut_off(stand: Stand) -> None:
    sock = await stand.plain(b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n", rcvbuf=4096)
    await until(lambda: stand.app.provider.opened == ["A"])
    async with asyncio.timeout(PATIENCE_S):
        while not stand.app.ended.is_set():
            stand.app.hub.put(stand.app.provider.event("A", pad="x" * 3000))
            await asyncio.sleep(0.005)
    await until(lambda: not stand.server.server_state.connections)
    sock.close()


async def test_S1_sse_carries_type_id_and_data(stand: Stand) -> None:
    sock = await stand.plain(b"GET /sse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await until(lambda: stand.app.provider.opened == ["A"])
    stand.app.hub.put(stand.app.provider.event("A"))
    await asyncio.sleep(0.05)
    await stand.app.hub.stop()
    chunks = (await rest_of(sock)).partition(b"\r\n\r\n")[2].split(b"\r\n")
    first, last = messages_of("sse", b"".join(chunks[1::2]))
    assert (first["type"], first["id"], first["merged"], first["data"]["n"]) == ("market_data", "1:1", 0, 1)
    assert last["type"] == "draining"
