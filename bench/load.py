"""The load: keep-alive connections that send ready-made bytes, in a closed loop or at set instants.

As little Python as possible stands between two requests, and still a client in Python may be slower than the
server it loads. That is why the areas also look at the server's CPU time per request.
"""

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

ANSWER_S = 30.0
"""The longest a connection may stay silent before the run is given up."""

MakeRequest = Callable[[], bytes]


@dataclass
class Load:
    """What one spell of load came to. `latencies_s` are from the scheduled (open loop) or actual sending."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    wrong: int = 0
    first_wrong: bytes = b""

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latencies in milliseconds."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0

    def require_right(self, what: str) -> None:
        """Raises RuntimeError if any answer was not the one expected: wrong answers are not fast ones."""
        if self.wrong or not self.latencies_s:
            raise RuntimeError(f"{what}: {self.wrong} wrong answers, first: {self.first_wrong[:600]!r}")


class _Connection(asyncio.Protocol):
    """One request at a time; tells when its answer is whole."""

    def __init__(self, load: Load, expects: bytes, done: Callable[["_Connection"], None]) -> None:
        self._load = load
        self._expects = expects
        self._done = done
        self._transport: Any = None
        self._buffer = b""
        self._since = 0.0
        self.lost: BaseException | None = None
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self.lost = error or ConnectionError("the server closed the connection")
            self._done(self)

    def send(self, request: bytes, since: float | None = None) -> None:
        self._since = time.perf_counter() if since is None else since
        self.busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            at = data.find(b"content-length: ", 0, end)
            size = int(data[at + 16 : data.find(b"\r", at)]) if at >= 0 else 0
            if len(data) >= end + 4 + size:
                self._finish(data)
                return
        self._buffer = data

    def _finish(self, data: bytes) -> None:
        load = self._load
        load.latencies_s.append(time.perf_counter() - self._since)
        if data[9:12] != b"200" or self._expects not in data:
            load.wrong += 1
            load.first_wrong = load.first_wrong or data
        self._buffer = b""
        self.busy = False
        self._done(self)

    def close(self) -> None:
        self._transport.close()


def closed_loop(port: int, makers: Sequence[MakeRequest], seconds: float, expects: bytes) -> Load:
    """One connection for each maker; each sends its next request as soon as it has its answer."""
    return _run(_closed_loop(port, makers, seconds, expects))


def open_loop(
    port: int, make: MakeRequest, per_s: float, seconds: float, expects: bytes, connections: int = 64
) -> Load:
    """Requests at fixed instants whatever the answers do; one that finds no free connection waits, and its
    wait counts."""
    return _run(_open_loop(port, make, per_s, seconds, expects, connections))


def _run(work: Coroutine[Any, Any, Load]) -> Load:
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    finally:
        gc.enable()


async def _closed_loop(port: int, makers: Sequence[MakeRequest], seconds: float, expects: bytes) -> Load:
    loop = asyncio.get_running_loop()
    load = Load()
    end_at = 0.0
    left = len(makers)
    finished: asyncio.Future[None] = loop.create_future()
    maker_of: dict[_Connection, MakeRequest] = {}

    def done(connection: _Connection) -> None:
        nonlocal left
        if connection.lost is None and time.perf_counter() < end_at:
            connection.send(maker_of[connection]())
            return
        if connection.lost is not None and not finished.done():
            finished.set_exception(connection.lost)
        left -= 1
        if left == 0 and not finished.done():
            finished.set_result(None)

    for make in makers:
        _, connection = await loop.create_connection(
            lambda: _Connection(load, expects, done), "127.0.0.1", port
        )
        maker_of[connection] = make
    began = time.perf_counter()
    end_at = began + seconds
    for connection, make in maker_of.items():
        connection.send(make())
    await asyncio.wait_for(finished, seconds + ANSWER_S)
    load.seconds = time.perf_counter() - began
    for connection in maker_of:
        connection.close()
    return load


async def _open_loop(
    port: int, make: MakeRequest, per_s: float, seconds: float, expects: bytes, connections: int
) -> Load:
    loop = asyncio.get_running_loop()
    load = Load()
    count = max(1, int(per_s * seconds))
    idle: deque[_Connection] = deque()
    waiting: deque[float] = deque()
    finished: asyncio.Future[None] = loop.create_future()

    def done(connection: _Connection) -> None:
        if connection.lost is not None:
            if not finished.done():
                finished.set_exception(connection.lost)
            return
        if waiting:
            connection.send(make(), waiting.popleft())
        else:
            idle.append(connection)
        if len(load.latencies_s) == count and not finished.done():
            finished.set_result(None)

    def due(at: float) -> None:
        if idle:
            idle.popleft().send(make(), at)
        else:
            waiting.append(at)

    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(load, expects, done), "127.0.0.1", port
        )
        idle.append(connection)
    everyone = list(idle)
    began = time.perf_counter() + 0.05
    ending = threading.Event()

    def pace() -> None:
        # The loop's own timers are rounded up to a millisecond, which is half of what is to be measured.
        for number in range(count):
            at = began + number / per_s
            time.sleep(max(0.0, at - time.perf_counter()))
            if ending.is_set():
                return
            loop.call_soon_threadsafe(due, at)

    pacer = threading.Thread(target=pace, name="bench-pacer", daemon=True)
    pacer.start()
    try:
        await asyncio.wait_for(finished, seconds + ANSWER_S)
    finally:
        ending.set()
        pacer.join()
    load.seconds = time.perf_counter() - began
    for connection in everyone:
        connection.close()
    return load
