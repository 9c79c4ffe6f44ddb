"""Background work: begun again when it breaks, and called failing only while it does."""

import asyncio

from paiid.core.tasks import Background
from tests.fake_clock import FakeClock


async def until(condition: "asyncio.Event") -> None:
    async with asyncio.timeout(10):
        await condition.wait()


async def test_what_breaks_once_is_begun_again_and_not_called_failing_for_ever() -> None:
    clock = FakeClock()
    background = Background(clock)
    again = asyncio.Event()
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise RuntimeError("once")
        again.set()
        await asyncio.Event().wait()

    background.begin("work", work)
    await until(again)
    assert background.failing == {"work": "RuntimeError"}
    clock.advance(16)
    assert background.failing == {}
    await background.stop()


async def test_what_keeps_breaking_is_failing_all_the_time() -> None:
    clock = FakeClock()
    background = Background(clock)
    many = asyncio.Event()
    seen: list[bool] = []

    async def work() -> None:
        seen.append("work" in background.failing)
        if len(seen) > 30:
            many.set()
            await asyncio.Event().wait()
        raise ValueError("always")

    background.begin("work", work)
    await until(many)
    assert seen[1:] == [True] * (len(seen) - 1), "also after the longest pause"
    await background.stop()
