"""What is known of a repository from the events that were told of it: counts, what is open, pushed, checked, deployed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from paiid.core.aside import Aside
from paiid.core.db import Database, Row, Tx
from paiid.core.instants import instant
from paiid.domain.errors import Code, Problem, invalid_field
from paiid.monitor import store

MOST_STANDING = 500
"""Subjects (branches, open numbers, checks, environments) of a repository that are looked at, the newest."""
LATEST = 10
"""Events of a repository's view."""
MOST_WAITING = 16
"""Readers of this that wait for their turn in a process; more are refused."""
_END = (1 << 62, "")
_BAD = frozenset(
    {"failure", "timed_out", "cancelled", "action_required", "startup_failure", "stale", "error"}
)
_GOOD = frozenset({"success", "neutral", "skipped"})


class MonitorViews:
    """Reads only, and one at a time: thousands of events are looked at, and orders need the database's readers too."""

    def __init__(self, db: Database, aside: Aside) -> None:
        self._db = db
        self._heavy = aside.heavy
        self._turn = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[Tx]:
        if self._waiting >= MOST_WAITING:
            raise Problem(Code.OVERLOADED, "Too many look at this at once; try again in a moment.")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            async with self._heavy, self._db.read() as tx:
                yield tx
        finally:
            self._turn.release()

    async def repositories(
        self, wanted: str | None, after: str, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Repositories by name, or the one that is wanted, and where the next page goes on. Raises Problem (503),
        DatabaseUnavailable."""
        async with self._read() as tx:
            if wanted is None:
                names = await store.list_repositories(tx, after, limit + 1)
            else:
                names = [wanted]
            shown = []
            for name in names[:limit]:
                counts = await store.list_counts(tx, name)
                if counts:
                    standing = await store.list_standing(tx, name, MOST_STANDING)
                    latest = await store.list_events(tx, name, "", _END, LATEST)
                    shown.append(_repository(name, counts, standing, latest))
        return shown, names[limit - 1] if len(names) > limit else None

    async def events(
        self, repository: str, event: str, after: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Events by GitHub's own time, newest first. Raises Problem (422 for no `next` of ours, 503),
        DatabaseUnavailable."""
        async with self._read() as tx:
            found = await store.list_events(tx, repository, event, _place(after), limit + 1)
        shown = found[:limit]
        last = shown[-1] if len(found) > limit else None
        return [_event(row) for row in shown], None if last is None else f"{last['occurred_at']}.{last['id']}"


def _place(after: str | None) -> tuple[int, str]:
    if after is None:
        return _END
    at, _, id = after.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) <= 18):
        raise invalid_field("after", "cursor", "send `next` of the page before, as it is")
    return int(at), id


def _event(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "event": row["event"],
        "action": row["action"],
        "repository": row["repository"],
        "subject": row["subject"],
        "title": row["title"],
        "state": row["state"],
        "sender": row["sender"],
        "url": row["url"],
        "detail": msgspec.json.decode(row["detail"]),
        "occurred_at": instant(row["occurred_at"]),
        "received_at": instant(row["received_at"]),
    }


def _repository(
    name: str, counts: Sequence[Row], standing: Sequence[Row], latest: Sequence[Row]
) -> dict[str, Any]:
    seen = [_event(row) for row in standing]
    return {
        "repository": name,
        "total_events": sum(row["total"] for row in counts),
        "counts": {row["event"]: row["total"] for row in counts},
        "latest_at": instant(max(row["latest_at"] for row in counts)),
        "last_push": next((one for one in seen if one["event"] == "push"), None),
        "open_pull_requests": _open(seen, "pull_request"),
        "open_issues": _open(seen, "issues"),
        "checks": _checks(seen),
        "latest_deployment": next(
            (one for one in seen if one["event"] in ("deployment", "deployment_status")), None
        ),
        "truncated": len(standing) == MOST_STANDING,
        "latest_events": [_event(row) for row in latest],
    }


def _open(seen: Sequence[dict[str, Any]], event: str) -> dict[str, Any]:
    """Those of which the last that was told is that they are open."""
    numbers = sorted(int(one["subject"]) for one in seen if one["event"] == event)
    return {"count": len(numbers), "numbers": numbers}


def _checks(seen: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The checks of the commit of which the newest was told. One that is missing has not been told of that commit."""
    told = [one for one in seen if one["event"] in ("check_run", "check_suite")]
    if not told:
        return None
    commit = told[0]["detail"].get("commit")
    checks = [one for one in told if one["detail"].get("commit") == commit]
    # A suite is the sum of its runs, and comes after them.
    runs = [one for one in checks if one["event"] == "check_run"] or checks
    states = {one["state"] for one in runs}
    state = "failure" if states & _BAD else "success" if states <= _GOOD else "pending"
    return {
        "state": state,
        "commit": commit,
        "runs": [{"name": one["subject"], "state": one["state"], "url": one["url"]} for one in runs],
    }
