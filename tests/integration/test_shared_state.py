"""Throttles and cache that replicas share: one bucket for all, values only of our own, and nothing told in the keys."""

import asyncio
from functools import partial

import pytest

from paiid.core.clock import SystemClock
from paiid.core.limits import RateLimiter
from paiid.core.redis_store import NoAnswer, RedisStore
from paiid.core.shared import MAX_VALUE, Cached, Claimed, Link, SharedThrottle, alone
from paiid.domain.errors import Problem
from tests.auth_world import Driven
from tests.bus_world import until
from tests.shared_world import a_secret, raw
from tests.shared_world import replica as any_replica

# None of these is about how long an answer may take: a busy machine must not have a replica decide alone.
replica = partial(any_replica, deadline_s=10.0)


async def test_A05_two_replicas_have_one_bucket_and_each_user_one_of_his_own(valkey_url: str) -> None:
    secret = a_secret()
    # One token a minute: a busy machine must not be given back what it has spent.
    async with replica(valkey_url, secret) as one, replica(valkey_url, secret) as other:
        assert await one.takes(3, per_minute=1) == 3
        assert await other.takes(4, per_minute=1) == 2
        assert await one.takes(1, per_minute=1) == 0
        assert await other.takes(9, key="somebody else", per_minute=1) == 5
        assert other.throttle.counts.of("refused") == 2
        # What is refused costs its own bucket nothing: it would go on sooner than all.
        assert other.throttle._limiter._buckets[("login_user", "somebody")][0] == pytest.approx(3, abs=0.2)


async def test_A05_a_token_that_is_given_back_is_everybodys_again(valkey_url: str) -> None:
    secret = a_secret()
    async with replica(valkey_url, secret) as one, replica(valkey_url, secret) as other:
        assert await one.takes(5, per_minute=1) == 5
        await one.throttle.give_back("login_user", "somebody", 1, 5)
        await one.throttle.give_back("login_user", "nobody", 1, 5)
        assert await other.takes(2, per_minute=1) == 1
        for _ in range(9):
            await one.throttle.give_back("login_user", "somebody", 1, 5)
        assert await other.takes(9, per_minute=1) == 4, "its own has counted one that all have back"


async def test_A05_who_is_refused_is_told_when_to_come_back_and_then_gets_in(valkey_url: str) -> None:
    secret = a_secret()
    async with replica(valkey_url, secret) as one, replica(valkey_url, secret) as other:
        assert await one.takes(2, per_minute=60, burst=2) == 2

        async def take_what_has_come_back() -> None:
            # On a busy machine a token may be there again: it is taken, and then none is left.
            for _ in range(10):
                await other.throttle.take("login_user", "somebody", 60, 2)

        with pytest.raises(Problem) as refused:
            await take_what_has_come_back()
        assert refused.value.headers["Retry-After"] == "1"
        assert refused.value.headers["RateLimit-Limit"] == "2"
        # A token comes back after a second.
        await asyncio.sleep(1.1)
        assert await other.takes(1, per_minute=60, burst=2) == 1


@pytest.mark.parametrize("planted", [b"9" * 300, b"nan", b"inf", b"nonsense", b"", b"-1e300"])
async def test_A05_nothing_that_lies_in_the_server_locks_anybody_out(valkey_url: str, planted: bytes) -> None:
    async with replica(valkey_url, a_secret()) as one:
        where = one.link.key("throttle", "login_user", "somebody")
        with raw(valkey_url) as stranger:
            stranger.set(where, planted)
            await one.takes(1, per_minute=120, burst=5)
            await asyncio.sleep(0.6)
            assert await one.takes(1, per_minute=120, burst=5) == 1
            left_ms = stranger.pttl(where)
        assert 0 < left_ms < 3500, "and it goes away by itself"


async def test_A05_a_list_where_a_bucket_should_be_is_replaced(valkey_url: str) -> None:
    async with replica(valkey_url, a_secret()) as one:
        where = one.link.key("throttle", "login_user", "somebody")
        with raw(valkey_url) as stranger:
            stranger.rpush(where, "x")
            assert await one.takes(6, per_minute=1) == 5
        assert one.store.up


async def test_the_keys_in_the_server_tell_no_address_no_name_and_no_symbol(valkey_url: str) -> None:
    secret = a_secret()
    async with replica(valkey_url, secret) as one:
        await one.takes(1, key="somebody@example.com")
        await one.cache.put("chain AAPL", b"x", 5, SystemClock().now_us())
        with raw(valkey_url) as stranger:
            prefix = one.link.key("cache", "").split(":cache:")[0]
            keys = [key.decode() for key in stranger.scan_iter(f"{prefix}:*")]
        assert len(keys) == 2
        assert not any(word in key for key in keys for word in ("somebody", "login", "AAPL", "chain"))
    assert Link(RedisStore(valkey_url, SystemClock()), b"other").key("a", "b") != one.link.key("a", "b")
    assert one.link.key("a", "bc", "d") != one.link.key("a", "b", "cd")


async def test_alone_it_is_the_bucket_of_the_process_and_nothing_else() -> None:
    clock = Driven()
    shared = alone(clock)
    for _ in range(2):
        await shared.throttle.take("login_user", "somebody", 60, 2)
    with pytest.raises(Problem):
        await shared.throttle.take("login_user", "somebody", 60, 2)
    await shared.throttle.give_back("login_user", "somebody", 60, 2)
    await shared.throttle.take("login_user", "somebody", 60, 2)
    assert shared.cache is None
    assert not shared.up
    assert not shared.configured
    assert shared.state == "throttles and caches are per replica"


async def test_a_value_is_there_for_all_with_its_age_until_it_is_too_old(valkey_url: str) -> None:
    secret, clock = a_secret(), Driven()
    async with (
        replica(valkey_url, secret) as one,
        replica(valkey_url, secret, clock) as other,
        replica(valkey_url, secret, version="another build") as newer,
    ):
        assert await one.cache.find("k", 5) == Claimed(ours=True)
        assert await other.cache.find("k", 5) == Claimed(ours=False)
        await one.cache.put("k", b"value", 30, SystemClock().now_us() - 10_000_000)
        found = await other.cache.find("k", 5)
        assert isinstance(found, Cached)
        assert found.body == b"value"
        assert 10 <= found.age_s < 20
        assert await newer.cache.find("k", 5) == Claimed(ours=True)
        # A clock that is behind does not make it younger; one that is ahead makes it older, and in the end there is none.
        clock.ahead_s = -12.0
        found = await other.cache.find("k", 5)
        assert isinstance(found, Cached)
        assert found.age_s >= 9.9
        clock.ahead_s = 5.0
        found = await other.cache.find("k", 5)
        assert isinstance(found, Cached)
        assert found.age_s >= 15
        clock.ahead_s = 21.0
        assert await other.cache.find("k", 5) == Claimed(ours=True)
        clock.ahead_s = -20.0
        assert await other.cache.find("k", 5) == Claimed(ours=True), "it would come from the future"
        assert other.cache.counts.of("refused") == 2


async def test_a_claim_is_for_one_and_free_again_when_he_gives_up_or_his_time_is_over(
    valkey_url: str,
) -> None:
    secret = a_secret()
    async with replica(valkey_url, secret) as one, replica(valkey_url, secret) as other:
        claims = await asyncio.gather(*[who.cache.find("k", 5) for who in (one, other) for _ in range(10)])
        assert sum(isinstance(claim, Claimed) and claim.ours for claim in claims) == 1
        await one.cache.release("k")
        assert await other.cache.find("k", 0.02) == Claimed(ours=True)
        await asyncio.sleep(0.05)
        assert await one.cache.find("k", 5) == Claimed(ours=True)
        # What cannot be kept gives its claim up.
        await one.cache.put("k", b"x" * (MAX_VALUE + 1), 5, SystemClock().now_us())
        assert await other.cache.find("k", 5) == Claimed(ours=True)
        await other.cache.put("k", b"x", 5, SystemClock().now_us() - 6_000_000)
        assert await one.cache.find("k", 5) == Claimed(ours=True)
        await one.cache.put("k", b"x" * MAX_VALUE, 5, SystemClock().now_us())
        assert isinstance(await other.cache.find("k", 5), Cached)


async def test_what_a_stranger_has_put_there_is_not_there_and_is_counted(valkey_url: str) -> None:
    async with replica(valkey_url, a_secret()) as one:
        where = one.link.key("cache", "test-build", "k")
        await one.cache.put("k", b"true", 60, SystemClock().now_us())
        await one.cache.put("other", b"of another key", 60, SystemClock().now_us())
        with raw(valkey_url) as stranger:
            good = stranger.get(where)
            elsewhere = stranger.get(one.link.key("cache", "test-build", "other"))
            assert isinstance(good, bytes)
            assert isinstance(elsewhere, bytes)
            planted = [
                b"", b"x", good[:-1], good + b"x", good.replace(b"true", b"fals"), elsewhere, b"\0" * 2_000_000, b"\xff" * 44,
            ]  # fmt: skip
            for value in planted:
                stranger.set(where, value, px=60_000)
                assert isinstance(await one.cache.find("k", 5), Claimed), value[:50]
            stranger.set(where, good)
            assert isinstance(await one.cache.find("k", 5), Claimed), "it would never grow old"
            stranger.delete(where)
            stranger.hset(where, "a", "b")
            assert isinstance(await one.cache.find("k", 5), Claimed)
        assert one.cache.counts.of("refused") == 9
        await one.cache.put("k", b"mended", 60, SystemClock().now_us())
        assert isinstance(await one.cache.find("k", 5), Cached)
        assert one.store.up


async def test_more_than_may_wait_is_not_asked(valkey_url: str) -> None:
    async with replica(valkey_url, a_secret()) as one:
        asked = await asyncio.gather(*[one.store.ask(("PING",)) for _ in range(1500)], return_exceptions=True)
        assert 1500 - 1024 <= sum(isinstance(answer, NoAnswer) for answer in asked) < 1500 - 1000
        await until(lambda: one.store.up, "it was taken for slow")
        large = b"x" * 3_000_000
        asked = await asyncio.gather(
            *[one.store.ask(("ECHO", large)) for _ in range(3)], return_exceptions=True
        )
        assert sum(isinstance(answer, NoAnswer) for answer in asked) == 1
        await until(lambda: one.store.up, "it was taken for slow")
        assert await one.store.ask(("PING",)) == [b"PONG"]


async def test_a_url_of_another_kind_is_refused_without_its_text() -> None:
    with pytest.raises(ValueError, match="not a Redis URL") as refused:
        RedisStore("http://:test-password@host", SystemClock())
    assert "test-password" not in str(refused.value)
    assert SharedThrottle(RateLimiter(SystemClock())).counts.of("alone") == 0
