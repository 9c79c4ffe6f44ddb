"""Sessions on real databases: refresh families, lost rights against claims, throttling, the first owner."""

import asyncio
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import bindparam, select, update

from paiid.accounts.service import AccountService, paper_account_id
from paiid.auth.records import User
from paiid.auth.service import AuthService
from paiid.auth.session_store import add_session, end_sessions
from paiid.auth.sessions import TokenPair
from paiid.auth.store import find_owner, lock_standing, lock_user
from paiid.auth.throttle import Client
from paiid.auth.tokens import read_refresh
from paiid.core.clock import SystemClock
from paiid.core.db import Database, DatabaseUnavailable, Tx, make_database, statement
from paiid.core.limits import RateLimiter
from paiid.core.tables import audit, sessions, users
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import SYSTEM, Actor, Principal, Role
from tests.world import OWNER_EMAIL, PASSWORD, make_settings

HERE = Client("127.0.0.1", "pytest", "req-1")
BOSS = Actor("session", "usr_boss")
_AUDIT = statement(select(audit.c.action, audit.c.detail).order_by(audit.c.id))
_ROTATED = statement(
    update(sessions).where(sessions.c.id == bindparam("b_id")), columns=["rotated_at", "expires_at"]
)
_SESSION = statement(select(sessions).where(sessions.c.id == bindparam("b_id")))
_USERS = statement(select(users))


class Driven(SystemClock):
    """The machine's time, moved ahead by hand, and held still where a test counts what time gives back."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.held_at_s: float | None = None

    def hold(self) -> None:
        """Monotonic time moves by `ahead_s` alone from now on."""
        self.held_at_s = super().monotonic_s()

    def now_us(self) -> int:
        return super().now_us() + int(self.ahead_s * 1_000_000)

    def monotonic_s(self) -> float:
        return (super().monotonic_s() if self.held_at_s is None else self.held_at_s) + self.ahead_s


class Line:
    """The way to a database, which can be cut."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.dialect = db.dialect
        self.cut = False

    def read(self) -> AbstractAsyncContextManager[Tx]:
        return self._db.read() if not self.cut else self._refuse()

    def begin(self, *, urgent: bool = False) -> AbstractAsyncContextManager[Tx]:
        return self._db.begin(urgent=urgent) if not self.cut else self._refuse()

    @asynccontextmanager
    async def _refuse(self) -> AsyncIterator[Tx]:
        raise DatabaseUnavailable("the line is cut")
        yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


class World:
    """An auth service on one database, as one replica has it."""

    def __init__(self, db: Database, clock: Driven, data_dir: Path, **settings: Any) -> None:
        self.line = Line(db)
        self.db = cast(Database, self.line)
        self.clock = clock
        self.settings = make_settings("", data_dir, **settings)
        self.accounts = AccountService(self.db, clock, self.settings)
        self.auth = AuthService(
            self.db, clock, self.settings, RateLimiter(clock), self.accounts.open_paper_account
        )

    async def sign_in(self, email: str = OWNER_EMAIL, password: str = PASSWORD) -> TokenPair:
        return await self.auth.sessions.login(email, password, HERE)

    async def user(self, role: Role, email: str = "someone@example.com") -> User:
        return await self.auth.users.make(SYSTEM, email, PASSWORD, role)

    async def who(self, pair: TokenPair) -> Principal:
        return await self.auth.authenticate(pair.access_token)

    async def refresh(self, pair: TokenPair) -> TokenPair:
        return await self.auth.sessions.refresh(pair.refresh_token, HERE)

    async def standing(self, *principals: Principal) -> dict[tuple[str, str], Role]:
        async with self.db.begin() as tx:
            return await lock_standing(tx, principals, self.clock.now_us())

    async def actions(self) -> list[str]:
        async with self.db.read() as tx:
            return [row["action"] for row in await tx.fetch(_AUDIT)]

    async def age(self, session_id: str, by_s: float) -> None:
        """Make the last rotation older than it is."""
        async with self.db.begin() as tx:
            row = await tx.fetch_one(_SESSION, {"b_id": session_id})
            assert row is not None
            await tx.execute(
                _ROTATED,
                {
                    "b_id": session_id,
                    "rotated_at": row["rotated_at"] - int(by_s * 1_000_000),
                    "expires_at": row["expires_at"],
                },
            )


MakeWorld = Callable[..., Any]


@pytest.fixture
async def make_world(db_url: str, tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """Worlds that share one database: replicas."""
    async with AsyncExitStack() as stack:

        async def make(*, start: bool = True, data_dir: Path | None = None, **settings: Any) -> World:
            clock = Driven()
            db = make_database(db_url, clock)
            await db.start()
            stack.push_async_callback(db.stop)
            world = World(db, clock, data_dir or tmp_path, **settings)
            stack.push_async_callback(world.auth.stop)
            if start:
                await world.auth.start()
            return world

        yield make


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """One replica, started."""
    made: World = await make_world()
    return made


async def told(code: Code, doing: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await doing
    assert caught.value.code is code
    return caught.value


# -- refresh families -------------------------------------------------------------------------------


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


# -- lost rights ------------------------------------------------------------------------------------


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


# -- passwords and throttling -----------------------------------------------------------------------


@pytest.mark.parametrize("email", [OWNER_EMAIL, "nobody@example.com", "no address", "\x00@x", "x" * 300])
async def test_A05_every_wrong_login_gets_the_same_answer(world: World, email: str) -> None:
    problem = await told(Code.INVALID_CREDENTIALS, world.sign_in(email, "wrong password"))
    assert problem.detail == "The e-mail address or the password is wrong."
    assert "auth.login.refuse" in await world.actions()


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


# -- users ------------------------------------------------------------------------------------------


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
        everything = " ".join(row["detail"] for row in await tx.fetch(_AUDIT))
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
        assert len(await tx.fetch(_USERS)) == 1
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
        assert [row["email"] for row in await tx.fetch(_USERS)] == [OWNER_EMAIL]
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
