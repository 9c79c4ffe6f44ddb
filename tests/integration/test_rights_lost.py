"""Once a loss of rights is acknowledged no order of the session is claimed, and tokens end as told (contracts A3, A4)."""

import asyncio
from typing import Any

import pytest

from paiid.accounts.service import paper_account_id
from paiid.auth.session_store import end_sessions
from paiid.auth.store import lock_standing, lock_user
from paiid.domain.errors import Code
from paiid.domain.identity import Principal
from tests.auth_world import BOSS, MakeWorld, World, told


async def lose_by_logout(world: World, principal: Principal) -> None:
    await world.auth.sessions.logout(BOSS, principal.user_id)


async def lose_by_end(world: World, principal: Principal) -> None:
    await world.auth.sessions.end(principal, principal.credential_id)


async def lose_by_disable(world: World, principal: Principal) -> None:
    await world.auth.users.disable(BOSS, principal.user_id)


async def lose_by_delete(world: World, principal: Principal) -> None:
    await world.auth.users.delete(BOSS, principal.user_id)


async def lose_by_password(world: World, principal: Principal) -> None:
    await world.auth.users.set_password(BOSS, principal.user_id, "another password")


LOSSES = [lose_by_logout, lose_by_end, lose_by_disable, lose_by_delete, lose_by_password]


@pytest.mark.parametrize("lose", LOSSES)
async def test_A03_once_a_loss_is_acknowledged_nothing_of_the_session_stands(
    world: World, make_world: MakeWorld, lose: Any
) -> None:
    user = await world.user("trader")
    pair = await world.sign_in(user.email)
    principal = await world.who(pair)
    assert await world.standing(principal) == {("session", principal.credential_id): "trader"}
    other = await make_world()
    assert await other.who(pair) == principal
    await lose(world, principal)
    assert await world.standing(principal) == {}
    await told(Code.INVALID_TOKEN, world.who(pair))
    await told(Code.INVALID_TOKEN, world.refresh(pair))
    other.clock.ahead_s = 1.6
    await told(Code.INVALID_TOKEN, other.who(pair))


async def test_A03_a_lost_role_is_seen_by_the_next_claim(world: World) -> None:
    user = await world.user("trader")
    principal = await world.who(await world.sign_in(user.email))
    await world.auth.users.set_role(BOSS, user.id, "viewer")
    assert await world.standing(principal) == {("session", principal.credential_id): "viewer"}
    grants = await world.accounts.list_grants(paper_account_id(user.id))
    assert [grant.access for grant in grants] == ["view"]
    await world.auth.users.set_role(BOSS, user.id, "trader")
    grants = await world.accounts.list_grants(paper_account_id(user.id))
    assert [grant.access for grant in grants] == ["trade"]


@pytest.mark.parametrize("lose", LOSSES)
async def test_A03_a_loss_waits_for_the_claim_that_was_first(
    world: World, make_world: MakeWorld, lose: Any
) -> None:
    user = await world.user("trader")
    principal = await world.who(await world.sign_in(user.email))
    other: World = await make_world()
    async with other.db.begin() as tx:
        assert await lock_standing(tx, [principal], world.clock.now_us())
        losing = asyncio.create_task(lose(world, principal))
        await asyncio.sleep(0.15)
        assert not losing.done()
    await losing
    assert await world.standing(principal) == {}


async def test_A03_a_claim_waits_for_the_loss_that_was_first(world: World, make_world: MakeWorld) -> None:
    user = await world.user("trader")
    principal = await world.who(await world.sign_in(user.email))
    other: World = await make_world()
    async with world.db.begin() as tx:
        assert await lock_user(tx, user.id)
        await end_sessions(tx, user.id, await tx.now_us(), "logout")
        claiming = asyncio.create_task(other.standing(principal))
        await asyncio.sleep(0.15)
        assert not claiming.done()
    assert await claiming == {}


async def test_A03_what_has_run_out_does_not_stand_however_fresh_the_memory_of_it(world: World) -> None:
    user = await world.user("trader")
    session = await world.who(await world.sign_in(user.email))
    _, text = await world.auth.api_tokens.make(BOSS, user.id, "bot", frozenset({"trade"}), 6)
    token = await world.auth.authenticate(text)
    assert len(await world.standing(session, token)) == 2
    world.clock.ahead_s = 6 * 86_400 + 1
    assert await world.standing(session, token) == {("session", session.credential_id): "trader"}
    world.clock.ahead_s = 7 * 86_400 + 1
    assert await world.standing(session, token) == {}


async def test_A03_claims_of_many_and_losses_of_many_never_lock_each_other_out(world: World) -> None:
    people = []
    for number in range(4):
        user = await world.user("trader", f"t{number}@example.com")
        for _ in range(3):
            people.append(await world.who(await world.sign_in(user.email)))

    async def claim(turn: int) -> None:
        chosen = people[turn % 3 :] + people[: turn % 3]
        await world.standing(*(chosen if turn % 2 else reversed(chosen)))

    losses = [world.auth.sessions.logout(BOSS, one.user_id) for one in people[::3]]
    await asyncio.gather(*(claim(turn) for turn in range(8)), *losses)
    assert await world.standing(*people) == {}


async def test_A03_a_login_with_the_old_password_does_not_survive_its_change(world: World) -> None:
    user = await world.user("trader")
    verify = world.auth.sessions._passwords.verify

    async def verify_slowly(stored: str | None, password: str) -> bool:
        right = await verify(stored, password)
        await world.auth.users.set_password(BOSS, user.id, "another password")
        return right

    world.auth.sessions._passwords.verify = verify_slowly  # type: ignore[method-assign]
    await told(Code.INVALID_CREDENTIALS, world.sign_in(user.email))
    assert await world.auth.sessions.list_sessions(user.id) == []


async def test_A03_a_token_and_the_static_token_stand_until_they_are_taken_away(
    make_world: MakeWorld,
) -> None:
    world: World = await make_world(api_token="s" * 40)
    user = await world.user("trader")
    token, text = await world.auth.api_tokens.make(BOSS, user.id, "bot", frozenset({"trade"}), None)
    bot = await world.auth.authenticate(text)
    static = await world.auth.authenticate("s" * 40)
    assert static.role == "owner"
    assert await world.standing(bot, static) == {
        ("token", token.id): "trader",
        ("static", static.user_id): "owner",
    }
    await world.auth.api_tokens.revoke(BOSS, user.id, token.id)
    assert await world.standing(bot, static) == {("static", static.user_id): "owner"}
    await told(Code.INVALID_TOKEN, world.auth.authenticate(text))
    await world.user("owner", "second@example.com")
    await world.auth.users.disable(BOSS, static.user_id)
    assert await world.standing(static) == {}
    assert (await world.auth.authenticate("s" * 40)).user_id != static.user_id


async def test_A03_a_principal_of_somebody_else_under_a_known_id_does_not_stand(world: World) -> None:
    user = await world.user("trader")
    principal = await world.who(await world.sign_in(user.email))
    forged = Principal(
        "usr_other", "x@example.com", "owner", "session", principal.credential_id, principal.scopes
    )
    assert await world.standing(forged) == {}


# -- API tokens -------------------------------------------------------------------------------------


async def test_A04_an_api_token_runs_out_and_notes_its_last_use(world: World) -> None:
    user = await world.user("trader")
    _, text = await world.auth.api_tokens.make(BOSS, user.id, "bot", frozenset({"read"}), 1)
    principal = await world.auth.authenticate(text)
    assert (principal.credential, principal.scopes) == ("token", frozenset({"read"}))
    await world.auth._callers.stop()
    [listed] = await world.auth.api_tokens.list_tokens(user.id)
    assert listed.last_used_at is not None
    assert text not in repr(listed)
    await told(Code.INVALID_TOKEN, world.auth.authenticate(text[:-1] + ("0" if text[-1] != "0" else "1")))
    world.clock.ahead_s = 86_401
    await told(Code.INVALID_TOKEN, world.auth.authenticate(text))


async def test_A04_a_user_has_at_most_fifty_tokens(world: World) -> None:
    user = await world.user("trader")
    for number in range(50):
        await world.auth.api_tokens.make(BOSS, user.id, f"bot {number}", frozenset({"read"}), None)
    await told(
        Code.CONFLICT, world.auth.api_tokens.make(BOSS, user.id, "one more", frozenset({"read"}), None)
    )
