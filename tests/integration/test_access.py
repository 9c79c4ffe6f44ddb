"""Who may do what over HTTP: sign-in, users, tokens, grants and settings, through the whole app."""

from typing import Any

import httpx2
import pytest

from paiid.domain.identity import SYSTEM
from tests.conftest import MakeApp
from tests.rows import every_row
from tests.world import OWNER_EMAIL, PASSWORD, App, Client

STATIC = "static-token-static-token-static-token"


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"].endswith(":" + code), body
    assert isinstance(body["detail"], str)
    return body


async def token_client(app: App, owner: Client, *scopes: str) -> Client:
    made = await owner.post("/auth/tokens", json={"name": "bot", "scopes": list(scopes)})
    assert made.status_code == 201, made.text
    return Client(app.http, made.json()["token"])


# -- signing in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/auth", "/api/auth"])
async def test_a_user_signs_in_stays_and_signs_out_under_both_addresses(app: App, prefix: str) -> None:
    body = {"email": OWNER_EMAIL, "password": PASSWORD}
    first = await app.anonymous.post(f"{prefix}/login", json=body)
    assert first.status_code == 200, first.text
    assert first.headers["cache-control"] == "no-store"
    pair = first.json()
    assert pair.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert pair["token_type"] == "bearer"
    # Whole seconds that are left: a little is over by the time of the answer.
    assert 840 < pair["expires_in"] <= 900
    renewed = await app.anonymous.post(f"{prefix}/refresh", json={"refresh_token": pair["refresh_token"]})
    assert renewed.status_code == 200
    client = Client(app.http, renewed.json()["access_token"])
    me = (await client.get(f"{prefix}/me")).json()
    assert (me["email"], me["role"], me["credential"]) == (OWNER_EMAIL, "owner", "session")
    assert me["scopes"] == ["halt", "read", "trade"]
    [session] = (await client.get(f"{prefix}/sessions")).json()
    assert (session["id"], session["current"]) == (me["session_id"], True)
    assert (await client.post(f"{prefix}/logout")).status_code == 204
    problem(await client.get(f"{prefix}/me"), 401, "invalid-token")


async def test_there_is_no_way_to_register_before_the_owner_opens_one(app: App) -> None:
    body = {"email": "new@example.com", "password": PASSWORD}
    for path in ("/auth/register", "/api/auth/register"):
        problem(await app.anonymous.post(path, json=body), 403, "forbidden")


PRIVATE = [
    ("GET", "/auth/me"),
    ("GET", "/auth/sessions"),
    ("DELETE", "/auth/sessions/ses_x"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/password"),
    ("GET", "/auth/tokens"),
    ("POST", "/auth/tokens"),
    ("DELETE", "/auth/tokens/tok_x"),
    ("GET", "/api/users"),
    ("POST", "/api/users"),
    ("GET", "/api/users/usr_x"),
    ("PATCH", "/api/users/usr_x"),
    ("DELETE", "/api/users/usr_x"),
    ("GET", "/api/accounts/a/grants"),
    ("PUT", "/api/accounts/a/grants/usr_x"),
    ("DELETE", "/api/accounts/a/grants/usr_x"),
    ("GET", "/api/settings"),
    ("POST", "/api/settings"),
]
OWNERS = [(method, path) for method, path in PRIVATE if path.startswith(("/api/users", "/api/accounts"))]
PEOPLE = [(m, p) for m, p in PRIVATE if p != "/auth/me" and "/api/settings" not in p]


@pytest.mark.parametrize("body", [None, {}, {"unknown": 1}])
async def test_no_header_is_401_whatever_else_is_wrong(app: App, body: Any) -> None:
    for method, path in PRIVATE:
        answer = await app.anonymous.request(method, path, json=body)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


_PROVES_NOTHING: list[str] = [
    "",
    "Bearer",
    "Bearer ",
    "Basic b3duZXI6eA==",
    "Bearer x",
    "Bearer " + "é" * 9,
    "Bearer pd_1_2",
]


async def test_a_header_that_proves_nothing_is_401(app: App) -> None:
    with every_row() as row:
        for header in _PROVES_NOTHING:
            with row(header):
                answer = await app.anonymous.get(
                    "/auth/me", headers={"Authorization": header.encode("latin-1")}
                )
                assert answer.status_code == 401, answer.text


async def test_A04_tokens_manage_neither_users_nor_tokens_nor_sessions(make_app: MakeApp) -> None:
    app = await make_app({"api_token": STATIC})
    owner = await app.owner()
    for client in (await token_client(app, owner, "read", "trade", "halt"), Client(app.http, STATIC)):
        assert (await client.get("/auth/me")).json()["role"] == "owner"
        for method, path in PEOPLE:
            problem(await client.request(method, path, json={}), 403, "forbidden")


async def test_only_an_owner_manages_users_and_grants(app: App) -> None:
    for role in ("trader", "viewer"):
        client = await app.user(role)
        for method, path in OWNERS:
            problem(await client.request(method, path, json={}), 403, "forbidden")


async def test_A04_a_token_may_only_what_its_scopes_say(app: App) -> None:
    owner = await app.owner()
    reader = await token_client(app, owner, "read")
    assert (await reader.get("/api/settings")).status_code == 200
    problem(await reader.post("/api/settings", json={}), 403, "scope-missing")
    halter = await token_client(app, owner, "halt")
    problem(await halter.get("/api/settings"), 403, "scope-missing")


# -- API tokens -------------------------------------------------------------------------------------


async def test_A04_a_token_is_shown_once_and_revoked_at_once(app: App) -> None:
    owner = await app.owner()
    made = await owner.post(
        "/auth/tokens", json={"name": " bot ", "scopes": ["trade", "read"], "expires_in_days": None}
    )
    shown = made.json()
    assert shown["token"].startswith("pd_")
    assert (shown["name"], shown["scopes"], shown["expires_at"]) == ("bot", ["read", "trade"], None)
    listed = await owner.get("/auth/tokens")
    assert shown["token"] not in listed.text
    assert [one["id"] for one in listed.json()] == [shown["id"]]
    bot = Client(app.http, shown["token"])
    assert (await bot.get("/auth/me")).json()["credential"] == "token"
    other = await app.user("trader")
    problem(await other.delete(f"/auth/tokens/{shown['id']}"), 404, "not-found")
    assert (await owner.delete(f"/auth/tokens/{shown['id']}")).status_code == 204
    problem(await owner.delete(f"/auth/tokens/{shown['id']}"), 404, "not-found")
    problem(await bot.get("/auth/me"), 401, "invalid-token")


_WRONG_TOKENS: list[dict[str, Any]] = [
    {"name": "x", "scopes": []},
    {"name": "x", "scopes": ["resume"]},
    {"name": "", "scopes": ["read"]},
    {"name": "a\u0007b", "scopes": ["read"]},
    {"name": "x", "scopes": ["read"], "expires_in_days": 0},
    {"name": "x", "scopes": ["read"], "expires_in_days": True},
    {"name": "x", "scopes": ["read"], "admin": True},
    {"scopes": ["read"]},
]


async def test_A08_a_wrong_token_body_is_a_422_that_names_the_field(app: App) -> None:
    owner = await app.owner()
    with every_row() as row:
        for body in _WRONG_TOKENS:
            with row(body):
                told = problem(await owner.post("/auth/tokens", json=body), 422, "validation")
                assert told["errors"][0]["field"]


# -- sessions and passwords -------------------------------------------------------------------------


async def test_another_users_session_is_404(app: App) -> None:
    owner, other = await app.owner(), await app.user("trader")
    mine = (await owner.get("/auth/me")).json()["session_id"]
    problem(await other.delete(f"/auth/sessions/{mine}"), 404, "not-found")
    assert (await owner.delete(f"/auth/sessions/{mine}")).status_code == 204
    problem(await owner.get("/auth/me"), 401, "invalid-token")


async def test_A08_no_answer_repeats_a_secret_that_was_sent(app: App) -> None:
    owner = await app.owner()
    secret = "s3cr3t" * 300
    for path, body in (
        ("/auth/login", {"email": "x", "password": secret}),
        ("/auth/refresh", {"refresh_token": secret}),
        ("/auth/password", {"current_password": secret, "new_password": 7}),
        ("/api/users", {"email": "x", "password": secret, "role": "king"}),
    ):
        answer = await owner.post(path, json=body)
        problem(answer, 422, "validation")
        assert "s3cr3t" not in answer.text


@pytest.mark.parametrize(
    "path", ["/auth/sessions/%00", "/auth/tokens/%00", "/api/users/%00", "/auth/sessions/é"]
)
async def test_A08_an_address_nobody_can_have_is_no_500(app: App, path: str) -> None:
    owner = await app.owner()
    assert (await owner.delete(path)).status_code in (400, 404, 422)


# -- users ------------------------------------------------------------------------------------------


async def test_an_owner_makes_changes_and_deletes_a_user(app: App) -> None:
    owner = await app.owner()
    body = {"email": "Anna@Example.com", "password": PASSWORD, "role": "viewer"}
    made = await owner.post("/api/users", json=body)
    assert made.status_code == 201, made.text
    user = made.json()
    assert (user["email"], user["role"], user["disabled"]) == ("anna@example.com", "viewer", False)
    assert "password" not in made.text
    problem(await owner.post("/api/users", json=body), 409, "conflict")
    path = f"/api/users/{user['id']}"
    assert (await owner.request("PATCH", path, json={"role": "trader"})).json()["role"] == "trader"
    anna = await app.sign_in("anna@example.com")
    assert (await owner.request("PATCH", path, json={"disabled": True})).json()["disabled"] is True
    problem(await anna.get("/auth/me"), 401, "invalid-token")
    assert (await owner.request("PATCH", path, json={"disabled": False})).json()["disabled"] is False
    assert (await owner.request("PATCH", path, json={"password": "another password"})).status_code == 200
    assert await app.sign_in("anna@example.com", "another password")
    problem(await owner.request("PATCH", path, json={"password": "short"}), 422, "validation")
    problem(await owner.request("PATCH", path, json={}), 422, "validation")
    problem(await owner.request("PATCH", path, json={"role": "owner", "disabled": True}), 422, "validation")
    assert (await owner.delete(path)).status_code == 204
    problem(await owner.get(path), 404, "not-found")


async def test_the_last_owner_stays(app: App) -> None:
    owner = await app.owner()
    path = f"/api/users/{(await owner.get('/auth/me')).json()['id']}"
    for answer in (
        await owner.delete(path),
        await owner.request("PATCH", path, json={"disabled": True}),
        await owner.request("PATCH", path, json={"role": "trader"}),
    ):
        problem(answer, 409, "conflict")


async def test_the_list_of_users_comes_in_pages(app: App) -> None:
    owner = await app.owner()
    for number in range(4):
        await app.state.auth.users.make(SYSTEM, f"u{number}@example.com", PASSWORD, "viewer")
    seen: list[str] = []
    after = ""
    while True:
        page = (await owner.get(f"/api/users?limit=2{after}")).json()
        seen += [one["email"] for one in page["data"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(seen) == len(set(seen)) == 5


# -- accounts and grants ----------------------------------------------------------------------------


async def test_A10_a_trader_has_his_own_paper_account_and_a_viewer_has_none(app: App) -> None:
    trader, viewer = await app.user("trader"), await app.user("viewer")
    me = (await trader.get("/auth/me")).json()
    own = (await trader.get("/api/account")).json()
    assert own["id"] == "paper-" + me["id"].removeprefix("usr_")
    assert own["cash"] == 100_000
    problem(await viewer.get("/api/account"), 404, "not-found")
    assert (await viewer.get("/api/accounts")).json() == []
    problem(await viewer.get(f"/api/account?account={own['id']}"), 404, "not-found")


async def test_A10_a_grant_opens_an_account_and_its_end_closes_it(app: App) -> None:
    owner, trader, viewer = await app.owner(), await app.user("trader"), await app.user("viewer")
    account = (await trader.get("/api/account")).json()["id"]
    seer, trader_id = (await viewer.get("/auth/me")).json()["id"], (await trader.get("/auth/me")).json()["id"]
    path = f"/api/accounts/{account}/grants/{seer}"
    problem(await owner.request("PUT", path, json={"access": "trade"}), 409, "conflict")
    given = await owner.request("PUT", path, json={"access": "view"})
    assert given.json()["access"] == "view"
    assert (await viewer.get(f"/api/account?account={account}")).status_code == 200
    listed = (await owner.get(f"/api/accounts/{account}/grants")).json()
    assert {(one["user_id"], one["access"]) for one in listed} == {(seer, "view"), (trader_id, "trade")}
    assert (await owner.get(path)).json()["user_id"] == seer
    assert (await owner.delete(path)).status_code == 204
    problem(await owner.delete(path), 404, "not-found")
    problem(await owner.get(path), 404, "not-found")
    problem(await viewer.get(f"/api/account?account={account}"), 404, "not-found")
    problem(
        await owner.request("PUT", f"/api/accounts/{account}/grants/usr_x", json={"access": "view"}),
        404,
        "not-found",
    )
    problem(
        await owner.request("PUT", f"/api/accounts/nope/grants/{seer}", json={"access": "view"}),
        404,
        "not-found",
    )
    problem(await owner.get("/api/accounts/nope/grants"), 404, "not-found")


async def test_A10_the_owner_needs_a_grant_like_everybody(app: App) -> None:
    owner, trader = await app.owner(), await app.user("trader")
    account = (await trader.get("/api/account")).json()["id"]
    problem(await owner.get(f"/api/account?account={account}"), 404, "not-found")


async def test_A10_a_right_to_view_is_none_to_trade(app: App) -> None:
    owner, trader, other = await app.owner(), await app.user("trader"), await app.user("trader")
    account = (await trader.get("/api/account")).json()["id"]
    other_id = (await other.get("/auth/me")).json()["id"]
    order = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "market"}
    problem(await other.execute(order, account=account), 404, "not-found")
    await owner.request("PUT", f"/api/accounts/{account}/grants/{other_id}", json={"access": "view"})
    problem(await other.execute(order, account=account), 403, "forbidden")


# -- settings ---------------------------------------------------------------------------------------


async def test_settings_are_merged_and_null_takes_a_choice_back(app: App) -> None:
    trader = await app.user("trader")
    fresh = (await trader.get("/api/settings")).json()
    assert set(fresh.values()) == {None}
    assert len(fresh) == 10
    changed = await trader.post(
        "/api/settings",
        content=b'{"position_size": 2500.50, "stop_loss": 2.5, "max_positions": 7}',
        headers={"content-type": "application/json"},
    )
    assert changed.status_code == 200, changed.text
    assert b'"position_size":2500.5' in changed.content
    again = (await trader.post("/api/settings", json={"stop_loss": None, "max_open_orders": 3})).json()
    assert (again["position_size"], again["stop_loss"]) == (2500.5, None)
    assert (again["max_positions"], again["max_open_orders"]) == (7, 3)
    assert (await trader.get("/api/settings")).json() == again
    other = await app.user("trader")
    assert set((await other.get("/api/settings")).json().values()) == {None}


_WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"position_sizes": 1}, "position_sizes"),
    ({"position_size": 0}, "position_size"),
    ({"position_size": -1}, "position_size"),
    ({"position_size": "100"}, "position_size"),
    ({"position_size": 0.0000001}, "position_size"),
    ({"position_size": 1e12}, "position_size"),
    ({"stop_loss": 100}, "stop_loss"),
    ({"take_profit": True}, "take_profit"),
    ({"max_positions": 1.5}, "max_positions"),
    ({"max_positions": 0}, "max_positions"),
    ({"default_account": "nope"}, "default_account"),
    ({"default_account": "a b"}, "default_account"),
]


async def test_A08_a_wrong_setting_changes_nothing_and_is_named(app: App) -> None:
    owner = await app.owner()
    before = (await owner.get("/api/settings")).json()
    with every_row() as row:
        for body, field in _WRONG_SETTINGS:
            with row(body):
                told = problem(
                    await owner.post("/api/settings", json={"max_open_orders": 5, **body}), 422, "validation"
                )
                assert told["errors"][0]["field"].startswith(field)
                assert (await owner.get("/api/settings")).json() == before


async def test_A10_the_chosen_default_account_is_used(app: App) -> None:
    owner, trader, other = await app.owner(), await app.user("trader"), await app.user("trader")
    account = (await trader.get("/api/account")).json()["id"]
    other_id = (await other.get("/auth/me")).json()["id"]
    await owner.request("PUT", f"/api/accounts/{account}/grants/{other_id}", json={"access": "view"})
    assert (await other.get("/api/account")).json()["id"] != account
    chosen = await other.post("/api/settings", json={"default_account": account})
    assert chosen.json()["default_account"] == account
    assert (await other.get("/api/account")).json()["id"] == account
