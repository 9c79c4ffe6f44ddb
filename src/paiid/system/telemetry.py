"""Telemetry of user interfaces: taken in bounded batches, kept for a while, read and deleted by the owner alone."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from paiid.core.aside import Aside
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, DatabaseUnavailable, Row
from paiid.core.figures import Tally
from paiid.core.instants import instant, parse_instant
from paiid.core.json import encode
from paiid.core.leases import Leases
from paiid.core.log import Redactor
from paiid.core.pruning import Pruning
from paiid.core.shared import SharedThrottle
from paiid.domain.errors import Problem, invalid_field
from paiid.domain.identity import Principal
from paiid.system import telemetry_store as store
from paiid.system.telemetry_bodies import EventBody
from paiid.system.telemetry_store import DAY_US, Counted, Filter

__all__ = ["Filter", "TelemetryService"]

PER_USER = (60, 60)
"""Requests a minute of a user, and size of the bucket."""
KEPT_EVENTS = 100_000
"""Events that are kept; the oldest go first."""
KEPT_US = 30 * DAY_US
"""How long they are kept."""
AHEAD_US = 300_000_000
"""How far ahead of us a client's clock may be; up to there an event counts as of now."""
MOST_VALUES = 100
"""Values of one statistic; the rest is one number."""
_AT_ONCE = 200
_PAGE = 500
_PAUSE_S = 0.05
_BY: tuple[Counted, ...] = ("component", "action", "user", "day")


class TelemetryService:
    """`figures` counts events by what became of them."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        leases: Leases,
        aside: Aside,
        throttle: SharedThrottle,
        redactor: Redactor,
        most_kept: int = KEPT_EVENTS,
    ) -> None:
        self._most_kept = most_kept
        self._db = db
        self._clock = clock
        self._aside = aside
        self._throttle = throttle
        self._redactor = redactor
        self.pruning = Pruning(clock, leases, "telemetry-prune", self.prune)
        self.figures = Tally("result")
        self.misnamed = 0
        """Events that said they were somebody else's than their sender's."""

    # -- taking ---------------------------------------------------------------------------------------

    async def take(self, user: Principal, events: Sequence[EventBody]) -> int:
        """Keep them all, as of this user, or none; how many. Raises Problem (422, 429, 503), DatabaseUnavailable."""
        per_minute, burst = PER_USER
        try:
            await self._throttle.take("telemetry_user", user.user_id, per_minute, burst)
            now_us = self._clock.now_us()
            # One id a request and a number in it: they sort as they were sent.
            first = new_id(self._clock, "tel")
            rows = [
                self._row(f"{first}{number:02}", user, event, number, now_us)
                for number, event in enumerate(events)
            ]
        except Problem:
            self.figures.add("refused", n=len(events))
            raise
        try:
            async with self._aside.begin() as tx:
                await store.add_events(tx, rows)
        except (Problem, DatabaseUnavailable):
            self.figures.add("dropped", n=len(events))
            raise
        self.figures.add("taken", n=len(rows))
        self.misnamed += sum(_is_misnamed(user, event) for event in events)
        return len(rows)

    def _row(self, id: str, user: Principal, event: EventBody, number: int, now_us: int) -> dict[str, Any]:
        return {
            "id": id,
            "user_id": user.user_id,
            "user_role": user.role,
            "session_id": self._clean(event.sessionId),
            "component": self._clean(event.component),
            "action": self._clean(event.action),
            "occurred_at": _occurred(event.timestamp, number, now_us),
            "received_at": now_us,
            "metadata": encode(self._clean(event.metadata)).decode(),
        }

    def _clean(self, value: Any) -> Any:
        return self._redactor.clean(value)

    # -- reading --------------------------------------------------------------------------------------

    async def page(self, wanted: Filter, after: str, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Events, those told last first, and where the next page goes on. Raises DatabaseUnavailable."""
        # A filter that nothing matches looks at all there is.
        async with self._aside.heavy, self._db.read() as tx:
            found = await store.list_newest(tx, wanted, after, limit + 1)
        shown = found[:limit]
        return [_view(row) for row in shown], shown[-1]["id"] if len(found) > limit else None

    async def stats(self, wanted: Filter) -> dict[str, Any]:
        """Counts by component, action, user and day. Raises DatabaseUnavailable."""
        async with self._aside.heavy, self._db.read() as tx:
            total = await store.count_events(tx, wanted)
            found = {by: await store.count_by(tx, wanted, by, MOST_VALUES) for by in _BY}
        told: dict[str, Any] = {"total": total, "misnamed_since_start": self.misnamed}
        for by, rows in found.items():
            counts = [(_day(row["value"]) if by == "day" else row["value"], int(row["n"])) for row in rows]
            told[f"by_{by}"] = [{by: value, "events": n} for value, n in counts]
            # What came in between the two statements is not less than nothing.
            told[f"other_by_{by}"] = max(0, total - sum(n for _, n in counts))
        return told

    async def export(self, wanted: Filter) -> AsyncIterator[bytes]:
        """All that match when it begins, oldest first, a line of JSON each, at most as many as are kept. Raises
        DatabaseUnavailable, at any time."""
        after, left = "", KEPT_EVENTS
        async with self._aside.heavy, self._db.read() as tx:
            newest = await store.list_newest(tx, wanted, "", 1)
        # Without those that come in meanwhile it has an end. Not by our clock: another replica's may be ahead, or ours have gone back.
        last = newest[0]["id"] if newest else ""
        while left > 0:
            # A page at a time: who reads slowly holds nothing here.
            async with self._aside.heavy, self._db.read() as tx:
                rows = await store.list_oldest(tx, wanted, after, min(_PAGE, left))
            rows = [row for row in rows if row["id"] <= last]
            if not rows:
                return
            after, left = rows[-1]["id"], left - len(rows)
            yield b"".join(encode(_view(row)) + b"\n" for row in rows)

    # -- deleting -------------------------------------------------------------------------------------

    async def delete(self, user: Principal, before_us: int | None, request_id: str | None) -> int:
        """Delete what happened before that instant; None: all there is. In small transactions, so that no order waits
        for it; the first has the audit row. Raises Problem (503), DatabaseUnavailable: some may be gone then."""
        # Not up to now: of a replica whose clock is ahead there are events that are still to come.
        wanted = Filter() if before_us is None else Filter(until_us=before_us)
        async with self._db.read() as tx:
            matching = await store.count_events(tx, wanted)
        entry = AuditEntry(
            user.actor,
            "telemetry.delete",
            "telemetry",
            {"before": instant(before_us), "events": matching},
            request_id,
        )
        deleted, told, after = 0, False, ""
        while True:
            async with self._db.read() as tx:
                ids = await store.list_ids(tx, wanted, after, _AT_ONCE)
            # Those that come in meanwhile are not meant, and without them it has an end.
            if told and (not ids or deleted >= matching):
                return deleted
            after = ids[-1] if ids else after
            async with self._aside.begin() as tx:
                if not told:
                    await write_audit(tx, self._clock, await tx.now_us(), [entry])
                deleted += await store.delete_events(tx, ids)
            told = True

    async def prune(self) -> int:
        """Delete what is too old or too much, in small transactions; how many. Raises Problem, DatabaseUnavailable."""
        deleted = 0
        while True:
            async with self._db.read() as tx:
                before_us = await tx.now_us() - KEPT_US
                ids = await store.list_prunable(tx, before_us, self._most_kept, _AT_ONCE)
            if not ids:
                return deleted
            async with self._aside.begin() as tx:
                deleted += await store.delete_events(tx, ids)
            await self._clock.sleep(_PAUSE_S)


def _occurred(timestamp: str, number: int, now_us: int) -> int:
    at_us = parse_instant(timestamp)
    assert at_us is not None, "the body was validated"
    field = f"events.{number}.timestamp"
    if at_us > now_us + AHEAD_US:
        raise invalid_field(
            field, "future", f"is more than {AHEAD_US // 60_000_000} minutes ahead of our clock"
        )
    if at_us < now_us - KEPT_US:
        raise invalid_field(field, "past", f"is older than the {KEPT_US // DAY_US} days that events are kept")
    return min(at_us, now_us)


def _is_misnamed(user: Principal, event: EventBody) -> bool:
    wrong_user = event.userId not in (None, "", user.user_id, user.email)
    return wrong_user or event.userRole not in (None, "", user.role)


def _day(number: int) -> str:
    day = instant(number * DAY_US)
    assert day is not None
    return day[:10]


def _view(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "userId": row["user_id"],
        "userRole": row["user_role"],
        "sessionId": row["session_id"],
        "component": row["component"],
        "action": row["action"],
        "timestamp": instant(row["occurred_at"]),
        "receivedAt": instant(row["received_at"]),
        "metadata": msgspec.Raw(row["metadata"].encode()),
    }
