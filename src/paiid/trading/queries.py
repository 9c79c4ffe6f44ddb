"""Reading the ledger for its owner: orders, fills and intents, page by page."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from paiid.core.db import Row, Tx, statement
from paiid.core.tables import executions, intents, orders
from paiid.trading.records import (
    EXECUTION_FIELDS,
    INTENT_FIELDS,
    ORDER_FIELDS,
    ExecutionRow,
    IntentRow,
    OrderRow,
    execution_from,
    intent_from,
    order_from,
)

_ORDER_PAGE = (
    select(*[orders.c[name] for name in ORDER_FIELDS])
    .where(orders.c.account_id == bindparam("b_account"), orders.c.id < bindparam("b_before"))
    .order_by(orders.c.id.desc())
    .limit(bindparam("b_limit"))
)
_PAGES = {
    (symbol, status): statement(
        _ORDER_PAGE.where(
            *([orders.c.symbol == bindparam("b_symbol")] if symbol else []),
            *({"open": [orders.c.open == 1], "closed": [orders.c.open == 0], "all": []}[status]),
        )
    )
    for symbol in (False, True)
    for status in ("open", "closed", "all")
}
_NEWEST = select(*[orders.c[name] for name in ORDER_FIELDS]).order_by(orders.c.id.desc())
_NEWEST_ORDERS = {
    (account, state): statement(
        _NEWEST.where(
            *([orders.c.account_id == bindparam("b_account")] if account else []),
            *([orders.c.state == bindparam("b_state")] if state else []),
        ).limit(bindparam("b_limit"))
    )
    for account in (False, True)
    for state in (False, True)
}
_ORDER = statement(select(*[orders.c[name] for name in ORDER_FIELDS]).where(orders.c.id == bindparam("b_id")))
_FILLS = (
    select(*[executions.c[name] for name in EXECUTION_FIELDS])
    .where(executions.c.account_id == bindparam("b_account"), executions.c.id < bindparam("b_before"))
    .order_by(executions.c.id.desc())
    .limit(bindparam("b_limit"))
)
_FILL_PAGE = statement(_FILLS)
_FILL_PAGE_OF_ORDER = statement(_FILLS.where(executions.c.order_id == bindparam("b_order")))
_INTENT_COLUMNS = select(*[intents.c[name] for name in INTENT_FIELDS])
_INTENT_BY_ID = statement(
    _INTENT_COLUMNS.where(intents.c.id == bindparam("b_id"), intents.c.user_id == bindparam("b_user"))
)
_INTENT_BY_KEY = statement(_INTENT_COLUMNS.where(intents.c.user_key == bindparam("b_key")))
NEWEST = "~"
"""Sorts behind every id: the start of a list that shows the newest first."""


async def load_order_page(
    tx: Tx, account_id: str, status: str, symbol: str | None, before: str, limit: int
) -> list[OrderRow]:
    """Newest first; `status` is open, closed or all; `before` is the id the page continues behind."""
    params: dict[str, object] = {"b_account": account_id, "b_before": before, "b_limit": limit}
    if symbol is not None:
        params["b_symbol"] = symbol
    rows: Sequence[Row] = await tx.fetch(_PAGES[(symbol is not None, status)], params)
    return [order_from(row) for row in rows]


async def load_newest_orders(tx: Tx, account_id: str | None, state: str | None, limit: int) -> list[OrderRow]:
    """Newest first, of all accounts and states unless named: for the host's own command line."""
    params: dict[str, object] = {"b_limit": limit}
    if account_id is not None:
        params["b_account"] = account_id
    if state is not None:
        params["b_state"] = state
    rows = await tx.fetch(_NEWEST_ORDERS[(account_id is not None, state is not None)], params)
    return [order_from(row) for row in rows]


async def find_order(tx: Tx, order_id: str) -> OrderRow | None:
    """One order of any account; the caller checks whose it is."""
    row = await tx.fetch_one(_ORDER, {"b_id": order_id})
    return None if row is None else order_from(row)


async def load_fill_page(
    tx: Tx, account_id: str, order_id: str | None, before: str, limit: int
) -> list[ExecutionRow]:
    """Newest first."""
    params: dict[str, object] = {"b_account": account_id, "b_before": before, "b_limit": limit}
    if order_id is not None:
        params["b_order"] = order_id
    rows = await tx.fetch(_FILL_PAGE if order_id is None else _FILL_PAGE_OF_ORDER, params)
    return [execution_from(row) for row in rows]


async def find_intent(tx: Tx, user_id: str, intent_id: str) -> IntentRow | None:
    """An intent of this user; another's is None (contract E2)."""
    row = await tx.fetch_one(_INTENT_BY_ID, {"b_id": intent_id, "b_user": user_id})
    return None if row is None else intent_from(row)


async def find_intent_by_key(tx: Tx, user_id: str, key: str) -> IntentRow | None:
    """The intent of this user's key."""
    row = await tx.fetch_one(_INTENT_BY_KEY, {"b_key": f"{user_id}:{key}"})
    return None if row is None else intent_from(row)
