"""Calls that share a commit do not pay for each other's mistakes, delays or disappearance, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import insert, select

from paiid.core.clock import SystemClock
from paiid.core.db import Database, DatabaseUnavailable, Tx, UniqueViolation, make_database, statement
from paiid.core.db.api import GATHER_S, MAX_GROUP, OPERATION_BUDGET_S
from paiid.core.db.writer import Writer
from paiid.core.tables import install_secrets
from tests.database_world import opened

_PUT = statement(insert(install_secrets))
_NAMES = statement(select(install_secrets.c.name).order_by(install_secrets.c.name))


async def names(db: Database) -> list[str]:
    """What is committed."""
    async with db.read() as tx:
        return [row["name"] for row in await tx.fetch(_NAMES)]


class Work:
    """A batch function that writes one row an item and remembers its groups. An item says what shall go wrong."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def __call__(self, tx: Tx, items: Sequence[str]) -> Sequence[str | Exception]:
        self.groups.append(list(items))
        self.entered.set()
        await self.gate.wait()
        results: list[str | Exception] = []
        for item in items:
            if item.startswith("refused"):
                results.append(PermissionError(item))
                continue
            name = item.removeprefix("again-")
            await tx.execute(_PUT, {"name": name, "value": str(len(self.groups)), "created_at": 1})
            if item.startswith("raises"):
                raise RuntimeError(item)
            results.append(f"did {item}")
        return results


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives up waiting for a turn, however slow the machine is."""
    monkeypatch.setattr("paiid.core.db.writer.TURN_S", 60.0)


async def test_calls_that_wait_together_share_one_transaction(db: Database) -> None:
    work = Work()
    items = [f"i{n:03}" for n in range(50)]
    results = await asyncio.gather(*(db.commit_with(work, one) for one in items))
    assert results == [f"did {one}" for one in items], "each caller gets his own result"
    assert work.groups == [items]
    assert await names(db) == items


@pytest.mark.usefixtures("patient")
async def test_calls_that_come_while_a_group_commits_make_the_next_group(db: Database) -> None:
    work = Work()
    work.gate.clear()
    first = asyncio.create_task(db.commit_with(work, "first"))
    await work.entered.wait()
    later = [asyncio.create_task(db.commit_with(work, f"later{n}")) for n in range(5)]
    await asyncio.sleep(0)
    work.gate.set()
    await asyncio.gather(first, *later)
    assert work.groups == [["first"], [f"later{n}" for n in range(5)]]


@pytest.mark.usefixtures("patient")
async def test_a_group_has_a_largest_size_and_the_rest_goes_in_the_next(db: Database) -> None:
    class FirstOnly(Work):
        """Writes one row a group: the last one must come to its turn in time on a slow machine as well."""

        async def __call__(self, tx: Tx, items: Sequence[str]) -> Sequence[str | Exception]:
            self.groups.append(list(items))
            await tx.execute(_PUT, {"name": items[0], "value": "first", "created_at": 1})
            return [f"did {item}" for item in items]

    work, items = FirstOnly(), [f"i{n:03}" for n in range(2 * MAX_GROUP + 1)]
    results = await asyncio.gather(*(db.commit_with(work, one) for one in items))
    assert results == [f"did {one}" for one in items]
    assert work.groups == [items[:MAX_GROUP], items[MAX_GROUP : 2 * MAX_GROUP], items[2 * MAX_GROUP :]]
    assert await names(db) == [group[0] for group in work.groups]


async def test_an_answer_is_given_only_after_the_commit_that_holds_its_row(db: Database) -> None:
    work = Work()

    async def call(name: str) -> None:
        await db.commit_with(work, name)
        assert name in await names(db)

    await asyncio.gather(*(call(f"i{n}") for n in range(30)))


async def test_a_refusal_is_told_to_its_caller_alone_and_undoes_nothing(db: Database) -> None:
    work = Work()
    results = await asyncio.gather(
        *(db.commit_with(work, one) for one in ("a", "refused", "b")), return_exceptions=True
    )
    assert results[0::2] == ["did a", "did b"]
    assert isinstance(results[1], PermissionError)
    assert len(work.groups) == 1, "nobody was tried again"
    assert await names(db) == ["a", "b"]


@pytest.mark.parametrize(("bad", "kind"), [("raises", RuntimeError), ("again-a", UniqueViolation)])
async def test_one_callers_exception_undoes_only_his_own(
    db: Database, bad: str, kind: type[Exception]
) -> None:
    work = Work()
    results = await asyncio.gather(
        *(db.commit_with(work, one) for one in ("a", bad, "b")), return_exceptions=True
    )
    assert results[0::2] == ["did a", "did b"]
    assert isinstance(results[1], kind)
    assert work.groups == [["a", bad, "b"], ["a"], [bad], ["b"]], "each alone, each once"
    assert await names(db) == ["a", "b"]
    assert await db.commit_with(work, "c") == "did c", "the lane goes on"


async def test_a_caller_who_is_cancelled_leaves_the_others_and_no_half_done_work(db: Database) -> None:
    work = Work()
    work.gate.clear()
    calls = [asyncio.create_task(db.commit_with(work, one)) for one in ("a", "b", "raises", "c")]
    await work.entered.wait()
    calls[1].cancel()
    calls[2].cancel()
    await asyncio.wait(calls[1:3])
    work.gate.set()
    assert await calls[0] == "did a"
    assert await calls[3] == "did c"
    assert calls[1].cancelled()
    assert await names(db) == ["a", "b", "c"], "what was in the group is done, whoever still listens"


async def test_who_waited_too_long_is_told_that_nothing_was_written_and_nothing_is(db: Database) -> None:
    work = Work()
    work.gate.clear()
    first = asyncio.create_task(db.commit_with(work, "first"))
    await work.entered.wait()
    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(db.commit_with(work, "late"), 10)
    work.gate.set()
    await asyncio.wait([first])
    first.exception()
    assert await db.commit_with(work, "after") == "did after"
    assert "late" not in await names(db)
    assert not any("late" in group for group in work.groups)


async def test_who_gave_up_while_the_writer_was_taken_is_not_written_behind_his_back(
    sqlite_url: str, clock: SystemClock
) -> None:
    async with opened(sqlite_url, clock) as db:
        work = Work()
        async with db.begin():
            with pytest.raises(DatabaseUnavailable):
                await asyncio.wait_for(db.commit_with(work, "late"), 10)
        assert await db.commit_with(work, "after") == "did after"
        assert await names(db) == ["after"]


async def test_two_batch_functions_do_not_wait_for_the_same_group(db: Database) -> None:
    one, two = Work(), Work()
    await asyncio.gather(
        *(db.commit_with(one, f"one{n}") for n in range(5)),
        *(db.commit_with(two, f"two{n}") for n in range(5)),
    )
    assert len(one.groups) == len(two.groups) == 1
    assert len(await names(db)) == 10


async def test_a_stop_finishes_what_is_queued_and_refuses_more(
    db: Database, db_url: str, clock: SystemClock
) -> None:
    work = Work()
    work.gate.clear()
    calls = [asyncio.create_task(db.commit_with(work, one)) for one in ("a", "b")]
    await work.entered.wait()
    stopping = asyncio.create_task(db.stop())
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        await db.commit_with(work, "c")
    work.gate.set()
    await asyncio.wait_for(stopping, 10)
    assert await asyncio.gather(*calls) == ["did a", "did b"]
    again = make_database(db_url, clock)
    await again.start()
    assert await names(again) == ["a", "b"]
    await again.stop()


class Groups:
    """A database that only counts who shares a transaction."""

    def __init__(self, gather_s: float = GATHER_S) -> None:
        self.sizes: list[int] = []
        self.within_s: list[float] = []
        self.writer = Writer(self._begin, gather_s)

    @asynccontextmanager
    async def _begin(self, *, within_s: float) -> AsyncIterator[Tx]:
        self.within_s.append(within_s)
        nothing: Any = None
        yield nothing

    async def batch(self, tx: Tx, items: Sequence[int]) -> Sequence[int]:
        self.sizes.append(len(items))
        return items


@pytest.mark.usefixtures("patient")
async def test_a_group_behind_one_that_hung_has_what_is_left_of_its_oldest_callers_time() -> None:
    groups, hung = Groups(), asyncio.Event()

    async def hang(tx: Tx, items: Sequence[int]) -> Sequence[int]:
        await hung.wait()
        return items

    first = asyncio.create_task(groups.writer.commit_with(hang, 1))
    await asyncio.sleep(0.01)
    behind = asyncio.create_task(groups.writer.commit_with(hang, 2))
    await asyncio.sleep(0.4)
    last = asyncio.create_task(groups.writer.commit_with(hang, 3))
    await asyncio.sleep(0)
    hung.set()
    assert await asyncio.gather(first, behind, last) == [1, 2, 3]
    assert len(groups.within_s) == 2
    # The one that came a moment ago does not give time to the one that has waited.
    assert 0 < groups.within_s[1] <= OPERATION_BUDGET_S - 0.4


async def later(groups: Groups, turns: int) -> None:
    """A caller who comes back some turns of the loop after the first."""
    for _ in range(turns):
        await asyncio.sleep(0)
    await groups.writer.commit_with(groups.batch, turns)


@pytest.mark.usefixtures("patient")
async def test_callers_who_were_answered_together_share_the_next_commit_though_they_come_one_by_one() -> None:
    groups = Groups(gather_s=5.0)
    await asyncio.gather(*(groups.writer.commit_with(groups.batch, number) for number in range(8)))
    await asyncio.gather(*(later(groups, turns * 5) for turns in range(8)))
    assert groups.sizes == [8, 8]


async def test_whoever_does_not_come_back_is_waited_for_only_a_moment() -> None:
    groups = Groups()
    await asyncio.gather(*(groups.writer.commit_with(groups.batch, number) for number in range(8)))
    async with asyncio.timeout(5):
        await groups.writer.commit_with(groups.batch, 1)
        await groups.writer.commit_with(groups.batch, 2)
    assert groups.sizes == [8, 1, 1]
