"""The one address of several replicas: each request goes to one that says it is ready, and is never sent twice.

A client keeps its connection while replicas come and go, for what goes to a replica is a request, with a connection of its own: none can
be lost in a connection that the replica was just closing. What fails before the first byte was written is tried at the next replica; what
fails behind it is a 502, and only the client knows whether it may ask again (it may, under the same key). WebSockets and event streams
are passed through as they are, and end with their replica.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.wire import MAX_HEAD_BYTES, Head, NotHttp, answer_head, request_head

CHECK_EVERY_S = 0.5
CHECK_S = 1.0
"""The longest a replica may take to say that it is ready."""
CONNECT_S = 2.0
HEAD_S = 10.0
IDLE_S = 60.0
"""How long a client may keep a connection without asking anything."""
MAX_CLIENTS = 2000
_PIECE = 65_536
_READY = b"GET /api/health/ready HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n"
_TITLES = {400: "Bad Request", 502: "Bad Gateway", 503: "Service Unavailable"}
_BROKEN = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(slots=True)
class Target:
    """One replica. `out`: it is being restarted, so nothing new goes there whatever it says."""

    name: str
    port: int
    ready: bool = False
    out: bool = False
    serving: int = 0


@dataclass(slots=True)
class Counts:
    """What became of the requests so far."""

    passed: int = 0
    lost: int = 0
    """A replica went away with them."""
    unserved: int = 0
    """No replica was ready."""
    elsewhere: int = 0
    """Nobody listened where they were to go; they went to another replica."""


@dataclass(slots=True)
class _Client:
    """A client's connection: what has come of it and was not used yet."""

    reader: Reader
    writer: Writer
    address: str
    kept: bytearray = field(default_factory=bytearray)

    async def head(self) -> bytes:
        """The next head with its empty line; empty at the end. Raises NotHttp, TimeoutError, OSError."""
        deadline_s = IDLE_S
        while (end := self.kept.find(b"\r\n\r\n")) < 0:
            if len(self.kept) > MAX_HEAD_BYTES:
                raise NotHttp
            if self.kept:
                deadline_s = HEAD_S
            async with asyncio.timeout(deadline_s):
                more = await self.reader.read(_PIECE)
            if not more:
                return b""
            self.kept += more
        found = bytes(self.kept[: end + 4])
        del self.kept[: end + 4]
        return found

    async def body(self, length: int | None, to: Writer) -> None:
        """Hand on so many bytes, or all there are to come."""
        left = length
        while left is None or left > 0:
            piece = bytes(self.kept[:left])
            del self.kept[: len(piece)]
            if not piece:
                piece = await self.reader.read(_PIECE if left is None else min(_PIECE, left))
                if not piece:
                    raise ConnectionResetError
            to.write(piece)
            await to.drain()
            left = None if left is None else left - len(piece)

    async def gone(self) -> None:
        """Returns once the client has hung up; what it sends meanwhile is kept for later, up to a bound."""
        while len(self.kept) <= MAX_HEAD_BYTES:
            more = await self.reader.read(_PIECE)
            if not more:
                return
            self.kept += more
        await asyncio.Event().wait()


class Balancer:
    """Listens until `close`. `trusted`: networks of proxies in front, whose X-Forwarded-For is passed on."""

    def __init__(
        self, targets: Sequence[Target], *, trusted: Sequence[str] = (), say: Callable[[str], None] = print
    ) -> None:
        self.targets = list(targets)
        self.counts = Counts()
        self._trusted = [ipaddress.ip_network(one, strict=False) for one in trusted]
        self._say = say
        self._turn = itertools.count()
        self._server: asyncio.Server | None = None
        self._checking: asyncio.Task[None] | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    @property
    def port(self) -> int:
        """Where it listens, or 0."""
        if self._server is None or not self._server.sockets:
            return 0
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError where the address is not free."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_PIECE, backlog=1024)
        self._checking = asyncio.create_task(self._check_all())

    async def close(self, patience_s: float = 0.0) -> None:
        """Take nothing new; what is under way may go on for so long."""
        if self._server is not None:
            self._server.close()
        if self._checking is not None:
            self._checking.cancel()
        if self._clients and patience_s:
            await asyncio.wait(self._clients, timeout=patience_s)
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    # -- which replica ------------------------------------------------------------------------------

    async def check(self, target: Target) -> bool:
        """Ask it whether it is ready, and take it in or out accordingly."""
        ready = False
        with contextlib.suppress(*_BROKEN):
            async with asyncio.timeout(CHECK_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
                try:
                    writer.write(_READY)
                    ready = (await reader.readuntil(b"\r\n")).split(b" ")[1:2] == [b"200"]
                finally:
                    writer.close()
        if ready != target.ready:
            self._say(f"{target.name} is {'ready' if ready else 'not ready'}")
        target.ready = ready
        return ready

    async def _check_all(self) -> None:
        while True:
            await asyncio.gather(*(self.check(one) for one in self.targets))
            await asyncio.sleep(CHECK_EVERY_S)

    def _candidates(self) -> list[Target]:
        """Those that are ready, the least busy first, in turn where they are equally busy."""
        turn, count = next(self._turn), len(self.targets)
        inside = [(one.serving, (at - turn) % count, one) for at, one in enumerate(self.targets)]
        return [one for _, _, one in sorted(inside, key=lambda it: it[:2]) if one.ready and not one.out]

    async def _connect(self) -> tuple[Target, Reader, Writer] | None:
        """A connection to the first replica that takes one; nothing has been sent yet, so all may be tried."""
        for target in self._candidates():
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=_PIECE * 2)
                return target, reader, writer
            except _BROKEN:
                self.counts.elsewhere += 1
                target.ready = False
                self._say(f"{target.name} does not listen")
        return None

    # -- one client ---------------------------------------------------------------------------------

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= MAX_CLIENTS:
            writer.close()
            return
        self._clients.add(task)
        peer = writer.get_extra_info("peername") or ("unknown",)
        client = _Client(reader, writer, str(peer[0]))
        try:
            while await self._request(client):
                pass
        except NotHttp:
            await self._refuse(client, 400, "invalid-request", "This is not an HTTP/1.1 request.")
        except (*_BROKEN, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _request(self, client: _Client) -> bool:
        """One request and its answer; whether there may be another."""
        data = await client.head()
        if not data:
            return False
        head = request_head(data)
        found = await self._connect()
        if found is None:
            self.counts.unserved += 1
            why = "No replica is ready; the request went nowhere. Ask again in a moment."
            await self._refuse(client, 503, "overloaded", why)
            return False
        target, reader, writer = found
        target.serving += 1
        try:
            return await self._exchange(client, head, target, reader, writer)
        finally:
            target.serving -= 1
            writer.close()

    async def _exchange(
        self, client: _Client, head: Head, target: Target, reader: Reader, writer: Writer
    ) -> bool:
        forwarded = [(b"x-forwarded-for", self._forwarded(client, head))]
        connection = b"upgrade" if head.upgrade else b"close"
        writer.write(head.encoded(*forwarded, connection=connection, without=b"x-forwarded-for"))
        sending = asyncio.create_task(client.body(None if head.upgrade else head.length, writer))
        answering = asyncio.create_task(self._answer(client, head, reader))
        listening = asyncio.create_task(self._hung_up(client, sending))
        try:
            await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                return False
            keeps = answering.result()
            self.counts.passed += 1
            return keeps and sending.done() and not sending.exception()
        except (NotHttp, *_BROKEN):
            self.counts.lost += 1
            self._say(f"{target.name} went away with a request of {client.address}")
            return False
        finally:
            for task in (sending, answering, listening):
                task.cancel()
            await asyncio.gather(sending, answering, listening, return_exceptions=True)

    async def _hung_up(self, client: _Client, sending: asyncio.Task[None]) -> None:
        """Returns when the client has gone. A replica that takes no more of the body may answer all the same."""
        await asyncio.wait({sending})
        if sending.exception() is None:
            await client.gone()
        elif not client.reader.at_eof():
            await asyncio.Event().wait()

    async def _answer(self, client: _Client, head: Head, reader: Reader) -> bool:
        """Pass the answer on; whether the connection can be used again. Where nothing of it has come there is a 502."""
        method = head.line.partition(b" ")[0]
        while True:
            try:
                status, answer = answer_head(await reader.readuntil(b"\r\n\r\n"), method)
            except (NotHttp, *_BROKEN):
                why = "The replica went away before it had answered. Ask again under the same key."
                await self._refuse(client, 502, "replica-lost", why)
                raise
            if answer.upgrade or not 100 <= status < 200:
                break
            client.writer.write(answer.encoded(connection=b"keep-alive"))
        keeps = head.keeps and answer.keeps and not head.chunked and not answer.upgrade
        connection = b"upgrade" if answer.upgrade else b"keep-alive" if keeps else b"close"
        client.writer.write(answer.encoded(connection=connection))
        whole = await self._pour(reader, client.writer, answer)
        return keeps and whole

    async def _pour(self, reader: Reader, writer: Writer, answer: Head) -> bool:
        """The body; whether it came whole."""
        left, tail = answer.length, b""
        while left is None or left > 0:
            piece = await reader.read(_PIECE)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
            left = None if left is None else left - len(piece)
            tail = (tail + piece)[-5:]
        await writer.drain()
        return tail == b"0\r\n\r\n" if answer.chunked else left == 0

    def _forwarded(self, client: _Client, head: Head) -> bytes:
        """Who asks: the client's own address, behind what a trusted proxy in front says."""
        hops = [client.address.encode()]
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(client.address)
            if any(address in network for network in self._trusted):
                hops = [*head.values(b"x-forwarded-for"), *hops]
        return b", ".join(hops)

    async def _refuse(self, client: _Client, status: int, code: str, why: str) -> None:
        """Our own answer; the connection closes behind it."""
        title = _TITLES[status]
        problem = {"type": f"urn:paiid:problem:{code}", "title": title, "status": status, "detail": why}
        body = json.dumps(problem).encode()
        lines = [
            f"HTTP/1.1 {status} {title}",
            "content-type: application/problem+json",
            f"content-length: {len(body)}",
            *(["retry-after: 1"] if status == 503 else []),
            "connection: close",
        ]
        with contextlib.suppress(*_BROKEN):
            client.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await client.writer.drain()
