"""What can happen to a database: the server gone, or frozen; the file locked by another; the disk full."""

import asyncio
import contextlib
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Protocol

import asyncpg

from paiid.core.db.connect import sqlite_path
from tests.fault.processes import DISK_IS_FULL, Server
from tests.servers import PostgresServer, with_database

_BEAT_S = 0.02
_LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
held.execute("ROLLBACK")
"""


@contextlib.asynccontextmanager
async def pulse(server: Server) -> AsyncIterator[list[float]]:
    """Seconds that answers took, all through the block, for which nothing is looked up: what of the time of others is the
    machine's."""
    took_s: list[float] = []

    async def feel() -> None:
        async with server.client() as client:
            while True:
                began_s = time.monotonic()
                answer = await client.get("/api/health/liveness")
                took_s.append(time.monotonic() - began_s)
                assert answer.status_code == 200, answer.text
                await asyncio.sleep(_BEAT_S)

    feeling = asyncio.create_task(feel())
    try:
        yield took_s
    finally:
        feeling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeling


class Outage(Protocol):
    """One way to lose a database, and to get it back."""

    @property
    def reads_go_on(self) -> bool:
        """Whether what is committed can still be read meanwhile."""
        ...

    def during(self, server: Server) -> contextlib.AbstractAsyncContextManager[None]:
        """For as long as the block lasts."""
        ...


class StoppedPostgres:
    """The server crashes; connections break at once, new ones are refused."""

    reads_go_on = False

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    @contextlib.asynccontextmanager
    async def during(self, server: Server) -> AsyncIterator[None]:
        await asyncio.to_thread(self._postgres.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self._postgres.start)


class FrozenPostgres:
    """The server's host hangs: connections stay open, new ones are taken by the kernel, nothing answers."""

    reads_go_on = False

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    @contextlib.asynccontextmanager
    async def during(self, server: Server) -> AsyncIterator[None]:
        self._postgres.pause()
        try:
            yield
        finally:
            self._postgres.resume()


class LockedSqlite:
    """Another process writes to the file and does not come to an end: a backup, a hand with a shell."""

    reads_go_on = True

    @contextlib.asynccontextmanager
    async def during(self, server: Server) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LOCK, str(sqlite_path(server.database_url)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert await process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            process.stdin.close()
            assert await process.wait() == 0


class FullDisk:
    """Not one byte can be written to any file by the server's process: database, latch or log."""

    reads_go_on = True

    @contextlib.asynccontextmanager
    async def during(self, server: Server) -> AsyncIterator[None]:
        before = server.log.read_text(errors="replace").count(DISK_IS_FULL)
        server.signal(signal.SIGUSR1)
        # The handler runs in the server's main thread, in the next turn of its loop: on a busy machine that is a while.
        async with asyncio.timeout(10):
            while server.log.read_text(errors="replace").count(DISK_IS_FULL) == before:
                await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.signal(signal.SIGUSR2)


async def fresh_database(postgres: PostgresServer) -> str:
    """The URL of an empty database on this server."""
    name = f"outage_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return with_database(postgres.url, name)
