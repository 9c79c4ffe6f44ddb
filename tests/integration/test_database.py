"""The database seam: what a transaction promises, on both databases."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update

from paiid.core.clock import SystemClock
from paiid.core.db import (
    Database,
    DatabaseUnavailable,
    UniqueViolation,
    any_of,
    make_database,
    statement,
)
from paiid.core.tables import install_secrets, leases, users
from tests.database_world import GET, PATIENCE_S, PUT, opened, put, value_of

_SET = statement(
    update(install_secrets).where(install_secrets.c.name == bindparam("b_name")), columns=["value"]
)
_SOME = statement(
    select(install_secrets.c.name)
    .where(any_of(install_secrets.c.name, "b_names"))
    .order_by(install_secrets.c.name)
)
_USER = statement(insert(users))


@pytest.fixture
async def other(db_url: str, clock: SystemClock, db: Database) -> AsyncIterator[Database]:
    """The same database opened by another process, as it were."""
    second = make_database(db_url, clock)
    await second.start()
    yield second
    await second.stop()


# -- what commits, and what does not ------------------------------------------------------------------


async def test_a_block_that_ends_is_committed_and_one_that_raises_is_undone(db: Database) -> None:
    async with db.begin() as tx:
        await put(tx, "kept")

    async def fail(name: str, error: BaseException) -> None:
        async with db.begin() as tx:
            await put(tx, name)
            raise error

    with pytest.raises(RuntimeError, match="mine"):
        await fail("undone", RuntimeError("mine"))
    with pytest.raises(asyncio.CancelledError):
        await fail("cancelled", asyncio.CancelledError())
    assert await value_of(db, "kept") == "v"
    assert await value_of(db, "undone") is None
    assert await value_of(db, "cancelled") is None
    async with db.begin() as tx:
        await put(tx, "undone", "now")
    assert await value_of(db, "undone") == "now", "the connection is as good as before"


async def test_a_task_that_is_cancelled_in_its_transaction_leaves_nothing_and_no_lock(db: Database) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with db.begin() as tx:
            await put(tx, "half")
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    async with db.begin() as tx:
        await put(tx, "half", "whole")
    assert await value_of(db, "half") == "whole"


async def test_a_unique_violation_is_the_same_error_on_both_and_undoes_the_block(db: Database) -> None:
    row = {"email": "a@example.com", "password_hash": "-", "role": "trader", "created_at": 1, "updated_at": 1,
           "disabled_at": None, "deleted_at": None}  # fmt: skip
    async with db.begin() as tx:
        await tx.execute(_USER, {"id": "usr_1", **row})
        await put(tx, "first")

    async def second(params: dict[str, Any]) -> None:
        async with db.begin() as tx:
            await put(tx, "second")
            await tx.execute(_USER, params)

    for params in ({"id": "usr_2", **row}, {**row, "id": "usr_1", "email": "b@example.com"}):
        with pytest.raises(UniqueViolation) as told:
            await second(params)
        assert "users" in told.value.constraint
    assert await value_of(db, "second") is None


async def test_many_rows_are_written_in_one_call_or_none_of_them(db: Database) -> None:
    rows = [{"name": f"n{n}", "value": "v", "created_at": 1} for n in range(10)]
    async with db.begin() as tx:
        await tx.execute_many(PUT, rows[:9])
    with pytest.raises(UniqueViolation):
        async with db.begin() as tx:
            await tx.execute_many(PUT, [rows[9], rows[0]])
    async with db.read() as tx:
        found = await tx.fetch(_SOME, {"b_names": [row["name"] for row in rows]})
    assert [row["name"] for row in found] == [f"n{n}" for n in range(9)]


async def test_the_number_of_rows_touched_is_told(db: Database) -> None:
    async with db.begin() as tx:
        await put(tx, "a")
        assert await tx.execute(_SET, {"b_name": "a", "value": "w"}) == 1
        assert await tx.execute(_SET, {"b_name": "nobody", "value": "w"}) == 0


# -- what a reader sees -----------------------------------------------------------------------------


async def test_a_reader_sees_committed_rows_only(db: Database, other: Database) -> None:
    async with db.begin() as tx:
        await put(tx, "a")
        assert (await tx.fetch_one(GET, {"b_name": "a"})) is not None, "the writer sees its own"
        assert await value_of(db, "a") is None
        assert await value_of(other, "a") is None
    assert await value_of(db, "a") == "v"
    assert await value_of(other, "a") == "v"


async def test_on_sqlite_a_read_is_one_snapshot(sqlite_url: str, clock: SystemClock) -> None:
    async with opened(sqlite_url, clock) as db:
        async with db.begin() as tx:
            await put(tx, "a", "old")
        async with db.read() as reader:
            before = await reader.fetch_one(GET, {"b_name": "a"})
            async with db.begin() as tx:
                await tx.execute(_SET, {"b_name": "a", "value": "new"})
            after = await reader.fetch_one(GET, {"b_name": "a"})
        assert before is not None
        assert after is not None
        assert (before["value"], after["value"]) == ("old", "old")
        assert await value_of(db, "a") == "new"


async def test_a_read_cannot_write_nor_take_the_gate(db: Database) -> None:
    async with db.read() as tx:
        with pytest.raises(TypeError, match="only reads"):
            await put(tx, "a")
        with pytest.raises(TypeError, match="only reads"):
            await tx.execute_many(PUT, [{"name": "a", "value": "v", "created_at": 1}])
        with pytest.raises(TypeError, match="only reads"):
            await tx.pass_gate()
        with pytest.raises(TypeError, match="only reads"):
            await tx.close_gate()
    assert await value_of(db, "a") is None


# -- durability -------------------------------------------------------------------------------------


async def test_on_sqlite_the_log_is_written_ahead_and_every_commit_reaches_the_disk(
    sqlite_url: str, clock: SystemClock
) -> None:
    async with opened(sqlite_url, clock) as db, db.begin() as tx:
        found = {
            name: (await tx.fetch(statement(text(f"PRAGMA {name}"))))[0][0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 0}


async def test_on_postgresql_every_commit_is_synchronous_whatever_the_server_says(
    postgres_url: str, clock: SystemClock
) -> None:
    async with opened(postgres_url, clock) as db, db.begin() as tx:
        shown = [
            (await tx.fetch(statement(text(f"SHOW {name}"))))[0][0]
            for name in ("synchronous_commit", "transaction_isolation", "timezone")
        ]
    assert shown == ["on", "read committed", "UTC"]


# -- who goes first ---------------------------------------------------------------------------------


async def test_K03_on_sqlite_an_urgent_transaction_goes_before_all_who_wait(
    sqlite_url: str, clock: SystemClock
) -> None:
    order: list[str] = []
    async with opened(sqlite_url, clock) as db:

        async def write(name: str, *, urgent: bool = False) -> None:
            async with db.begin(urgent=urgent):
                order.append(name)

        async with db.begin():
            waiting = [asyncio.create_task(write(f"order{n}")) for n in range(5)]
            await asyncio.sleep(0)
            waiting.append(asyncio.create_task(write("halt", urgent=True)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
    assert order == ["halt", "order0", "order1", "order2", "order3", "order4"]


_WAITERS = statement(
    text(
        "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
)


async def somebody_waits(db: Database) -> None:
    """Until somebody stands before the gate. On SQLite nobody comes past whoever is inside, in whatever order."""
    await asyncio.sleep(0.1)
    if db.dialect == "sqlite":
        return
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with db.read() as tx:
                if (await tx.fetch(_WAITERS))[0]["n"]:
                    return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "with what is read first"])
async def test_K03_a_closed_gate_keeps_every_claim_out_and_waits_for_those_inside(
    db: Database, other: Database, together: bool
) -> None:
    events: list[str] = []
    inside, leave = asyncio.Event(), asyncio.Event()

    async def claim(name: str, database: Database) -> None:
        async with database.begin(within_s=PATIENCE_S) as tx:
            await (tx.enter([(GET, {"b_name": "any"})], gate=True) if together else tx.pass_gate())
            events.append(f"{name} in")
            inside.set()
            if name == "first":
                await leave.wait()
            # Before the commit, so that it is told before whoever waits for the gate can be.
            events.append(f"{name} out")

    async def arm(database: Database) -> None:
        async with database.begin(urgent=True, within_s=PATIENCE_S) as tx:
            await tx.close_gate()
            events.append("gate closed")
            await asyncio.sleep(0.05)
            events.append("gate opens")

    first = asyncio.create_task(claim("first", db))
    await inside.wait()
    arming = asyncio.create_task(arm(other))
    await somebody_waits(db)
    later = [asyncio.create_task(claim(f"later{n}", db)) for n in range(3)]
    await asyncio.sleep(0.1)
    assert events == ["first in"], "the gate does not close over somebody inside"
    leave.set()
    await asyncio.wait_for(asyncio.gather(first, arming, *later), PATIENCE_S)
    closed, opens = events.index("gate closed"), events.index("gate opens")
    assert events[:2] == ["first in", "first out"]
    assert opens == closed + 1, "nobody is inside while it is closed"
    if db.dialect == "postgresql":
        assert closed == 2, "who came later waits behind the arming"


async def test_K03_what_is_read_on_entering_was_committed_before_the_gate_was_passed(
    db: Database, other: Database
) -> None:
    entered = asyncio.Event()

    async def enter() -> tuple[int, list[Any]]:
        async with db.begin() as tx:
            found = await tx.enter([(GET, {"b_name": "halt"}), (_SOME, {"b_names": ["a", "b"]})], gate=True)
            entered.set()
            return found

    async with other.begin(urgent=True) as tx:
        await tx.close_gate()
        waiting = asyncio.create_task(enter())
        await asyncio.sleep(0.1)
        assert not entered.is_set()
        for name in ("halt", "b"):
            await put(tx, name)
        closed_us = await tx.now_us()
    now_us, (halt, some) = await asyncio.wait_for(waiting, PATIENCE_S)
    assert [dict(row) for row in halt] == [{"value": "v"}]
    assert [dict(row) for row in some] == [{"name": "b"}]
    assert now_us >= closed_us


async def test_on_entering_locks_are_taken_and_kept_to_the_end(postgres_url: str, clock: SystemClock) -> None:
    lock = statement(
        select(install_secrets.c.value).where(install_secrets.c.name == bindparam("b_name")).with_for_update()
    )
    async with opened(postgres_url, clock) as one, opened(postgres_url, clock) as two:
        async with one.begin() as tx:
            await put(tx, "row")

        async def change() -> None:
            async with two.begin() as tx:
                await tx.execute(_SET, {"b_name": "row", "value": "later"})

        async with one.begin() as tx:
            _, (before,) = await tx.enter([(lock, {"b_name": "row"})])
            changing = asyncio.create_task(change())
            await asyncio.sleep(0.1)
            assert not changing.done()
        await asyncio.wait_for(changing, PATIENCE_S)
        async with one.begin() as tx:
            _, (after,) = await tx.enter([(lock, {"b_name": "row"})])
        assert [before[0]["value"], after[0]["value"]] == ["v", "later"]


async def test_a_block_that_asks_for_nothing_costs_nothing_and_leaves_nothing_behind(db: Database) -> None:
    async with db.begin():
        pass
    with pytest.raises(RuntimeError, match="mine"):
        async with db.begin():
            raise RuntimeError("mine")
    async with db.begin() as tx:
        await put(tx, "after")
    assert await value_of(db, "after") == "v"


async def test_whoever_only_reads_passes_no_gate(db: Database) -> None:
    async with db.read() as tx:
        _, (found,) = await tx.enter([(GET, {"b_name": "any"})])
        assert list(found) == []
        with pytest.raises(TypeError, match="only reads"):
            await tx.enter([(GET, {"b_name": "any"})], gate=True)


async def test_K03_on_postgresql_claims_pass_the_gate_side_by_side(
    postgres_url: str, clock: SystemClock
) -> None:
    async with opened(postgres_url, clock) as one, opened(postgres_url, clock) as two:
        async with one.begin() as first, two.begin() as second:
            await first.pass_gate()
            await asyncio.wait_for(second.pass_gate(), PATIENCE_S)


async def test_E17_a_gate_that_stays_closed_is_a_database_that_is_not_there(
    db: Database, other: Database
) -> None:
    async with db.begin() as tx:
        await tx.close_gate()
        with pytest.raises(DatabaseUnavailable):
            async with asyncio.timeout(PATIENCE_S), other.begin() as late:
                await late.pass_gate()
    async with other.begin() as tx:
        await tx.pass_gate()


async def test_a_read_that_is_cancelled_leaves_no_transaction_behind(db: Database) -> None:
    async def look() -> None:
        async with db.read() as tx:
            await tx.fetch(statement(select(leases)))

    for turn in range(300):
        task = asyncio.create_task(look())
        for _ in range(turn % 4):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    # More at once than there are readers: every connection has its turn.
    await asyncio.gather(*(look() for _ in range(32)))


async def test_postgresql_plans_the_statements_of_a_transaction_once_and_those_of_plain_reads_as_they_come(
    postgres_url: str, clock: SystemClock
) -> None:
    mode = statement(select(func.current_setting("plan_cache_mode").label("mode")))
    async with opened(postgres_url, clock) as db:
        async with db.begin() as tx:
            assert [dict(row) for row in await tx.fetch(mode)] == [{"mode": "force_generic_plan"}]
        async with db.begin() as tx:
            await tx.pass_gate()
            assert [dict(row) for row in await tx.fetch(mode)] == [{"mode": "force_generic_plan"}]
        async with db.read() as tx:
            assert [dict(row) for row in await tx.fetch(mode)] == [{"mode": "auto"}]
