"""The view of a repository: what is open, pushed, checked and deployed, in GitHub's own order whenever it was told."""

import json
from typing import Any

import pytest

from paiid.core.aside import Aside
from paiid.core.db import make_database
from paiid.core.leases import Leases
from paiid.core.limits import RateLimiter
from paiid.core.shared import SharedThrottle
from paiid.monitor.service import DAY_US, DELIVERIES_US, KEPT_US, Incoming, MonitorService
from paiid.monitor.views import MonitorViews
from tests.conftest import MakeApp
from tests.fake_clock import FakeClock
from tests.monitor_world import REPOSITORY, SECRET, check, deliver, delivery_headers, deployed, numbered, push
from tests.world import App

_AT_S = 1_780_000_000


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    """With the secret."""
    return await make_app({"github_webhook_secret": SECRET})


def at(second: int) -> str:
    """An instant of one minute."""
    return f"2026-06-01T10:00:{second:02}Z"


async def test_late_deliveries_stand_where_they_belong_in_the_view_and_in_the_list(app: App) -> None:
    for event, told in (
        ("push", push(_AT_S + 9)),
        ("push", push(_AT_S + 3)),
        ("pull_request", numbered("pull_request", 1, "open", at(1), action="opened")),
        ("pull_request", numbered("pull_request", 2, "closed", at(9), merged=True, action="closed")),
        ("pull_request", numbered("pull_request", 2, "open", at(2), action="opened")),
        ("issues", numbered("issue", 3, "open", at(3), action="opened")),
        ("issues", numbered("issue", 4, "open", at(4), action="deleted")),
        ("check_run", check("lint", "b" * 40, at(8), "success")),
        ("check_run", check("test", "b" * 40, at(7), None)),
        ("check_run", check("test", "a" * 40, at(6), "failure")),
        ("deployment_status", deployed("production", at(9), "success")),
        ("deployment", deployed("production", at(5), None)),
        ("star", {"repository": {"full_name": REPOSITORY}}),
    ):
        answer = await deliver(app.anonymous, event, told)
        assert answer.status_code == 200, answer.text

    viewer = await app.user("viewer")
    assert (await app.anonymous.get("/api/monitor/repository")).status_code == 401
    answer = (await viewer.get("/api/monitor/repository")).json()
    assert answer["next"] is None
    (seen,) = answer["data"]
    assert seen["repository"] == REPOSITORY
    assert seen["counts"] == {
        "check_run": 3, "deployment": 1, "deployment_status": 1, "issues": 2, "pull_request": 3, "push": 2, "star": 1,
    }  # fmt: skip
    assert seen["total_events"] == 13
    assert seen["last_push"]["detail"] == {"commit": f"{_AT_S + 9:040x}"}
    assert (seen["last_push"]["subject"], seen["last_push"]["title"]) == ("main", "Mend it and more")
    assert seen["open_pull_requests"] == {"count": 1, "numbers": [1]}
    assert seen["open_issues"] == {"count": 1, "numbers": [3]}
    assert seen["checks"]["commit"] == "b" * 40
    assert seen["checks"]["state"] == "pending"
    assert {one["name"]: one["state"] for one in seen["checks"]["runs"]} == {
        "lint": "success", "test": "in_progress"
    }  # fmt: skip
    assert (seen["latest_deployment"]["event"], seen["latest_deployment"]["state"]) == (
        "deployment_status", "success",
    )  # fmt: skip
    assert seen["truncated"] is False
    assert len(seen["latest_events"]) == 10

    await deliver(app.anonymous, "check_run", check("test", "b" * 40, at(20), "timed_out"))
    (seen,) = (await viewer.get(f"/api/monitor/repository?repository={REPOSITORY}")).json()["data"]
    assert seen["checks"]["state"] == "failure"
    assert (await viewer.get("/api/monitor/repository?repository=no/body")).json()["data"] == []

    await deliver(app.anonymous, "push", {**push(_AT_S), "repository": {"full_name": "octo/other"}})
    first = (await viewer.get("/api/monitor/repository?limit=1")).json()
    second = (await viewer.get(f"/api/monitor/repository?limit=1&after={first['next']}")).json()
    assert [one["repository"] for one in first["data"] + second["data"]] == ["octo/other", REPOSITORY]
    assert second["next"] is None

    listed: list[dict[str, Any]] = []
    after = ""
    while True:
        page = (await viewer.get(f"/api/monitor/events?repository={REPOSITORY}&limit=5{after}")).json()
        listed += page["data"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len({one["id"] for one in listed}) == len(listed) == 13
    assert [one["occurred_at"] for one in listed] == sorted(
        [one["occurred_at"] for one in listed], reverse=True
    )
    only = (await viewer.get("/api/monitor/events?event=issues")).json()["data"]
    assert [(one["subject"], one["state"]) for one in only] == [("4", "deleted"), ("3", "open")]
    for query in ("after=x", "after=9.9.9%00", "event=star", "repository=a", f"repository=a/{'b' * 200}"):
        assert (await viewer.get(f"/api/monitor/events?{query}")).status_code in (400, 422), query


async def test_old_events_go_their_counts_stay_and_their_deliveries_are_known_longer(sqlite_url: str) -> None:
    clock = FakeClock()
    db = make_database(sqlite_url, clock)
    await db.start()
    throttle = SharedThrottle(RateLimiter(clock))
    service = MonitorService(db, clock, Leases(db, "rep_test"), Aside(db), throttle, SECRET, most_kept=3)

    async def take(number: int) -> str:
        body = json.dumps(push(_AT_S + number)).encode()

        async def chunks() -> Any:
            yield body

        headers = delivery_headers(body, x_github_delivery=f"00000000-{number}")
        try:
            await service.take(
                Incoming({n: [v] for n, v in headers.items()}, "10.0.0.1", len(body), chunks())
            )
        except Exception as problem:
            return str(problem)
        return "taken"

    try:
        assert [await take(n) for n in range(2)] == ["taken"] * 2
        clock.advance(KEPT_US / 1e6 + 1)
        assert [await take(n) for n in range(2, 7)] == ["taken"] * 5
        assert await service.pruning.once() == 4, "two are old, two are too many"
        assert "delivery-taken" in await take(0)
        (seen,) = (await MonitorViews(db, Aside(db)).repositories(None, "", 10))[0]
        assert seen["counts"] == {"push": 7}
        assert [one["detail"]["commit"] for one in seen["latest_events"]] == [
            f"{_AT_S + n:040x}" for n in (6, 5, 4)
        ]
        assert DELIVERIES_US > KEPT_US > DAY_US
        clock.advance((DELIVERIES_US - KEPT_US) / 1e6)
        assert await service.prune() == 3 + 4, "the last events, and both names of the first deliveries"
        assert await take(0) == "taken"
    finally:
        await db.stop()
