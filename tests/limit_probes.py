"""One probe for each row of docs/limits.md: what comes of the limit itself, and of one step beyond it."""

import asyncio
import string
import threading
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import httpx2
import uvicorn

from paiid.auth.throttle import Client as Caller
from paiid.auth.throttle import Throttle
from paiid.cli.httpserver import GuardedProtocol
from paiid.cli.serve import server_config
from paiid.core.accounting import Accounting
from paiid.core.shared import alone
from paiid.domain.errors import Problem
from tests.fake_clock import FakeClock
from tests.world import OWNER_EMAIL, PASSWORD, App, Client, fresh_key

Outcome = str
Probe = Callable[["Probed", int], Awaitable[tuple[Outcome, Outcome]]]
PROBES: dict[str, Probe] = {}
JSON = {"content-type": "application/json"}
ORDER: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 1}


class Probed:
    """The app under probe, its signed-in owner, and the edge's own counters."""

    def __init__(self, app: App, owner: Client) -> None:
        self.app, self.owner = app, owner
        self.accounting: Accounting = app.state.accounting

    async def server(self, protocol: type[GuardedProtocol]) -> tuple[uvicorn.Server, int]:
        """The app behind a real socket; the server and its port. `stop` ends it."""
        config = server_config(self.app.application, protocol)
        config.lifespan, config.host, config.port, config.loop = "off", "127.0.0.1", 0, "none"
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        return server, server.servers[0].sockets[0].getsockname()[1]


def outcome(answer: httpx2.Response) -> Outcome:
    """`200`, `404 not-found`, or with the first field of a 422 and its code: as the table says it."""
    if answer.headers.get("content-type") != "application/problem+json":
        return str(answer.status_code)
    told = answer.json()
    words = [f"`{told['type'].removeprefix('urn:paiid:problem:')}`"]
    for error in told.get("errors", [])[:1]:
        words += [f"`{error['field']}`", f"`{error['code']}`"]
    return f"{answer.status_code} {' '.join(words)}"


def probe(name: str) -> Callable[[Probe], Probe]:
    """Register the probe of a row."""

    def register(found: Probe) -> Probe:
        assert name not in PROBES
        PROBES[name] = found
        return found

    return register


def _request(name: str, ask: Callable[[Client, int], Awaitable[httpx2.Response]], step: int = 1) -> None:
    """A row where one request tells: `ask` is called with the limit and with `step` beyond it."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        return outcome(await ask(probed.owner, limit)), outcome(await ask(probed.owner, limit + step))

    probe(name)(found)


def _repeated(name: str, ask: Callable[[Client, int], Awaitable[httpx2.Response]]) -> None:
    """A row where the call after so many others tells, by a clock that stands still for the buckets: a slow machine would refill
    them."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        probed.app.state.shared.throttle._limiter._clock = FakeClock()
        answers = [outcome(await ask(probed.owner, n)) for n in range(limit + 1)]
        assert len(set(answers[:limit])) == 1, "until then they are all the same"
        return answers[limit - 1], answers[limit]

    probe(name)(found)


# -- the request --------------------------------------------------------------------------------------


async def _headers(client: Client, lines: int, size: int | None) -> httpx2.Response:
    """A request with exactly so many header lines, and so many bytes in them."""
    have = client._http.build_request("GET", "/api/health", headers={"x-0": ""}).headers.raw
    more = {f"x-{n}": "" for n in range(max(1, lines - len(have) + 1))}
    if size is not None:
        more["x-0"] = "a" * (size - sum(len(name) + len(value) for name, value in have))
    return await client._http.get("/api/health", headers=more)


def _raw(body: bytes) -> Callable[[Client], Awaitable[httpx2.Response]]:
    async def ask(client: Client) -> httpx2.Response:
        headers = {**JSON, "Idempotency-Key": fresh_key()}
        return await client.post("/api/trading/execute", content=body, headers=headers)

    return ask


def _number(text: str) -> Callable[[Client], Awaitable[httpx2.Response]]:
    return _raw(b'{"orders":[{"symbol":"AAPL","side":"buy","qty":%s}]}' % text.encode())


_request("path", lambda c, n: c.get("/api/" + "a" * (n - 5)))
_request("query", lambda c, n: c.get("/api/health?q=" + "a" * (n - 2)))
_request("headers", lambda c, n: _headers(c, n, None))
_request("header-bytes", lambda c, n: _headers(c, 1, n))
_request("body", lambda c, n: _raw(b'{"orders":[]}' + b" " * (n - 13))(c))
_request("depth", lambda c, n: _raw(b"[" * n + b"]" * n)(c))
_request("digits", lambda c, n: _number("1." + "0" * (n - 2))(c))
_request("magnitude", lambda c, n: _number(f"1e{n}")(c))
_request("page", lambda c, n: c.get(f"/api/trading/orders?limit={n}"))
_request("page-least", lambda c, n: c.get(f"/api/trading/orders?limit={n}"), -1)
_request("cursor", lambda c, n: c.get("/api/trading/orders?after=" + "a" * n))
_request("id", lambda c, n: c.get("/api/trading/orders/" + "a" * n))
_request("account", lambda c, n: c.get("/api/trading/orders?account=" + "a" * n))


@probe("request-id")
async def _request_id(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    for size in (limit, limit + 1):
        given = "a" * size
        answer = await probed.owner.get("/api/health", headers={"x-request-id": given})
        found.append("kept" if answer.headers["x-request-id"] == given else "replaced by ours")
    return found[0], found[1]


# -- orders and the halt ------------------------------------------------------------------------------


def _order(**changes: Any) -> Callable[[Client], Awaitable[httpx2.Response]]:
    async def ask(client: Client) -> httpx2.Response:
        return await client.execute({**ORDER, **changes}, dryRun=True)

    return ask


def _limit_order(price: str) -> Callable[[Client], Awaitable[httpx2.Response]]:
    return _raw(
        b'{"dryRun":true,"orders":[{"symbol":"AAPL","side":"buy","qty":1,"type":"limit","limit_price":%s}]}'
        % price.encode()
    )


def _spread(legs: int, ratio: int = 1) -> Callable[[Client], Awaitable[httpx2.Response]]:
    """A spread of so many calls, the first of them so many times."""

    async def ask(client: Client) -> httpx2.Response:
        names = [f"AAPL271217C00{100 + number}000" for number in range(legs)]
        told = [{"symbol": name, "side": "buy_to_open", "ratio_qty": 1} for name in names]
        told[0]["ratio_qty"] = ratio
        return await client.execute({"qty": 1, "legs": told}, dryRun=True)

    return ask


def _amount(dollars: int) -> Callable[[Client], Awaitable[httpx2.Response]]:
    async def ask(client: Client) -> httpx2.Response:
        return await client.execute({"symbol": "AAPL", "side": "buy", "notional": dollars}, dryRun=True)

    return ask


def _smallest(decimals: int) -> str:
    return "0." + "0" * (decimals - 1) + "1"


def _kill(**fields: Any) -> Callable[[Client], Awaitable[httpx2.Response]]:
    async def ask(client: Client) -> httpx2.Response:
        return await client.post("/api/admin/kill", json={"halt": True, **fields})

    return ask


_request("key", lambda c, n: c.execute(ORDER, key="k" * n))
_request("key-least", lambda c, n: c.execute(ORDER, key="k" * n), -1)
_request("key-query", lambda c, n: c.get("/api/trading/intents?key=" + "k" * n))
_request("batch", lambda c, n: c.execute(*[ORDER] * n, dryRun=True))
_request("batch-least", lambda c, n: c.execute(*[ORDER] * n, dryRun=True), -1)
_request("legs", lambda c, n: _spread(n)(c))
_request("legs-least", lambda c, n: _spread(n)(c), -1)
_request("ratio", lambda c, n: _spread(2, n)(c))
_request("notional-least", lambda c, n: _amount(n)(c), -1)
_request("trail", lambda c, n: _order(type="trailing_stop", trail_percent=n)(c))
_request("symbol", lambda c, n: _order(symbol="A" * n)(c))
_request("symbol-query", lambda c, n: c.get("/api/trading/orders?symbol=" + "A" * n))
_request("quantity", lambda c, n: _order(qty=n)(c))
_request("quantity-decimals", lambda c, n: _number(_smallest(n))(c))
_request("price", lambda c, n: _limit_order(str(n))(c))
_request("price-decimals", lambda c, n: _limit_order(_smallest(n))(c))
_request("close-text", lambda c, n: c.delete("/api/positions/AAPL?qty=1" + "." + "0" * (n - 2)))
_request("close-quantity", lambda c, n: c.delete(f"/api/positions/AAPL?qty={n}"))
_request("reason", lambda c, n: _kill(reason="r" * n, scope="symbol:MSFT")(c))
_request("scope", lambda c, n: _kill(scope="account:" + "a" * (n - 8))(c))
_request("epoch", lambda c, n: c.get(f"/api/admin/kill?epoch={n}"))


# -- order templates, resets --------------------------------------------------------------------------


def _template(**changes: Any) -> dict[str, Any]:
    kept = {"name": fresh_key(), "symbol": "AAPL", "side": "buy", "order_type": "limit", "limit_price": 100}
    return {**kept, **changes}


async def _keep(client: Client, **changes: Any) -> httpx2.Response:
    return await client.post("/api/order-templates", json=_template(**changes))


async def _change_if(client: Client, version: str) -> httpx2.Response:
    made = (await _keep(client)).json()["id"]
    path = f"/api/order-templates/{made}"
    return await client.request("PUT", path, json=_template(), headers={"if-match": version})


async def _reset(client: Client, **terms: Any) -> httpx2.Response:
    account = (await client.get("/api/accounts")).json()[0]["id"]
    return await client.post(f"/api/accounts/{account}/reset", json=terms)


_repeated("templates", lambda c, n: _keep(c))
_request("template-name", lambda c, n: _keep(c, name="n" * n))
_request("template-description", lambda c, n: _keep(c, description="d" * n))
_request("template-symbol", lambda c, n: _keep(c, symbol="A" * n))
_request("template-quantity", lambda c, n: _keep(c, quantity=n))
_request("template-price", lambda c, n: _keep(c, limit_price=n))
_request("if-match", lambda c, n: _change_if(c, "1" * n))
_request("reset-cash", lambda c, n: _reset(c, cash=n))
_request("reset-cash-least", lambda c, n: _reset(c, cash=n), -1)
_request("reset-level", lambda c, n: _reset(c, options_level=n))
_request("reset-improvement", lambda c, n: _reset(c, price_improvement_pct=n))


# -- market data --------------------------------------------------------------------------------------


def _symbols(count: int) -> str:
    return ",".join(["".join(one) for one in product(string.ascii_uppercase, repeat=2)][:count])


async def _calendar(client: Client, days: int) -> httpx2.Response:
    from datetime import date, timedelta

    last = date(2026, 1, 1) + timedelta(days=days - 1)
    return await client.get(f"/api/market/calendar?start=2026-01-01&end={last}")


_request("symbols", lambda c, n: c.get("/api/market/quotes?symbols=" + _symbols(n)))
_request("symbols-text", lambda c, n: c.get("/api/market/quotes?symbols=AAPL" + " " * (n - 4)))
_request("calendar-days", _calendar)
_request(
    "calendar-year",
    lambda c, n: (
        c.get(f"/api/market/calendar?start={n - 1}-12-20&end={n - 1}-12-31")
        if n == 2200
        else c.get(f"/api/market/calendar?start=2200-01-01&end={n - 1}-01-02")
    ),
)
_request("bars", lambda c, n: c.get(f"/api/market/bars/AAPL?limit={n}"))
_request("bars-least", lambda c, n: c.get(f"/api/market/bars/AAPL?limit={n}"), -1)
_request("bars-year", lambda c, n: c.get(f"/api/market/bars/AAPL?end={n}-01-01"))
_request("bars-instant", lambda c, n: c.get("/api/market/bars/AAPL?start=2026-01-01" + "0" * (n - 10)))
_request("bars-symbol", lambda c, n: c.get("/api/market/bars/" + "A" * n))
_request("search-text", lambda c, n: c.get("/api/market/search?q=" + "a" * n))
_request("search-found", lambda c, n: c.get(f"/api/market/search?q=a&limit={n}"))


# -- signing in, users, settings ----------------------------------------------------------------------


async def _login(client: Client, email: str, password: str, address: str = "9.9.9.9") -> httpx2.Response:
    return await client._http.post(
        "/auth/login",
        json={"email": email, "password": password},
        headers={"x-forwarded-for": address},
    )


async def _user(client: Client, password: str) -> httpx2.Response:
    body = {"email": f"{fresh_key()}@example.com", "password": password, "role": "trader"}
    return await client.post("/api/users", json=body)


def _setting(**choice: Any) -> Callable[[Client], Awaitable[httpx2.Response]]:
    async def ask(client: Client) -> httpx2.Response:
        return await client.post("/api/settings", json=choice)

    return ask


async def _token(client: Client, **changes: Any) -> httpx2.Response:
    return await client.post("/auth/tokens", json={"name": "bot", "scopes": ["read"], **changes})


def _throttled(name: str, take: Callable[[Throttle, int], Awaitable[object]]) -> None:
    """A row of the throttle, over a clock that stands still: a slow machine would refill the bucket."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        throttle = Throttle(probed.app.state.db, alone(FakeClock()).throttle)
        outcomes = []
        for n in range(limit + 1):
            try:
                await take(throttle, n)
                outcomes.append("goes on")
            except Problem as problem:
                outcomes.append(f"{problem.code.status} `{problem.code.slug}`")
        assert set(outcomes[:limit]) == {"goes on"}
        return outcomes[limit - 1], outcomes[limit]

    probe(name)(found)


async def _refresh(throttle: Throttle, _: int) -> None:
    await throttle.take_refresh(Caller("9.9.9.9"))


_throttled("login-address", lambda t, n: t.take_login(f"user{n}@example.com", Caller("9.9.9.9")))
_throttled("login-user", lambda t, n: t.take_login("one@example.com", Caller(f"9.9.0.{n}")))
_throttled("login-overall", lambda t, n: t.take_login(f"user{n}@example.com", Caller(f"9.9.0.{n}")))
_throttled("refresh-address", _refresh)
_request("password", lambda c, n: _user(c, "p" * n))
_request("password-least", lambda c, n: _user(c, "p" * n), -1)
_request("password-typed", lambda c, n: _login(c, OWNER_EMAIL, "p" * n))
_request("email", lambda c, n: _login(c, "e" * n, PASSWORD))
_request("refresh-token", lambda c, n: c.post("/auth/refresh", json={"refresh_token": "r" * n}))
_repeated(
    "password-changes",
    lambda c, n: c.post("/auth/password", json={"current_password": "wrong-one", "new_password": PASSWORD}),
)
_repeated("tokens", lambda c, n: _token(c))
_request("token-name", lambda c, n: _token(c, name="n" * n))
_request("token-scopes", lambda c, n: _token(c, scopes=(["read", "trade", "halt", "read"])[:n]))
_request("token-days", lambda c, n: _token(c, expires_in_days=n))
_request("position-size", lambda c, n: _setting(position_size=n)(c))
_request("setting-shares", lambda c, n: _setting(max_order_qty=n)(c))
_request("setting-count", lambda c, n: _setting(max_positions=n)(c))
_request("take-profit", lambda c, n: _setting(take_profit=n)(c))
_request("price-collar", lambda c, n: _setting(price_collar_pct=n)(c))
_request("default-account", lambda c, n: _setting(default_account="a" * n)(c))


@probe("password-queue")
async def _password_queue(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    passwords = probed.app.state.auth._passwords
    found = []
    for count in (limit, limit + 1):
        # Nobody is served before everybody has come: else the first are gone when the last one asks.
        gate = threading.Event()
        held = [passwords._pool.submit(gate.wait) for _ in range(passwords._pool._max_workers)]
        signing_in = [
            asyncio.create_task(_login(probed.owner, f"q{n}@example.com", "wrong", f"9.8.{count}.{n}"))
            for n in range(count)
        ]
        try:
            async with asyncio.timeout(30):
                while passwords._waiting + sum(one.done() for one in signing_in) < count:
                    await asyncio.sleep(0.01)
        finally:
            gate.set()
        found.append({outcome(one) for one in await asyncio.gather(*signing_in)})
        assert all(one.result() for one in held)
    (answered,) = found[0]
    refused = found[1] - found[0]
    return answered, refused.pop() if refused else "not refused"


@probe("sessions")
async def _sessions(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    assert (await probed.owner.post("/api/users", json={
        "email": "many@example.com", "password": PASSWORD, "role": "viewer"})).status_code == 201  # fmt: skip
    first = Client(probed.app.http, None)
    found = []
    for n in range(limit + 1):
        answer = await _login(probed.owner, "many@example.com", PASSWORD, f"9.7.{n}.1")
        assert answer.status_code == 200
        if n == 0:
            first.token = answer.json()["access_token"]
        if n >= limit - 1:
            alive = (await first.get("/auth/me")).status_code == 200
            found.append("all stay" if alive else "the oldest ends")
    return found[0], found[1]
