"""The probes of docs/limits.md that are about telemetry and GitHub's webhook."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from paiid.core.aside import Aside
from paiid.core.leases import Leases
from paiid.core.limits import RateLimiter
from paiid.core.log import Redactor
from paiid.core.shared import SharedThrottle
from paiid.domain.errors import Problem
from paiid.domain.identity import ALL_SCOPES, Principal
from paiid.monitor.service import Incoming, MonitorService
from paiid.monitor.signed import LongBodies
from paiid.monitor.views import MonitorViews
from paiid.system.telemetry import TelemetryService
from paiid.system.telemetry_bodies import EventBody
from tests.fake_clock import FakeClock
from tests.limit_probes import Outcome, Probed, _request, outcome, probe
from tests.monitor_world import PATH, delivery_headers, signature
from tests.world import Client

_USER = Principal("usr_test", "test@example.com", "viewer", "session", "ses_test", ALL_SCOPES)


def _at(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def event(**changes: Any) -> dict[str, Any]:
    """An event that is as it should be."""
    return {"component": "chart", "action": "open", "timestamp": _at(), **changes}


async def _tell(client: Client, *events: dict[str, Any]) -> httpx2.Response:
    return await client.post("/api/telemetry", json={"events": events})


def _nested(depth: int) -> dict[str, Any]:
    return {"a": _nested(depth - 1)} if depth > 1 else {}


async def _outcome(call: Awaitable[object]) -> Outcome:
    try:
        await call
    except Problem as problem:
        return f"{problem.code.status} `{problem.code.slug}`"
    return "200"


_request("telemetry-events", lambda c, n: _tell(c, *[event()] * n))
_request("telemetry-text", lambda c, n: _tell(c, event(component="a" * n)))
_request("telemetry-metadata", lambda c, n: _tell(c, event(metadata={"a": "a" * (n - 8)})))
_request("telemetry-depth", lambda c, n: _tell(c, event(metadata=_nested(n))))
_request("telemetry-ahead", lambda c, n: _tell(c, event(timestamp=_at(minutes=-n))))
_request("telemetry-age", lambda c, n: _tell(c, event(timestamp=_at(days=n, minutes=-1))))
_request("monitor-page", lambda c, n: c.get(f"/api/monitor/repository?limit={n}"))


def _still(probed: Probed) -> tuple[FakeClock, SharedThrottle]:
    """A clock that stands still: a slow machine would refill the bucket."""
    clock = FakeClock()
    return clock, SharedThrottle(RateLimiter(clock))


async def _last_two(limit: int, call: Callable[[], Awaitable[object]]) -> tuple[Outcome, Outcome]:
    found = [await _outcome(call()) for _ in range(limit + 1)]
    assert len(set(found[:limit])) == 1
    return found[limit - 1], found[limit]


@probe("telemetry-user")
async def _telemetry_user(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    clock, throttle = _still(probed)
    db = probed.app.state.db
    service = TelemetryService(db, clock, Leases(db, "rep_test"), Aside(db), throttle, Redactor())
    told = [EventBody(component="a", action="b", timestamp="2027-01-15T08:00:00Z")]
    return await _last_two(limit, lambda: service.take(_USER, told))


@probe("writes-aside")
async def _writes_aside(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    aside = Aside(probed.app.state.db, wait_s=60)
    go_on = asyncio.Event()

    async def write() -> None:
        async with aside.begin():
            await go_on.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        await asyncio.sleep(0)
        waiting = [tasks.create_task(_outcome(write())) for _ in range(limit + 1)]
        await asyncio.sleep(0)
        beyond = await waiting[-1]
        go_on.set()
    return await waiting[0], beyond


@probe("webhook-body")
async def _webhook_body(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    app = probed.app
    app.state.monitor._secret = b"test-webhook-secret-000000"
    found = []
    for size in (limit, limit + 1):
        body = bytes(size)
        headers = delivery_headers(b"", x_hub_signature_256=signature(b"another"))
        found.append(outcome(await app.http.post(PATH, content=body, headers=headers)))
    return found[0], found[1]


@probe("webhook-long")
async def _webhook_long(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with AsyncExitStack() as stack:
        places = LongBodies(wait_s=0.01)
        found = [
            await _outcome(stack.enter_async_context(places.place(f"10.0.0.{n}"))) for n in range(limit + 1)
        ]
    return found[limit - 1], found[limit]


@probe("webhook-waiting")
async def _webhook_waiting(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    places = LongBodies(wait_s=60)
    go_on = asyncio.Event()

    async def hold(number: int) -> None:
        async with places.place(f"10.0.0.{number}"):
            await go_on.wait()

    async with asyncio.TaskGroup() as tasks:
        for number in (200, 201):
            tasks.create_task(hold(number))
        await asyncio.sleep(0)
        waiting = [tasks.create_task(_outcome(hold(number))) for number in range(limit + 1)]
        await asyncio.sleep(0)
        beyond = await waiting[-1]
        go_on.set()
    return await waiting[0], beyond


@probe("webhook-crowd")
async def _webhook_crowd(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    places, go_on = LongBodies(wait_s=60), asyncio.Event()

    async def hold() -> None:
        async with places.place("10.0.0.1"):
            await go_on.wait()

    async with asyncio.TaskGroup() as tasks:
        crowd = [tasks.create_task(_outcome(hold())) for _ in range(limit + 1)]
        beyond = await crowd[-1]
        go_on.set()
    return await crowd[-2], beyond


@probe("monitor-waiting")
async def _monitor_waiting(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    db = probed.app.state.db
    aside = Aside(db)
    views = MonitorViews(db, aside)
    async with asyncio.TaskGroup() as tasks:
        async with aside.heavy:
            # The first is at it, as soon as it may.
            asked = [tasks.create_task(_outcome(views.events("", "", None, 1))) for _ in range(1 + limit + 1)]
            beyond = await asked[-1]
    return await asked[-2], beyond


async def _nothing() -> AsyncIterator[bytes]:
    for part in ():
        yield part


@probe("webhook-address")
async def _webhook_address(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    clock, throttle = _still(probed)
    db = probed.app.state.db
    service = MonitorService(
        db, clock, Leases(db, "rep_test"), Aside(db), throttle, "test-webhook-secret-000000"
    )
    return await _last_two(limit, lambda: service.take(Incoming({}, "10.0.0.1", 0, _nothing())))


@probe("webhook-delivery")
async def _webhook_delivery(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    app = probed.app
    app.state.monitor._secret = b"test-webhook-secret-000000"
    found = []
    for size in (limit, limit + 1):
        headers = delivery_headers(b"{}", x_github_delivery="a" * size)
        found.append(outcome(await app.http.post(PATH, content=b"{}", headers=headers)))
    return found[0], found[1]
