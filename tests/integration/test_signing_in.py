"""Signing in: the same answer for everybody, throttles that never lock out, passwords (contract A5)."""

import asyncio
import threading

import pytest

from paiid.auth.throttle import Client
from paiid.domain.errors import Code
from paiid.domain.identity import SYSTEM
from tests.auth_world import BOSS, World, told
from tests.world import OWNER_EMAIL, PASSWORD


@pytest.mark.parametrize("email", [OWNER_EMAIL, "nobody@example.com", "no address", "\x00@x", "x" * 300])
async def test_A05_every_wrong_login_gets_the_same_answer(world: World, email: str) -> None:
    problem = await told(Code.INVALID_CREDENTIALS, world.sign_in(email, "wrong password"))
    assert problem.detail == "The e-mail address or the password is wrong."
    assert "auth.login.refuse" in await world.actions()


@pytest.mark.usefixtures("dear_passwords")
async def test_A05_an_unknown_user_costs_the_same_work_as_a_wrong_password(world: World) -> None:
    compared: list[str] = []
    matches = world.auth._passwords._matches

    def watched(stored: str, password: str) -> bool:
        compared.append(stored[: stored.index("p=")])
        return matches(stored, password)

    world.auth._passwords._matches = watched  # type: ignore[method-assign]
    user = await world.user("trader")
    await world.auth.users.disable(BOSS, user.id)
    for email in (OWNER_EMAIL, "nobody@example.com", user.email):
        await told(Code.INVALID_CREDENTIALS, world.sign_in(email, "wrong password"))
    assert compared == ["$argon2id$v=19$m=19456,t=2,"] * 3


async def test_A05_a_password_counts_to_its_last_character(world: World) -> None:
    long = "p" * 128
    await world.auth.users.make(SYSTEM, "long@example.com", long, "trader")
    assert await world.sign_in("LONG@example.com ", long)
    for wrong in (long[:-1], long + "p", long + "\0"):
        await told(Code.INVALID_CREDENTIALS, world.sign_in("long@example.com", wrong))
    for refused in ("p" * 7, "p" * 129):
        await told(Code.VALIDATION, world.auth.users.make(SYSTEM, "x@example.com", refused, "trader"))


async def test_A05_guessing_is_throttled_by_user_from_many_addresses_but_never_for_good(world: World) -> None:
    world.clock.hold()
    for number in range(20):
        client = Client(f"10.0.0.{number}")
        await told(Code.INVALID_CREDENTIALS, world.auth.sessions.login(OWNER_EMAIL, "wrong password", client))
    problem = await told(
        Code.RATE_LIMITED, world.auth.sessions.login(OWNER_EMAIL, PASSWORD, Client("10.0.1.1"))
    )
    assert int(problem.headers["Retry-After"]) >= 1
    world.clock.ahead_s = 7
    assert await world.auth.sessions.login(OWNER_EMAIL, PASSWORD, Client("10.0.1.1"))


async def test_A05_guessing_is_throttled_by_address_and_by_the_sixty_four_of_ipv6(world: World) -> None:
    world.clock.hold()
    for number in range(10):
        client = Client(f"2001:db8::{number:x}")
        await told(
            Code.INVALID_CREDENTIALS, world.auth.sessions.login(f"u{number}@example.com", "wrong", client)
        )
    await told(
        Code.RATE_LIMITED,
        world.auth.sessions.login("other@example.com", "wrong", Client("2001:db8::ffff")),
    )
    await told(
        Code.INVALID_CREDENTIALS,
        world.auth.sessions.login("other@example.com", "wrong", Client("2001:db8:0:1::1")),
    )


async def test_A05_guessing_from_elsewhere_never_locks_a_user_out_where_he_signed_in_before(
    world: World,
) -> None:
    home, elsewhere = Client("2001:db8:0:1::7"), Client("10.9.9.9")
    world.clock.hold()
    await world.auth.sessions.login(OWNER_EMAIL, PASSWORD, home)
    for number in range(20):
        guesser = Client(f"10.0.0.{number}")
        await told(Code.INVALID_CREDENTIALS, world.auth.sessions.login(OWNER_EMAIL, "guess", guesser))
    await told(Code.RATE_LIMITED, world.auth.sessions.login(OWNER_EMAIL, PASSWORD, elsewhere))
    for _ in range(25):
        assert await world.auth.sessions.login(OWNER_EMAIL, PASSWORD, Client("2001:db8:0:1::8"))
    for _ in range(10):
        await told(Code.INVALID_CREDENTIALS, world.auth.sessions.login(OWNER_EMAIL, "guess", home))
    await told(Code.RATE_LIMITED, world.auth.sessions.login(OWNER_EMAIL, PASSWORD, home))


async def test_A05_guessing_at_everybody_is_throttled_overall_with_all_that_a_client_needs_to_wait(
    world: World,
) -> None:
    async def verify(stored: str | None, password: str) -> bool:
        return False

    world.auth.sessions._passwords.verify = verify  # type: ignore[method-assign]
    world.clock.hold()
    for number in range(120):
        guesser = Client(f"10.0.1.{number}")
        email = f"u{number}@example.com"
        await told(Code.INVALID_CREDENTIALS, world.auth.sessions.login(email, "guess", guesser))
    doing = world.auth.sessions.login("one@example.com", "guess", Client("10.0.2.1"))
    problem = await told(Code.RATE_LIMITED, doing)
    assert problem.headers.keys() >= {
        "Retry-After",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
    }
    world.clock.ahead_s = 1
    await told(
        Code.INVALID_CREDENTIALS,
        world.auth.sessions.login("one@example.com", "guess", Client("10.0.2.1")),
    )


async def test_A05_more_than_the_pool_can_hold_is_refused_at_once_and_nothing_queues(world: World) -> None:
    gate = threading.Event()

    def slowly(stored: str, password: str) -> bool:
        gate.wait(10)
        return True

    passwords = world.auth._passwords
    passwords._matches = slowly  # type: ignore[method-assign]
    waiting = [asyncio.create_task(passwords.verify("x", "y")) for _ in range(32)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(5):
            problem = await told(Code.OVERLOADED, passwords.verify("x", "y"))
    finally:
        gate.set()
    assert problem.code.value[1] == 503
    assert await asyncio.gather(*waiting) == [True] * 32
    assert await passwords.verify("x", "y")


async def test_A05_a_right_password_is_never_throttled(world: World) -> None:
    for _ in range(25):
        await world.sign_in()


async def test_A05_a_change_of_password_ends_the_other_sessions_and_needs_the_old_one(world: World) -> None:
    user = await world.user("trader")
    kept, other = await world.sign_in(user.email), await world.sign_in(user.email)
    me = await world.who(kept)
    await told(
        Code.INVALID_CREDENTIALS, world.auth.users.change_password(me, "wrong password", "another password")
    )
    await world.auth.users.change_password(me, PASSWORD, "another password")
    assert await world.who(kept)
    await told(Code.INVALID_TOKEN, world.who(other))
    await told(Code.INVALID_CREDENTIALS, world.sign_in(user.email))
    assert await world.sign_in(user.email, "another password")
