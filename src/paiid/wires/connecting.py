"""Connections that are closed whatever becomes of the request that opened them: given up in just that moment, or left over.

The network library forgets a connection whose opening is cancelled in the instant in which it stands, and one whose pool is closed while it is in use.
Every deadline of ours is a cancellation, so an opening goes on by itself once it is begun, and what comes too late is closed by us.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import httpcore2
import httpx2

__all__ = ["ClosedIfLate", "transport_over"]

_LATE_S = 10.0
"""An opening that nobody waits for any more may take so long; then it is given up for good."""


class ClosedIfLate(httpcore2.AsyncNetworkBackend):
    """Opens connections for a pool."""

    def __init__(self, inner: httpcore2.AsyncNetworkBackend | None = None) -> None:
        """`inner` is for tests."""
        self._inner = inner or httpcore2.AnyIOBackend()
        self._late: set[asyncio.Future[Any]] = set()
        self._open: WeakSet[httpcore2.AsyncNetworkStream] = WeakSet()
        self._closed = False

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """As the library's own. Raises its errors."""
        opening = asyncio.ensure_future(
            self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        )
        try:
            stream = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._keep(opening)
            opening.add_done_callback(self._close_late)
            asyncio.get_running_loop().call_later(_LATE_S, opening.cancel)
            raise
        if self._closed:
            await stream.aclose()
            raise httpcore2.ConnectError("the connections were closed meanwhile")
        self._open.add(stream)
        return stream

    async def close(self) -> None:
        """Close what its pool has lost sight of, after the pool was closed. One that is closed already stays so."""
        self._closed = True
        for stream in list(self._open):
            with suppress(Exception):
                await stream.aclose()

    async def sleep(self, seconds: float) -> None:
        """Wait, between the library's own tries; we allow it none."""
        await asyncio.sleep(seconds)

    def _close_late(self, opening: "asyncio.Future[httpcore2.AsyncNetworkStream]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._keep(asyncio.ensure_future(opening.result().aclose()))

    def _keep(self, work: "asyncio.Future[Any]") -> None:
        self._late.add(work)
        work.add_done_callback(self._late.discard)


def transport_over(
    connections: ClosedIfLate, *, https: bool, limits: httpx2.Limits | None = None
) -> httpx2.AsyncHTTPTransport:
    """A transport that opens its connections here. Plain http is loopback only, and certificates take a while to load."""
    made = httpx2.AsyncHTTPTransport(verify=https, trust_env=False, limits=limits or httpx2.Limits())
    # The library has no other way in; a test proves that this one is still there.
    made._pool._network_backend = connections
    return made
