"""What a connection may cost before there is a request the app could refuse: time, bytes, and how many (contract A9).

uvicorn waits for headers as long as somebody drips them, keeps whatever he sends, and answers garbage that follows a
request as if it were the answer to that request. The app never sees any of it, so the bounds are here.
"""

import asyncio
import resource
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from paiid.cli.refusal import refusal
from paiid.core.limits import (
    BODY_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    MAX_BODY,
    MAX_BODY_ON_WIRE,
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    max_body,
)
from paiid.domain.errors import Code, Problem
from paiid.stream.sinks import TRANSPORT

_RESERVED_FILES = 256
"""Open files that connections may not use up: databases, logs, the latch."""
_LINGER_S = 1.0
"""How long a client that was refused may take to hear it."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A connection on which no request is being answered always has a deadline."""

    head_timeout_s = HEAD_TIMEOUT_S
    body_timeout_s = BODY_TIMEOUT_S
    max_head_bytes = MAX_HEAD_BYTES
    max_body_on_wire = MAX_BODY_ON_WIRE
    max_connections = MAX_CONNECTIONS
    max_pipelined = MAX_PIPELINED

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_begun = False
        self._bytes = 0
        """Of the head or the body that is being read."""
        self._most_on_wire = self.max_body_on_wire
        """Bytes of the body of this request, as sent."""
        self._over = False

    # -- the connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.max_connections:
            self.transport = transport
            self._refuse(Problem(Code.OVERLOADED, "Too many connections; try again in a moment."))
            return
        super().connection_made(transport)
        self._arm(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._over:
            if self._bytes > self._most_on_wire and not self._answering():
                self.transport.close()
            return
        if self._in_head and not self._head_begun:
            # The time to connect early and think is not the time to send a request.
            self._head_begun = True
            self._disarm()
        super().data_received(data)
        if not self._over and not self.transport.is_closing():
            self._watch()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(Code.INVALID_REQUEST, "This is not an HTTP/1.1 request."))

    # -- the parser ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head_begun = True
        super().on_message_begin()
        # For answers that go on for hours: who does not read them must not keep the memory for them.
        self.scope["extensions"] = cast(Any, {TRANSPORT: self.transport})

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self.max_pipelined:
            raise ValueError("too many requests ahead of their answers")
        super().on_headers_complete()
        # Of a request that becomes a WebSocket the path is not set.
        most = max_body(self.scope["method"], self.scope.get("path", ""))
        self._most_on_wire = self.max_body_on_wire + (most - MAX_BODY)
        self._in_head = False
        self._bytes = 0
        self._disarm()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_begun = False
        self._bytes = 0
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._over and not self.transport.is_closing():
            self._watch()

    def handle_websocket_upgrade(self) -> None:
        """From here on the connection has another protocol, with deadlines of its own."""
        if self._answering() or self.pipeline:
            # Two protocols would write into one connection.
            self._refuse(Problem(Code.INVALID_REQUEST, "A WebSocket needs a connection of its own."))
            return
        if self._bytes > self.max_head_bytes:
            self._refuse(
                Problem(
                    Code.HEADERS_TOO_LARGE,
                    f"The headers did not end within {self.max_head_bytes} bytes.",
                )
            )
            return
        self._over = True
        self._disarm()
        self._unset_keepalive_if_required()
        super().handle_websocket_upgrade()

    # -- deadlines ----------------------------------------------------------------------------------

    def _answering(self) -> bool:
        """Whether a request has come whole, or its headers have, and its answer has not gone out."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Refuse what has grown too large, and see to it that what is awaited has a deadline."""
        if self._in_head and self._bytes > self.max_head_bytes:
            self._refuse(
                Problem(
                    Code.HEADERS_TOO_LARGE,
                    f"The headers did not end within {self.max_head_bytes} bytes.",
                )
            )
        elif not self._in_head and self._bytes > self._most_on_wire:
            self._refuse(Problem(Code.PAYLOAD_TOO_LARGE, "The body is too large as it is sent."))
        elif self._deadline is not None:
            return
        elif self._in_head and self._head_begun:
            self._arm(self.head_timeout_s)
        elif self._answering():
            return  # the app has a deadline of its own for the body
        elif not self._in_head:
            self._arm(self.body_timeout_s)  # the answer went out without it, the client still sends
        elif self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    def _arm(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._over:
            self.transport.close()
        elif self._in_head and self._head_begun:
            self._refuse(
                Problem(Code.REQUEST_TIMEOUT, f"The headers did not arrive within {self.head_timeout_s:g} s.")
            )
        elif not self._answering():
            # Nothing was asked, or the answer is out: there is nobody to tell.
            self._over = True
            self.transport.close()

    # -- the refusal --------------------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """Answer and close. While a request before it is being answered, only close, and only after that answer:
        the client would take the refusal for it, and think that an order which is being placed was not."""
        self._over = True
        self._disarm()
        if self._answering():
            self.cycle.keep_alive = False
            return
        if not self._in_head:
            # It was answered before its body had come.
            self.transport.close()
            return
        self.transport.write(refusal(problem))
        if self in self.connections and self.transport.can_write_eof():
            # Closing while the client still sends would reset the connection, and the answer would be lost.
            self.transport.write_eof()
            self._arm(_LINGER_S)
        else:
            self.transport.close()


def fitted(files: int) -> type[GuardedProtocol]:
    """The protocol for a process that may open so many files."""

    class Fitted(GuardedProtocol):
        max_connections = max(1, min(MAX_CONNECTIONS, files - _RESERVED_FILES))

    return Fitted


def raise_file_limit() -> int:
    """Let this process open as many files as its connections need, if the host allows; how many it may now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _RESERVED_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
