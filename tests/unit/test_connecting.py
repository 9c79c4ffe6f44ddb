"""A connection that is made in the moment in which its opening is given up is closed (wires/connecting)."""

import asyncio
from collections.abc import Iterable
from typing import Any

import httpcore2
import pytest

from paiid.core.clock import SystemClock
from paiid.wires.connecting import ClosedIfLate
from paiid.wires.deadline import Deadline
from paiid.wires.outbound import NotBegun, Outbound


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def aclose(self) -> None:
        self.closed.set()


class _Slow(httpcore2.AsyncNetworkBackend):
    """Has the connection once `ready` is set."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.began = asyncio.Event()
        self.stream = _Stream()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.began.set()
        await self.ready.wait()
        return self.stream


@pytest.mark.parametrize("made", ["in the same moment", "later"])
async def test_what_is_connected_too_late_is_closed(made: str) -> None:
    inner = _Slow()
    waiting = asyncio.ensure_future(ClosedIfLate(inner).connect_tcp("127.0.0.1", 1))
    await inner.began.wait()
    if made == "in the same moment":
        inner.ready.set()
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    inner.ready.set()
    async with asyncio.timeout(5):
        await inner.stream.closed.wait()


async def test_what_is_left_over_when_everything_is_closed_is_closed_too() -> None:
    inner = _Slow()
    inner.ready.set()
    connections = ClosedIfLate(inner)
    # Its pool may know it no more: that it is in use is all that keeps it.
    stream = await connections.connect_tcp("127.0.0.1", 1)
    await connections.close()
    assert inner.stream.closed.is_set()
    assert stream is inner.stream


async def test_what_is_connected_after_everything_was_closed_is_closed_at_once() -> None:
    inner = _Slow()
    connections = ClosedIfLate(inner)
    waiting = asyncio.ensure_future(connections.connect_tcp("127.0.0.1", 1))
    await inner.began.wait()
    await connections.close()
    inner.ready.set()
    with pytest.raises(httpcore2.ConnectError):
        await waiting
    assert inner.stream.closed.is_set()


async def test_an_exchange_opens_its_connections_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def refuse(self: ClosedIfLate, host: str, port: int, *_: Any, **__: Any) -> Any:
        asked.append((host, port))
        raise httpcore2.ConnectError("refused")

    monkeypatch.setattr(ClosedIfLate, "connect_tcp", refuse)
    outbound = Outbound("http://127.0.0.1:9", {})
    with pytest.raises(NotBegun):
        await outbound.exchange("GET", "/", Deadline(SystemClock(), 5), cap=1)
    assert asked == [("127.0.0.1", 9)]
    await outbound.close()
