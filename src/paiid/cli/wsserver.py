"""One WebSocket connection below the app: whole frames straight to the transport, and a bound on all a stranger can send.

uvicorn's protocol does the handshake and the reading. What it lacks is here: deadlines, the number of fragments, readers that stop
reading, tiny frames by the ten thousand, and silence about the query string, which may hold what is none of a log's business.
"""

import asyncio
import logging
from asyncio.transports import BaseTransport
from contextlib import suppress
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from paiid.cli.refusal import refusal
from paiid.core.limits import HEAD_TIMEOUT_S
from paiid.domain.errors import Code, Problem
from paiid.stream.sinks import CONNECTION, END_GRACE_S, narrow

MAX_MESSAGE = 64 * 1024
"""Bytes of a message from a client."""
MAX_FRAGMENTS = 64
"""Frames of one message."""
MAX_UNREAD = 512 * 1024
"""Unsent bytes of a client who goes on pinging without reading; past it the connection is cut."""
PING_S = 20.0
"""Between our pings, and how long a client may take to answer one."""
_SLICE = 1024
"""Bytes parsed in one go: a quarter of a megabyte of tiny frames would keep everybody else waiting."""
_HOST = "paiid.websocket"


def _quiet_logger() -> logging.Logger:
    """Warnings and worse: the lines below that would tell the query string of each connection."""
    logger = logging.getLogger(_HOST)
    logger.setLevel(logging.WARNING)
    return logger


class StreamProtocol(WebSocketsSansIOProtocol):
    """A connection. It offers itself to the app as `scope["extensions"]["paiid.connection"]`."""

    handshake_timeout_s = HEAD_TIMEOUT_S
    end_grace_s = END_GRACE_S

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.logger = _quiet_logger()
        self.conn.logger = self.logger
        self.conn.debug = False
        self._inbox = b""
        """What came and was not parsed yet."""
        self._feeding = False
        self._asked = False
        self._open = False
        self._ended = False
        self._deadline: asyncio.TimerHandle | None = None

    # -- what the app uses ------------------------------------------------------------------------------

    def write_frames(self, data: bytes) -> None:
        """Whole frames as they go on the wire; nothing once the connection ends."""
        if self._open:
            self.transport.write(data)

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    def end(self, code: int, reason: str) -> None:
        """Send a close frame behind what was written; may be called twice. Who does not read it in time is cut off."""
        if not self._open or self._ended:
            return
        self._ended = True
        self._open = False
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        with suppress(InvalidState):
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if not self._feeding:
            self._feed()
        self.close_timer = self.loop.call_later(self.end_grace_s, self.transport.abort)

    # -- the connection ---------------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        narrow(transport)
        self._arm(self.handshake_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._inbox = b""
        self._disarm()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops."""
        if self._open:
            self.end(1012, "restarting")
        elif not self.close_sent:
            self.transport.close()
        self._arm(self.end_grace_s)

    def _arm(self, seconds: float) -> None:
        """Whatever happens, the connection is gone by then."""
        self._disarm()
        if not self.disconnected:
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, problem: Problem) -> None:
        """Answer instead of a handshake."""
        self.handshake_complete = True
        self.close_sent = True
        self.transport.write(refusal(problem))
        self.transport.close()
        self._arm(self.end_grace_s)

    # -- reading ----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            # The request, which our HTTP protocol has read and bounded.
            self._asked = True
            self._ask(data)
            return
        self._inbox = self._inbox + data if self._inbox else data
        if not self._feeding:
            self._feed()

    def _ask(self, head: bytes) -> None:
        super().data_received(head)
        if not self.handshake_initiated:
            self._refuse(Problem(Code.INVALID_REQUEST, "This is not a WebSocket handshake."))

    def handle_connect(self, event: Request) -> None:
        if not event.path.isascii():
            self._refuse(Problem(Code.INVALID_REQUEST, "A path has to be percent-encoded."))
        elif self.conn.accept(event).status_code != 101:
            self._refuse(
                Problem(
                    Code.INVALID_REQUEST, "The headers are not those of a WebSocket handshake of version 13."
                )
            )
        else:
            super().handle_connect(event)
        self.handshake_initiated = True

    def _feed(self) -> None:
        """Parse the next slice, unless the app has not read what came before, or has not answered the handshake."""
        self._feeding = False
        if self.transport.is_closing() or self.disconnected:
            self._inbox = b""
            return
        if not self.handshake_complete or not self._is_read():
            self._stop_reading()
            return
        piece, self._inbox = self._inbox[:_SLICE], self._inbox[_SLICE:]
        if piece:
            super().data_received(piece)
        if self._inbox:
            self._stop_reading()
            if self._is_read():
                self._feeding = True
                self.loop.call_soon(self._feed)
        elif self._is_read():
            self._go_on_reading()

    def _is_read(self) -> bool:
        """Whether the app has all that came before; after the end nobody waits for it."""
        return self._ended or self.queue.empty()

    def _stop_reading(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def _go_on_reading(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await self.queue.get()
        if self.queue.empty() and not self._feeding:
            self._feed()
        return message

    # -- what clients send --------------------------------------------------------------------------------

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail(1009, "too many fragments")
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            whole = b"".join(self.frames)
            try:
                whole.decode()
            except UnicodeDecodeError:
                self._fail(1007, "invalid UTF-8")
                return
            self.frames = [whole]
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.unsent() > MAX_UNREAD:
            self.transport.abort()
            return
        super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        self._open = False
        super().handle_close(event)
        self._arm(self.end_grace_s)

    def handle_parser_exception(self) -> None:
        self._open = False
        if self.conn.close_sent is None:
            self.transport.abort()
            return
        super().handle_parser_exception()
        self._arm(self.end_grace_s)

    def keepalive_timeout(self) -> None:
        self._open = False
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": 1011, "reason": "keepalive ping timeout"}
        )
        super().keepalive_timeout()
        self._arm(self.end_grace_s)

    def _fail(self, code: int, reason: str) -> None:
        """Against the rules: a close frame, and nothing more is read."""
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    # -- the app ------------------------------------------------------------------------------------------

    async def run_asgi(self) -> None:
        cast(dict[str, Any], self.scope["extensions"])[CONNECTION] = self
        await super().run_asgi()
        self._open = False
        self._arm(self.end_grace_s)

    async def send(self, message: Any) -> None:
        if self._ended or (self.close_sent and self.initial_response is None):
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.accept" and not self.transport.is_closing():
            self._disarm()
            self._open = True
            self._feed()
        elif message["type"] == "websocket.http.response.body" and self.close_sent:
            # A refusal is an answer too; uvicorn would log it as an app that forgot the handshake.
            self.handshake_complete = True
        elif message["type"] == "websocket.close":
            self._open = False
            self._arm(self.end_grace_s)
