"""The SQL of telemetry: add a batch, page through it, count it, and find what may go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, Select, Text, and_, bindparam, delete, func, literal_column, or_, select

from paiid.core.db import Row, Statement, Tx, any_of, insert_of_rows, statement
from paiid.core.tables import telemetry_events as events

DAY_US = 86_400_000_000
FOREVER_US = 1 << 62
Counted = Literal["component", "action", "user", "day"]

_INSERT = insert_of_rows(events)


def _text(name: str) -> Any:
    return bindparam(name, type_=Text())


# A filter that is left out is the empty text, which no event has.
_MATCHES = and_(
    or_(_text("b_component") == "", events.c.component == _text("b_component")),
    or_(_text("b_action") == "", events.c.action == _text("b_action")),
    or_(_text("b_user") == "", events.c.user_id == _text("b_user")),
    events.c.occurred_at >= bindparam("b_since"),
    events.c.occurred_at < bindparam("b_until"),
)
_NEWEST = statement(
    select(events)
    .where(_MATCHES, or_(_text("b_after") == "", events.c.id < _text("b_after")))
    .order_by(events.c.id.desc())
    .limit(bindparam("b_limit"))
)
_OLDEST = statement(
    select(events)
    .where(_MATCHES, events.c.id > bindparam("b_after"))
    .order_by(events.c.id)
    .limit(bindparam("b_limit"))
)
_TOTAL = statement(select(func.count().label("n")).where(_MATCHES))
_ALL = statement(select(func.count().label("n")).select_from(events))
_RECEIVED_BEFORE = statement(
    select(events.c.id)
    .where(events.c.received_at < bindparam("b_before"))
    .order_by(events.c.received_at)
    .limit(bindparam("b_limit"))
)
_FIRST_RECEIVED = statement(select(events.c.id).order_by(events.c.received_at).limit(bindparam("b_limit")))
_IDS = statement(
    select(events.c.id)
    .where(_MATCHES, events.c.id > bindparam("b_after"))
    .order_by(events.c.id)
    .limit(bindparam("b_limit"))
)
_DELETE = statement(delete(events).where(any_of(events.c.id, "b_ids")))


def _counts(column: Any) -> Statement:
    counted: Select[Any] = (
        select(column.label("value"), func.count().label("n"))
        .where(_MATCHES)
        .group_by(column)
        .order_by(func.count().desc(), column)
        .limit(bindparam("b_limit"))
    )
    return statement(counted)


_COUNTS: dict[Counted, Statement] = {
    "component": _counts(events.c.component),
    "action": _counts(events.c.action),
    "user": _counts(events.c.user_id),
    # A literal: as a parameter it would be another one in each place, and PostgreSQL could not tell that they are equal.
    "day": _counts(events.c.occurred_at // literal_column(str(DAY_US), BigInteger())),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: equal in what is named, from `since_us` to before `until_us` by their own time."""

    component: str = ""
    action: str = ""
    user: str = ""
    since_us: int = 0
    until_us: int = FOREVER_US

    def params(self) -> dict[str, Any]:
        """As the statements take them."""
        return {
            "b_component": self.component,
            "b_action": self.action,
            "b_user": self.user,
            "b_since": self.since_us,
            "b_until": self.until_us,
        }


async def add_events(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """A batch."""
    await tx.write([(_INSERT, rows)])


async def list_newest(tx: Tx, wanted: Filter, after: str, limit: int) -> Sequence[Row]:
    """Those told last first, behind the id `after`; the empty text begins."""
    return await tx.fetch(_NEWEST, {**wanted.params(), "b_after": after, "b_limit": limit})


async def list_oldest(tx: Tx, wanted: Filter, after: str, limit: int) -> Sequence[Row]:
    """Those told first first."""
    return await tx.fetch(_OLDEST, {**wanted.params(), "b_after": after, "b_limit": limit})


async def count_events(tx: Tx, wanted: Filter) -> int:
    """How many match."""
    row = await tx.fetch_one(_TOTAL, wanted.params())
    return 0 if row is None else int(row["n"])


async def count_by(tx: Tx, wanted: Filter, by: Counted, limit: int) -> Sequence[Row]:
    """(value, n) of the most frequent values; a day is a number of days since 1970."""
    return await tx.fetch(_COUNTS[by], {**wanted.params(), "b_limit": limit})


async def list_ids(tx: Tx, wanted: Filter, after: str, limit: int) -> list[str]:
    """Ids of those that match, oldest first, behind the id `after`."""
    rows = await tx.fetch(_IDS, {**wanted.params(), "b_after": after, "b_limit": limit})
    return [row["id"] for row in rows]


async def list_prunable(tx: Tx, before_us: int, most: int, limit: int) -> list[str]:
    """Ids of those received before that instant; else of as many as there are too many, the oldest first."""
    rows = await tx.fetch(_RECEIVED_BEFORE, {"b_before": before_us, "b_limit": limit})
    if not rows:
        total = await tx.fetch_one(_ALL)
        excess = 0 if total is None else total["n"] - most
        rows = await tx.fetch(_FIRST_RECEIVED, {"b_limit": min(limit, excess)}) if excess > 0 else []
    return [row["id"] for row in rows]


async def delete_events(tx: Tx, ids: list[str]) -> int:
    """How many of them there were."""
    return await tx.execute(_DELETE, {"b_ids": ids})
