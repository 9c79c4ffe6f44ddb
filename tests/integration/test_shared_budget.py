"""Replicas that share a budget over a real Valkey: what one spends the other has less, and no fate of the server holds a request up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import msgspec
import pytest

from paiid.core.bus import NoBus
from paiid.core.clock import SystemClock
from paiid.core.redis import RedisBus
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Governors, Priority, Spent
from paiid.wires.shared_budget import BUDGET, MOST_BUDGETS, SharedBudget, key_of
from tests.bus_world import a_prefix, redis_bus, until
from tests.fake_clock import FakeClock
from tests.servers import ValkeyServer

TOKEN = "test-token-9d3kqfz7mwc2xhv5"
QUICK = {"echo_s": 0.1, "deadline_s": 0.4}
CALM = {"echo_s": 0.1, "deadline_s": 10.0}
"""Of a bus that a busy machine does not take for dead: what is said meanwhile would be lost."""
SOON_S = 5.0
NEVER_S = 10_000.0


@dataclass
class Replica:
    """One process's governors, and the budget that all of them share."""

    bus: RedisBus
    shared: SharedBudget
    governors: Governors
    budget: Governor

    async def spend(self, times: int = 1, priority: Priority = Priority.CANCEL) -> None:
        """Make requests."""
        for _ in range(times):
            await self.budget.admit(priority, Deadline(SystemClock(), SOON_S), wait_s=0)


@contextlib.asynccontextmanager
async def replica(
    url: str,
    prefix: str,
    *,
    limit: int = 60,
    credential: str = TOKEN,
    beat_s: float = 0.1,
    pace: Mapping[str, float] = QUICK,
) -> AsyncIterator[Replica]:
    clock = SystemClock()
    async with redis_bus(url, prefix, clock, **pace) as bus:
        shared = SharedBudget(clock, bus, gather_s=0.01, beat_s=beat_s)
        governors = Governors(clock, shared)
        budget = governors.of("tradier trading", credential, limit)
        await governors.start()
        try:
            yield Replica(bus, shared, governors, budget)
        finally:
            await governors.stop()


def _lazy(url: str, prefix: str) -> contextlib.AbstractAsyncContextManager[Replica]:
    """One that tells only what is new."""
    return replica(url, prefix, beat_s=NEVER_S)


async def test_what_one_replica_spends_another_has_less(valkey_url: str) -> None:
    prefix = a_prefix()
    async with _lazy(valkey_url, prefix) as one, _lazy(valkey_url, prefix) as two:
        await until(lambda: one.bus.up and two.bus.up)
        await one.spend(25)
        await two.spend(5)
        await until(lambda: one.budget.left == two.budget.left == 30)
        # Each by itself: what they told each other at the beginning is over by then.
        for left in range(29, 19, -1):
            await (one, two)[left % 2].spend()
            await until(lambda: one.budget.left == two.budget.left == left)  # noqa: B023 - it is waited for here
        await two.spend(20)
        with pytest.raises(Spent):
            await two.spend()
        await until(lambda: one.budget.left == 0)
        with pytest.raises(Spent):
            await one.spend()


async def test_a_replica_that_comes_later_hears_what_was_spent_before_it_came(valkey_url: str) -> None:
    prefix = a_prefix()
    async with replica(valkey_url, prefix) as one:
        await until(lambda: one.bus.up)
        await one.spend(40)
        async with replica(valkey_url, prefix) as two:
            await until(lambda: two.budget.left == 20)
        async with replica(valkey_url, prefix) as again:
            await until(lambda: again.budget.left == 20)


async def test_who_comes_or_was_away_asks_and_is_told_without_waiting_for_the_next_beat(
    valkey: ValkeyServer,
) -> None:
    async with _lazy(valkey.url, "p") as one:
        await until(lambda: one.bus.up)
        await one.spend(40)
        async with _lazy(valkey.url, "p") as two:
            await until(lambda: two.budget.left == 20)
            valkey.stop()
            await until(lambda: not one.bus.up and not two.bus.up)
            await one.spend(5)
            valkey.start()
            await until(lambda: two.budget.left == 15)


async def test_what_was_told_is_told_again_and_again_for_a_message_may_be_lost(valkey_url: str) -> None:
    prefix = a_prefix()
    async with (
        redis_bus(valkey_url, prefix, SystemClock(), **QUICK) as listener,
        replica(valkey_url, prefix) as one,
    ):
        heard: list[bytes] = []
        listener.subscribe(BUDGET, heard.append)
        await until(lambda: listener.up and one.bus.up)
        await one.spend()
        await until(lambda: len(heard) > 5)


async def test_a_429_at_one_replica_stops_the_other(valkey_url: str) -> None:
    prefix = a_prefix()
    async with replica(valkey_url, prefix) as one, replica(valkey_url, prefix) as two:
        await until(lambda: one.bus.up and two.bus.up)
        one.budget.learn(refused=True)
        await until(lambda: two.budget.left == 0)
        assert (two.budget.retry_after_s(Priority.CANCEL) or 0) > 1


async def test_another_credential_or_bucket_is_another_budget(valkey_url: str) -> None:
    prefix = a_prefix()
    async with (
        replica(valkey_url, prefix) as one,
        replica(valkey_url, prefix, credential="test-token-2") as two,
    ):
        market = two.governors.of("tradier market", TOKEN, 120)
        same = two.governors.of("tradier trading", TOKEN, 60)
        await until(lambda: one.bus.up and two.bus.up)
        await one.spend(10)
        await until(lambda: same.left == 50)
        assert (market.left, two.budget.left) == (120, 60)


async def test_no_part_of_a_credential_is_on_the_bus(valkey_url: str) -> None:
    prefix = a_prefix()
    async with (
        redis_bus(valkey_url, prefix, SystemClock(), **QUICK) as listener,
        replica(valkey_url, prefix) as one,
    ):
        heard: list[bytes] = []
        listener.subscribe(BUDGET, heard.append)
        await until(lambda: listener.up and one.bus.up)
        await one.spend()
        await until(lambda: any(key_of("tradier trading", TOKEN).encode() in body for body in heard))
        for form in (TOKEN, TOKEN.encode().hex()):
            pieces = {form[at : at + 8].encode() for at in range(len(form) - 7)}
            assert not [piece for piece in pieces for body in heard if piece in body], form


@pytest.mark.parametrize("fate", ["killed", "frozen", "flushed"])
async def test_whatever_becomes_of_the_server_each_goes_on_by_itself_and_they_agree_again_after(
    valkey: ValkeyServer, fate: str
) -> None:
    async with replica(valkey.url, "p") as one, replica(valkey.url, "p") as two:
        await until(lambda: one.bus.up and two.bus.up)
        await one.spend(10)
        await until(lambda: two.budget.left == 50)
        if fate == "killed":
            valkey.stop()
        elif fate == "frozen":
            valkey.pause()
        else:
            valkey.say("FLUSHALL")
        # No place waits for the bus: one that did would not be had with no time to wait.
        await one.spend(20)
        await two.spend(7)
        if fate != "flushed":
            await until(lambda: not one.bus.up and not two.bus.up)
            await one.spend(3)
            assert one.budget.left == 27
            assert two.budget.left == 43, "what was heard before still counts"
        else:
            await one.spend(3)
        if fate == "killed":
            valkey.start()
        elif fate == "frozen":
            valkey.resume()
        await until(lambda: one.budget.left == two.budget.left == 20)


async def test_messages_that_no_replica_of_ours_sends_are_counted_and_change_nothing(valkey_url: str) -> None:
    prefix = a_prefix()
    key = key_of("tradier trading", TOKEN)
    name = "0123456789abcdef"
    bad: list[object] = [
        b"", [], [name], "x", [name, False, [[key, [[0, 0]], 0]]], [name, False, [[key, [[-1, 5]], 0]]],
        [name, False, [[key, [[60_001, 5]], 0]]], [name, False, [[key, [[0, 10**7]], 0]]], [name, False, [[key, [[0, 5]], -1]]],
        ["me", False, []], [name, False, [[TOKEN, [[0, 5]], 0]]], [name, False, [[key, [[0, 5]] * 129, 0]]],
        [name, False, [[key, [], 0]] * (MOST_BUDGETS + 1)], [name, False, [], "more"],
    ]  # fmt: skip
    async with (
        redis_bus(valkey_url, prefix, SystemClock(), **CALM) as stranger,
        replica(valkey_url, prefix, pace=CALM) as one,
    ):
        await until(lambda: stranger.up and one.bus.up)
        for body in bad:
            stranger.publish(BUDGET, body if isinstance(body, bytes) else msgspec.msgpack.encode(body))
        stranger.publish(BUDGET, b"\xff\xff\xff")
        stranger.publish(BUDGET, msgspec.msgpack.encode([name, False, [[key, [[0, 5]], 0]]]))
        await until(lambda: one.budget.left == 55)
        assert one.shared.refused == len(bad) + 1


async def test_with_no_bus_nothing_is_shared_and_nothing_runs() -> None:
    clock = FakeClock()
    governors = Governors(clock, SharedBudget(clock, NoBus()))
    budget = governors.of("tradier trading", TOKEN, 60)
    await governors.start()
    await budget.admit(Priority.CANCEL, Deadline(clock, 1))
    assert len(asyncio.all_tasks()) == 1
    await governors.stop()
    assert budget.left == 59


async def test_more_budgets_than_are_shared_are_counted_here_alone(valkey_url: str) -> None:
    async with replica(valkey_url, a_prefix()) as one:
        last = [one.governors.of("tradier trading", f"test-token-{n}", 60) for n in range(MOST_BUDGETS)][-1]
        await last.admit(Priority.CANCEL, Deadline(SystemClock(), SOON_S))
        assert last.left == 59
