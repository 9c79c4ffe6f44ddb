"""The SQL behind booking prints that come late, are busted or are corrected (contract E18).

What moved a position and was no order stands among the prints of its symbol. What was booked before the account was
reset is history: it can be read, and counts for nothing.
"""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import accounts, activities, executions
from paiid.trading.activity_store import ACTIVITY_FIELDS, ActivityRow, activity_from
from paiid.trading.records import EXECUTION_FIELDS, ExecutionRow, execution_from

_COLUMNS = [executions.c[name] for name in EXECUTION_FIELDS]
_ODD = statement(
    select(*_COLUMNS).where(
        any_of(executions.c.order_id, "b_orders"), executions.c.kind != bindparam("b_fill")
    )
)
_BY_ID = statement(
    select(*_COLUMNS).where(
        executions.c.account_id == bindparam("b_account"), executions.c.execution_id == bindparam("b_id")
    )
)
# By when it was booked: that is decided under the account's lock, as the reset is, and by the same clock.
_RESET_AT = select(accounts.c.reset_at).where(accounts.c.id == bindparam("b_account")).scalar_subquery()
_PRINTS_IN_FORCE = (
    executions.c.account_id == bindparam("b_account"),
    executions.c.symbol == bindparam("b_symbol"),
    executions.c.booked_at >= _RESET_AT,
)
_MOVES_IN_FORCE = (
    activities.c.account_id == bindparam("b_account"),
    activities.c.symbol == bindparam("b_symbol"),
    activities.c.qty != 0,
    activities.c.booked_at >= _RESET_AT,
)
_OF_SYMBOL = statement(select(*_COLUMNS).where(*_PRINTS_IN_FORCE))
_MOVES_OF_SYMBOL = statement(
    select(*[activities.c[name] for name in ACTIVITY_FIELDS]).where(*_MOVES_IN_FORCE)
)
_NEWEST_OF_SYMBOL = statement(
    select(executions.c.executed_at, executions.c.execution_id)
    .where(*_PRINTS_IN_FORCE)
    .order_by(executions.c.executed_at.desc(), executions.c.execution_id.desc())
    .limit(1)
)
_NEWEST_MOVE_OF_SYMBOL = statement(
    select(activities.c.executed_at, activities.c.activity_id.label("execution_id"))
    .where(*_MOVES_IN_FORCE)
    .order_by(activities.c.executed_at.desc(), activities.c.activity_id.desc())
    .limit(1)
)
_TOLD_QTY = statement(
    select(func.sum(executions.c.qty).label("qty")).where(
        executions.c.order_id == bindparam("b_order"), executions.c.kind == bindparam("b_fill")
    )
)


async def load_odd(tx: Tx, order_ids: Sequence[str]) -> list[ExecutionRow]:
    """The busts and corrections booked for these orders."""
    rows = await tx.fetch(_ODD, {"b_orders": sorted(set(order_ids)), "b_fill": "fill"})
    return [execution_from(row) for row in rows]


async def find_execution(tx: Tx, account_id: str, execution_id: str) -> ExecutionRow | None:
    """A booked print, None where there is none."""
    row = await tx.fetch_one(_BY_ID, {"b_account": account_id, "b_id": execution_id})
    return execution_from(row) if row is not None else None


async def load_of_symbol(tx: Tx, account_id: str, symbol: str) -> list[ExecutionRow]:
    """Everything that moved the position in one symbol of one account since its reset, in no order."""
    which = {"b_account": account_id, "b_symbol": symbol}
    booked = [execution_from(row) for row in await tx.fetch(_OF_SYMBOL, which)]
    moves = [as_print(activity_from(row)) for row in await tx.fetch(_MOVES_OF_SYMBOL, which)]
    return [*booked, *moves]


def as_print(activity: ActivityRow) -> ExecutionRow:
    """An activity as the print it is to its position; its `kind` tells it from a fill."""
    return ExecutionRow(
        id=activity.id,
        account_id=activity.account_id,
        order_id="",
        execution_id=activity.activity_id,
        kind=activity.kind,
        corrects=None,
        symbol=activity.symbol,
        side="buy" if activity.qty > 0 else "sell",
        qty=abs(activity.qty),
        price=activity.price,
        fee=0,
        executed_at=activity.executed_at,
        booked_at=activity.booked_at,
    )


async def newest_of_symbol(tx: Tx, account_id: str, symbol: str) -> tuple[int, str]:
    """(executed at, execution id) of what last moved one symbol in one account since its reset; (0, '') for none."""
    which = {"b_account": account_id, "b_symbol": symbol}
    newest = await tx.fetch_together([(_NEWEST_OF_SYMBOL, which), (_NEWEST_MOVE_OF_SYMBOL, which)])
    places = [(int(row["executed_at"]), str(row["execution_id"])) for rows in newest for row in rows]
    return max(places, default=(0, ""))


async def sum_told_qty(tx: Tx, order_id: str) -> int:
    """Scaled quantity of an order's fills as they were told, before busts and corrections."""
    row = await tx.fetch_one(_TOLD_QTY, {"b_order": order_id, "b_fill": "fill"})
    return int(row["qty"]) if row is not None and row["qty"] is not None else 0
