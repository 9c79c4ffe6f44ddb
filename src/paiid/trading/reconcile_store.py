"""The SQL of reconciliation: since when an account's books count, what was last told, and what a broker says of it."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import bindparam, func, select, update

from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import accounts, activities, executions
from paiid.domain.money import money_from_int, qty_from_int

_MOST_TRADED = 10_000
"""Prints between two looks that agree; what is beyond explains no fee."""
_PRINTS_SINCE = statement(
    select(func.count().label("n"))
    .select_from(executions)
    .where(executions.c.account_id == bindparam("b_account"), executions.c.booked_at >= bindparam("b_since"))
)
_TRADED_SINCE = statement(
    select(executions.c.symbol, executions.c.qty, executions.c.price)
    .where(executions.c.account_id == bindparam("b_account"), executions.c.booked_at >= bindparam("b_since"))
    .order_by(executions.c.id.desc())
    .limit(_MOST_TRADED)
)
_TOLD_QTY = statement(
    select(executions.c.order_id, func.sum(executions.c.qty).label("qty"))
    .where(any_of(executions.c.order_id, "b_orders"), executions.c.kind == bindparam("b_fill"))
    .group_by(executions.c.order_id)
)
_LAST_TOLD = statement(
    select(func.max(activities.c.executed_at).label("at")).where(
        activities.c.account_id == bindparam("b_account"), activities.c.kind != bindparam("b_ours")
    )
)
_MARK = statement(
    select(activities.c.executed_at).where(
        activities.c.account_id == bindparam("b_account"), activities.c.activity_id == bindparam("b_id")
    )
)
_SAY_STATUS = statement(
    update(accounts).where(accounts.c.id == bindparam("b_id")),
    columns=["status"],
)


async def count_prints_since(tx: Tx, account_id: str, since_us: int) -> int:
    """Prints booked since an instant of the database's clock."""
    row = await tx.fetch_one(_PRINTS_SINCE, {"b_account": account_id, "b_since": since_us})
    return int(row["n"]) if row is not None else 0


async def load_traded_since(tx: Tx, account_id: str, since_us: int) -> list[tuple[str, Decimal, Decimal]]:
    """(symbol, shares or contracts, price) of the prints booked since an instant of the database's clock."""
    rows = await tx.fetch(_TRADED_SINCE, {"b_account": account_id, "b_since": since_us})
    return [(str(row["symbol"]), qty_from_int(row["qty"]), money_from_int(row["price"])) for row in rows]


async def load_told_qty(tx: Tx, order_ids: Sequence[str]) -> dict[str, int]:
    """order id -> scaled quantity of its fills as they were told, before busts and corrections."""
    if not order_ids:
        return {}
    rows = await tx.fetch(_TOLD_QTY, {"b_orders": sorted(set(order_ids)), "b_fill": "fill"})
    return {str(row["order_id"]): int(row["qty"]) for row in rows}


async def last_told_activity_at(tx: Tx, account_id: str) -> int:
    """When the newest activity that a broker has told happened, in microseconds; our own adjustments do not count."""
    row = await tx.fetch_one(_LAST_TOLD, {"b_account": account_id, "b_ours": "adjustment"})
    return int(row["at"]) if row is not None and row["at"] is not None else 0


async def find_activity_at(tx: Tx, account_id: str, activity_id: str) -> int | None:
    """When a booked activity happened, in microseconds; None where it is not booked."""
    row = await tx.fetch_one(_MARK, {"b_account": account_id, "b_id": activity_id})
    return None if row is None else int(row["executed_at"])


async def save_status(tx: Tx, account_id: str, status: str) -> None:
    """'active' or 'blocked', as the broker says; the account must be locked."""
    await tx.execute(_SAY_STATUS, {"b_id": account_id, "status": status})
