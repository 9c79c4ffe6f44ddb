"""Takes what GitHub signed, each delivery once, and keeps the events for a while."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paiid.core.aside import Aside
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, DatabaseUnavailable, UniqueViolation
from paiid.core.figures import Tally
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.core.leases import Leases
from paiid.core.pruning import Pruning
from paiid.core.shared import SharedThrottle
from paiid.domain.errors import Code, Problem
from paiid.monitor import store
from paiid.monitor.payloads import EVENTS, Kept, Told, read_payload
from paiid.monitor.signed import CLOSE, Envelope, LongBodies, read_envelope, received

PER_ADDRESS = (300, 300)
"""Deliveries a minute of an address, and size of the bucket."""
DAY_US = 86_400_000_000
KEPT_EVENTS = 20_000
"""Events that are kept; the oldest go first."""
KEPT_US = 90 * DAY_US
"""How long they are kept."""
DELIVERIES_US = 180 * DAY_US
"""How long a delivery is known again: longer than its event."""
NO_REPOSITORY = "-"
"""Where events are counted that name none."""
_AT_ONCE = 200
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Incoming:
    """A delivery of which nothing but the headers has been read. `address` is what throttles go by, `length` the
    body's as the headers tell it."""

    headers: Mapping[str, Sequence[str]]
    address: str
    length: int | None
    chunks: AsyncIterator[bytes]


class MonitorService:
    """`figures` counts deliveries by what became of them."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        leases: Leases,
        aside: Aside,
        throttle: SharedThrottle,
        secret: str | None,
        most_kept: int = KEPT_EVENTS,
    ) -> None:
        self._most_kept = most_kept
        self._db = db
        self._clock = clock
        self._aside = aside
        self._throttle = throttle
        self._secret = secret.encode() if secret else None
        self.pruning = Pruning(clock, leases, "github-prune", self.prune)
        self._places = LongBodies()
        self.figures = Tally("result")

    async def take(self, incoming: Incoming) -> dict[str, Any]:
        """Check, read and keep a delivery; what to tell GitHub of it. Raises Problem (400, 401, 408, 409, 413, 415, 429,
        503), DatabaseUnavailable: nothing was taken then."""
        try:
            told = await self._take(incoming)
        except Problem as problem:
            self.figures.add("replayed" if problem.code is Code.DELIVERY_TAKEN else "refused")
            raise
        except DatabaseUnavailable:
            self.figures.add("refused")
            raise
        self.figures.add("taken" if told["kept"] else "ignored")
        return told

    async def _take(self, incoming: Incoming) -> dict[str, Any]:
        if self._secret is None:
            raise Problem(
                Code.NOT_CONFIGURED, "GITHUB_WEBHOOK_SECRET is not set; nothing is accepted.", headers=CLOSE
            )
        try:
            await self._throttle.take("github_address", incoming.address, *PER_ADDRESS)
            envelope = read_envelope(incoming.headers)
            _require_json(incoming.headers)
        except Problem as problem:
            problem.headers.update(CLOSE)
            raise
        async with received(
            self._places, incoming.chunks, incoming.length, incoming.address, self._secret, envelope
        ) as signed:
            told = read_payload(envelope.event, signed.body)
            digest = signed.digest
        # Whoever waits for the database gives the long body back before.
        del signed
        return await self._keep(envelope, digest, told)

    async def _keep(self, envelope: Envelope, digest: str, told: Told) -> dict[str, Any]:
        """One transaction: both names by which the delivery is known again, the event, the count."""
        # Its id is not signed: who has seen a delivery could send it again under another.
        names = (envelope.delivery_id, f"body:{digest}")
        try:
            async with self._aside.begin() as tx:
                now_us = await tx.now_us()
                for name in names:
                    await store.take_delivery(tx, name, envelope.event, now_us)
                if told.kept is not None:
                    await store.add_event(tx, self._row(envelope, told, told.kept, now_us))
                if envelope.event != "ping":
                    at_us = now_us if told.kept is None else _occurred(told.kept, now_us)
                    await store.count_event(tx, told.repository or NO_REPOSITORY, envelope.event, at_us)
        except UniqueViolation:
            raise await self._taken(names) from None
        return {"delivery": envelope.delivery_id, "event": envelope.event, "kept": told.kept is not None}

    def _row(self, envelope: Envelope, told: Told, kept: Kept, now_us: int) -> dict[str, Any]:
        return {
            "id": new_id(self._clock, "ghe"),
            "delivery_id": envelope.delivery_id,
            "event": envelope.event,
            "action": told.action,
            "repository": told.repository,
            "subject": kept.subject,
            "title": kept.title,
            "state": kept.state,
            "sender": told.sender,
            "url": kept.url,
            "occurred_at": _occurred(kept, now_us),
            "received_at": now_us,
            "detail": encode({name: value for name, value in kept.detail.items() if value}).decode(),
        }

    async def _taken(self, names: Sequence[str]) -> Problem:
        async with self._db.read() as tx:
            known = [at_us for name in names if (at_us := await store.find_delivery(tx, name)) is not None]
        when = f" at {instant(min(known))}" if known else ""
        return Problem(
            Code.DELIVERY_TAKEN,
            f"This delivery was taken already{when}; nothing was changed by its repetition.",
        )

    # -- keeping house --------------------------------------------------------------------------------

    async def prune(self) -> int:
        """Delete what is too old or too much, in small transactions; how many rows. Raises Problem, DatabaseUnavailable."""
        deleted = 0
        while True:
            async with self._db.read() as tx:
                # The database's time, as it was taken: a clock that runs ahead must not forget deliveries, for they could be sent again.
                now_us = await tx.now_us()
                old = await store.list_prunable(tx, now_us - KEPT_US, self._most_kept, _AT_ONCE)
                forgotten = await store.list_old_deliveries(tx, now_us - DELIVERIES_US, _AT_ONCE)
            if not old and not forgotten:
                return deleted
            async with self._aside.begin() as tx:
                deleted += await store.delete_events(tx, old)
                deleted += await store.delete_deliveries(tx, forgotten)
            await self._clock.sleep(_PAUSE_S)


def _occurred(kept: Kept, now_us: int) -> int:
    """GitHub's own time; nothing happens later than it is told."""
    return now_us if kept.occurred_at is None else min(kept.occurred_at, now_us)


def _require_json(headers: Mapping[str, Sequence[str]]) -> None:
    kinds = [one.partition(";")[0].strip().lower() for one in headers.get("content-type", ())]
    coded = [one.strip().lower() for one in headers.get("content-encoding", ())]
    if kinds != ["application/json"] or any(one != "identity" for one in coded):
        raise Problem(
            Code.UNSUPPORTED_MEDIA_TYPE,
            "Set the webhook's content type to application/json, and do not compress it.",
        )


__all__ = ["EVENTS", "Incoming", "MonitorService"]
