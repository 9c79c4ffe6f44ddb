"""Telemetry of user interfaces: who sent it, what is refused whole, what is hidden, and how it goes again."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from paiid.core.aside import Aside
from paiid.core.db import Database, Tx, make_database, statement
from paiid.core.leases import Leases
from paiid.core.limits import RateLimiter
from paiid.core.log import Redactor
from paiid.core.shared import SharedThrottle
from paiid.core.tables import audit, telemetry_events
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import ALL_SCOPES, Principal
from paiid.system.telemetry import KEPT_US, TelemetryService
from paiid.system.telemetry_bodies import EventBody
from tests.conftest import MakeApp
from tests.fake_clock import FakeClock
from tests.world import App, Client

_ROWS = statement(select(telemetry_events).order_by(telemetry_events.c.id))
_AUDIT = statement(select(audit).where(audit.c.action == "telemetry.delete"))
_SOMEBODY = Principal("usr_test", "test@example.com", "trader", "session", "ses_test", ALL_SCOPES)
URL = "/api/telemetry"


def at(**ago: float) -> str:
    """An instant so long ago."""
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def event(**changes: Any) -> dict[str, Any]:
    """One that is as it should be."""
    return {"component": "chart", "action": "open", "timestamp": at(), **changes}


async def tell(client: Client, *events: dict[str, Any]) -> None:
    """Taken, all of them."""
    answer = await client.post(URL, json={"events": events})
    assert (answer.status_code, answer.json()) == (200, {"stored": len(events)}), answer.text


async def rows(db: Database) -> list[dict[str, Any]]:
    """What is kept."""
    async with db.read() as tx:
        return [dict(row) for row in await tx.fetch(_ROWS)]


async def test_events_are_their_senders_whatever_they_say_and_the_owner_reads_counts_exports_and_deletes_them(
    app: App,
) -> None:
    owner, trader = await app.owner(), await app.user("trader")
    trader_id = (await trader.get("/auth/me")).json()["id"]
    owner_id = (await owner.get("/auth/me")).json()["id"]
    forged = event(userId=owner_id, userRole="owner", sessionId="s-1", action="=cmd|' /C calc'!A0")
    await tell(trader, forged, event(userId=trader_id, userRole="trader", component="order ticket"))
    await tell(owner, event(timestamp=at(days=2), metadata={"n": 1.50, "deep": [{"x": None}]}))
    assert app.state.telemetry.misnamed == 1
    assert app.state.telemetry.figures.of("taken") == 3

    for path in ("/events", "/stats", "/export"):
        assert (await trader.get(URL + path)).status_code == 403
    first = (await owner.get(f"{URL}/events?limit=2")).json()
    last = (await owner.get(f"{URL}/events?limit=2&after={first['next']}")).json()
    assert last["next"] is None
    shown = first["data"] + last["data"]
    assert [(one["userId"], one["userRole"]) for one in shown] == [
        (owner_id, "owner"), (trader_id, "trader"), (trader_id, "trader"),
    ]  # fmt: skip
    assert shown[0]["metadata"] == {"n": 1.5, "deep": [{"x": None}]}
    assert [one["component"] for one in shown[1:]] == ["order ticket", "chart"], "in the order of the request"
    for query, found in (
        ("component=chart", 2),
        ("component=chart&user=" + trader_id, 1),
        ("action=open", 2),
        ("since=" + at(days=1).replace("+", "%2B"), 2),
        ("until=" + at(days=1).replace("+", "%2B"), 1),
        ("component=nothing", 0),
    ):
        assert len((await owner.get(f"{URL}/events?{query}")).json()["data"]) == found, query

    stats = (await owner.get(f"{URL}/stats")).json()
    assert (stats["total"], stats["misnamed_since_start"]) == (3, 1)
    assert stats["by_component"] == [
        {"component": "chart", "events": 2}, {"component": "order ticket", "events": 1}
    ]  # fmt: skip
    assert {one["user"]: one["events"] for one in stats["by_user"]} == {trader_id: 2, owner_id: 1}
    assert {one["day"]: one["events"] for one in stats["by_day"]} == {at()[:10]: 2, at(days=2)[:10]: 1}
    assert stats["other_by_action"] == 0

    export = await owner.get(f"{URL}/export?component=chart")
    assert export.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in export.text.splitlines()]
    assert [one["action"] for one in lines] == ["=cmd|' /C calc'!A0", "open"], "oldest first"
    assert (await owner.get(f"{URL}/export?component=nothing")).text == ""

    for query in ("", "?all=false", "?all=true&before=2027-01-01T00:00:00Z", "?before=yesterday"):
        assert (await owner.delete(f"{URL}/events{query}")).status_code == 422
    before = at(days=1).replace("+00:00", "Z")
    assert (await owner.delete(f"{URL}/events?before={before}")).json() == {"deleted": 1}
    assert (await owner.delete(f"{URL}/events?all=true")).json() == {"deleted": 2}
    assert (await owner.delete(f"{URL}/events?all=true")).json() == {"deleted": 0}
    async with app.state.db.read() as tx:
        told = [json.loads(row["detail"])["events"] for row in await tx.fetch(_AUDIT)]
    assert sorted(told) == [0, 1, 2]


@pytest.fixture
def clock() -> FakeClock:
    """The database's, and everybody's."""
    return FakeClock()


@pytest.fixture
async def small(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Database]:
    """A database without an app."""
    db = make_database(sqlite_url, clock)
    await db.start()
    yield db
    await db.stop()


class TestRefused:
    """Over one kind of database: what is refused here is refused before it is asked."""

    @pytest.fixture
    def db_url(self, sqlite_url: str) -> str:
        """SQLite."""
        return sqlite_url

    async def test_one_bad_event_refuses_all_by_the_path_of_its_field_and_nothing_is_kept(
        self, app: App
    ) -> None:
        trader = await app.user("trader")
        for changes, field, code in (
            ({"timestamp": "yesterday"}, "timestamp", "instant"),
            ({"timestamp": "2026-11-27T14:30:00"}, "timestamp", "instant"),
            ({"timestamp": "2026-02-30T14:30:00Z"}, "timestamp", "instant"),
            ({"timestamp": at(minutes=-9)}, "timestamp", "future"),
            ({"timestamp": "9999-12-31T23:59:59-23:59"}, "timestamp", "future"),
            ({"timestamp": at(days=31)}, "timestamp", "past"),
            ({"timestamp": 1_800_000_000}, "timestamp", "string_type"),
            ({"component": ""}, "component", "string_too_short"),
            ({"component": "a\x1b[2Jb"}, "component", "characters"),
            ({"action": "a\u202eb"}, "action", "characters"),
            ({"action": None}, "action", "string_type"),
            ({"userId": {"a": 1}}, "userId", "string_type"),
            ({"role": "owner"}, "role", "unknown_field"),
            ({"metadata": []}, "metadata", "dict_type"),
            ({"metadata": {"a": "é" * 2048}}, "metadata", "too_large"),
            ({"metadata": {"a": [[[[[[]]]]]]}}, "metadata", "too_deep"),
        ):  # fmt: skip
            answer = await trader.post(URL, json={"events": [event(), event(**changes)]})
            assert answer.status_code == 422, changes
            (error,) = answer.json()["errors"]
            assert (error["field"], error["code"]) == (f"events.1.{field}", code), changes
        good = json.dumps(event())
        for body in (
            b"",
            b"[]",
            b'{"events":[]}',
            b'{"events":[' + good.encode().replace(b"open", b"\xff\xfe") + b"]}",
            b'{"events":[' + good.encode().replace(b"open", b"\\u0000") + b"]}",
            b'{"events":[' + good.encode().replace(b"open", b"\\ud800") + b"]}",
            b'{"events":[' + good.encode()[:-1] + b',"metadata":{"n":1e999999}}]}',
            b'{"events":[' + good.encode()[:-1] + b',"metadata":{"n":' + b"9" * 400 + b"}}]}",
            b'{"events":[' + good.encode()[:-1] + b',"metadata":{"a":1,"a":2}}]}',
            b'{"events":' + b"[" * 9000 + b"]" * 9000 + b"}",
        ):
            answer = await trader.post(URL, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422), (body[:60], answer.text)
        assert await rows(app.state.db) == []

    async def test_what_looks_like_a_secret_is_hidden_before_it_is_kept(self, make_app: MakeApp) -> None:
        app = await make_app({"github_webhook_secret": "test-secret-of-the-hook"})
        trader = await app.user("trader")
        told = {
            "password": "hunter22",
            "nested": [{"apiKey": "abc", "note": f"Bearer {trader.token}"}],
            "said": "it was test-secret-of-the-hook",
            "amount": 1.25,
        }
        made = await trader.post("/auth/tokens", json={"name": "bot", "scopes": ["read"]})
        token = made.json()["token"]
        await tell(trader, event(metadata=told, sessionId=token))
        (row,) = await rows(app.state.db)
        assert json.loads(row["metadata"]) == {
            "password": "[hidden]",
            "nested": [{"apiKey": "[hidden]", "note": "[hidden]"}],
            "said": "it was [hidden]",
            "amount": 1.25,
        }
        assert row["session_id"] == "[hidden]"

    async def test_a_busy_database_sheds_telemetry_and_counts_it(self, make_app: MakeApp) -> None:
        app = await make_app()
        service: TelemetryService = app.state.telemetry
        service._aside = Aside(app.state.db, wait_s=0.01)
        trader = await app.user("trader")
        async with service._aside.begin():
            answer = await trader.post(URL, json={"events": [event(), event()]})
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:paiid:problem:overloaded"
        assert service.figures.of("dropped") == 2
        await tell(trader, event())


async def test_of_many_writes_aside_one_alone_is_at_the_database() -> None:
    now = most = 0

    class Counting:
        @asynccontextmanager
        async def begin(self) -> AsyncIterator[Tx]:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            yield None  # type: ignore[misc]
            now -= 1

    aside = Aside(Counting())  # type: ignore[arg-type]

    async def write(*, fails: bool) -> None:
        async with aside.begin():
            await asyncio.sleep(0)
            if fails:
                raise Problem(Code.CONFLICT, "no")

    await asyncio.gather(*[write(fails=False) for _ in range(20)])
    assert most == 1


async def test_what_is_old_and_what_is_too_much_goes_and_one_replica_does_it(
    small: Database, clock: FakeClock
) -> None:
    def replica(name: str) -> TelemetryService:
        throttle = SharedThrottle(RateLimiter(clock))
        return TelemetryService(
            small, clock, Leases(small, name), Aside(small), throttle, Redactor(), most_kept=250
        )

    def events(count: int) -> list[EventBody]:
        now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC).isoformat()
        return [EventBody(component="c", action=f"a{n}", timestamp=now) for n in range(count)]

    one, other = replica("rep_one"), replica("rep_other")
    await one.take(_SOMEBODY, events(3))
    clock.advance(KEPT_US / 1e6 + 1)
    await one.take(_SOMEBODY, events(2))
    assert await one.pruning.once() == 3
    assert await other.pruning.once() is None
    for _ in range(5):
        clock.advance(60)
        await one.take(_SOMEBODY, events(100))
    assert await one.prune() == 252
    left = await rows(small)
    assert len(left) == 250
    assert left[-1]["action"] == "a99", "the newest are left"
