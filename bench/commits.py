"""The limit and the peers of the durable order: insert and commit, update and commit, and nothing else.

`python -m bench.commits KIND URL CALLERS SECONDS` prints one line of JSON: orders, seconds, cpu_s. An order is
what an order costs any ledger at least: one row written before the broker is called, and its outcome after.
"""

import asyncio
import itertools
import json
import os
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import uvloop
from sqlalchemy import BigInteger, Column, MetaData, String, Table, create_engine, insert, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

CREATE = (
    "CREATE TABLE IF NOT EXISTS bench_orders (id VARCHAR(64) PRIMARY KEY, account VARCHAR(64) NOT NULL,"
    " symbol VARCHAR(16) NOT NULL, side VARCHAR(4) NOT NULL, qty BIGINT NOT NULL, state VARCHAR(16) NOT NULL,"
    " broker_id VARCHAR(64), at BIGINT NOT NULL)"
)
INSERT = "INSERT INTO bench_orders (id, account, symbol, side, qty, state, at) VALUES ({})"
_bench_orders = Table(
    "bench_orders",
    MetaData(),
    Column("id", String(64), primary_key=True),
    *(Column(name, String(64)) for name in ("account", "symbol", "side", "state", "broker_id")),
    *(Column(name, BigInteger) for name in ("qty", "at")),
)


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "bench_orders"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(String(64))
    symbol: Mapped[str] = mapped_column(String(16))
    side: Mapped[str] = mapped_column(String(4))
    qty: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    broker_id: Mapped[str | None] = mapped_column(String(64))
    at: Mapped[int] = mapped_column(BigInteger)


_RUN = f"{os.getpid()}-{time.time_ns()}"
_numbers = itertools.count(1)
Step = Callable[[], Awaitable[object]]
_Waiting = tuple[str, tuple[Any, ...], "asyncio.Future[None]"]


def _new() -> dict[str, Any]:
    return {
        "id": f"{_RUN}-{next(_numbers)}",
        "account": f"account-{next(_numbers) % 16}",
        "symbol": "AAPL",
        "side": "buy",
        "qty": 10_000_000_000,
        "state": "DISPATCHING",
        "at": time.time_ns() // 1000,
    }


async def _drive(step: Step, callers: int, seconds: float) -> dict[str, float]:
    """Callers that do one order after the other until the time is up, after a short warm-up."""
    done = 0
    end_at = 0.0

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < end_at:
            await step()
            done += 1

    for spell in (min(0.3, seconds), seconds):
        done = 0
        began, cpu = time.perf_counter(), time.process_time()
        end_at = began + spell
        await asyncio.gather(*(call() for _ in range(callers)))
    return {"orders": done, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


async def raw_postgres(url: str, callers: int, seconds: float) -> dict[str, float]:
    """The limit: the driver alone, one connection for each caller, each statement its own transaction."""
    async with asyncpg.create_pool(url, min_size=callers, max_size=callers) as pool:
        await pool.execute(CREATE)
        text = INSERT.format("$1, $2, $3, $4, $5, $6, $7")
        change = "UPDATE bench_orders SET state = $2, broker_id = $3 WHERE id = $1"

        async def step() -> None:
            new = _new()
            async with pool.acquire() as connection:
                await connection.execute(text, *new.values())
                await connection.execute(change, new["id"], "ACCEPTED", "broker-1")

        return await _drive(step, callers, seconds)


def _async_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


async def core_postgres(url: str, callers: int, seconds: float) -> dict[str, float]:
    """A peer: the same two steps through SQLAlchemy Core."""
    engine = create_async_engine(_async_url(url), pool_size=callers)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(CREATE)
    add = insert(_bench_orders)

    async def step() -> None:
        new = _new()
        async with engine.begin() as connection:
            await connection.execute(add, new)
        async with engine.begin() as connection:
            await connection.execute(
                update(_bench_orders)
                .where(_bench_orders.c.id == new["id"])
                .values(state="ACCEPTED", broker_id="broker-1")
            )

    try:
        return await _drive(step, callers, seconds)
    finally:
        await engine.dispose()


async def orm_postgres(url: str, callers: int, seconds: float) -> dict[str, float]:
    """A peer: the same two steps as units of work of the ORM."""
    engine = create_async_engine(_async_url(url), pool_size=callers)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(CREATE)
    make_session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)

    async def step() -> None:
        new = _new()
        async with make_session() as session, session.begin():
            session.add(_Row(**new))
        async with make_session() as session, session.begin():
            found = await session.get_one(_Row, new["id"])
            found.state, found.broker_id = "ACCEPTED", "broker-1"

    try:
        return await _drive(step, callers, seconds)
    finally:
        await engine.dispose()


def _open_sqlite(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(CREATE)
    return connection


_CHANGE_SQLITE = "UPDATE bench_orders SET state = ?, broker_id = ? WHERE id = ?"


async def grouped_sqlite(path: str, callers: int, seconds: float) -> dict[str, float]:
    """The limit: one thread takes whatever has gathered, executes it, and commits once."""
    connection = _open_sqlite(path)
    loop = asyncio.get_running_loop()
    waiting: deque[_Waiting] = deque()
    news = threading.Event()
    ending = threading.Event()
    text = INSERT.format("?, ?, ?, ?, ?, ?, ?")

    def settle(group: list[_Waiting]) -> None:
        for _, _, future in group:
            future.set_result(None)

    def write() -> None:
        while not ending.is_set():
            news.wait()
            news.clear()
            group = [waiting.popleft() for _ in range(len(waiting))]
            if not group:
                continue
            connection.execute("BEGIN IMMEDIATE")
            for sql, values, _ in group:
                connection.execute(sql, values)
            connection.execute("COMMIT")
            loop.call_soon_threadsafe(settle, group)

    async def commit(sql: str, values: tuple[Any, ...]) -> None:
        future: asyncio.Future[None] = loop.create_future()
        waiting.append((sql, values, future))
        news.set()
        await future

    async def step() -> None:
        new = _new()
        await commit(text, tuple(new.values()))
        await commit(_CHANGE_SQLITE, ("ACCEPTED", "broker-1", new["id"]))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        return await _drive(step, callers, seconds)
    finally:
        ending.set()
        news.set()
        thread.join()
        connection.close()


async def threaded_sqlite(path: str, callers: int, seconds: float) -> dict[str, float]:
    """A peer: one connection in a thread of its own and a commit a step, as the async wrappers of sqlite3 do it."""
    connection = _open_sqlite(path)
    text = INSERT.format("?, ?, ?, ?, ?, ?, ?")
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:

        async def step() -> None:
            new = _new()
            await loop.run_in_executor(thread, connection.execute, text, tuple(new.values()))
            await loop.run_in_executor(
                thread, connection.execute, _CHANGE_SQLITE, ("ACCEPTED", "broker-1", new["id"])
            )

        found = await _drive(step, callers, seconds)
    connection.close()
    return found


async def orm_sqlite(path: str, callers: int, seconds: float) -> dict[str, float]:
    """A peer: two units of work of the ORM over sqlite3, in threads as a web framework runs them."""
    _open_sqlite(path).close()
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
    loop = asyncio.get_running_loop()

    def order(new: dict[str, Any]) -> None:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            session.connection().exec_driver_sql("PRAGMA synchronous=FULL")
            session.add(_Row(**new))
        with Session(engine, expire_on_commit=False) as session, session.begin():
            found = session.get_one(_Row, new["id"])
            found.state, found.broker_id = "ACCEPTED", "broker-1"

    # One at a time: with more, SQLite's own waiting for the lock makes it slower still.
    with ThreadPoolExecutor(1) as thread:
        found = await _drive(lambda: loop.run_in_executor(thread, order, _new()), callers, seconds)
    engine.dispose()
    return found


KINDS = {
    one.__name__: one
    for one in (raw_postgres, core_postgres, orm_postgres, grouped_sqlite, threaded_sqlite, orm_sqlite)
}


def main() -> None:
    """Run one kind and print what it came to."""
    kind, url, callers, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(KINDS[kind](url, int(callers), float(seconds)))) + "\n")


if __name__ == "__main__":
    main()
