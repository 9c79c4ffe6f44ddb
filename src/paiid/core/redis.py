"""The bus over Redis pub/sub: a slow, frozen or dead server costs messages, never time (docs/adr/0018)."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from paiid.core.bus import Hear
from paiid.core.clock import Clock
from paiid.core.redis_wire import abort, end_all, open_within, pool_of
from paiid.core.tasks import Background

_log = structlog.get_logger("paiid.bus")
MAX_BODY = 1_048_576
"""Bytes of one message; longer ones are neither sent nor heard."""
MOST_WAITING = 4096
MOST_WAITING_BYTES = 8 * MAX_BODY
"""What waits to be sent; beyond it the oldest goes."""
_MOST_AT_ONCE = 256
_MOST_BYTES_AT_ONCE = MAX_BODY
ECHO_S = 1.0
"""How often the bus sends itself a word, which must come back: that proves both connections and all between them."""
DEADLINE_S = 1.5
"""How long connecting, sending, and an echo may take; with `ECHO_S` it is less than the 3 s of the contract."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_ID_BYTES = 8
_ONE_BREATH = 64
"""Messages heard before others get a turn."""
_ECHO = "echo"
_BROKEN = (RedisError, OSError, TimeoutError)


class _Silent(Exception):
    """The echo did not come back."""


class RedisBus:
    """A `Bus` over two connections, one that speaks and one that listens. A message on the wire begins with its sender's
    id, by which a process leaves out its own. The URL is `redis://` or `rediss://`; its password is never told."""

    shared = True

    def __init__(
        self, url: str, prefix: str, clock: Clock, *, echo_s: float = ECHO_S, deadline_s: float = DEADLINE_S
    ) -> None:
        """Raises ValueError for a URL of another kind, without its text."""
        self._clock = clock
        self._prefix = f"{prefix}:"
        self._id = clock.random_bytes(_ID_BYTES)
        self._echo_s = echo_s
        self._deadline_s = deadline_s
        self._pool = pool_of(url, deadline_s)
        self._tasks = Background(clock)
        self._hears: dict[bytes, list[Hear]] = {}
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._waiting_bytes = 0
        self._told: list[Callable[[bool], None]] = []
        self._work = asyncio.Event()
        self._echo_channel = self._wire(f"{_ECHO}:{self._id.hex()}")
        self._echo_due = False
        self._echo_heard = asyncio.Event()
        self._more_channels = asyncio.Event()
        self._up = False
        self.sent = 0
        """Messages that the server has taken."""
        self.heard = 0
        """Messages of others that were told."""
        self.dropped = 0
        """Messages that could not be sent, or of which it is not known."""
        self.refused = 0
        """Messages heard that are too long, or not in our form."""

    @property
    def up(self) -> bool:
        """Whether our own word came back a moment ago."""
        return self._up

    def publish(self, channel: str, body: bytes) -> None:
        """Send soon, or drop and count."""
        if not self._up or len(body) > MAX_BODY:
            self.dropped += 1
            return
        self._waiting.append((self._wire(channel), body))
        self._waiting_bytes += len(body)
        while len(self._waiting) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft()[1])
            self.dropped += 1
        self._work.set()

    def subscribe(self, channel: str, hear: Hear) -> None:
        """Hear a channel, from now on or from when there is a server."""
        self._hears.setdefault(self._wire(channel), []).append(hear)
        self._more_channels.set()

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """Be told of a change of `up`."""
        self._told.append(tell)

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._tasks.failing

    async def start(self) -> None:
        """Begin to connect."""
        self._tasks.begin("bus", self._run)

    async def stop(self) -> None:
        """Cut both connections."""
        await self._tasks.stop()

    def _wire(self, channel: str) -> bytes:
        return (self._prefix + channel).encode()

    async def _run(self) -> None:
        """One pair of connections after another, with a growing and uneven pause between them."""
        pause_s, told = _FIRST_PAUSE_S, False
        while True:
            was_up = False
            try:
                await self._live()
            except (*_BROKEN, _Silent) as problem:
                was_up = self._up
                if was_up or not told:
                    # The kind only: a text of the library may hold what stands in the URL.
                    _log.warning("bus_lost", reason=type(problem).__name__)
                    told = True
            finally:
                self._set_up(False)
            pause_s = _FIRST_PAUSE_S if was_up else min(2 * pause_s, _LONGEST_PAUSE_S)
            await self._clock.sleep(pause_s * (0.5 + self._clock.random_bytes(1)[0] / 512))

    async def _live(self) -> None:
        """Connect, subscribe, and go on until something breaks."""
        make: Callable[[], AbstractConnection] = self._pool.make_connection
        speak, listen = make(), make()
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self._deadline_s):
                for connection in (speak, listen):
                    await open_within(connection, self._deadline_s)
            self._echo_heard.clear()
            self._echo_due = False
            self._more_channels.set()
            tasks = [
                asyncio.create_task(work, name=f"paiid-bus-{name}")
                for name, work in (
                    ("subscribe", self._subscribe(listen)),
                    ("read", self._read(listen)),
                    ("send", self._send(speak)),
                    ("echo", self._watch_echo()),
                )
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            abort(speak)
            abort(listen)
            await end_all(tasks)
            for connection in (speak, listen):
                with suppress(*_BROKEN):
                    await connection.disconnect(nowait=True)

    async def _subscribe(self, listen: AbstractConnection) -> None:
        """Name our channels to the server, the echo's first and then whatever is new."""
        named: set[bytes] = set()
        while True:
            await self._more_channels.wait()
            self._more_channels.clear()
            fresh = [one for one in (self._echo_channel, *self._hears) if one not in named]
            if fresh:
                await listen.send_command("SUBSCRIBE", *fresh, check_health=False)
                named.update(fresh)

    async def _read(self, listen: AbstractConnection) -> None:
        count = 0
        while True:
            word: Any = await listen.read_response(timeout=math.inf)
            if isinstance(word, list) and len(word) == 3:
                if word[0] == b"message":
                    self._hear(word[1], word[2])
                elif word[:2] == [b"subscribe", self._echo_channel]:
                    # Not earlier: what the other connection says before this is heard by nobody.
                    self._send_echo()
            count += 1
            if count % _ONE_BREATH == 0:
                # What lies in the buffer is read without a pause.
                await asyncio.sleep(0)

    def _hear(self, channel: bytes, body: bytes) -> None:
        if channel == self._echo_channel:
            self._echo_heard.set()
            return
        if not _ID_BYTES <= len(body) <= _ID_BYTES + MAX_BODY:
            self.refused += 1
            return
        if body.startswith(self._id):
            return
        self.heard += 1
        for hear in self._hears.get(channel, ()):
            hear(body[_ID_BYTES:])

    async def _send(self, speak: AbstractConnection) -> None:
        """What waits, many messages in one write, and then the server's word on each."""
        while True:
            await self._work.wait()
            batch = self._take()
            if not batch:
                self._work.clear()
                continue
            echoes = sum(channel == self._echo_channel for channel, _ in batch)
            taken = 0
            try:
                commands = [("PUBLISH", channel, body) for channel, body in batch]
                await speak.send_packed_command(speak.pack_commands(commands), check_health=False)
                for _ in batch:
                    await speak.read_response()
                    taken += 1
            finally:
                # The echo, if there is one, is the first, and is no message.
                self.sent += max(0, taken - echoes)
                self.dropped += len(batch) - max(taken, echoes)

    def _take(self) -> list[tuple[bytes, bytes]]:
        batch: list[tuple[bytes, bytes]] = []
        if self._echo_due:
            # Before all that waits, or a full outbox would look like a dead server.
            self._echo_due = False
            batch.append((self._echo_channel, b""))
        size = 0
        while self._waiting and len(batch) < _MOST_AT_ONCE and size < _MOST_BYTES_AT_ONCE:
            channel, body = self._waiting.popleft()
            self._waiting_bytes -= len(body)
            size += len(body)
            batch.append((channel, self._id + body))
        return batch

    async def _watch_echo(self) -> None:
        """The first echo makes the bus up: the server has our subscriptions and takes our words."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    await self._echo_heard.wait()
            if not self._echo_heard.is_set():
                # If it was this process that stood still, the echo lies in the socket.
                await asyncio.sleep(self._deadline_s / 32)
                if not self._echo_heard.is_set():
                    raise _Silent
            self._set_up(True)
            await self._clock.sleep(self._echo_s)
            self._echo_heard.clear()
            self._send_echo()

    def _send_echo(self) -> None:
        self._echo_due = True
        self._work.set()

    def _set_up(self, up: bool) -> None:
        if up == self._up:
            return
        self._up = up
        if up:
            _log.info("bus_up")
        else:
            # It would reach the others after newer words.
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
        for tell in self._told:
            tell(up)
