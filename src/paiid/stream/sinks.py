"""The writing ends of clients: a WebSocket whose frames go straight to the transport, and the body of an SSE answer."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Literal, Protocol

SEND_BUFFER = 64 * 1024
"""Bytes the kernel is asked to keep for a client, so that it does not hide megabytes of old prices (Linux takes twice that)."""
END_GRACE_S = 5.0
"""How long a client that was told the end may take to read it."""
CONNECTION = "paiid.connection"
"""Where the WebSocket protocol of the server puts itself in `scope["extensions"]`."""
TRANSPORT = "paiid.transport"
"""Where the HTTP protocol of the server puts its transport in `scope["extensions"]`."""

_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Connection(Protocol):
    """What the server's WebSocket protocol offers (cli/wsserver)."""

    def write_frames(self, data: bytes) -> None:
        """Whole frames as they go on the wire; nothing once the connection ends."""
        ...

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Close behind what was written; may be called twice."""
        ...


class WebSocketSink:
    """A WebSocket. Its methods are those of the connection itself: they are called for every client in every flush."""

    def __init__(self, connection: Connection, style: Literal["frames", "batches"] = "frames") -> None:
        self.style: Literal["frames", "batches", "sse"] = style
        self.write = connection.write_frames
        self.unsent = connection.unsent
        self.close = connection.end


def narrow(transport: asyncio.BaseTransport | None) -> None:
    """Bound what the kernel keeps for a client."""
    own = None if transport is None else transport.get_extra_info("socket")
    if own is not None:
        with suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


class SseSink:
    """The body of one answer. `run` sends what gathers, in one piece each time, until the end; nothing is queued a message."""

    style: Literal["frames", "batches", "sse"] = "sse"

    def __init__(self, scope: Mapping[str, Any], end_grace_s: float = END_GRACE_S) -> None:
        transport = (scope.get("extensions") or {}).get(TRANSPORT)
        self._transport: asyncio.Transport | None = transport
        self._end_grace_s = end_grace_s
        self._gathered: list[bytes] = []
        self._size = 0
        """Bytes gathered, or just being sent."""
        self._wake = asyncio.Event()
        self._ended = False
        narrow(transport)

    def write(self, data: bytes) -> None:
        """Events as they go on the wire; nothing after the end."""
        if not self._ended:
            self._gathered.append(data)
            self._size += len(data)
            self._wake.set()

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        if self._transport is None:
            return self._size
        return self._size + self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """The body ends behind what was written. Who does not read is cut off: an answer has no close code."""
        if not self._ended:
            self._ended = True
            self._wake.set()
            if self._transport is not None:
                asyncio.get_running_loop().call_later(self._end_grace_s, self._cut)

    def _cut(self) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size() > 0:
            self._transport.abort()

    async def run(self, receive: _Receive, send: _Send) -> None:
        """Send the body until `close` or the client's end; the head of the answer has been sent."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                body = b"".join(self._gathered)
                self._gathered.clear()
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    self._size -= len(body)
                if self._ended and not self._gathered:
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._ended = True
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(self, receive: _Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._ended = True
        self._gathered.clear()
        self._size = 0
        self._wake.set()
