"""Every route against every kind of caller: who is let in, who is not, and that a refusal changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from paiid.core.db import statement
from paiid.core.tables import metadata
from tests.conftest import MakeApp
from tests.world import App, Client

STATIC = "static-token-static-token-static-token"

# Who may: "read", "trade" and "halt" are scopes, of which a viewer has but the first; "known" is anybody with a
# credential; "person" needs a session, "owner" an owner's session; "choose" is a known caller with the scope trade,
# "ask" one with the scope read or trade; "owner reads" an owner, also with a token that may read.
ROUTES = {
    "GET /api/health": "public",
    "GET /api/health/liveness": "public",
    "GET /api/health/ready": "public",
    "GET /api/health/ready/full": "public",
    "GET /api/health/detailed": "read",
    "POST /auth/login": "public",
    "POST /auth/refresh": "public",
    "POST /auth/register": "public",
    "POST /auth/logout": "person",
    "GET /auth/me": "known",
    "GET /auth/sessions": "person",
    "DELETE /auth/sessions/{session_id}": "person",
    "POST /auth/password": "person",
    "GET /auth/tokens": "person",
    "POST /auth/tokens": "person",
    "DELETE /auth/tokens/{token_id}": "person",
    "GET /api/users": "owner",
    "POST /api/users": "owner",
    "GET /api/users/registration": "owner",
    "POST /api/users/registration": "owner",
    "GET /api/users/invites": "owner",
    "POST /api/users/invites": "owner",
    "DELETE /api/users/invites/{invite_id}": "owner",
    "GET /api/users/{user_id}": "owner",
    "PATCH /api/users/{user_id}": "owner",
    "DELETE /api/users/{user_id}": "owner",
    "GET /api/settings": "read",
    "POST /api/settings": "choose",
    "GET /api/accounts/{account_id}/grants": "owner",
    "GET /api/accounts/{account_id}/grants/{user_id}": "owner",
    "PUT /api/accounts/{account_id}/grants/{user_id}": "owner",
    "DELETE /api/accounts/{account_id}/grants/{user_id}": "owner",
    "GET /api/market/quotes": "read",
    "GET /api/market/clock": "read",
    "GET /api/market/calendar": "read",
    "GET /api/market/bars/{symbol}": "read",
    "GET /api/market/search": "read",
    "GET /api/market/indices": "read",
    "POST /api/stream/ticket": "read",
    "GET /api/stream/status": "read",
    "GET /api/stream/prices": "read",
    "GET /api/stream/orders": "read",
    "GET /api/stream/positions": "read",
    "GET /api/stream/market-indices": "read",
    "GET /api/options/expirations/{symbol}": "read",
    "GET /api/options/chains/{symbol}": "read",
    "GET /api/options/surface/{symbol}": "read",
    "POST /api/options/price": "read",
    "POST /api/options/strategy": "read",
    # A viewer may ask what an order would come to (E16); that he cannot place it is tested with the orders.
    "POST /api/trading/execute": "ask",
    "GET /api/trading/orders": "read",
    "DELETE /api/trading/orders": "trade",
    "GET /api/trading/orders/{order_id}": "read",
    "PATCH /api/trading/orders/{order_id}": "trade",
    "DELETE /api/trading/orders/{order_id}": "trade",
    "GET /api/trading/fills": "read",
    "GET /api/trading/activities": "read",
    "GET /api/trading/intents": "read",
    "GET /api/trading/intents/{intent_id}": "read",
    "GET /api/portfolio/positions": "read",
    "GET /api/portfolio/positions/{symbol}": "read",
    "DELETE /api/portfolio/positions/{symbol}": "trade",
    "GET /api/portfolio/summary": "read",
    "GET /api/account": "read",
    "GET /api/accounts": "read",
    "GET /api/accounts/{account_id}": "read",
    "POST /api/accounts/{account_id}/reset": "trade",
    "GET /api/order-templates": "read",
    "POST /api/order-templates": "trade",
    "GET /api/order-templates/{template_id}": "read",
    "PUT /api/order-templates/{template_id}": "trade",
    "DELETE /api/order-templates/{template_id}": "trade",
    "POST /api/order-templates/{template_id}/use": "trade",
    "GET /api/admin/kill": "read",
    "POST /api/admin/kill": "halt",
    "POST /api/ai/chat": "read",
    "POST /api/ai/explain": "read",
    "GET /api/ai/status": "read",
    "POST /api/telemetry": "known",
    "GET /api/telemetry/events": "owner reads",
    "GET /api/telemetry/stats": "owner reads",
    "GET /api/telemetry/export": "owner reads",
    "DELETE /api/telemetry/events": "owner",
    # Signed by a secret of its own.
    "POST /api/github/webhook": "public",
    "GET /api/monitor/repository": "read",
    "GET /api/monitor/events": "read",
}
LET_IN = {
    "owner": {"known", "person", "owner", "owner reads", "choose", "ask", "read", "trade", "halt"},
    "trader": {"known", "person", "choose", "ask", "read", "trade", "halt"},
    "viewer": {"known", "person", "choose", "ask", "read"},
    "token read": {"known", "owner reads", "ask", "read"},
    "token trade": {"known", "choose", "ask", "trade"},
    "token halt": {"known", "halt"},
    "static": {"known", "owner reads", "choose", "ask", "read", "trade", "halt"},
}
# Not sent by whom it lets in: it would sign the caller out in the middle of the test.
ENDS_THE_CALLER = "POST /auth/logout"
# Nor these: the answer to whom they let in has no end (that they let him in is tested with the streams).
NEVER_END = {f"GET /api/stream/{name}" for name in ("orders", "positions", "market-indices")}
_ALWAYS_MOVING = {"audit", "leases", "account_days", "paper_sequence", "stream_tickets"}
# Among them what a replica says of itself with each heartbeat.
_MOVING_COLUMNS = {
    "api_tokens.last_used_at",
    "accounts.reconciled_at",
    "accounts.version",
    *(f"replicas.{name}" for name in ("seen_at", "clock_skew_us", "detail")),
}
_KEPT = {
    table.name: statement(
        select(*[column for column in table.c if str(column) not in _MOVING_COLUMNS]).order_by(
            *table.primary_key.columns
        )
    )
    for table in metadata.sorted_tables
    if table.name not in _ALWAYS_MOVING
}


async def contents(app: App) -> dict[str, list[dict[str, Any]]]:
    """Everything the database keeps, but for the audit and what the service writes of its own accord."""
    async with app.state.db.read() as tx:
        return {name: [dict(row) for row in await tx.fetch(stmt)] for name, stmt in _KEPT.items()}


def changed(
    before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]
) -> dict[str, list[Any]]:
    """The rows that are not the same, by table."""
    return {
        name: [row for row in before[name] + after[name] if row not in before[name] or row not in after[name]]
        for name in before
        if before[name] != after[name]
    }


def addresses(route: str) -> Iterator[tuple[str, str]]:
    """(method, path) under each address of a route, with ids that nobody has."""
    method, path = route.split()
    filled = path
    for name in (
        "invite_id",
        "session_id",
        "token_id",
        "user_id",
        "account_id",
        "order_id",
        "intent_id",
        "template_id",
    ):
        filled = filled.replace("{" + name + "}", "nobodys-own")
    filled = filled.replace("{symbol}", "AAPL")
    yield method, filled
    if filled.startswith("/auth"):
        yield method, "/api" + filled
    if filled.startswith("/api/portfolio/positions"):
        yield method, filled.replace("/portfolio", "")


async def callers(app: App) -> dict[str, Client]:
    """One of each kind."""
    owner = await app.owner()
    found = {"owner": owner, "trader": await app.user("trader"), "viewer": await app.user("viewer")}
    for scope in ("read", "trade", "halt"):
        made = await owner.post("/auth/tokens", json={"name": scope, "scopes": [scope]})
        found[f"token {scope}"] = Client(app.http, made.json()["token"])
    found["static"] = Client(app.http, STATIC)
    return found


async def test_A04_the_table_of_routes_names_every_route_there_is(app: App) -> None:
    there = {
        f"{method.upper()} {path}"
        for path, operations in app.application.openapi()["paths"].items()
        for method in operations
    }
    assert there == set(ROUTES)


async def test_no_route_but_the_public_ones_answers_without_a_credential_or_with_a_bad_one(app: App) -> None:
    before = await contents(app)
    for route, needs in ROUTES.items():
        for method, path in addresses(route):
            for header in (None, "Bearer nonsense", f"Bearer pd_{'0' * 26}_{'0' * 64}", f"Bearer {STATIC}"):
                headers = {} if header is None else {"Authorization": header}
                answer = await app.http.request(method, path, headers=headers, json={"unknown": 1})
                refused = answer.status_code == 401 and "www-authenticate" in answer.headers
                assert refused == (needs != "public"), (route, header, answer.text)
    assert changed(before, await contents(app)) == {}


@pytest.mark.parametrize("kind", LET_IN)
async def test_A04_each_caller_gets_in_where_he_may_and_changes_nothing_where_not(
    make_app: MakeApp, kind: str
) -> None:
    app = await make_app({"api_token": STATIC})
    caller = (await callers(app))[kind]
    before = await contents(app)
    for route, needs in ROUTES.items():
        if needs == "public":
            continue
        for method, path in addresses(route):
            if needs in LET_IN[kind]:
                if route != ENDS_THE_CALLER and route not in NEVER_END:
                    answer = await caller.request(method, path, json={"unknown": 1})
                    assert answer.status_code not in (401, 403, 500), (route, answer.text)
                continue
            answer = await caller.request(method, path, json={"unknown": 1})
            assert answer.status_code == 403, (route, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
    assert changed(before, await contents(app)) == {}


@pytest.mark.parametrize("dry", [True, False])
async def test_A04_a_token_that_only_trades_trades_and_one_that_only_reads_may_just_ask(
    app: App, dry: bool
) -> None:
    owner = await app.owner()
    order = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "market"}
    for scope in ("trade", "read", "halt"):
        made = await owner.post("/auth/tokens", json={"name": scope, "scopes": [scope]})
        answer = await Client(app.http, made.json()["token"]).execute(order, dryRun=dry)
        lets_in = scope == "trade" or (scope == "read" and dry)
        assert answer.status_code == (200 if lets_in else 403), answer.text


@pytest.mark.parametrize("kind", ["token halt", "static"])
async def test_A04_no_token_resumes_trading(make_app: MakeApp, kind: str) -> None:
    app = await make_app({"api_token": STATIC})
    caller = (await callers(app))[kind]
    assert (await caller.post("/api/admin/kill?state=true")).status_code == 200
    assert (await caller.post("/api/admin/kill?state=false&reason=over")).status_code == 403
    owner = await app.owner()
    assert (await owner.get("/api/admin/kill")).json()["tradingHalted"] is True
