"""One process at a time does a job: leases in database time, with a fence against a holder that slept."""

import asyncio

import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import Database, DatabaseUnavailable, make_database
from paiid.core.leases import Held, Leases, still_held

LONG_S = 60.0
SHORT_S = 0.4


async def stands(db: Database, held: Held) -> bool:
    async with db.begin() as tx:
        return await still_held(tx, held)


async def wait_taken(leases: Leases, name: str) -> Held:
    """Take it as soon as it is free."""
    async with asyncio.timeout(20):
        while True:
            held = await leases.take(name, LONG_S)
            if held is not None:
                return held
            await asyncio.sleep(0.05)


async def test_a_lease_is_held_by_one_and_renewed_by_him_under_the_same_token(db: Database) -> None:
    one, two = Leases(db, "one"), Leases(db, "two")
    first = await one.take("job", LONG_S)
    assert first is not None
    assert await two.take("job", LONG_S) is None
    renewed = await one.take("job", LONG_S)
    assert renewed is not None
    assert renewed.token == first.token
    assert renewed.expires_at_us > first.expires_at_us
    assert await stands(db, first)
    other = await two.take("another job", LONG_S)
    assert other is not None, "a lease is for one job"


async def test_a_lease_that_ran_out_goes_to_another_with_a_higher_token(db: Database) -> None:
    one, two = Leases(db, "one"), Leases(db, "two")
    slept = await one.take("job", SHORT_S)
    assert slept is not None
    taken = await wait_taken(two, "job")
    assert taken.token == slept.token + 1
    assert not await stands(db, slept), "the holder that slept is fenced off"
    assert await stands(db, taken)
    assert await one.take("job", LONG_S) is None


async def test_a_lease_that_ran_out_but_was_not_taken_is_his_who_held_it(db: Database) -> None:
    one = Leases(db, "one")
    first = await one.take("job", 0.0)
    again = await one.take("job", LONG_S)
    assert first is not None
    assert again is not None
    assert again.token == first.token


async def test_a_lease_given_up_is_free_at_once_and_its_tokens_go_on(db: Database) -> None:
    one, two = Leases(db, "one"), Leases(db, "two")
    first = await one.take("job", LONG_S)
    assert first is not None
    await two.release("job")
    assert await two.take("job", LONG_S) is None, "only the holder can give it up"
    await one.release("job")
    second = await two.take("job", LONG_S)
    assert second is not None
    assert second.token == first.token + 1, "a token is never used again"
    await two.release("nobody's job")


async def test_of_many_who_reach_for_a_lease_at_once_one_gets_it(
    db: Database, db_url: str, clock: SystemClock
) -> None:
    processes = [make_database(db_url, clock) for _ in range(3)]
    for one in processes:
        await one.start()
    for name in ("new job", "new job", "old job", "old job"):
        found = await asyncio.gather(
            *(Leases(one, f"{name}-{n}").take(name, LONG_S) for n, one in enumerate([db, *processes]))
        )
        assert len([one for one in found if one is not None]) == 1
    for one in processes:
        await one.stop()


async def test_the_fence_holds_until_the_transaction_that_asked_has_ended(
    db: Database, db_url: str, clock: SystemClock
) -> None:
    other = make_database(db_url, clock)
    await other.start()
    held = await Leases(db, "one").take("job", 0.0)
    assert held is not None
    order: list[str] = []

    async def take() -> None:
        while True:
            try:
                held = await Leases(other, "two").take("job", LONG_S)
            except DatabaseUnavailable:
                # The holder's transaction took longer than a turn is waited for: asked again, as everybody does.
                continue
            assert held is not None
            order.append("taken")
            return

    async with db.begin() as tx:
        assert await still_held(tx, held)
        taking = asyncio.create_task(take())
        await asyncio.sleep(0.2)
        order.append("written")
    await asyncio.wait_for(taking, 20)
    assert order == ["written", "taken"], "what the holder writes is written before anybody follows him"
    assert not await stands(db, held)
    await other.stop()


@pytest.mark.parametrize("ttl_s", [0.0, LONG_S])
async def test_a_token_that_never_was_does_not_stand(db: Database, ttl_s: float) -> None:
    held = await Leases(db, "one").take("job", ttl_s)
    assert held is not None
    assert not await stands(db, Held("job", held.token + 1, held.expires_at_us))
    assert not await stands(db, Held("no job", held.token, held.expires_at_us))
