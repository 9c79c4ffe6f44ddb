"""Registering: off until it is opened, one answer for all that must not be told, and nobody gets in twice on one invite."""

import asyncio
import re
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select, update

from paiid.auth.passwords import Passwords
from paiid.auth.registration import Registration
from paiid.auth.throttle import REGISTER_PER_ADDRESS
from paiid.core.db import statement
from paiid.core.tables import audit, invites
from paiid.domain.identity import Actor
from tests.conftest import MakeApp
from tests.world import PASSWORD, App, Client

_AUDIT = statement(select(audit).order_by(audit.c.id))
_INVITES = statement(select(invites))
_addresses = iter(f"10.{a}.{b}.1" for a in range(200) for b in range(200))


async def register(
    app: App, email: str, code: str | None = None, *, path: str = "/auth/register", **more: Any
) -> Response:
    """From an address of its own each time: the throttle is of no interest here."""
    body = {"email": email, "password": PASSWORD, **({} if code is None else {"invite": code}), **more}
    return await app.http.post(path, json=body, headers={"x-forwarded-for": next(_addresses)})


async def invite(owner: Client, **body: Any) -> dict[str, Any]:
    answer = await owner.post("/api/users/invites", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def actions(app: App) -> list[str]:
    async with app.state.db.read() as tx:
        return [row["action"] for row in await tx.fetch(_AUDIT)]


@pytest.fixture(params=["sqlite"])
def db_url(request: pytest.FixtureRequest) -> str:
    """One kind will do where a test does not ask for both."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


class Counted:
    """Counts what is hashed."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self.hashed = 0

    async def hash(self, password: str) -> str:
        self.hashed += 1
        return await self._passwords.hash(password)


@pytest.fixture
async def open_app(make_app: MakeApp) -> App:
    return await make_app({"trusted_proxies": ("127.0.0.1",)})


async def test_registration_is_off_until_an_owner_opens_it_and_off_again_when_he_closes_it(
    open_app: App,
) -> None:
    app, owner = open_app, await open_app.owner()
    assert (await owner.get("/api/users/registration")).json() == {
        "open": False,
        "updated_at": None,
        "updated_by": None,
    }
    closed = await register(app, "new@example.com")
    assert closed.status_code == 403
    assert closed.json()["type"].endswith(":forbidden")
    assert "invite" in closed.json()["detail"]

    for _ in range(2):
        opened = await owner.post("/api/users/registration", json={"open": True})
        assert opened.status_code == 200
        assert opened.json()["open"] is True
    answer = await register(app, " New@Example.com", path="/api/auth/register")
    assert answer.status_code == 202
    new = await app.sign_in("new@example.com")
    me = (await new.get("/auth/me")).json()
    assert me["role"] == "trader"
    accounts = (await new.get("/api/accounts")).json()
    assert len(accounts if isinstance(accounts, list) else accounts["data"]) == 1

    assert (await owner.post("/api/users/registration", json={"open": False})).json()["open"] is False
    assert (await register(app, "late@example.com")).status_code == 403
    told = await actions(app)
    assert told.count("registration.open") == 1
    assert told.count("registration.close") == 1
    assert told.count("auth.register") == 1


async def test_A05_new_known_or_refused_it_costs_one_hashing_and_keeps_no_address_that_was_refused(
    open_app: App,
) -> None:
    app, owner = open_app, await open_app.owner()
    registration: Registration = app.state.auth.registration
    counted = Counted(registration._passwords)
    registration._passwords = counted  # type: ignore[assignment]
    await owner.post("/api/users/registration", json={"open": True})
    for email, code in (
        ("new@example.com", None),
        ("owner@example.com", None),
        ("who@example.com", "inv_" + "A" * 43),
    ):
        counted.hashed = 0
        await register(app, email, code)
        assert counted.hashed == 1
    told = await actions(app)
    assert [told.count(f"auth.register{end}") for end in ("", ".known", ".refuse")] == [1, 1, 1]
    async with app.state.db.read() as tx:
        rows = [dict(row) for row in await tx.fetch(_AUDIT) if str(row["action"]).startswith("auth.register")]
    assert "example.com" not in str(rows), "people type passwords into that field"


async def test_A05_an_address_that_is_known_gets_the_answer_of_a_new_one_and_stays_as_it_is(
    open_app: App,
) -> None:
    app, owner = open_app, await open_app.owner()
    await owner.post("/api/users/registration", json={"open": True})
    await app.user("viewer", "known@example.com")
    fresh = await register(app, "fresh@example.com")
    known = await register(app, "known@example.com", password="another password")
    mine = await register(app, "owner@example.com", password="another password")
    assert fresh.status_code == known.status_code == mine.status_code == 202
    assert fresh.content == known.content == mine.content
    names = [{name for name, _ in one.headers.raw} for one in (fresh, known)]
    assert names[0] == names[1]
    await app.sign_in("known@example.com")
    assert (
        await app.http.post(
            "/auth/login", json={"email": "known@example.com", "password": "another password"}
        )
    ).status_code == 401
    # The same with an invite, which nobody has used up then.
    made = await invite(owner)
    assert (await register(app, "known@example.com", made["code"])).content == fresh.content
    assert (await register(app, "other@example.com", made["code"])).status_code == 202
    await app.sign_in("other@example.com")


async def test_an_invite_lets_one_person_in_once_with_the_role_it_names(open_app: App) -> None:
    app, owner = open_app, await open_app.owner()
    made = await invite(owner, role="viewer", expires_in_hours=1)
    assert re.fullmatch(r"inv_[A-Za-z0-9_-]{43}", made["code"])
    assert made["state"] == "open"
    assert made["email"] is None
    assert made["role"] == "viewer"
    async with app.state.db.read() as tx:
        rows = [dict(row) for row in await tx.fetch(_INVITES)]
    assert made["code"] not in str(rows)
    assert (await register(app, "one@example.com", made["code"])).status_code == 202
    assert (await register(app, "two@example.com", made["code"])).status_code == 403
    one = await app.sign_in("one@example.com")
    me = (await one.get("/auth/me")).json()
    assert me["role"] == "viewer"
    listed = (await owner.get("/api/users/invites")).json()
    assert [row["state"] for row in listed["data"]] == ["used"]
    assert listed["data"][0]["used_by"] == me["id"]
    assert "code" not in listed["data"][0]
    assert (await owner.delete(f"/api/users/invites/{made['id']}")).status_code == 409
    # One that was made on the host is as good.
    _, code = await app.state.auth.invites.make(Actor("cli", "cli"), "trader", None)
    assert (await register(app, "three@example.com", code)).status_code == 202


async def test_A05_of_an_invite_that_is_not_good_nobody_learns_why(open_app: App) -> None:
    app, owner = open_app, await open_app.owner()
    revoked, tied, expired = (
        await invite(owner),
        await invite(owner, email="Him@example.com"),
        await invite(owner),
    )
    assert tied["email"] == "him@example.com"
    assert (await owner.delete(f"/api/users/invites/{revoked['id']}")).status_code == 204
    assert (await owner.delete(f"/api/users/invites/{revoked['id']}")).status_code == 204
    assert (await owner.delete("/api/users/invites/inv_nobodys")).status_code == 404
    async with app.state.db.begin() as tx:
        gone = statement(update(invites).where(invites.c.id == expired["id"]), columns=["expires_at"])
        await tx.execute(gone, {"expires_at": await tx.now_us()})
    used = await invite(owner)
    assert (await register(app, "used@example.com", used["code"])).status_code == 202
    # Who has made it is no owner any more.
    second = await app.user("owner", "second@example.com")
    orphan = await invite(second)
    assert (
        await owner.delete(f"/api/users/{(await second.get('/auth/me')).json()['id']}")
    ).status_code == 204

    codes = [revoked["code"], tied["code"], expired["code"], used["code"], orphan["code"]]
    codes += ["inv_" + "A" * 43, "", "nonsense", "inv_" + "ä" * 43, codes[0].upper(), codes[1] + "\n"]
    for opened in (False, True):
        await owner.post("/api/users/registration", json={"open": opened})
        # Of a known address neither.
        answers = [await register(app, "who@example.com", code) for code in codes]
        answers += [await register(app, "owner@example.com", code) for code in codes]
        told = {(one.status_code, one.json()["detail"], one.json()["type"]) for one in answers}
        assert len(told) == 1
        assert told.pop()[0] == 403
    assert (await register(app, "HIM@example.com", tied["code"])).status_code == 202
    states = {row["id"]: row["state"] for row in (await owner.get("/api/users/invites")).json()["data"]}
    assert states[revoked["id"]] == "revoked"
    assert states[expired["id"]] == "expired"


async def test_what_is_no_registration_is_refused_before_anything_is_looked_up(open_app: App) -> None:
    app, owner = open_app, await open_app.owner()
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"email": "no address"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "p" * 129}, "password"),
        ({"role": "owner"}, "role"),
        ({"invite": 5}, "invite"),
        ({"email": None}, "email"),
    )
    for body, field in wrong:
        answer = await register(app, **{"email": "who@example.com", **body})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == field
    bodies: tuple[dict[str, Any], ...] = (
        {"role": "owner"},
        {"expires_in_hours": 0},
        {"expires_in_hours": 721},
        {"email": "x"},
        {"uses": 2},
    )
    for body in bodies:
        assert (await owner.post("/api/users/invites", json=body)).status_code == 422
    assert (await owner.post("/api/users/invites", json={"email": "OWNER@example.com"})).status_code == 409
    bodies = ({}, {"open": 1}, {"open": None}, {"open": True, "for": "all"})
    for body in bodies:
        assert (await owner.post("/api/users/registration", json=body)).status_code == 422
    trader = await app.user("trader")
    assert (await trader.post("/api/users/registration", json={"open": True})).status_code == 403
    assert (await trader.post("/api/users/invites", json={})).status_code == 403
    assert (await trader.get("/api/users/invites")).status_code == 403


@pytest.mark.parametrize("db_url", ["sqlite", "postgresql"], indirect=True)
async def test_the_list_of_invites_goes_on_from_page_to_page(open_app: App) -> None:
    owner = await open_app.owner()
    made = [(await invite(owner))["id"] for _ in range(5)]
    found: list[str] = []
    after = ""
    while True:
        page = (
            await owner.get("/api/users/invites", params={"limit": 2, **({"after": after} if after else {})})
        ).json()
        found += [row["id"] for row in page["data"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert sorted(found) == sorted(made)


async def test_A05_registering_is_throttled_by_address_whatever_comes_of_it(open_app: App) -> None:
    app = open_app
    statuses = []
    for n in range(REGISTER_PER_ADDRESS[1] + 1):
        body = {"email": f"u{n}@example.com", "password": PASSWORD}
        statuses.append((await app.http.post("/auth/register", json=body)).status_code)
    assert statuses[:-1] == [403] * REGISTER_PER_ADDRESS[1]
    assert statuses[-1] == 429


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_of_many_who_use_one_invite_at_once_on_two_replicas_one_gets_in(make_app: MakeApp) -> None:
    settings = {"trusted_proxies": ("127.0.0.1",)}
    one, other = await make_app(settings), await make_app(settings)
    owner = await one.owner()
    for round_ in range(3):
        code = (await invite(owner))["code"]
        answers = await asyncio.gather(
            *[
                register(app, f"r{round_}n{n}{name}@example.com", code)
                for n in range(4)
                for name, app in (("a", one), ("b", other))
            ]
        )
        assert sorted(answer.status_code for answer in answers) == [202] + [403] * 7
    # One address with several invites: one user, and the answers do not tell which was first.
    codes = [(await invite(owner))["code"] for _ in range(4)]
    answers = await asyncio.gather(
        *[register((one, other)[n % 2], "same@example.com", code) for n, code in enumerate(codes)]
    )
    assert {answer.status_code for answer in answers} == {202}
    await other.sign_in("same@example.com")
    states = [row["state"] for row in (await owner.get("/api/users/invites")).json()["data"]]
    assert states.count("used") == 4
    assert states.count("open") == 3


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_opening_and_closing_holds_on_the_other_replica_from_the_answer_on(make_app: MakeApp) -> None:
    settings = {"trusted_proxies": ("127.0.0.1",)}
    one, other = await make_app(settings), await make_app(settings)
    owner = await one.owner()
    await owner.post("/api/users/registration", json={"open": True})
    assert (await register(other, "a@example.com")).status_code == 202
    racing = [asyncio.create_task(register(other, f"n{n}@example.com")) for n in range(6)]
    assert (await owner.post("/api/users/registration", json={"open": False})).status_code == 200
    closed_at = len(list((await owner.get("/api/users")).json()["data"]))
    await asyncio.gather(*racing)
    assert len((await owner.get("/api/users")).json()["data"]) == closed_at, "nobody came in after the answer"
    assert (await register(other, "b@example.com")).status_code == 403
