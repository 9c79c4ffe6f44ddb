"""What the tests of signing in share: services over a database with a clock in the test's hand and a line that can be cut."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import bindparam, select, update

from paiid.accounts.service import AccountService
from paiid.auth.records import User
from paiid.auth.service import AuthService
from paiid.auth.sessions import TokenPair
from paiid.auth.store import lock_standing
from paiid.auth.throttle import Client
from paiid.core.clock import SystemClock
from paiid.core.db import Database, DatabaseUnavailable, Tx, statement
from paiid.core.shared import alone
from paiid.core.tables import audit, sessions, users
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import SYSTEM, Actor, Principal, Role
from tests.world import OWNER_EMAIL, PASSWORD, make_settings

HERE = Client("127.0.0.1", "pytest", "req-1")
BOSS = Actor("session", "usr_boss")
AUDIT = statement(select(audit.c.action, audit.c.detail).order_by(audit.c.id))
ROTATED = statement(
    update(sessions).where(sessions.c.id == bindparam("b_id")), columns=["rotated_at", "expires_at"]
)
SESSION = statement(select(sessions).where(sessions.c.id == bindparam("b_id")))
USERS = statement(select(users))


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

    def read(self, **how: Any) -> AbstractAsyncContextManager[Tx]:
        return self._db.read(**how) if not self.cut else self._refuse()

    def begin(self, **how: Any) -> AbstractAsyncContextManager[Tx]:
        return self._db.begin(**how) if not self.cut else self._refuse()

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
            self.db, clock, self.settings, alone(clock).throttle, self.accounts.open_paper_account
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
            return [row["action"] for row in await tx.fetch(AUDIT)]

    async def age(self, session_id: str, by_s: float) -> None:
        """Make the last rotation older than it is."""
        async with self.db.begin() as tx:
            row = await tx.fetch_one(SESSION, {"b_id": session_id})
            assert row is not None
            await tx.execute(
                ROTATED,
                {
                    "b_id": session_id,
                    "rotated_at": row["rotated_at"] - int(by_s * 1_000_000),
                    "expires_at": row["expires_at"],
                },
            )


MakeWorld = Callable[..., Any]


async def told(code: Code, doing: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await doing
    assert caught.value.code is code
    return caught.value
