"""The memory of what was read a moment ago: one read for all who wait, and nothing older than a change."""

import asyncio

import pytest

from paiid.auth.fresh import FreshCache
from tests.fake_clock import FakeClock


async def test_all_who_wait_share_one_read_even_if_the_first_hangs_up() -> None:
    cache: FreshCache[str, int] = FreshCache(FakeClock(), 1.5, 10)
    release, reads = asyncio.Event(), 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await release.wait()
        return 7

    waiting = [asyncio.create_task(cache.load("a", read)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    release.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [7, 7, 7, 7]
    assert reads == 1


async def test_a_value_is_believed_from_before_it_was_read() -> None:
    clock = FakeClock()
    cache: FreshCache[str, int] = FreshCache(clock, 1.5, 10)

    async def read() -> int:
        clock.advance(1)
        return 7

    assert await cache.load("a", read) == 7
    assert cache.find("a") == 7
    clock.advance(0.5)
    assert cache.find("a") is None
    assert cache.find_last("a") == 7


@pytest.mark.parametrize("everything", [True, False])
async def test_a_read_that_began_before_a_change_is_not_kept(everything: bool) -> None:
    cache: FreshCache[str, int] = FreshCache(FakeClock(), 1.5, 10)
    release = asyncio.Event()

    async def read_old() -> int:
        await release.wait()
        return 1

    async def read_new() -> int:
        return 2

    old = asyncio.create_task(cache.load("a", read_old))
    await asyncio.sleep(0)
    if everything:
        cache.drop_where(lambda value: True)
    else:
        cache.drop("a")
    assert await cache.load("a", read_new) == 2
    release.set()
    assert await old == 1
    assert cache.find("a") == 2


async def test_a_failure_is_not_kept_and_memory_is_bounded() -> None:
    cache: FreshCache[int, int] = FreshCache(FakeClock(), 1.5, 3)

    async def fail() -> int:
        raise LookupError

    async def one() -> int:
        return 1

    with pytest.raises(LookupError):
        await cache.load(0, fail)
    for key in range(5):
        assert await cache.load(key, one) == 1
    assert [cache.find(key) for key in range(5)] == [None, None, 1, 1, 1]
