"""Users, first owner and sessions as rows: what is kept, what ends, and what is audited (contracts A1, K10)."""

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from paiid.auth.session_store import add_session
from paiid.auth.store import find_owner
from paiid.auth.throttle import Client
from paiid.core.db import DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from tests.auth_world import AUDIT, BOSS, USERS, MakeWorld, World, told
from tests.world import OWNER_EMAIL, PASSWORD


async def test_the_last_owner_cannot_be_lowered_disabled_or_deleted_even_by_two_at_once(world: World) -> None:
    async with world.db.read() as tx:
        first = await find_owner(tx)
    assert first is not None
    doing = world.auth.users
    for change in (
        doing.set_role(BOSS, first.id, "trader"),
        doing.disable(BOSS, first.id),
        doing.delete(BOSS, first.id),
    ):
        await told(Code.CONFLICT, change)
    second = await world.user("owner", "second@example.com")
    results = await asyncio.gather(
        doing.disable(BOSS, first.id), doing.delete(BOSS, second.id), return_exceptions=True
    )
    assert sorted(isinstance(result, Problem) for result in results) == [False, True]
    async with world.db.read() as tx:
        assert await find_owner(tx) is not None


async def test_a_deleted_user_frees_his_address(world: World) -> None:
    user = await world.user("trader")
    await told(Code.CONFLICT, world.user("viewer", user.email.upper()))
    await world.auth.users.delete(BOSS, user.id)
    again = await world.user("viewer", user.email)
    assert again.id != user.id
    await told(Code.NOT_FOUND, world.auth.users.load_user(user.id))


async def test_the_oldest_session_ends_when_a_user_has_fifty(world: World) -> None:
    user = await world.user("trader")
    first = await world.sign_in(user.email)
    client = Client("127.0.0.1")
    template = await world.auth.sessions.list_sessions(user.id)
    async with world.db.begin() as tx:
        for number in range(49):
            await add_session(tx, replace(template[0], id=f"ses_{'z' * 24}{number:02}"))
    await world.auth.sessions.login(user.email, PASSWORD, client)
    assert len(await world.auth.sessions.list_sessions(user.id)) == 50
    await told(Code.INVALID_TOKEN, world.who(first))


async def test_everything_that_changes_or_fails_is_audited_without_a_secret(world: World) -> None:
    user = await world.user("trader")
    pair = await world.sign_in(user.email)
    await world.refresh(pair)
    _, text = await world.auth.api_tokens.make(BOSS, user.id, "bot", frozenset({"read"}), 1)
    await world.auth.users.disable(BOSS, user.id)
    await world.auth.users.enable(BOSS, user.id)
    await world.auth.users.delete(BOSS, user.id)
    found = await world.actions()
    for action in (
        "user.make",
        "auth.login",
        "auth.refresh",
        "token.make",
        "user.disable",
        "user.enable",
        "user.delete",
    ):
        assert action in found
    async with world.db.read() as tx:
        everything = " ".join(row["detail"] for row in await tx.fetch(AUDIT))
    for secret in (PASSWORD, pair.refresh_token, pair.access_token, text, "argon2"):
        assert secret not in everything


# -- the first start --------------------------------------------------------------------------------


async def test_the_first_start_makes_one_owner_however_many_processes_start(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    worlds: list[World] = [await make_world(start=False, owner_password=None) for _ in range(3)]
    await asyncio.gather(*(one.auth.start() for one in worlds))
    path = tmp_path / "owner-password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await worlds[0].sign_in(OWNER_EMAIL, path.read_text().strip())
    async with worlds[0].db.read() as tx:
        assert len(await tx.fetch(USERS)) == 1
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".owner")] == []


async def test_a_process_with_its_own_directory_leaves_no_password_that_is_a_lie(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    dirs = [tmp_path / "one", tmp_path / "two"]
    worlds: list[World] = [
        await make_world(start=False, owner_password=None, data_dir=directory) for directory in dirs
    ]
    await asyncio.gather(*(one.auth.start() for one in worlds))
    files = [directory / "owner-password" for directory in dirs if (directory / "owner-password").exists()]
    assert len(files) == 1
    assert await worlds[0].sign_in(OWNER_EMAIL, files[0].read_text().strip())


async def test_a_later_start_never_touches_the_owner(make_world: MakeWorld) -> None:
    first: World = await make_world()
    await make_world(owner_password="something else", owner_email="else@example.com")
    async with first.db.read() as tx:
        assert [row["email"] for row in await tx.fetch(USERS)] == [OWNER_EMAIL]
    assert await first.sign_in()


async def test_A01_a_key_that_is_not_set_is_made_once_and_shared_by_all(make_world: MakeWorld) -> None:
    worlds: list[World] = [await make_world(start=False, jwt_secret_key=None) for _ in range(3)]
    await asyncio.gather(*(one.auth.start() for one in worlds))
    pair = await worlds[0].sign_in()
    for one in worlds:
        assert await one.who(pair)


# -- without a database -----------------------------------------------------------------------------


async def test_K10_a_known_caller_is_believed_for_a_halt_while_the_database_is_gone(world: World) -> None:
    pair, unseen = await world.sign_in(), await world.sign_in()
    known = await world.who(pair)
    world.clock.ahead_s = 60
    world.line.cut = True
    with pytest.raises(DatabaseUnavailable):
        await world.who(pair)
    assert await world.auth.authenticate(pair.access_token, to_halt=True) == known
    with pytest.raises(DatabaseUnavailable):
        await world.auth.authenticate(unseen.access_token, to_halt=True)
    world.clock.ahead_s = 3600
    await told(Code.INVALID_TOKEN, world.auth.authenticate(pair.access_token, to_halt=True))


async def test_K10_who_has_lost_his_rights_is_not_believed_for_a_halt_either(world: World) -> None:
    user = await world.user("trader")
    pair = await world.sign_in(user.email)
    principal = await world.who(pair)
    await world.auth.sessions.logout(BOSS, principal.user_id)
    world.line.cut = True
    with pytest.raises(DatabaseUnavailable):
        await world.auth.authenticate(pair.access_token, to_halt=True)
