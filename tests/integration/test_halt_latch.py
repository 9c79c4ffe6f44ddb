"""The latch: a halt that holds this process whatever the table says, and one the database did not take (K9, K10)."""

import asyncio

import pytest

from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.halts import GLOBAL
from paiid.trading.halt import HaltService
from paiid.trading.latch import Latch
from tests.halt_world import (
    Switched,
    arm,
    audit_actions,
    halt_rows,
    person,
)

ALL_FOUR = ["global", "account:acc1", "user:usr1", "symbol:AAPL"]


async def test_K10_with_the_database_down_arming_latches_answers_503_and_keeps_trying(
    peopled_db: Database, clock: Clock, latch: Latch
) -> None:
    switched = Switched(peopled_db)
    service = HaltService(switched, clock, latch, None)  # type: ignore[arg-type]
    switched.down = True
    with pytest.raises(Problem) as refused:
        await service.arm(arm("global", who=person("own1"), reason="get out"))
    assert refused.value.code is Code.DATABASE_UNAVAILABLE
    held = Latch(latch.path.parent).holds()
    assert held is not None
    assert "get out" in held
    with pytest.raises(DatabaseUnavailable):
        await service.settle_latch()
    assert latch.holds() is not None
    switched.down = False
    assert await service.settle_latch() == 1
    assert latch.holds() is None
    assert (await halt_rows(peopled_db))["global"][0] == "halted"
    assert ("halt.arm", "global", "own1") in await audit_actions(peopled_db)


async def test_K10_a_latch_left_by_a_killed_process_holds_its_successor_until_the_table_does(
    peopled_db: Database, clock: Clock, latch: Latch
) -> None:
    switched = Switched(peopled_db)
    switched.down = True
    killed = HaltService(switched, clock, latch, None)  # type: ignore[arg-type]
    with pytest.raises(Problem):
        await killed.arm(arm("account:acc1", who=person("usr1", "trader")))
    successor_latch = Latch(latch.path.parent)
    assert successor_latch.holds() is not None
    successor = HaltService(peopled_db, clock, successor_latch, None)
    running = asyncio.create_task(successor.run())
    async with asyncio.timeout(20):
        while successor_latch.holds() is not None:
            await asyncio.sleep(0.01)
    running.cancel()
    assert successor_latch.holds() is None
    assert (await halt_rows(peopled_db))["account:acc1"][0] == "halted"


async def test_K10_a_latched_halt_that_its_author_may_not_arm_is_dropped_when_the_database_is_back(
    peopled_db: Database, clock: Clock, latch: Latch
) -> None:
    switched = Switched(peopled_db)
    switched.down = True
    service = HaltService(switched, clock, latch, None)  # type: ignore[arg-type]
    with pytest.raises(Problem):
        await service.arm(arm("account:acc2", who=person("usr1", "trader")))
    switched.down = False
    await service.settle_latch()
    assert latch.holds() is None
    assert await halt_rows(peopled_db) == {}
    assert ("halt.arm_refused", "account:acc2", "usr1") in await audit_actions(peopled_db)


async def test_K10_a_viewer_cannot_set_the_latch(peopled_db: Database, clock: Clock, latch: Latch) -> None:
    switched = Switched(peopled_db)
    switched.down = True
    service = HaltService(switched, clock, latch, None)  # type: ignore[arg-type]
    with pytest.raises(Problem) as refused:
        await service.arm(arm("global", who=person("view1", "viewer")))
    assert refused.value.code is Code.FORBIDDEN
    assert latch.holds() is None


async def test_K09_a_latch_set_by_hand_outlives_the_settling(
    peopled_db: Database, service: HaltService, latch: Latch
) -> None:
    latch.path.parent.mkdir()
    latch.path.touch()
    assert await service.settle_latch() == 0
    assert latch.holds() is not None
    assert (await service.view(GLOBAL)).latch is not None
