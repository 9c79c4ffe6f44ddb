"""Runs the simulator's app on a socket: HTTP and WebSocket on one port, with connections that a fault can cut."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Protocol, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from paiid.sim.engine.connection import KEY, reset

__all__ = ["SimServer", "ignore_signals", "running", "server_config"]

BACKLOG = 1024
KEEP_ALIVE_S = 60
GRACE_S = 1
"""For requests under way when the server ends; what they have begun is done all the same."""
LAST_RESORT_S = 4.8
"""After this the process ends whatever still runs."""
MAX_FRAME = 1 << 16
"""Bytes of one message from a client of the stream."""
_START_S = 30.0


class SimApp(Protocol):
    """A simulator's ASGI app."""

    def begin_stop(self) -> None:
        """Say goodbye to everybody who listens, so that the server need not wait for them."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class _HttpProtocol(HttpToolsProtocol):
    """One HTTP connection, which is known to the requests on it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[KEY] = self

    def reset(self) -> None:
        """Cut it."""
        reset(self.transport)

    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.transport.get_write_buffer_size()

    def deafen(self) -> None:
        """Read nothing any more."""
        self.transport.pause_reading()


class _SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket, which is known to the endpoint that serves it."""

    _is_deaf = False

    async def run_asgi(self) -> None:
        cast(dict[str, Any], self.scope)[KEY] = self
        await super().run_asgi()

    def reset(self) -> None:
        """Cut it without a farewell."""
        self.stop_keepalive()
        reset(self.transport)

    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.transport.get_write_buffer_size()

    def deafen(self) -> None:
        """Answer no ping and send none, without closing."""
        self._is_deaf = True
        self.stop_keepalive()

    def data_received(self, data: bytes) -> None:
        if not self._is_deaf:
            super().data_received(data)


class SimServer(uvicorn.Server):
    """uvicorn's server that sends the listeners home with the signal, and that cannot linger."""

    def __init__(self, sim: SimApp, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._sim = sim

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self._sim.begin_stop()
            last = threading.Timer(LAST_RESORT_S, os._exit, args=(1,))
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)


class _QuietServer(SimServer):
    """A server inside somebody else's process, whose signals are not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_config(sim: SimApp, **more: Any) -> uvicorn.Config:
    """How uvicorn is set."""
    return uvicorn.Config(
        sim,
        http=_HttpProtocol,
        ws=_SocketProtocol,
        ws_max_size=MAX_FRAME,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        **more,
    )


@asynccontextmanager
async def running(sim: SimApp, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """The app on a socket within this process; gives its URL. Raises RuntimeError where it does not start."""
    # With the protocol named, asyncio sends small writes at once; without it each answer waits 40 ms for an ACK.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind((host, port))
        listener.listen(BACKLOG)
        server = _QuietServer(sim, server_config(sim))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="paiid-sim-server")
        try:
            async with asyncio.timeout(_START_S):
                while not server.started:
                    if serving.done():
                        await serving
                        raise RuntimeError("the simulator could not start; the log says why")
                    await asyncio.sleep(0.005)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            sim.begin_stop()
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)


def ignore_signals() -> None:
    """uvicorn raises the signal again after a clean end; that end is exit code 0, not a death by signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
