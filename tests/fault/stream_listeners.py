"""Clients of the streams that come back on another replica after every break, each with a referee that hears all it was told."""

import asyncio
import contextlib
import json
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.fault.processes import Server
from tests.fault.stream_referee import Referee

PAUSE_S = 0.1
WITHIN_S = 20.0
"""For what must come; the promises' own bounds are asserted apart."""
_BROKEN = (OSError, EOFError, InvalidHandshake, TimeoutError, httpx2.HTTPError)

Heard = tuple[float, dict[str, Any]]
"""When, on the monotonic clock, and what."""


class Listener(ABC):
    """One client over all its connections; begins at one server, and goes to the next with every break."""

    def __init__(self, servers: Sequence[Server], at: int, token: str, account: str, name: str) -> None:
        self.servers = list(servers)
        self.at = at
        self.token = token
        self.account = account
        self.referee = Referee(name)
        # From the very beginning of the account, so that what it believes in the end is all there is to know.
        self.referee.places[self.log] = (1, 0)
        self.heard: list[Heard] = []
        self.closed: list[int] = []
        """Close codes; 0 where the connection just broke, or a body ended."""
        self._task: asyncio.Task[None] | None = None

    @property
    def log(self) -> str:
        """The channel of its account."""
        return f"account:{self.account}"

    @property
    def server(self) -> Server:
        """Where it listens now, or tries to."""
        return self.servers[self.at]

    @property
    def subscribed(self) -> bool:
        """Whether it has its account, and all that it missed of it."""
        return self.log in self.referee.confirmed

    def begin(self) -> None:
        """Listen until `end`."""
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Hang up. Raises what has broken it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if not self._task.cancelled():
                self._task.result()

    async def until(self, holds: Callable[[Self], bool], within_s: float = WITHIN_S) -> None:
        """Wait for what must come, of this client."""
        try:
            async with asyncio.timeout(within_s):
                while not holds(self):
                    assert self._task is None or not self._task.done(), self._task
                    await asyncio.sleep(0.01)
        except TimeoutError:
            last = [message for _, message in self.heard[-3:]]
            raise AssertionError(f"{self.referee.name} never heard it; last {last}") from None

    def of(self, channel: str, since_s: float = 0.0) -> list[Heard]:
        """What was heard of a channel, or of all channels of a prefix; resets as well."""
        return [
            (at_s, message)
            for at_s, message in self.heard
            if at_s >= since_s and message.get("channel", "").startswith(channel)
        ]

    def heard_at_s(self, kind: str) -> float:
        """When it last heard a message of this type."""
        return max(at_s for at_s, message in self.heard if message["type"] == kind)

    def take(self, message: dict[str, Any]) -> None:
        """The next message."""
        self.heard.append((time.monotonic(), message))
        self.referee.take(message)

    async def _run(self) -> None:
        while True:
            try:
                self.closed.append(await self._listen())
            except ConnectionClosed as closed:
                self.closed.append(0 if closed.rcvd is None else closed.rcvd.code)
            except _BROKEN:
                self.closed.append(0)
            self.referee.confirmed.clear()
            self.at = (self.at + 1) % len(self.servers)
            await asyncio.sleep(PAUSE_S)

    @abstractmethod
    async def _listen(self) -> int:
        """One connection, to its end."""


class SocketListener(Listener):
    """A WebSocket with an account, and, where it has symbols, with their quotes and what the account is worth."""

    def __init__(self, *args: Any, symbols: Sequence[str] = ()) -> None:
        super().__init__(*args)
        self.symbols = list(symbols)

    def symbols_heard(self, since_s: float) -> set[str]:
        """Those of which a quote came."""
        return {
            message["data"]["symbol"]
            for _, message in self.of("quotes:", since_s)
            if message["type"] == "market_data"
        }

    async def _listen(self) -> int:
        async with connect(
            f"ws://127.0.0.1:{self.server.port}/api/ws",
            additional_headers={"Authorization": f"Bearer {self.token}"},
            compression=None,
            open_timeout=5,
            proxy=None,
            max_size=None,
            sock=await self._socket(),
        ) as connection:
            await self._subscribe(connection)
            while True:
                self.take(json.loads(await self._next(connection)))

    async def _socket(self) -> socket.socket | None:
        return None

    async def _next(self, connection: ClientConnection) -> str | bytes:
        return await connection.recv()

    async def _subscribe(self, connection: ClientConnection) -> None:
        # Prices first: they come while a long absence from the account is still being told.
        channels = [*(f"quotes:{one}" for one in self.symbols), self.log]
        if self.symbols:
            channels.append(f"portfolio:{self.account}")
        resume = {name: place for name, place in self.referee.resume().items() if name in channels}
        self.referee.connected(resume)
        wish = {"type": "subscribe", "channels": channels, "resume": resume}
        await connection.send(json.dumps(wish))


class SlowListener(SocketListener):
    """A WebSocket that reads a message each `pace_s`, or none at all, through a small hole; until `reading` is set."""

    def __init__(self, *args: Any, pace_s: float | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reading = asyncio.Event()
        self._pace_s = pace_s

    async def _socket(self) -> socket.socket:
        own = socket.socket()
        # Not too small a hole for who does read: TCP would wait for more room before it sends.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096 if self._pace_s is None else 32768)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.server.port))
        return own

    async def _next(self, connection: ClientConnection) -> str | bytes:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace_s):
                await self.reading.wait()
        return await connection.recv()


class EventsListener(Listener):
    """Server-sent events of an account, read as `fetch` would."""

    async def _listen(self) -> int:
        epoch, sequence = self.referee.places[self.log]
        self.referee.connected([self.log])
        headers = {"Authorization": f"Bearer {self.token}", "Last-Event-ID": f"{epoch}:{sequence}"}
        async with httpx2.AsyncClient(base_url=self.server.url, timeout=30, verify=False) as client:
            async with client.stream(
                "GET", f"/api/stream/orders?account={self.account}", headers=headers
            ) as answer:
                if answer.status_code != 200:
                    return answer.status_code
                fields: dict[str, str] = {}
                async for line in answer.aiter_lines():
                    if line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    elif fields:
                        found, fields = fields, {}
                        if "data" in found:
                            self._take(found)
        return 0

    def _take(self, fields: dict[str, str]) -> None:
        message = json.loads(fields["data"])
        assert fields["event"] == message["type"]
        if message.get("channel") == self.log and message.get("sequence") is not None:
            # What a browser would send as Last-Event-ID.
            assert fields["id"] == f"{message['epoch']}:{message['sequence']}"
        self.take(message)
