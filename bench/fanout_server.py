"""Our fan-out as a process: the real hub, provider, protocol and sink, fed with quotes by a generator. Without authentication.

`python -m bench.fanout_server KIND PORT SYMBOLS PER_S`; KIND is `ours`, or `limit`: a bare loop of transport.write of one frame.
Every event carries the instant of its making in `ts_event`; it is made when it is due, whether the last one has been sent or not.
"""

import asyncio
import gc
import socket
import sys
from decimal import Decimal
from typing import Any

import uvicorn

from paiid.cli.serve import BACKLOG, server_config
from paiid.core.clock import SystemClock
from paiid.domain.quotes import Quote
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.stream.frames import text_frame
from paiid.stream.hub import Hub
from paiid.stream.quotes import QuoteChannels
from paiid.stream.sinks import CONNECTION, WebSocketSink

TICK_S = 0.01


def symbols_of(count: int) -> list[str]:
    """Names as long as real ones."""
    return [f"SY{number:03}" for number in range(count)]


class App:
    """`/?batch=1`: batches. Each client gets all symbols as soon as it says anything; before, it is idle."""

    def __init__(self, kind: str, symbols: int, per_s: float) -> None:
        self._kind = kind
        self._symbols = symbols_of(symbols)
        self._per_s = per_s
        self._clock = SystemClock()
        self._hub = Hub(self._clock)
        self._board = Board()
        QuoteChannels(self._hub, self._board, Demand(self._clock), delayed=False)
        self._connections: dict[Any, None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._count = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        await receive()
        connection = scope["extensions"][CONNECTION]
        await send({"type": "websocket.accept"})
        if (await receive())["type"] == "websocket.disconnect":
            return
        if self._kind == "limit":
            self._connections[connection] = None
            connection.write_frames(text_frame(b'{"type":"ready"}'))
            await receive()
            self._connections.pop(connection, None)
            return
        sink = WebSocketSink(connection, "batches" if b"batch" in scope["query_string"] else "frames")
        subscriber = self._hub.attach(sink)
        for symbol in self._symbols:
            await self._hub.subscribe(subscriber, f"quotes:{symbol}", None)
        self._hub.tell(subscriber, b'{"type":"ready"}')
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self._hub.detach(subscriber)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        await self._hub.start()
        self._tasks.append(asyncio.create_task(self._generate()))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in self._tasks:
            task.cancel()
        await self._hub.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _generate(self) -> None:
        """So many quotes a second, every ten milliseconds those that are due."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        price = Decimal("187.42")
        while True:
            due = int((loop.time() - began) * self._per_s)
            # Behind for more than a second: the machine was away; it is not made up for.
            self._count = max(self._count, due - int(self._per_s))
            while self._count < due:
                self._count += 1
                symbol = self._symbols[self._count % len(self._symbols)]
                now_us = self._clock.now_us()
                bid = price + Decimal(self._count % 100) / 100
                size = Decimal(self._count % 10 + 1) * 100
                quote = Quote(
                    symbol, bid, bid + Decimal("0.02"), size, size, bid, price, now_us, self._count, "bench"
                )
                if self._kind == "ours":
                    self._board.show(quote, 1, self._count // len(self._symbols) + 1)
                else:
                    self._write_bare(now_us)
            await asyncio.sleep(min(TICK_S, 1 / self._per_s))

    def _write_bare(self, now_us: int) -> None:
        data = text_frame(b'{"ts_event":%d,"data":"%b"}' % (now_us, b"x" * 330))
        for connection in self._connections:
            connection.transport.write(data)


def main() -> None:
    """Serve until SIGTERM."""
    kind, port, symbols, per_s = sys.argv[1:]
    app = App(kind, int(symbols), float(per_s))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(BACKLOG)
    gc.freeze()
    uvicorn.Server(server_config(app)).run(sockets=[listener])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
