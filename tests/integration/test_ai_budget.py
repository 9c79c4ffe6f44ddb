"""What a user may spend on the model: reserved before, settled after, the same for all replicas."""

import asyncio
from dataclasses import replace

import pytest

from paiid.ai.breaker import Breaker
from paiid.ai.budget import Budget, BudgetSpent
from paiid.ai.limits import AiTimings
from paiid.core.clock import SystemClock
from paiid.core.db import CommitUnknown, Database, DatabaseUnavailable, statement
from paiid.core.settings import Settings
from paiid.core.tables import ai_reservations
from tests.fake_clock import FakeClock

SETTINGS = Settings(ai_daily_tokens=10_000, ai_daily_usd=1.0)


async def test_many_at_once_cannot_pass_the_budget_together_on_any_replica(
    db: Database, clock: SystemClock
) -> None:
    replicas = [Budget(db, clock, SETTINGS) for _ in range(2)]

    async def reserve(number: int) -> object:
        while True:
            try:
                return await replicas[number % 2].reserve("one", 1500, 500)
            except BudgetSpent:
                return None
            except CommitUnknown:
                raise
            except DatabaseUnavailable:
                # A dozen wait for one row: the last may be too late on a slow machine. Nothing was written.
                await asyncio.sleep(0.05)

    made = [
        one for one in await asyncio.gather(*(reserve(number) for number in range(12))) if one is not None
    ]
    assert len(made) == 5
    view = await replicas[0].view("one")
    assert (view["tokens"]["used"], view["tokens"]["reserved"], view["tokens"]["left"]) == (0, 10_000, 0)
    assert (await replicas[0].view("another"))["tokens"]["left"] == 10_000

    # What was not used is free again; what was is booked with its price.
    for one in made:
        await replicas[1].settle(one, 900, 100)  # type: ignore[arg-type]
    view = await replicas[0].view("one")
    assert (view["tokens"]["used"], view["tokens"]["reserved"], view["requests"]) == (5_000, 0, 5)
    assert view["usd"]["used"] == pytest.approx(5 * (900 * 2 + 100 * 10) / 1_000_000)
    with pytest.raises(BudgetSpent):
        await replicas[0].reserve("one", 4_501, 500)

    # Dollars count as well.
    poor = Budget(db, clock, replace(SETTINGS, ai_daily_usd=0.015))
    with pytest.raises(BudgetSpent):
        await poor.reserve("one", 0, 101)
    await poor.reserve("one", 0, 100)


async def test_the_reservation_of_a_process_that_died_counts_only_for_a_while(
    db: Database, clock: SystemClock
) -> None:
    budget = Budget(db, clock, SETTINGS)
    await budget.reserve("one", 10_000, 0)
    with pytest.raises(BudgetSpent):
        await budget.reserve("one", 1, 0)
    async with db.begin() as tx:
        before = await tx.now_us() - 1
        change = statement(ai_reservations.update().values(expires_at=before))
        assert await tx.execute(change) == 1
    later = await budget.reserve("one", 10_000, 0)
    await budget.settle(later, 0, 0)
    async with db.read() as tx:
        assert await tx.fetch(statement(ai_reservations.select())) == []


def test_a_model_that_fails_again_and_again_is_left_alone_for_a_while() -> None:
    clock = FakeClock()
    breaker = Breaker(clock, AiTimings())
    for _ in range(2):
        breaker.failed("overloaded")
    assert not breaker.rests
    breaker.answered()
    for _ in range(3):
        assert not breaker.rests
        breaker.failed("timeout")
    assert breaker.rests
    assert breaker.problem == "the model took too long"
    clock.advance(30.1)
    assert not breaker.rests
    breaker.failed("timeout")
    assert breaker.rests, "one more failure, and it rests again"
    clock.advance(30.1)
    breaker.answered()
    assert breaker.problem is None
