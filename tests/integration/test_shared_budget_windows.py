"""Replicas that share a budget whose window ends: what one has spent in it binds the other no longer."""

import contextlib
from collections.abc import AsyncIterator

from paiid.core.clock import SystemClock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Governors, Priority
from paiid.wires.shared_budget import SharedBudget
from tests.bus_world import a_prefix, redis_bus, until

TOKEN = "test-token-3vq8kd51zmx7wbnf"
LIMIT = 60


@contextlib.asynccontextmanager
async def budget_of(url: str, prefix: str) -> AsyncIterator[Governor]:
    """One replica's governor, which hears the others from now on."""
    clock = SystemClock()
    async with redis_bus(url, prefix, clock) as bus:
        governors = Governors(clock, SharedBudget(clock, bus, beat_s=0.1))
        budget = governors.of("tradier trading", TOKEN, LIMIT)
        await governors.start()
        await until(lambda: bus.up)
        try:
            yield budget
        finally:
            await governors.stop()


async def test_what_was_spent_in_a_window_that_is_over_counts_no_more_for_who_was_told_of_no_window(
    valkey_url: str,
) -> None:
    clock, prefix = SystemClock(), a_prefix()
    async with budget_of(valkey_url, prefix) as one, budget_of(valkey_url, prefix) as two:
        for _ in range(20):
            await one.admit(Priority.CANCEL, Deadline(clock, 5.0), wait_s=0)
        await until(lambda: two.left == LIMIT - 20)
        # The broker tells the first one, and no one else, that its minute is nearly over.
        one.learn(limit=LIMIT, left=LIMIT - 20, resets_at_us=clock.now_us() + 1_500_000)
        await until(lambda: one.left == LIMIT)
        await until(lambda: two.left == LIMIT)
