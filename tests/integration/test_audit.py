"""Whoever changes something is on record, in the transaction that changes it, and no record is ever altered (K11)."""

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from sqlalchemy import delete, select, text, update

import paiid
from paiid.core.db import Database, Statement, statement
from paiid.core.tables import accounts, api_tokens, audit, grants, halts, sessions, user_settings, users
from tests.world import PASSWORD, App, Client

_ROWS = statement(select(audit).order_by(audit.c.id))
_KEPT = {
    table.name: statement(select(*columns).order_by(*table.primary_key.columns))
    for table, columns in (
        (users, users.c),
        (sessions, [sessions.c.id, sessions.c.ended_at, sessions.c.generation]),
        (api_tokens, [api_tokens.c.id, api_tokens.c.revoked_at]),
        (grants, grants.c),
        (user_settings, user_settings.c),
        (halts, halts.c),
        (accounts, [accounts.c.id, accounts.c.status, accounts.c.cash]),
    )
}


class Scene:
    """An owner, a trader with two sessions and a token, a viewer: something to change everywhere."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.db: Database = app.state.db

    async def set(self) -> None:
        """Make it."""
        self.owner = await self.app.owner()
        self.trader = await self.app.user("trader", "trader@example.com")
        self.second = await self.app.sign_in("trader@example.com")
        self.viewer = await self.app.user("viewer", "viewer@example.com")
        self.trader_id = (await self.trader.get("/auth/me")).json()["id"]
        self.viewer_id = (await self.viewer.get("/auth/me")).json()["id"]
        self.session_id = (await self.second.get("/auth/me")).json()["session_id"]
        self.account = (await self.owner.get("/api/account")).json()["id"]
        made = await self.trader.post("/auth/tokens", json={"name": "bot", "scopes": ["read"]})
        self.token_id = made.json()["id"]
        disabled = await self.app.user("viewer", "disabled@example.com")
        self.disabled_id = (await disabled.get("/auth/me")).json()["id"]
        await self.patch(self.disabled_id, disabled=True)
        await self.grant(self.viewer_id, "view")

    async def patch(self, user_id: str, **change: Any) -> httpx2.Response:
        """Change a user as the owner."""
        return await self.owner.request("PATCH", f"/api/users/{user_id}", json=change)

    async def grant(self, user_id: str, access: str) -> httpx2.Response:
        """Give a right on the owner's account."""
        path = f"/api/accounts/{self.account}/grants/{user_id}"
        return await self.owner.request("PUT", path, json={"access": access})

    async def rows(self) -> list[dict[str, Any]]:
        """The audit."""
        async with self.db.read() as tx:
            return [dict(row) for row in await tx.fetch(_ROWS)]

    async def state(self) -> dict[str, list[dict[str, Any]]]:
        """All that a configuration is made of."""
        async with self.db.read() as tx:
            return {name: [dict(row) for row in await tx.fetch(stmt)] for name, stmt in _KEPT.items()}


@pytest.fixture
async def scene(app: App) -> Scene:
    one = Scene(app)
    await one.set()
    return one


def _body(email: str) -> dict[str, str]:
    return {"email": email, "password": PASSWORD, "role": "viewer"}


Change = Callable[[Scene], Awaitable[httpx2.Response]]
# In an order in which each still finds what it changes.
CHANGES: dict[str, Change] = {
    "settings.change": lambda s: s.trader.post("/api/settings", json={"max_positions": 3}),
    "token.make": lambda s: s.trader.post("/auth/tokens", json={"name": "two", "scopes": ["read"]}),
    "token.revoke": lambda s: s.trader.delete(f"/auth/tokens/{s.token_id}"),
    "auth.session.end": lambda s: s.trader.delete(f"/auth/sessions/{s.session_id}"),
    "auth.login": lambda s: s.app.http.post(
        "/auth/login", json={"email": "trader@example.com", "password": PASSWORD}
    ),
    "auth.login.refuse": lambda s: s.app.http.post(
        "/auth/login", json={"email": "trader@example.com", "password": "wrong"}
    ),
    "user.password.refuse": lambda s: s.trader.post(
        "/auth/password", json={"current_password": "not this one", "new_password": "another password"}
    ),
    "grant.put": lambda s: s.grant(s.trader_id, "trade"),
    "grant.drop": lambda s: s.owner.delete(f"/api/accounts/{s.account}/grants/{s.viewer_id}"),
    "user.make": lambda s: s.owner.post("/api/users", json=_body("new@example.com")),
    "user.role": lambda s: s.patch(s.viewer_id, role="trader"),
    "user.enable": lambda s: s.patch(s.disabled_id, disabled=False),
    "auth.logout": lambda s: s.trader.post("/auth/logout"),
    "user.password": lambda s: s.patch(s.trader_id, password="another password"),
    "user.disable": lambda s: s.patch(s.trader_id, disabled=True),
    "user.delete": lambda s: s.owner.delete(f"/api/users/{s.trader_id}"),
    "halt.arm": lambda s: s.owner.post("/api/admin/kill?state=true&scope=symbol:AAPL"),
}


async def test_K11_a_change_or_a_refusal_leaves_one_row_that_says_who_what_and_which_request(
    scene: Scene,
) -> None:
    for action, change in CHANGES.items():
        before, kept = await scene.state(), await scene.rows()
        answer = await change(scene)
        refused = action.endswith(".refuse")
        assert (answer.status_code < 300) is not refused, answer.text
        rows = await scene.rows()
        assert rows[: len(kept)] == kept, "what was written stays as it is"
        found = [row for row in rows[len(kept) :] if row["action"] == action]
        assert len(found) == 1, (action, rows[len(kept) :])
        assert found[0]["request_id"] == answer.headers["x-request-id"], action
        assert found[0]["actor_id"], action
        assert found[0]["subject"], action
        assert PASSWORD not in str(found[0])
        assert (await scene.state() != before) is not refused, action


@pytest.fixture
def _quiet() -> Iterator[None]:
    """The crashes are meant; writing out each of them in colour takes seconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


async def refuse_audit(db: Database) -> None:
    """From now on the database takes no further audit row."""
    if db.dialect == "sqlite":
        commands = [
            "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no audit today'); END"
        ]
    else:
        commands = [
            "CREATE FUNCTION no_audit() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no audit today'; END $$",
            "CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_audit()",
        ]
    async with db.begin() as tx:
        for command in commands:
            await tx.execute(statement(text(command)))


@pytest.mark.usefixtures("_quiet")
async def test_K11_a_change_that_cannot_be_put_on_record_does_not_happen(scene: Scene) -> None:
    await refuse_audit(scene.db)
    before = await scene.state()
    for action, change in CHANGES.items():
        answer = await change(scene)
        assert answer.status_code >= 500, action
        assert "audit" not in answer.text, "what went wrong inside is not told"
        assert await scene.state() == before, action


async def test_K11_nobody_is_on_record_for_what_changed_nothing(scene: Scene) -> None:
    await scene.trader.post("/api/settings", json={"max_positions": 3})
    kept = await scene.rows()
    assert (await scene.trader.post("/api/settings", json={"max_positions": 3})).status_code == 200
    assert (await scene.patch(scene.trader_id, role="trader")).status_code == 200
    stranger = Client(scene.app.http, "pd_nobody_" + "0" * 64)
    assert (await stranger.post("/api/settings", json={"max_positions": 4})).status_code == 401
    assert await scene.rows() == kept


# -- no statement alters a record ---------------------------------------------------------------------


def statements() -> Iterator[tuple[str, Statement]]:
    """Every statement of the service, with where it stands."""
    for module in pkgutil.walk_packages(paiid.__path__, "paiid."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, Statement):
                    yield f"{module.name}.{name}", one


_ALTERS = re.compile(
    r"\b(UPDATE|DELETE\s+FROM|TRUNCATE(\s+TABLE)?|REPLACE\s+INTO)\s+\"?audit\b", re.IGNORECASE
)


def alters_audit(sql: str) -> bool:
    """Whether it changes or removes audit rows."""
    return _ALTERS.search(sql) is not None or ("ON CONFLICT" in sql and "INTO audit" in sql)


def test_K11_no_statement_changes_or_removes_an_audit_row() -> None:
    found = list(statements())
    assert any("INSERT INTO audit" in one.sqlite().sql for _, one in found)
    for name, one in found:
        assert not alters_audit(one.sqlite().sql), name
        assert not alters_audit(one.postgres().sql), name
    for path in Path(paiid.__path__[0]).rglob("*.py"):
        assert not alters_audit(path.read_text()), path
        assert not re.search(
            r"\b(update|delete)\(\s*audit\s*\)|\baudit\.(update|delete)\(", path.read_text()
        ), path


@pytest.mark.parametrize("planted", [update(audit).values(action="x"), delete(audit)])
def test_K11_a_statement_that_does_is_noticed(planted: Any) -> None:
    assert alters_audit(statement(planted).sqlite().sql)
    assert alters_audit(statement(planted).postgres().sql)
