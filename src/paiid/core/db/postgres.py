"""PostgreSQL: a small pool, transactions at READ COMMITTED, the order gate as an advisory lock."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import msgspec

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
from paiid.core.db.statements import (
    POSTGRES_NOW,
    Reads,
    Statement,
    Writes,
    postgres_args,
    postgres_reads,
    postgres_writes,
)
from paiid.core.db.writer import Writer

GATE_LOCK = 0x5061_6969_4454
"""The advisory lock number of the order gate (contract K3)."""
_PASS_GATE = f"SELECT pg_advisory_xact_lock_shared({GATE_LOCK})"
_BEGIN = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan;"
"""Statements here find rows by keys, whatever the keys are: to plan them anew each time costs the server more than to run them."""
_POOL_MAX = 12

_UNAVAILABLE: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection that was killed while it was idle and is used before it has noticed.
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    OSError,
    TimeoutError,
)

_FAILURES: tuple[type[BaseException], ...] = (asyncpg.PostgresError, *_UNAVAILABLE)


def _translate(error: BaseException) -> BaseException:
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(str(error.constraint_name or error))
    if isinstance(error, _UNAVAILABLE):
        return DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}")
    return error


class _PgTx:
    dialect = "postgresql"
    __slots__ = ("_connection", "_give_up_at", "begun")

    def __init__(self, connection: Any, give_up_at: float, *, begun: bool) -> None:
        self._connection = connection
        self._give_up_at = give_up_at
        self.begun = begun
        """A transaction begins with its first statement, so that the gate can share the round trip."""

    def _left(self) -> float:
        return max(0.01, self._give_up_at - asyncio.get_running_loop().time())

    async def _begin(self, first: str = "") -> None:
        """With a statement without parameters whose rows nobody needs."""
        text, self.begun = first if self.begun else f"{_BEGIN} {first}", True
        try:
            await self._connection.execute(text, timeout=self._left())
        except _FAILURES as error:
            raise _translate(error) from error

    async def fetch(self, stmt: Statement, params: Params | None = None) -> Sequence[Row]:
        if not self.begun:
            await self._begin()
        compiled = stmt.postgres()
        try:
            rows: Sequence[Row] = await self._connection.fetch(
                compiled.sql, *postgres_args(compiled, params or {}), timeout=self._left()
            )
            return rows
        except _FAILURES as error:
            raise _translate(error) from error

    async def fetch_one(self, stmt: Statement, params: Params | None = None) -> Row | None:
        rows = await self.fetch(stmt, params)
        return rows[0] if rows else None

    async def execute(self, stmt: Statement, params: Params | None = None) -> int:
        if not self.begun:
            await self._begin()
        compiled = stmt.postgres()
        try:
            status: str = await self._connection.execute(
                compiled.sql, *postgres_args(compiled, params or {}), timeout=self._left()
            )
        except _FAILURES as error:
            raise _translate(error) from error
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, stmt: Statement, params: Sequence[Params]) -> None:
        if len(params) == 1:
            await self.execute(stmt, params[0])
            return
        if not self.begun:
            await self._begin()
        try:
            compiled = stmt.postgres()
            await self._connection.executemany(
                compiled.sql, [postgres_args(compiled, one) for one in params], timeout=self._left()
            )
        except _FAILURES as error:
            raise _translate(error) from error

    async def fetch_together(self, reads: Reads) -> list[Sequence[Row]]:
        return (await self._together(reads))[1]

    async def enter(self, reads: Reads, *, gate: bool = False) -> tuple[int, list[Sequence[Row]]]:
        if gate:
            await self._begin(_PASS_GATE)
        return await self._together(reads)

    async def _together(self, reads: Reads) -> tuple[int, list[Sequence[Row]]]:
        if not self.begun:
            await self._begin()
        sql, args = postgres_reads(reads)
        found: list[list[Any]] = [[] for _ in (*reads, "the time")]
        try:
            for row in await self._connection.fetch(sql, *args, timeout=self._left()):
                found[row["n"]].append(msgspec.json.decode(row["r"]))
        except _FAILURES as error:
            raise _translate(error) from error
        ((now_us,),) = found[-1:]
        return now_us, [*found[:-1]]

    async def write(self, writes: Writes) -> None:
        if not self.begun:
            await self._begin()
        sql, args = postgres_writes(writes)
        try:
            await self._connection.execute(sql, *args, timeout=self._left())
        except _FAILURES as error:
            raise _translate(error) from error

    async def _value(self, sql: str, *args: Any) -> int:
        if not self.begun:
            await self._begin()
        try:
            row = await self._connection.fetchrow(sql, *args, timeout=self._left())
        except _FAILURES as error:
            raise _translate(error) from error
        return int(row["now"])

    async def now_us(self) -> int:
        return await self._value(f"SELECT {POSTGRES_NOW} AS now")

    async def pass_gate(self) -> int:
        return await self._value(
            f"SELECT pg_advisory_xact_lock_shared($1), {POSTGRES_NOW} AS now",
            GATE_LOCK,
        )

    async def close_gate(self) -> int:
        return await self._value(
            f"SELECT pg_advisory_xact_lock($1), {POSTGRES_NOW} AS now",
            GATE_LOCK,
        )


def tx_over(connection: Any, seconds: float) -> Tx:
    """The open transaction of a connection that somebody else has made, and commits; so long may it still take."""
    return _PgTx(connection, asyncio.get_running_loop().time() + seconds, begun=True)


class _PgReadTx(_PgTx):
    """Without a BEGIN each statement stands for itself: a write would commit at once and by itself."""

    __slots__ = ()

    def __init__(self, connection: Any, give_up_at: float) -> None:
        super().__init__(connection, give_up_at, begun=True)

    async def enter(self, reads: Reads, *, gate: bool = False) -> tuple[int, list[Sequence[Row]]]:
        if gate:
            raise TypeError("this transaction only reads")
        return await super().enter(reads)

    async def execute(self, stmt: Statement, params: Params | None = None) -> int:
        raise TypeError("this transaction only reads")

    async def execute_many(self, stmt: Statement, params: Sequence[Params]) -> None:
        raise TypeError("this transaction only reads")

    async def write(self, writes: Writes) -> None:
        raise TypeError("this transaction only reads")

    async def pass_gate(self) -> int:
        raise TypeError("this transaction only reads")

    async def close_gate(self) -> int:
        raise TypeError("this transaction only reads")


class PostgresDatabase:
    """A database on a PostgreSQL server, shared by all replicas."""

    dialect = "postgresql"

    def __init__(self, dsn: str, clock: Clock) -> None:
        self._dsn = dsn
        self._clock = clock
        self._pool: Any = None
        self._closed = False
        self._opening = asyncio.Lock()
        self._counted = Counted()
        self._writer = Writer(self.begin, groups=self._counted.groups)

    async def start(self) -> None:
        self._closed = False
        await self._open()

    async def _open(self) -> Any:
        async with self._opening:
            if self._closed:
                raise DatabaseUnavailable("the database is closed")
            if self._pool is None:
                try:
                    self._pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=1,
                        max_size=_POOL_MAX,
                        timeout=OPERATION_BUDGET_S,
                        command_timeout=OPERATION_BUDGET_S,
                        max_inactive_connection_lifetime=60,
                        reset=_nothing_to_reset,
                        server_settings={
                            "application_name": "paiid",
                            "synchronous_commit": "on",
                            "lock_timeout": str(int(OPERATION_BUDGET_S * 1000)),
                            "idle_in_transaction_session_timeout": "5000",
                            "timezone": "UTC",
                            # A plan made while a table was still empty is kept as it grows: never a whole table
                            # where there is an index. And nothing here runs long enough to be worth compiling.
                            "enable_seqscan": "off",
                            "jit": "off",
                        },
                    )
                except _FAILURES as error:
                    raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}") from error
            return self._pool

    async def stop(self) -> None:
        await self._writer.stop()
        self._closed = True
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(1.0):
                    await pool.close()
            except (TimeoutError, asyncpg.InterfaceError):
                pool.terminate()

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        return await self._writer.commit_with(fn, item)

    async def ping(self) -> None:
        async with self.read() as tx:
            await tx.now_us()

    def counted(self) -> Counted:
        found, pool = self._counted, self._pool
        found.queued = self._writer.queued
        found.connections = 0 if pool is None else pool.get_size()
        found.in_use = 0 if pool is None else found.connections - pool.get_idle_size()
        return found

    @asynccontextmanager
    async def _connection(self, give_up_at: float) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        self._counted.waiting += 1
        try:
            pool = self._pool or await self._open()
            connection = await pool.acquire(timeout=max(0.01, give_up_at - loop.time()))
        except _FAILURES as error:
            raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}") from error
        finally:
            self._counted.waiting -= 1
        try:
            yield connection
        except BaseException as error:
            # After a database error or a cancellation the state of the session is not worth knowing: drop it,
            # so that its locks go at once and nobody inherits an open transaction.
            if isinstance(error, DatabaseUnavailable) or not isinstance(error, Exception):
                _drop(connection)
            raise
        finally:
            await asyncio.shield(_release(pool, connection))

    @asynccontextmanager
    async def read(self, *, brief: bool = False, within_s: float = OPERATION_BUDGET_S) -> AsyncIterator[Tx]:
        give_up_at = asyncio.get_running_loop().time() + within_s
        async with self._connection(give_up_at) as connection:
            yield _PgReadTx(connection, give_up_at)

    @asynccontextmanager
    async def begin(self, *, urgent: bool = False, within_s: float = OPERATION_BUDGET_S) -> AsyncIterator[Tx]:
        # `urgent` needs nothing here: a waiting exclusive gate already stops later shared ones.
        give_up_at = asyncio.get_running_loop().time() + within_s
        async with self._connection(give_up_at) as connection:
            tx = _PgTx(connection, give_up_at, begun=False)
            try:
                yield tx
            except DatabaseUnavailable:
                raise
            except Exception:
                if tx.begun:
                    await _rollback(connection)
                raise
            if not tx.begun:
                return
            began_s = asyncio.get_running_loop().time()
            try:
                await connection.execute("COMMIT", timeout=tx._left())
                self._counted.commits.observe(asyncio.get_running_loop().time() - began_s)
            except _UNAVAILABLE as error:
                raise CommitUnknown(f"PostgreSQL: {type(error).__name__}") from error
            except asyncpg.PostgresError as error:
                # The server answered: the transaction is gone (deferred constraint, deadlock).
                translated = _translate(error)
                raise translated from error


async def _rollback(connection: Any) -> None:
    """Undo after an error that was not the connection's; the connection stays good."""
    try:
        await connection.execute("ROLLBACK", timeout=OPERATION_BUDGET_S)
    except _FAILURES as error:
        raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}") from error


async def _nothing_to_reset(connection: Any) -> None:
    """A connection comes back after COMMIT, after ROLLBACK, or dropped, and nothing here changes its session: what
    asyncpg would send to make sure is a round trip for each transaction."""


async def _release(pool: Any, connection: Any) -> None:
    try:
        await pool.release(connection, timeout=1.0)
    except _FAILURES:
        _drop(connection)


def _drop(connection: Any) -> None:
    """End it at once. One that broke by itself the pool has taken back already, and refuses the call: that refusal
    must not hide why it broke, or a COMMIT in doubt would look like a plain error and its group be tried again."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
