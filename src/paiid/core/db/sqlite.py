"""SQLite: one writer connection on the event loop, commits and reads in threads.

Statements of a write transaction take microseconds and run where they are called; only COMMIT waits for
the disk, so only COMMIT goes to a thread, and the next group gathers meanwhile. WAL and synchronous=FULL:
an acknowledged commit survives power loss. The connection never waits for a lock inside SQLite, which would
stop the loop; it asks again until its budget is used up.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from paiid.core.clock import Clock
from paiid.core.db.api import (
    OPERATION_BUDGET_S,
    BatchFn,
    CommitUnknown,
    DatabaseUnavailable,
    I,
    Params,
    R,
    Row,
    Tx,
    UniqueViolation,
)
from paiid.core.db.counted import Counted
from paiid.core.db.statements import Reads, Statement, Writes, sqlite_args
from paiid.core.db.turn import Turn
from paiid.core.db.writer import Writer

_RETRY_S = 0.005
_LEAST_S = 0.05
_READERS = 2
_DEFINITELY_NOT_WRITTEN = {"SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY"}


def _translate(error: sqlite3.Error) -> Exception:
    if isinstance(error, sqlite3.IntegrityError):
        if "UNIQUE" in str(error) or "PRIMARY KEY" in str(error):
            return UniqueViolation(str(error))
        return error
    if isinstance(error, (sqlite3.OperationalError, sqlite3.DatabaseError)) and not isinstance(
        error, (sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError)
    ):
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_ERROR":
            return error
        return DatabaseUnavailable(f"SQLite: {name or error}")
    return error


def connect(path: Path, *, read_only: bool = False, waits: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode with full durability that never blocks on a lock, unless it `waits` in a thread."""
    connection = sqlite3.connect(
        path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.row_factory = sqlite3.Row
    try:
        # Several processes may open the file at once while its mode is being set: that alone may wait.
        connection.execute("PRAGMA busy_timeout=1000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16000")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        if not waits:
            connection.execute("PRAGMA busy_timeout=0")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class _WriteTx:
    dialect = "sqlite"
    __slots__ = ("_clock", "_connection")

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def _run(self, stmt: Statement, params: Params | None) -> sqlite3.Cursor:
        compiled = stmt.sqlite()
        try:
            return self._connection.execute(compiled.sql, sqlite_args(compiled, params or {}))
        except sqlite3.Error as error:
            raise _translate(error) from error

    async def fetch(self, stmt: Statement, params: Params | None = None) -> Sequence[Row]:
        return self._run(stmt, params).fetchall()

    async def fetch_one(self, stmt: Statement, params: Params | None = None) -> Row | None:
        cursor = self._run(stmt, params)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    async def execute(self, stmt: Statement, params: Params | None = None) -> int:
        return self._run(stmt, params).rowcount

    async def execute_many(self, stmt: Statement, params: Sequence[Params]) -> None:
        compiled = stmt.sqlite()
        try:
            self._connection.executemany(compiled.sql, [sqlite_args(compiled, one) for one in params])
        except sqlite3.Error as error:
            raise _translate(error) from error

    async def fetch_together(self, reads: Reads) -> list[Sequence[Row]]:
        return [await self.fetch(stmt, params) for stmt, params in reads]

    async def enter(self, reads: Reads, *, gate: bool = False) -> tuple[int, list[Sequence[Row]]]:
        # As in `pass_gate`.
        return self._clock.now_us(), await self.fetch_together(reads)

    async def write(self, writes: Writes) -> None:
        for stmt, rows in writes:
            await self.execute_many(stmt, rows)

    async def now_us(self) -> int:
        return self._clock.now_us()

    async def pass_gate(self) -> int:
        # There is one writer, and this is its transaction: it is the gate.
        return self._clock.now_us()

    async def close_gate(self) -> int:
        return self._clock.now_us()


def tx_over(connection: sqlite3.Connection, clock: Clock) -> Tx:
    """The open write transaction of a connection that somebody else has made, and commits."""
    connection.row_factory = sqlite3.Row
    return _WriteTx(connection, clock)


class _ReadTx:
    dialect = "sqlite"
    __slots__ = ("_clock", "_connection", "_database", "_open")

    def __init__(self, database: "SqliteDatabase", connection: sqlite3.Connection, clock: Clock) -> None:
        self._database = database
        self._connection = connection
        self._clock = clock
        self._open = False

    def _fetch(self, sql: str, args: list[Any]) -> list[Row]:
        try:
            if not self._open:
                self._connection.execute("BEGIN")
                self._open = True
            rows: list[Row] = self._connection.execute(sql, args).fetchall()
            return rows
        except sqlite3.Error as error:
            raise _translate(error) from error

    async def fetch(self, stmt: Statement, params: Params | None = None) -> Sequence[Row]:
        compiled = stmt.sqlite()
        rows: Sequence[Row] = await self._database.in_reader(
            self._fetch, compiled.sql, sqlite_args(compiled, params or {})
        )
        return rows

    async def fetch_one(self, stmt: Statement, params: Params | None = None) -> Row | None:
        rows = await self.fetch(stmt, params)
        return rows[0] if rows else None

    async def fetch_together(self, reads: Reads) -> list[Sequence[Row]]:
        # In one visit to the thread: on a busy machine each costs a wait, and the reader is everybody's.
        wanted = [(one.sql, sqlite_args(one, params)) for stmt, params in reads for one in (stmt.sqlite(),)]
        found: list[Sequence[Row]] = await self._database.in_reader(self._fetch_all, wanted)
        return found

    async def enter(self, reads: Reads, *, gate: bool = False) -> tuple[int, list[Sequence[Row]]]:
        if gate:
            raise TypeError("this transaction only reads")
        return self._clock.now_us(), await self.fetch_together(reads)

    def _fetch_all(self, wanted: Sequence[tuple[str, Any]]) -> list[Sequence[Row]]:
        return [self._fetch(sql, args) for sql, args in wanted]

    async def execute(self, stmt: Statement, params: Params | None = None) -> int:
        raise TypeError("this transaction only reads")

    async def execute_many(self, stmt: Statement, params: Sequence[Params]) -> None:
        raise TypeError("this transaction only reads")

    async def write(self, writes: Writes) -> None:
        raise TypeError("this transaction only reads")

    async def now_us(self) -> int:
        return self._clock.now_us()

    async def pass_gate(self) -> int:
        raise TypeError("this transaction only reads")

    async def close_gate(self) -> int:
        raise TypeError("this transaction only reads")

    def close(self) -> None:
        if self._open:
            self._connection.execute("ROLLBACK")
            self._open = False

    @property
    def is_open(self) -> bool:
        return self._open


class _BriefTx(_ReadTx):
    """Reads on the event loop, with a connection that never waits for a lock inside SQLite."""

    __slots__ = ()

    async def fetch(self, stmt: Statement, params: Params | None = None) -> Sequence[Row]:
        compiled = stmt.sqlite()
        args = sqlite_args(compiled, params or {})
        if not self._open:
            await _begin(self._connection, "BEGIN", asyncio.get_running_loop().time() + OPERATION_BUDGET_S)
            self._open = True
        return self._fetch(compiled.sql, args)

    async def fetch_together(self, reads: Reads) -> list[Sequence[Row]]:
        return [await self.fetch(stmt, params) for stmt, params in reads]


async def _begin(connection: sqlite3.Connection, sql: str, give_up_at: float) -> None:
    """Open a transaction; a lock that others hold is asked for again until the budget is used up."""
    while True:
        try:
            connection.execute(sql)
            return
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if not name.startswith("SQLITE_BUSY") or asyncio.get_running_loop().time() >= give_up_at:
                translated = _translate(error)
                raise translated from error
        await asyncio.sleep(_RETRY_S)


class SqliteDatabase:
    """A database in one file."""

    dialect = "sqlite"

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._turn = Turn()
        self._counted = Counted()
        self._writer = Writer(self.begin, groups=self._counted.groups)
        self._connection: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._free_readers: asyncio.LifoQueue[sqlite3.Connection] = asyncio.LifoQueue()
        self._free_brief: asyncio.LifoQueue[sqlite3.Connection] = asyncio.LifoQueue()
        self._commit_thread = ThreadPoolExecutor(1, thread_name_prefix="paiid-commit")
        self._read_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="paiid-read")

    async def start(self) -> None:
        try:
            self._connection = connect(self._path)
            for _ in range(_READERS):
                for queue, waits in ((self._free_readers, True), (self._free_brief, False)):
                    reader = connect(self._path, read_only=True, waits=waits)
                    self._readers.append(reader)
                    queue.put_nowait(reader)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"cannot open {self._path.name}: {error}") from error

    async def stop(self) -> None:
        await self._writer.stop()
        self._commit_thread.shutdown(wait=True)
        self._read_threads.shutdown(wait=True)
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        return await self._writer.commit_with(fn, item)

    async def ping(self) -> None:
        def look(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()

        connection = await self._borrow(self._free_readers)
        try:
            await self.in_reader(look, connection)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"SQLite: {error}") from error
        finally:
            self._free_readers.put_nowait(connection)

    def counted(self) -> Counted:
        found = self._counted
        free = self._free_readers.qsize() + self._free_brief.qsize()
        found.connections = len(self._readers) + (self._connection is not None)
        found.in_use = len(self._readers) - free + self._turn.held
        found.waiting, found.queued = self._turn.waiting, self._writer.queued
        return found

    async def in_reader(self, fn: Any, *args: Any) -> Any:
        """Run a blocking read in a thread. A caller who is cancelled leaves only once the thread is done: until then the
        connection is in its hands, and nobody else may have it."""
        work = asyncio.get_running_loop().run_in_executor(self._read_threads, fn, *args)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            if not work.cancelled():
                work.exception()
            raise

    async def _borrow(
        self, free: "asyncio.LifoQueue[sqlite3.Connection]", within_s: float = OPERATION_BUDGET_S
    ) -> sqlite3.Connection:
        if self._connection is None:
            raise DatabaseUnavailable("the database is closed")
        if not free.empty():
            # Arming a timer costs more than most reads.
            return free.get_nowait()
        try:
            async with asyncio.timeout(within_s):
                return await free.get()
        except TimeoutError as error:
            raise DatabaseUnavailable("no reader came free in time") from error

    @asynccontextmanager
    async def read(self, *, brief: bool = False, within_s: float = OPERATION_BUDGET_S) -> AsyncIterator[Tx]:
        free = self._free_brief if brief else self._free_readers
        connection = await self._borrow(free, within_s)
        tx = (_BriefTx if brief else _ReadTx)(self, connection, self._clock)
        try:
            yield tx
        finally:
            try:
                if tx.is_open:
                    if brief:
                        tx.close()
                    else:
                        await self.in_reader(tx.close)
            finally:
                # Also of a caller who is cancelled while his transaction ends: there are only a few.
                free.put_nowait(connection)

    @asynccontextmanager
    async def begin(self, *, urgent: bool = False, within_s: float = OPERATION_BUDGET_S) -> AsyncIterator[Tx]:
        connection = self._connection
        if connection is None:
            raise DatabaseUnavailable("the database is closed")
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + within_s
        await self._turn.acquire(urgent, within_s)
        hung = False
        try:
            await _begin(connection, "BEGIN IMMEDIATE", give_up_at)
            try:
                yield _WriteTx(connection, self._clock)
            except BaseException:
                self._rollback(connection)
                raise
            began_s = loop.time()
            commit = loop.run_in_executor(self._commit_thread, connection.execute, "COMMIT")
            try:
                await asyncio.wait([commit], timeout=max(give_up_at - began_s, _LEAST_S))
            except asyncio.CancelledError:
                # A cancelled caller must not let the next transaction start inside this one.
                await asyncio.wait([commit])
                if commit.exception() is not None:
                    self._rollback(connection)
                raise
            if not commit.done():
                # A disk that hangs. The thread still has the connection: nobody gets a turn before it has come back.
                hung = True
                commit.add_done_callback(partial(self._came_back, connection))
                raise CommitUnknown("SQLite: the disk does not answer")
            error = commit.exception()
            if error is None:
                self._counted.commits.observe(loop.time() - began_s)
                return
            self._rollback(connection)
            if not isinstance(error, sqlite3.Error):
                raise error
            name = getattr(error, "sqlite_errorname", "")
            if name in _DEFINITELY_NOT_WRITTEN:
                raise DatabaseUnavailable(f"SQLite: {name}") from error
            raise CommitUnknown(f"SQLite: {name}") from error
        finally:
            if not hung:
                self._turn.release()

    def _came_back(self, connection: sqlite3.Connection, commit: "asyncio.Future[Any]") -> None:
        """A COMMIT that was given up has ended, in whichever way."""
        if not commit.cancelled() and commit.exception() is not None:
            with contextlib.suppress(DatabaseUnavailable):
                self._rollback(connection)
        self._turn.release()

    @staticmethod
    def _rollback(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise DatabaseUnavailable(f"SQLite: {error}") from error
