"""Staying signed in: refresh tokens work once, lost answers are given again, reuse ends the session (contract A2)."""

import asyncio

from paiid.auth.tokens import read_refresh
from paiid.domain.errors import Code
from tests.auth_world import HERE, MakeWorld, World, told


async def test_A02_a_refresh_token_works_once_and_its_successor_goes_on(world: World) -> None:
    first = await world.sign_in()
    second = await world.refresh(first)
    third = await world.refresh(second)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert (await world.who(third)).credential_id == (await world.who(first)).credential_id


async def test_A02_a_lost_answer_can_be_asked_for_again_and_is_the_same_pair(world: World) -> None:
    first = await world.sign_in()
    second = await world.refresh(first)
    world.clock.ahead_s = 3
    again = await world.refresh(first)
    assert (again.access_token, again.refresh_token) == (second.access_token, second.refresh_token)
    assert await world.refresh(again)


async def test_A02_both_of_two_refreshes_at_once_get_the_same_pair(world: World) -> None:
    first = await world.sign_in()
    one, two = await asyncio.gather(world.refresh(first), world.refresh(first))
    assert (one.access_token, one.refresh_token) == (two.access_token, two.refresh_token)
    assert await world.who(one)


async def test_A02_the_predecessor_after_ten_seconds_ends_the_family(world: World) -> None:
    first = await world.sign_in()
    second = await world.refresh(first)
    principal = await world.who(second)
    await world.age(principal.credential_id, 10.5)
    await told(Code.REFRESH_REUSED, world.refresh(first))
    await told(Code.INVALID_TOKEN, world.refresh(second))
    await told(Code.INVALID_TOKEN, world.who(second))
    assert await world.standing(principal) == {}
    assert "auth.refresh.reused" in await world.actions()


async def test_A02_the_predecessor_after_its_successor_was_used_ends_the_family(world: World) -> None:
    first = await world.sign_in()
    third = await world.refresh(await world.refresh(first))
    await told(Code.REFRESH_REUSED, world.refresh(first))
    await told(Code.INVALID_TOKEN, world.refresh(third))


async def test_A02_a_forged_refresh_token_cannot_end_a_family(world: World) -> None:
    first = await world.sign_in()
    second = await world.refresh(first)
    claim = read_refresh(first.refresh_token)
    forged = f"pr_{claim.session_id}_1_{'A' * 43}"
    await told(Code.INVALID_TOKEN, world.auth.sessions.refresh(forged, HERE))
    assert await world.refresh(second)


async def test_A02_a_family_ends_at_its_absolute_expiry_however_often_it_is_renewed(world: World) -> None:
    pair = await world.sign_in()
    for day in range(1, 7):
        world.clock.ahead_s = day * 86_400
        pair = await world.refresh(pair)
    world.clock.ahead_s = 7 * 86_400 - 60
    pair = await world.refresh(pair)
    assert pair.expires_in_s <= 60
    world.clock.ahead_s = 7 * 86_400 + 1
    await told(Code.INVALID_TOKEN, world.refresh(pair))
    await told(Code.INVALID_TOKEN, world.who(pair))


async def test_A02_a_lost_answer_survives_a_change_of_the_key(world: World, make_world: MakeWorld) -> None:
    first = await world.sign_in()
    second = await world.refresh(first)
    rotated = await make_world(jwt_secret_key="n" * 64, jwt_secret_key_previous=world.settings.jwt_secret_key)
    again = await rotated.refresh(first)
    assert again.refresh_token == second.refresh_token
    assert await rotated.refresh(again)
