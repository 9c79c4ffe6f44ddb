"""Connections to Redis as the bus and the shared state make them: bounded in time, and cut rather than closed."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool

__all__ = ["abort", "end_all", "open_within", "pool_of"]
_AGAIN_S = 0.05


def pool_of(url: str, deadline_s: float) -> ConnectionPool:
    """Makes the connections; none of them is ever given back to it. Protocol 2, where what is heard is a plain list. Raises
    ValueError for a URL of another kind, without its text."""
    try:
        if urlsplit(url).scheme not in ("redis", "rediss"):
            raise ValueError
        pool = ConnectionPool.from_url(url)
    except ValueError:
        raise ValueError("not a Redis URL; use redis://host:6379/0 or rediss://…") from None
    pool.connection_kwargs.update(
        protocol=2,
        decode_responses=False,
        socket_timeout=deadline_s,
        socket_connect_timeout=deadline_s,
        health_check_interval=0,
        driver_info=None,
    )
    return pool


async def open_within(connection: AbstractConnection, deadline_s: float) -> None:
    """Connect, in a task of its own: the client swallows a cancellation now and then, and who waits must be able to go. Raises TimeoutError,
    RedisError, OSError."""
    opening = asyncio.ensure_future(connection.connect())  # type: ignore[no-untyped-call]
    try:
        await asyncio.wait([opening], timeout=deadline_s)
        if not opening.done():
            raise TimeoutError
        opening.result()
    finally:
        if not opening.done():
            opening.cancel()
            opening.add_done_callback(lambda _: abort(connection))
        # Who waited may be gone in the very moment in which it fails.
        opening.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def end_all(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel until each has ended. The client waits with `asyncio.wait_for`, which on Python 3.11 swallows a cancellation that comes in the moment
    in which its work is done: such a task goes on, and whoever waited for its end would wait for ever."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def abort(connection: AbstractConnection) -> None:
    """Cut it. Closing would first hand over what was written, for which a frozen server never has an ear."""
    writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
    if writer is not None:
        writer.transport.abort()
