"""The SQL behind booking prints that come late, are busted or are corrected (contract E18)."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import executions
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
_OF_SYMBOL = statement(
    select(*_COLUMNS).where(
        executions.c.account_id == bindparam("b_account"), executions.c.symbol == bindparam("b_symbol")
    )
)
_NEWEST_OF_SYMBOL = statement(
    select(executions.c.executed_at, executions.c.execution_id)
    .where(executions.c.account_id == bindparam("b_account"), executions.c.symbol == bindparam("b_symbol"))
    .order_by(executions.c.executed_at.desc(), executions.c.execution_id.desc())
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
    """Everything that was ever booked of one symbol in one account, in no order."""
    rows = await tx.fetch(_OF_SYMBOL, {"b_account": account_id, "b_symbol": symbol})
    return [execution_from(row) for row in rows]


async def newest_of_symbol(tx: Tx, account_id: str, symbol: str) -> tuple[int, str]:
    """(executed at, execution id) of the last print of one symbol in one account; (0, '') for none."""
    row = await tx.fetch_one(_NEWEST_OF_SYMBOL, {"b_account": account_id, "b_symbol": symbol})
    return (0, "") if row is None else (int(row["executed_at"]), str(row["execution_id"]))


async def sum_told_qty(tx: Tx, order_id: str) -> int:
    """Scaled quantity of an order's fills as they were told, before busts and corrections."""
    row = await tx.fetch_one(_TOLD_QTY, {"b_order": order_id, "b_fill": "fill"})
    return int(row["qty"]) if row is not None and row["qty"] is not None else 0
