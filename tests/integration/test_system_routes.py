"""Health tells the truth and no more than it should; the API describes itself whole."""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from sqlalchemy import bindparam, update

from paiid import __version__
from paiid.app import create_app
from paiid.brokers import BrokerAccount, BrokerError
from paiid.core.accounting import Accounting
from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.tables import accounts
from paiid.system.checks import Told, Watch
from paiid.system.health import Health
from paiid.system.probes import broker_probe
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import QUICK
from tests.rows import every_row
from tests.world import App, make_settings

_PROBLEM = statement(
    update(accounts).where(accounts.c.broker == bindparam("b_broker")), columns=["reconcile_problem"]
)
PROMISED = {"database", "redis", "streaming", "broker", "ai"}
CHECKS = PROMISED | {
    "clock", "migrations", "disk", "reconcile", "event_loop", "background", "replicas", "restore",
}  # fmt: skip


class MoodyBroker(FakeBroker):
    """A broker that can be away, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked = 0

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        self.asked += 1
        if self.away:
            raise BrokerError("gone for lunch at 10.1.2.3")
        return await super().fetch_account(account_number, timeout_s)


async def checks(app: App) -> dict[str, str]:
    """The status of each dependency as anybody may see it, after a fresh round."""
    await app.state.health.probe()
    answer = await app.anonymous.get("/api/health/ready/full")
    assert answer.status_code == 200
    return {"all": answer.json()["status"]} | {
        name: check["status"] for name, check in answer.json()["checks"].items()
    }


# -- for load balancers -------------------------------------------------------------------------------


async def test_health_tells_nothing_that_helps_an_attacker(app: App) -> None:
    found = (await app.anonymous.get("/api/health")).json()
    assert set(found) == {"status", "time"}
    assert found["status"] == "ok"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["time"])
    assert (await app.anonymous.get("/api/health/liveness")).json() == {"alive": True}
    for path in ("", "/liveness", "/ready", "/readiness", "/ready/full"):
        text = (await app.anonymous.get(f"/api/health{path}")).text
        for word in (__version__, "127.0.0.1", "localhost", "sqlite3", str(app.settings.data_dir)):
            assert word not in text, path


async def is_ready(app: App) -> None:
    """Wait until it is: a moment after the start it looks for orders of an earlier run."""
    async with asyncio.timeout(15):
        while (await app.anonymous.get("/api/health/ready")).status_code != 200:
            await asyncio.sleep(0.02)


async def test_a_service_that_stands_is_ready_under_both_addresses(app: App) -> None:
    await is_ready(app)
    for path in ("/api/health/ready", "/api/health/readiness"):
        answer = await app.anonymous.get(path)
        assert (answer.status_code, answer.json()) == (200, {"ready": True})


async def test_before_the_start_health_answers_and_readiness_says_why_not(
    db_url: str, tmp_path: Path
) -> None:
    settings = make_settings(db_url, tmp_path)
    async with App(create_app(settings), settings) as app:
        for path in ("/api/health", "/api/health/liveness"):
            assert (await app.anonymous.get(path)).status_code == 200
        answer = await app.anonymous.get("/api/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reason": "the service is starting"}
        assert (await app.anonymous.get("/api/health/ready/full")).status_code == 503


async def test_E13_a_gate_that_closes_or_opens_is_seen_at_the_next_question(
    db: Database, clock: SystemClock
) -> None:
    gates: list[str | None] = ["orders of an earlier run are being looked at"]
    health = Health(db, clock, Accounting(clock), probes={}, gates={"trading": lambda: gates[0]}, details={})
    assert health.reason == "the first checks are still running"
    await health.probe()
    assert health.reason == gates[0]
    assert health.full()["status"] == "degraded"
    gates[0] = None
    assert health.reason is None
    assert health.full()["status"] == "up"


async def test_without_a_database_we_live_but_are_not_ready(app: App) -> None:
    await app.state.db.stop()
    await app.state.health.probe()
    for path in ("/api/health", "/api/health/liveness"):
        assert (await app.anonymous.get(path)).status_code == 200
    answer = await app.anonymous.get("/api/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reason": "the database cannot be reached"}
    found = await checks(app)
    assert (found["all"], found["database"]) == ("down", "down")


# -- dependencies -------------------------------------------------------------------------------------


async def test_every_dependency_is_told_and_one_that_is_not_configured_is_not_down(app: App) -> None:
    await market_data_come(app)
    # A busy machine may be late; all else is as it should be.
    expected = dict.fromkeys(CHECKS - {"event_loop"}, "up") | dict.fromkeys(("redis", "ai"), "unconfigured")
    told: dict[str, str] = {}
    end_s = time.monotonic() + 15
    # One that had no answer within two seconds is asked again.
    while told != expected and time.monotonic() < end_s:
        await app.state.health.probe()
        answer = (await app.anonymous.get("/api/health/ready/full")).json()
        told = {name: check["status"] for name, check in answer["checks"].items() if name != "event_loop"}
    assert told == expected
    assert set(answer) == {"status", "checks", "time"}
    assert set(answer["checks"]) == CHECKS
    for check in answer["checks"].values():
        assert set(check) == {"status", "latency_ms", "detail"}
    assert answer["checks"]["database"]["latency_ms"] >= 0
    assert answer["checks"]["redis"]["latency_ms"] is None
    assert answer["checks"]["broker"]["detail"] == "paper"


async def market_data_come(app: App) -> None:
    """Wait until they do: a moment after the start they are starting."""
    async with asyncio.timeout(10):
        while app.state.upstream.state.status != "up":
            await asyncio.sleep(0.01)


async def test_a_broker_that_is_away_degrades_us_and_stops_nobody_and_its_words_stay_inside(
    make_app: MakeApp,
) -> None:
    broker = MoodyBroker()
    app = await make_app(broker=broker, timings=QUICK)
    await market_data_come(app)
    await is_ready(app)
    assert (await checks(app))["broker"] == "up"
    asked = 0
    ask = broker_probe(app.state.db, broker)

    async def counting() -> Told | str:
        nonlocal asked
        asked += 1
        return await ask()

    # The probe's own questions: the accounts of the environment are looked for as well.
    app.state.health.register("broker", Watch(counting, 30.0))
    for _ in range(5):
        await app.state.health.probe()
    assert asked <= 1, "while it is up it is asked twice a minute"
    broker.away = True
    app.state.health.register("broker", Watch(counting))
    found = await checks(app)
    assert (found["all"], found["broker"]) == ("degraded", "down")
    assert "10.1.2.3" not in (await app.anonymous.get("/api/health/ready/full")).text
    assert (await app.anonymous.get("/api/health/ready")).status_code == 200
    broker.away = False
    assert (await checks(app))["broker"] == "up"


# -- for the operator ---------------------------------------------------------------------------------


async def test_the_details_are_for_those_who_are_signed_in(app: App) -> None:
    answer = await app.anonymous.get("/api/health/detailed")
    assert answer.status_code == 401
    assert answer.json()["type"].endswith("unauthenticated")
    viewer = await app.user("viewer")
    assert (await viewer.get("/api/health/detailed")).status_code == 200


async def test_the_details_have_load_dependencies_and_how_the_books_stand(app: App) -> None:
    await market_data_come(app)
    # Every check has been asked: the first round may still be under way.
    await app.state.health.probe()
    owner = await app.owner()
    for _ in range(3):
        await owner.get("/api/nowhere")
    found = (await owner.get("/api/health/detailed")).json()
    assert found["version"] == __version__
    assert found["uptime_seconds"] >= 0
    assert found["build"]["database"] == app.state.db.dialect
    assert set(found["system"]) >= {"cpu_percent", "memory_percent", "memory_used_mb", "threads"}
    assert 0 < found["system"]["memory_percent"] < 100
    assert found["system"]["memory_used_mb"] > 1
    load = found["application"]
    assert set(load) >= {
        "total_requests", "total_errors", "error_rate_percent", "avg_response_time_ms",
        "p99_response_time_ms", "requests_per_minute", "in_flight",
    }  # fmt: skip
    assert load["total_requests"] >= 5
    assert load["total_errors"] == 0, "a 404 is no error of ours"
    assert load["in_flight"] == 1
    assert load["p99_response_time_ms"] >= load["p50_response_time_ms"] > 0
    assert set(found["dependencies"]) == CHECKS
    assert found["broker"] == {"name": "paper", "budget_left": None, "streams": None}
    data = found["market_data"]
    assert (data["source"], data["delayed"], data["status"], data["leads"]) == (
        "simulated",
        False,
        "up",
        True,
    )
    assert found["reconcile"]["accounts"] == 1
    assert (found["reconcile"]["state"], found["reconcile"]["problems"]) == ("agrees", 0)


async def test_books_that_differ_from_the_brokers_are_told(app: App) -> None:
    owner = await app.owner()
    async with app.state.db.begin() as tx:
        await tx.execute(_PROBLEM, {"b_broker": "paper", "reconcile_problem": "order.unknown: one too many"})
    found = (await owner.get("/api/health/detailed")).json()["reconcile"]
    assert (found["state"], found["problems"]) == ("differs", 1)


# -- every answer -------------------------------------------------------------------------------------


_ANSWERS: list[tuple[str, str, int]] = [
    ("GET", "/api/health", 200),
    ("GET", "/api/account", 401),
    ("GET", "/api/nowhere", 404),
    ("PUT", "/api/health", 405),
    ("POST", "/auth/login", 422),
    ("OPTIONS", "/api/health", 405),
]


async def test_every_answer_carries_the_callers_request_id_or_ours(app: App) -> None:
    with every_row() as row:
        for method, path, status in _ANSWERS:
            with row(method, path):
                given = await app.anonymous.request(method, path, headers={"x-request-id": "mine-1"})
                assert (given.status_code, given.headers["x-request-id"]) == (status, "mine-1")
                if status >= 400:
                    assert given.json()["request_id"] == "mine-1"
                ours = {
                    (await app.anonymous.request(method, path, headers=headers)).headers["x-request-id"]
                    for headers in ({}, {"x-request-id": "not sane"}, {"x-request-id": ""})
                }
                assert len(ours) == 3
                assert all(re.fullmatch("[0-9a-f]{24}", one) for one in ours)


# -- the description ----------------------------------------------------------------------------------


def routes_of(app: App) -> Iterator[APIRoute]:
    """Every route that a caller is told of."""
    waiting: list[Any] = list(app.application.routes)
    while waiting:
        route = waiting.pop()
        if isinstance(route, APIRoute):
            if route.include_in_schema:
                yield route
        else:
            waiting += getattr(route, "routes", None) or []


async def test_the_description_has_every_route_with_a_summary_its_errors_and_who_may(app: App) -> None:
    described = (await app.anonymous.get("/api/openapi.json")).json()
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) >= 45
    for (method, path), operation in operations.items():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["tags"], where
        assert operation["responses"]["default"]["content"] == problem, where
        assert "422" not in operation["responses"], f"{where}: FastAPI's own shape is not ours"
        # A webhook is signed, not signed in.
        public = (
            path in {"/auth/login", "/auth/refresh"}
            or path.endswith("/webhook")
            or (path.startswith("/api/health") and not path.endswith("detailed"))
        )
        assert ("security" not in operation) is public, where
    assert described["info"]["version"] == __version__
    text = str(described)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in described["components"]["schemas"], name


async def test_no_route_is_missing_from_the_description(app: App) -> None:
    described = (await app.anonymous.get("/api/openapi.json")).json()["paths"]
    named = {(method, route.path) for route in routes_of(app) for method in route.methods}
    missing = [
        f"{method} {path}"
        for method, path in named
        if method.lower() not in described.get(path, {}) and not path.startswith("/{")
    ]
    assert missing == []


async def test_the_page_needs_nothing_from_anywhere_else(app: App) -> None:
    page = await app.anonymous.get("/api/docs")
    script = await app.anonymous.get("/api/docs.js")
    assert (page.status_code, script.status_code) == (200, 200)
    assert page.headers["content-type"].startswith("text/html")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "//" not in page.text.replace("<!doctype", "")
    assert "http" not in page.text + script.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "innerHTML" not in script.text, "a description is shown as text, never as markup"
