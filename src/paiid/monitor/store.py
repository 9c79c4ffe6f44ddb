"""The SQL of GitHub monitoring: deliveries that were taken, events, counts that outlive them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Text, and_, bindparam, case, delete, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from paiid.core.db import Row, Tx, any_of, statement
from paiid.core.tables import github_counts as counts
from paiid.core.tables import github_events as events
from paiid.core.tables import webhook_deliveries as deliveries

_TAKE = statement(insert(deliveries))
_FIND_DELIVERY = statement(select(deliveries).where(deliveries.c.id == bindparam("b_id")))
_ADD_EVENT = statement(insert(events))
_count = upsert(counts)
_COUNT = statement(
    _count.on_conflict_do_update(
        index_elements=[counts.c.repository, counts.c.event],
        set_={
            "total": counts.c.total + 1,
            "latest_at": case(
                (_count.excluded.latest_at > counts.c.latest_at, _count.excluded.latest_at),
                else_=counts.c.latest_at,
            ),
        },
    )
)
_COUNTS = statement(
    select(counts).where(counts.c.repository == bindparam("b_repository")).order_by(counts.c.event)
)
_REPOSITORIES = statement(
    select(counts.c.repository)
    .where(counts.c.repository > bindparam("b_after"))
    .group_by(counts.c.repository)
    .order_by(counts.c.repository)
    .limit(bindparam("b_limit"))
)


def _text(name: str) -> Any:
    return bindparam(name, type_=Text())


def _whole(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


# GitHub's own order: a delivery may come late.
_NEWEST_FIRST = (events.c.occurred_at.desc(), events.c.id.desc())
_EVENTS = statement(
    select(events)
    .where(
        # A filter that is left out is the empty text, which no event has.
        or_(_text("b_repository") == "", events.c.repository == _text("b_repository")),
        or_(_text("b_event") == "", events.c.event == _text("b_event")),
        or_(
            events.c.occurred_at < _whole("b_at"),
            and_(events.c.occurred_at == _whole("b_at"), events.c.id < _text("b_id")),
        ),
    )
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("b_limit"))
)
_ranked = (
    select(
        events,
        func.row_number()
        .over(partition_by=[events.c.event, events.c.subject], order_by=_NEWEST_FIRST)
        .label("place"),
    )
    .where(events.c.repository == bindparam("b_repository"))
    .subquery()
)
_STANDING = statement(
    select(_ranked)
    .where(
        _ranked.c.place == 1,
        # Of what is closed only the count is of interest, and that is kept elsewhere.
        or_(
            and_(_ranked.c.event != "pull_request", _ranked.c.event != "issues"),
            _ranked.c.state == "open",
        ),
    )
    .order_by(_ranked.c.occurred_at.desc(), _ranked.c.id.desc())
    .limit(bindparam("b_limit"))
)
_ALL = statement(select(func.count().label("n")).select_from(events))
_OLD_EVENTS = statement(
    select(events.c.id)
    .where(events.c.received_at < bindparam("b_before"))
    .order_by(events.c.received_at)
    .limit(bindparam("b_limit"))
)
_FIRST_EVENTS = statement(select(events.c.id).order_by(events.c.received_at).limit(bindparam("b_limit")))
_OLD_DELIVERIES = statement(
    select(deliveries.c.id)
    .where(deliveries.c.received_at < bindparam("b_before"))
    .order_by(deliveries.c.received_at)
    .limit(bindparam("b_limit"))
)
_DELETE_EVENTS = statement(delete(events).where(any_of(events.c.id, "b_ids")))
_DELETE_DELIVERIES = statement(delete(deliveries).where(any_of(deliveries.c.id, "b_ids")))


async def take_delivery(tx: Tx, id: str, event: str, at_us: int) -> None:
    """Raises UniqueViolation for one that was taken; then the transaction is lost."""
    await tx.execute(_TAKE, {"id": id, "event": event, "received_at": at_us})


async def find_delivery(tx: Tx, id: str) -> int | None:
    """When it was taken, in microseconds."""
    row = await tx.fetch_one(_FIND_DELIVERY, {"b_id": id})
    return None if row is None else int(row["received_at"])


async def add_event(tx: Tx, row: dict[str, Any]) -> None:
    """One event."""
    await tx.execute(_ADD_EVENT, row)


async def count_event(tx: Tx, repository: str, event: str, at_us: int) -> None:
    """One more."""
    await tx.execute(_COUNT, {"repository": repository, "event": event, "total": 1, "latest_at": at_us})


async def list_repositories(tx: Tx, after: str, limit: int) -> list[str]:
    """Those of which anything was told, by name."""
    rows = await tx.fetch(_REPOSITORIES, {"b_after": after, "b_limit": limit})
    return [row["repository"] for row in rows]


async def list_counts(tx: Tx, repository: str) -> Sequence[Row]:
    """Events ever told of it, by kind."""
    return await tx.fetch(_COUNTS, {"b_repository": repository})


async def list_events(
    tx: Tx, repository: str, event: str, before: tuple[int, str], limit: int
) -> Sequence[Row]:
    """Newest first, behind the event (its time, its id)."""
    return await tx.fetch(
        _EVENTS,
        {
            "b_repository": repository,
            "b_event": event,
            "b_at": before[0],
            "b_id": before[1],
            "b_limit": limit,
        },
    )


async def list_standing(tx: Tx, repository: str, limit: int) -> Sequence[Row]:
    """The newest event of each subject, without pull requests and issues that are closed; newest first."""
    return await tx.fetch(_STANDING, {"b_repository": repository, "b_limit": limit})


async def list_prunable(tx: Tx, before_us: int, most: int, limit: int) -> list[str]:
    """Ids of events received before that instant; else of as many as there are too many, the oldest first."""
    rows = await tx.fetch(_OLD_EVENTS, {"b_before": before_us, "b_limit": limit})
    if not rows:
        total = await tx.fetch_one(_ALL)
        excess = 0 if total is None else total["n"] - most
        rows = await tx.fetch(_FIRST_EVENTS, {"b_limit": min(limit, excess)}) if excess > 0 else []
    return [row["id"] for row in rows]


async def list_old_deliveries(tx: Tx, before_us: int, limit: int) -> list[str]:
    """Ids of deliveries received before that instant."""
    rows = await tx.fetch(_OLD_DELIVERIES, {"b_before": before_us, "b_limit": limit})
    return [row["id"] for row in rows]


async def delete_events(tx: Tx, ids: list[str]) -> int:
    """How many there were."""
    return await tx.execute(_DELETE_EVENTS, {"b_ids": ids})


async def delete_deliveries(tx: Tx, ids: list[str]) -> int:
    """How many there were."""
    return await tx.execute(_DELETE_DELIVERIES, {"b_ids": ids})
