"""The SQL of activities: what changed an account and was no order."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import bindparam, func, insert, select

from paiid.core.db import Row, Tx, any_of, statement
from paiid.core.tables import activities


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """One activity, booked; field names are column names, numbers scaled as stored. `qty` is signed."""

    id: str
    account_id: str
    activity_id: str
    kind: str
    symbol: str
    qty: int
    price: int
    cash: int
    description: str
    executed_at: int
    booked_at: int


ACTIVITY_FIELDS = tuple(field.name for field in fields(ActivityRow))
_COLUMNS = [activities.c[name] for name in ACTIVITY_FIELDS]
_INSERT = statement(insert(activities))
_BOOKED = statement(
    select(activities.c.account_id, activities.c.activity_id).where(
        any_of(activities.c.account_id, "b_accounts"), any_of(activities.c.activity_id, "b_ids")
    )
)
_LAST = statement(
    select(func.max(activities.c.executed_at).label("at")).where(
        activities.c.account_id == bindparam("b_account")
    )
)
_PAGE = statement(
    select(*_COLUMNS)
    .where(activities.c.account_id == bindparam("b_account"), activities.c.id < bindparam("b_before"))
    .order_by(activities.c.id.desc())
    .limit(bindparam("b_limit"))
)


def activity_from(row: Row) -> ActivityRow:
    """A row of `activities`."""
    return ActivityRow(*[row[name] for name in ACTIVITY_FIELDS])


async def insert_activity(tx: Tx, row: ActivityRow) -> None:
    """A new row. Raises UniqueViolation for one that is booked already."""
    await tx.execute(_INSERT, {name: getattr(row, name) for name in ACTIVITY_FIELDS})


async def find_booked_activities(
    tx: Tx, account_ids: Sequence[str], activity_ids: Sequence[str]
) -> set[tuple[str, str]]:
    """(account, activity id) of those that are booked already."""
    if not activity_ids:
        return set()
    rows = await tx.fetch(
        _BOOKED, {"b_accounts": sorted(set(account_ids)), "b_ids": sorted(set(activity_ids))}
    )
    return {(row["account_id"], row["activity_id"]) for row in rows}


async def last_activity_at(tx: Tx, account_id: str) -> int:
    """When the newest booked activity of the account happened, in microseconds; 0 for none."""
    row = await tx.fetch_one(_LAST, {"b_account": account_id})
    return int(row["at"]) if row is not None and row["at"] is not None else 0


async def load_activity_page(tx: Tx, account_id: str, before: str, limit: int) -> list[ActivityRow]:
    """Newest first; `before` is the id the page continues behind."""
    rows = await tx.fetch(_PAGE, {"b_account": account_id, "b_before": before, "b_limit": limit})
    return [activity_from(row) for row in rows]
