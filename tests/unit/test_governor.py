"""The budget governor: the urgent go first, nobody is lost, and what waits is bounded (docs/adr/0026)."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.wires.deadline import Deadline
from paiid.wires.governor import (
    MARKET_SHARES,
    MOST_WAITING,
    ORDER_SHARES,
    Governor,
    Governors,
    Priority,
    Spent,
)
from paiid.wires.window import WINDOW_S
from tests.fake_clock import FakeClock

CANCEL, EXIT, ENTRY, READ, BACKGROUND = Priority


class StillClock(FakeClock):
    """Time that sleeps do not move, so that a test says when it passes."""

    async def sleep(self, seconds: float) -> None:
        until_us = self._us + int(seconds * 1_000_000)
        while self._us < until_us:
            await asyncio.sleep(0)


class Turns:
    """Callers of one budget, and the order in which they were let through."""

    def __init__(self, limit: int = 10) -> None:
        self.clock = StillClock()
        self.governor = Governor(self.clock, "test", limit)
        self.admitted: list[str] = []
        self.refused: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, priority: Priority, wait_s: float = 100.0) -> None:
        """One caller, to its end."""
        try:
            await self.governor.admit(priority, Deadline(self.clock, wait_s))
            self.admitted.append(name)
        except Spent:
            self.refused.append(name)

    async def come(self, name: str, priority: Priority, wait_s: float = 100.0) -> None:
        """One caller, who waits where there is no place yet."""
        self.tasks[name] = asyncio.create_task(self.ask(name, priority, wait_s))
        await breathe()

    async def fill(self) -> None:
        """Spend all that there is."""
        while self.governor.left:
            await self.governor.admit(CANCEL, Deadline(self.clock, 1))

    async def ended(self) -> None:
        """All have had their answer."""
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def breathe() -> None:
    """Let all who can go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_place_that_gets_free_goes_to_the_most_urgent_and_then_to_who_came_first() -> None:
    turns = Turns()
    await turns.fill()
    for name, priority in (
        ("poll", BACKGROUND), ("read", READ), ("entry 1", ENTRY), ("entry 2", ENTRY), ("exit", EXIT), ("cancel", CANCEL),
    ):  # fmt: skip
        await turns.come(name, priority)
    assert turns.governor.waiting == 6
    turns.clock.advance(WINDOW_S)
    await breathe()
    assert turns.admitted == ["cancel", "exit", "entry 1", "entry 2", "read", "poll"]
    assert turns.governor.waiting == 0


async def test_each_priority_leaves_its_share_to_those_before_it() -> None:
    turns = Turns(60)
    left = {priority: turns.governor.left_for(priority) for priority in Priority}
    assert left == {CANCEL: 60, EXIT: 54, ENTRY: 48, READ: 48, BACKGROUND: 36}
    for _ in range(36):
        await turns.governor.admit(BACKGROUND, Deadline(turns.clock, 0))
    for priority, places in ((BACKGROUND, 0), (READ, 12), (EXIT, 6), (CANCEL, 6)):
        for _ in range(places):
            await turns.governor.admit(priority, Deadline(turns.clock, 0))
        with pytest.raises(Spent):
            await turns.governor.admit(priority, Deadline(turns.clock, 0))


@pytest.mark.parametrize("limit", range(1, 40))
def test_with_a_small_limit_too_each_has_its_turn_and_something_is_kept_for_cancels(limit: int) -> None:
    governor = Governor(FakeClock(), "test", limit)
    left = [governor.left_for(priority) for priority in Priority]
    assert all(one >= 1 for one in left), "nobody is kept out for ever"
    assert left == sorted(left, reverse=True)
    if limit > 1:
        assert left[1] < left[0], "an exit leaves a place to a cancel"


@pytest.mark.parametrize("shares", [ORDER_SHARES, MARKET_SHARES])
def test_no_priority_leaves_less_than_one_that_is_more_urgent(shares: dict[Priority, float]) -> None:
    assert [shares[one] for one in Priority] == sorted(shares.values())


async def test_quotes_may_use_all_of_a_bucket_from_which_no_order_is_paid() -> None:
    governor = Governors(FakeClock()).of("market", "token-for-tests", 100, MARKET_SHARES)
    assert (governor.left_for(READ), governor.left_for(BACKGROUND)) == (100, 80)


async def test_who_cannot_get_a_place_in_time_hears_it_at_once_and_when_to_come_again() -> None:
    turns = Turns()
    await turns.fill()
    turns.clock.advance(10.5)
    with pytest.raises(
        Spent, match=r"budget of 10 requests a minute \(test\) is spent; try again in 50 s"
    ) as spent:
        await turns.governor.admit(ENTRY, Deadline(turns.clock, 20), wait_s=0.4)
    assert spent.value.retry_after_s == pytest.approx(49.5)
    assert turns.governor.retry_after_s(ENTRY) == pytest.approx(49.5)
    assert turns.governor.waiting == 0
    turns.clock.advance(49.5)
    assert turns.governor.retry_after_s(ENTRY) is None


async def test_an_order_waits_as_long_as_it_may_where_a_place_comes_in_that_time() -> None:
    turns = Turns()
    await turns.fill()
    turns.clock.advance(59.7)
    await turns.come("order", ENTRY, 0.4)
    assert turns.governor.waiting == 1
    turns.clock.advance(0.31)
    await breathe()
    assert turns.admitted == ["order"]
    assert turns.governor.counts[ENTRY].waited_s == pytest.approx(0.31)


async def test_a_place_that_one_who_waits_will_take_is_no_reason_for_another_to_wait() -> None:
    turns = Turns()
    await turns.governor.admit(CANCEL, Deadline(turns.clock, 0))
    turns.clock.advance(30)
    await turns.fill()
    turns.clock.advance(29.8)
    await turns.come("first", CANCEL, 0.4)
    await turns.come("second", EXIT, 0.4)
    assert turns.refused == ["second"]
    assert turns.governor.retry_after_s(CANCEL) == pytest.approx(30.2)
    turns.clock.advance(0.3)
    await breathe()
    assert turns.admitted == ["first"]


async def test_a_cancel_waits_to_its_deadline_for_what_is_known_may_change() -> None:
    turns = Turns()
    turns.governor.learn(refused=True)
    await turns.come("cancel", CANCEL, 5)
    assert turns.governor.waiting == 1
    turns.clock.advance(4)
    await breathe()
    assert (turns.admitted, turns.refused) == ([], [])
    turns.clock.advance(1)
    await breathe()
    assert turns.refused == ["cancel"]


async def test_a_limit_that_is_raised_lets_go_on_who_waits_without_any_time_passing() -> None:
    turns = Turns()
    await turns.fill()
    await turns.come("entry", ENTRY)
    turns.governor.learn(limit=20)
    await breathe()
    assert turns.admitted == ["entry"]
    assert turns.governor.limit == 20


async def test_who_is_cancelled_while_waiting_leaves_no_gap_and_takes_no_place() -> None:
    turns = Turns()
    await turns.fill()
    for name in ("one", "two", "three"):
        await turns.come(name, EXIT)
    turns.tasks["one"].cancel()
    await breathe()
    assert turns.governor.waiting == 2
    turns.clock.advance(WINDOW_S)
    await breathe()
    assert turns.admitted == ["two", "three"]
    assert turns.governor.left == 8


async def test_a_place_given_in_the_moment_of_cancellation_goes_to_the_next() -> None:
    turns = Turns(1)
    await turns.fill()
    await turns.come("gone", CANCEL)
    await turns.come("next", CANCEL)
    turns.clock.advance(WINDOW_S)
    # The place is given now; the one that gets it is cancelled before it can go on.
    turns.governor.learn(left=None)
    turns.tasks["gone"].cancel()
    await breathe()
    assert turns.admitted == ["next"]
    assert turns.governor.counts[CANCEL].admitted == 2
    with suppress(asyncio.CancelledError):
        await turns.tasks["gone"]


async def test_one_who_is_cancelled_and_served_in_one_breath_takes_no_place() -> None:
    turns = Turns(1)
    await turns.fill()
    await turns.come("gone", CANCEL)
    await turns.come("next", CANCEL)
    turns.clock.advance(WINDOW_S)
    turns.tasks["gone"].cancel()
    turns.governor.learn(left=None)
    await breathe()
    assert turns.admitted == ["next"]
    assert len(turns.governor.window.spent()) == 1


async def test_the_queue_is_bounded_and_the_least_urgent_that_came_last_goes_first() -> None:
    turns = Turns()
    await turns.fill()
    for number in range(MOST_WAITING - 1):
        await turns.come(f"read {number}", READ)
    await turns.come("poll", BACKGROUND)
    await turns.come("late poll", BACKGROUND)
    await breathe()
    assert turns.refused == ["late poll"]
    await turns.come("cancel", CANCEL)
    await breathe()
    assert turns.refused == ["late poll", "poll"]
    await turns.come("entry", ENTRY)
    await breathe()
    assert turns.refused[2:] == [f"read {MOST_WAITING - 2}"]
    assert turns.governor.waiting == MOST_WAITING
    for task in turns.tasks.values():
        task.cancel()
    await turns.ended()
    assert turns.governor.waiting == 0


async def test_nothing_is_left_running_once_nobody_waits() -> None:
    turns = Turns()
    await turns.fill()
    await turns.come("poll", BACKGROUND)
    assert [one for one in asyncio.all_tasks() if one.get_name() == "paiid-budget"]
    turns.tasks["poll"].cancel()
    await breathe()
    assert not [one for one in asyncio.all_tasks() if one.get_name() == "paiid-budget"]


async def test_what_others_have_spent_leaves_less_here() -> None:
    turns = Turns()
    turns.governor.hear("another", [(0.0, 9)], 0)
    assert (turns.governor.left, turns.governor.left_for(ENTRY)) == (1, 0)
    turns.governor.hear("another", [], 7)
    assert turns.governor.retry_after_s(CANCEL) == pytest.approx(7)


def test_a_credential_has_one_governor_for_each_bucket_and_is_nowhere_in_its_name() -> None:
    governors = Governors(FakeClock())
    first = governors.of("tradier trading", "test-token-aaaa", 60)
    assert governors.of("tradier trading", "test-token-aaaa", 999) is first
    second = governors.of("tradier trading", "test-token-bbbb", 60)
    market = governors.of("tradier market", "test-token-aaaa", 120)
    assert governors.all() == [market, first, second]
    assert [one.name for one in governors.all()] == ["tradier market", "tradier trading", "tradier trading 2"]
    assert first.limit == 60


class _Seen:
    """A governor that is driven step by step: whenever somebody is let through, nobody more urgent may be waiting, nor anybody as urgent
    that came earlier."""

    def __init__(self, limit: int) -> None:
        self.turns = Turns(limit)
        self.waiting: dict[int, tuple[Priority, int]] = {}
        self.sent: list[float] = []

    async def ask(self, number: int, priority: Priority, wait_s: float) -> None:
        self.waiting[number] = (priority, number)
        try:
            await self.turns.governor.admit(priority, Deadline(self.turns.clock, wait_s))
        except (Spent, asyncio.CancelledError):
            del self.waiting[number]
            return
        mine = self.waiting.pop(number)
        self.sent.append(self.turns.clock.monotonic_s())
        assert all(mine <= other for other in self.waiting.values()), (mine, self.waiting)


_STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(list(Priority)), st.floats(0, 120)),
    st.tuples(st.just("pass"), st.just(CANCEL), st.floats(0, 70)),
    st.tuples(st.just("cancel"), st.just(CANCEL), st.floats(0, 1)),
)


@given(st.integers(1, 12), st.lists(_STEPS, max_size=60))
def test_nobody_is_behind_a_less_urgent_one_and_never_more_than_the_limit_goes_out_in_a_minute(
    limit: int, steps: list[tuple[str, Priority, float]]
) -> None:
    async def play() -> None:
        seen = _Seen(limit)
        clock, tasks = seen.turns.clock, list[asyncio.Task[None]]()
        for number, (step, priority, value) in enumerate(steps):
            if step == "ask":
                tasks.append(asyncio.create_task(seen.ask(number, priority, value)))
            elif step == "pass":
                clock.advance(value)
            elif tasks:
                tasks[int(value * (len(tasks) - 1))].cancel()
            await breathe()
        for _ in _until_none_waits(seen):
            await breathe()
        for task in tasks:
            if not task.cancelled():
                task.result()
        for at_s in seen.sent:
            assert sum(at_s - WINDOW_S < one <= at_s for one in seen.sent) <= limit
        assert sum(one.admitted for one in seen.turns.governor.counts.values()) == len(seen.sent)

    asyncio.run(play())


def _until_none_waits(seen: _Seen) -> Iterator[None]:
    """Whoever waits is let through or sent away, sooner or later."""
    for _ in range(200):
        if not seen.waiting:
            return
        seen.turns.clock.advance(5)
        yield
    raise AssertionError(f"{seen.waiting} wait for ever")
