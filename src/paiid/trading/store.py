"""The ledger's SQL: loads that lock, loads that do not, and the writes of a whole group at once."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from paiid.core.db import Read, Row, Statement, Tx, any_of, insert_of_rows, one_of, statement, update_of_rows
from paiid.core.tables import (
    accounts,
    broker_cursors,
    events,
    executions,
    grants,
    install_secrets,
    intents,
    orders,
    positions,
)
from paiid.domain.orders import Submission
from paiid.trading.records import (
    ACCOUNT_FIELDS,
    EXECUTION_FIELDS,
    INTENT_FIELDS,
    ORDER_FIELDS,
    POSITION_FIELDS,
    AccountRow,
    ExecutionRow,
    IntentRow,
    OrderRow,
    PositionRow,
    account_from,
    columns_of,
    intent_from,
    order_from,
    position_from,
)

Write = tuple[Statement, Sequence[dict[str, Any]]]
"""Rows to write with their statement, for `Tx.write`."""

_ACCOUNTS = select(*[accounts.c[name] for name in ACCOUNT_FIELDS]).where(any_of(accounts.c.id, "b_ids"))
LOCK_ACCOUNTS = statement(_ACCOUNTS.order_by(accounts.c.id).with_for_update())
LOAD_ACCOUNTS = statement(_ACCOUNTS)
_ALL_ACCOUNTS = statement(select(*[accounts.c[name] for name in ACCOUNT_FIELDS]).order_by(accounts.c.id))
POSITIONS = statement(
    select(*[positions.c[name] for name in POSITION_FIELDS]).where(any_of(positions.c.account_id, "b_ids"))
)
_GRANTS = (
    select(grants.c.user_id, grants.c.account_id, grants.c.access)
    .where(any_of(grants.c.user_id, "b_users"))
    .order_by(grants.c.user_id, grants.c.account_id)
)
LOAD_GRANTS = statement(_GRANTS)
LOCK_GRANTS = statement(_GRANTS.with_for_update(read=True))
INTENTS_BY_KEY = statement(
    select(*[intents.c[name] for name in INTENT_FIELDS]).where(any_of(intents.c.user_key, "b_keys"))
)
INTENTS = statement(select(*[intents.c[name] for name in INTENT_FIELDS]).where(any_of(intents.c.id, "b_ids")))
_ORDER_COLUMNS = [orders.c[name] for name in ORDER_FIELDS]
_ORDERS = statement(select(*_ORDER_COLUMNS).where(any_of(orders.c.id, "b_ids")))
ORDERS_OF_INTENTS = statement(
    select(*_ORDER_COLUMNS).where(any_of(orders.c.intent_id, "b_ids")).order_by(orders.c.position)
)
_ORDERS_BY_CLIENT_ID = statement(
    select(*_ORDER_COLUMNS).where(
        any_of(orders.c.account_id, "b_accounts"), any_of(orders.c.client_order_id, "b_ids")
    )
)
_ORDERS_BY_BROKER_ID = statement(
    select(*_ORDER_COLUMNS).where(
        any_of(orders.c.account_id, "b_accounts"),
        or_(
            any_of(orders.c.broker_order_id, "b_broker_ids"),
            any_of(orders.c.client_order_id, "b_client_ids"),
        ),
    )
)
_OPEN_ORDERS = statement(
    select(*_ORDER_COLUMNS)
    .where(orders.c.account_id == bindparam("b_account"), orders.c.open == 1)
    .order_by(orders.c.id)
)
_OPEN_LEGS = statement(
    select(*_ORDER_COLUMNS)
    .where(any_of(orders.c.account_id, "b_accounts"), orders.c.open == 1, orders.c.order_class == "mleg")
    .order_by(orders.c.id)
)
_GROUPS = statement(
    select(*_ORDER_COLUMNS).where(or_(any_of(orders.c.id, "b_ids"), any_of(orders.c.parent_id, "b_parents")))
)
_OVERDUE = statement(
    select(orders.c.id, orders.c.account_id)
    .where(orders.c.state == Submission.DISPATCHING.value, orders.c.dispatch_deadline_at < bindparam("b_now"))
    .limit(500)
)
_ABANDONED = statement(
    select(orders.c.id, orders.c.account_id)
    .select_from(orders.join(intents, intents.c.id == orders.c.intent_id))
    .where(orders.c.state == Submission.QUEUED.value, intents.c.expires_at < bindparam("b_now"))
    .limit(500)
)
_DUE_LOOKUPS = statement(
    select(*_ORDER_COLUMNS)
    .where(
        one_of(orders.c.state, Submission.UNKNOWN.value, Submission.NOT_PLACED.value),
        orders.c.next_lookup_at <= bindparam("b_now"),
    )
    .order_by(orders.c.next_lookup_at)
    .limit(100)
)
_TAKE_LOOKUP = statement(
    update(orders)
    .where(orders.c.id == bindparam("b_id"), orders.c.next_lookup_at == bindparam("b_seen"))
    .values(lookup_count=orders.c.lookup_count + 1),
    columns=["next_lookup_at"],
)
_DUE_CANCELS = statement(
    select(*_ORDER_COLUMNS)
    .where(
        orders.c.open == 1,
        orders.c.state == Submission.ACCEPTED.value,
        or_(
            orders.c.cancel_state == "UNKNOWN",
            and_(
                orders.c.cancel_state == "REQUESTED",
                or_(orders.c.cancel_requested_at.is_(None), orders.c.updated_at < bindparam("b_before")),
            ),
        ),
    )
    .order_by(orders.c.updated_at)
    .limit(100)
)
_INSERT_INTENTS = insert_of_rows(intents)
_INSERT_ORDERS = insert_of_rows(orders)
_INSERT_POSITIONS = insert_of_rows(positions)
_INSERT_EXECUTIONS = insert_of_rows(executions)
_INSERT_EVENTS = insert_of_rows(events)
_ORDER_MUTABLE = (
    "user_id", "intent_id", "position", "origin", "broker_order_id", "state", "status", "qty", "reserve_price",
    "filled_qty", "filled_value", "filled_avg_price", "fees", "broker_status", "broker_filled_qty", "reason",
    "cancel_state", "cancel_requested_at",
    "open", "dispatch_deadline_at", "unknown_at", "next_lookup_at", "watch_until", "version", "updated_at",
    "submitted_at", "type", "time_in_force", "limit_price", "stop_price", "trail_price", "trail_percent", "hwm",
    "parent_id", "order_class", "group_role", "position_intent", "ratio_qty", "replaced_by", "replace_state",
)  # fmt: skip
_UPDATE_ORDERS = update_of_rows(orders, {"id": "b_id"}, _ORDER_MUTABLE)
_INTENT_MUTABLE = ("status", "http_status", "body", "corrected", "unknown_at", "final_at")
_UPDATE_INTENTS = update_of_rows(intents, {"id": "b_id"}, _INTENT_MUTABLE)
_ACCOUNT_MUTABLE = (
    "number", "cash", "starting_cash", "open_orders", "event_seq", "event_epoch", "version", "reconciled_at",
    "reconcile_problem", "margin", "options_level", "open_combos", "reset_at",
)  # fmt: skip
_UPDATE_ACCOUNTS = update_of_rows(accounts, {"id": "b_id"}, _ACCOUNT_MUTABLE)
_POSITION_MUTABLE = (
    "qty", "cost_basis", "realized_pl", "open_buy_qty", "open_buy_value", "open_sell_qty", "open_sell_value",
    "version", "updated_at",
)  # fmt: skip
_UPDATE_POSITIONS = update_of_rows(
    positions, {"account_id": "b_account", "symbol": "b_symbol"}, _POSITION_MUTABLE
)
_EXECUTION_IDS = statement(
    select(executions.c.account_id, executions.c.execution_id).where(
        any_of(executions.c.account_id, "b_accounts"), any_of(executions.c.execution_id, "b_ids")
    )
)
_LAST_EXECUTION = statement(
    select(func.max(executions.c.executed_at).label("at")).where(
        executions.c.account_id == bindparam("b_account")
    )
)
_CURSOR = statement(select(broker_cursors.c.cursor).where(broker_cursors.c.name == bindparam("b_name")))
_INSERT_CURSOR = statement(insert(broker_cursors))
_UPDATE_CURSOR = statement(
    update(broker_cursors).where(
        broker_cursors.c.name == bindparam("b_name"), broker_cursors.c.cursor < bindparam("b_cursor")
    ),
    columns=["cursor"],
)
_SECRET = statement(select(install_secrets.c.value).where(install_secrets.c.name == bindparam("b_name")))
_INSERT_SECRET = statement(insert(install_secrets))
_UNRESOLVED = statement(
    select(func.count().label("n"))
    .select_from(orders)
    .where(orders.c.state == Submission.DISPATCHING.value, orders.c.dispatch_deadline_at < bindparam("b_now"))
)
_PRUNE_EVENTS = statement(events.delete().where(events.c.ts_event < bindparam("b_before")))
_EXPIRED_BODIES = statement(
    update(intents)
    .where(intents.c.final_at < bindparam("b_before"), intents.c.body.is_not(None))
    .values(body=None)
)


async def lock_accounts(tx: Tx, ids: Sequence[str]) -> dict[str, AccountRow]:
    """The accounts, locked in the order of their ids."""
    rows = await tx.fetch(LOCK_ACCOUNTS, {"b_ids": sorted(set(ids))})
    return {row["id"]: account_from(row) for row in rows}


async def load_accounts(tx: Tx, ids: Sequence[str]) -> dict[str, AccountRow]:
    """The accounts, without a lock."""
    rows = await tx.fetch(LOAD_ACCOUNTS, {"b_ids": sorted(set(ids))})
    return {row["id"]: account_from(row) for row in rows}


async def load_all_accounts(tx: Tx) -> list[AccountRow]:
    """Every account of the service."""
    return [account_from(row) for row in await tx.fetch(_ALL_ACCOUNTS)]


async def load_positions(tx: Tx, account_ids: Sequence[str]) -> list[PositionRow]:
    """Every position row of these accounts, flat ones too."""
    return [position_from(row) for row in await tx.fetch(POSITIONS, {"b_ids": sorted(set(account_ids))})]


async def lock_grants(tx: Tx, user_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """(user, account) -> 'view' or 'trade', locked shared so that a revocation serialises with the claim."""
    rows = await tx.fetch(LOCK_GRANTS, {"b_users": sorted(set(user_ids))})
    return {(row["user_id"], row["account_id"]): row["access"] for row in rows}


async def find_intents_by_key(tx: Tx, user_keys: Sequence[str]) -> dict[str, IntentRow]:
    """user_key -> intent."""
    rows = await tx.fetch(INTENTS_BY_KEY, {"b_keys": sorted(set(user_keys))})
    return {row["user_key"]: intent_from(row) for row in rows}


async def load_orders(tx: Tx, ids: Sequence[str]) -> list[OrderRow]:
    """Orders by id."""
    return [order_from(row) for row in await tx.fetch(_ORDERS, {"b_ids": sorted(set(ids))})]


async def load_orders_of_intents(tx: Tx, intent_ids: Sequence[str]) -> list[OrderRow]:
    """All orders of these intents, by position."""
    rows = await tx.fetch(ORDERS_OF_INTENTS, {"b_ids": sorted(set(intent_ids))})
    return [order_from(row) for row in rows]


async def find_orders_by_client_id(
    tx: Tx, account_ids: Sequence[str], client_ids: Sequence[str]
) -> dict[tuple[str, str], OrderRow]:
    """(account, client order id) -> order, for the adoption of E8."""
    rows = await tx.fetch(
        _ORDERS_BY_CLIENT_ID, {"b_accounts": sorted(set(account_ids)), "b_ids": sorted(set(client_ids))}
    )
    return {(row["account_id"], row["client_order_id"]): order_from(row) for row in rows}


def orders_at_broker(
    account_ids: Sequence[str], broker_ids: Sequence[str], client_ids: Sequence[str]
) -> Read:
    """A read of the orders that a broker's update may mean, by its id or by ours."""
    return _ORDERS_BY_BROKER_ID, {
        "b_accounts": sorted(set(account_ids)),
        "b_broker_ids": sorted(set(broker_ids)),
        "b_client_ids": sorted(set(client_ids)),
    }


async def find_orders_at_broker(
    tx: Tx, account_ids: Sequence[str], broker_ids: Sequence[str], client_ids: Sequence[str]
) -> list[OrderRow]:
    """Orders that a broker's update may mean, by its id or by ours."""
    rows = await tx.fetch(*orders_at_broker(account_ids, broker_ids, client_ids))
    return [order_from(row) for row in rows]


async def load_open_orders(tx: Tx, account_id: str) -> list[OrderRow]:
    """Orders of one account that may still buy or sell."""
    return [order_from(row) for row in await tx.fetch(_OPEN_ORDERS, {"b_account": account_id})]


async def load_books(tx: Tx, account_id: str) -> tuple[AccountRow, list[OrderRow], list[PositionRow]]:
    """An account with its open orders and all its positions, as they were at one instant. Raises KeyError."""
    found, placed, held = await tx.fetch_together(
        [
            (LOAD_ACCOUNTS, {"b_ids": [account_id]}),
            (_OPEN_ORDERS, {"b_account": account_id}),
            (POSITIONS, {"b_ids": [account_id]}),
        ]
    )
    if not found:
        raise KeyError(account_id)
    orders = sorted((order_from(row) for row in placed), key=lambda one: one.id)
    return account_from(found[0]), orders, [position_from(row) for row in held]


async def load_open_spreads(tx: Tx, account_ids: Sequence[str]) -> list[OrderRow]:
    """Open spreads of these accounts, with their legs."""
    return [order_from(row) for row in await tx.fetch(_OPEN_LEGS, {"b_accounts": sorted(set(account_ids))})]


async def load_groups(tx: Tx, ids: Sequence[str]) -> list[OrderRow]:
    """These orders, what they hang on, and everything that hangs on either."""
    loaded = await load_orders(tx, ids)
    parents = {order.parent_id or order.id for order in loaded}
    wanted = {"b_ids": sorted(parents | {order.id for order in loaded}), "b_parents": sorted(parents)}
    return [order_from(row) for row in await tx.fetch(_GROUPS, wanted)] if loaded else []


async def find_overdue(tx: Tx, now_us: int) -> tuple[list[str], list[str], list[str]]:
    """(DISPATCHING past the deadline, QUEUED of a dead call, accounts of both): ids."""
    overdue = await tx.fetch(_OVERDUE, {"b_now": now_us})
    abandoned = await tx.fetch(_ABANDONED, {"b_now": now_us})
    touched = {row["account_id"] for row in (*overdue, *abandoned)}
    return [row["id"] for row in overdue], [row["id"] for row in abandoned], sorted(touched)


async def find_due_lookups(tx: Tx, now_us: int) -> list[OrderRow]:
    """Orders in doubt (or watched after `NOT_PLACED`) whose next look-up is due."""
    return [order_from(row) for row in await tx.fetch(_DUE_LOOKUPS, {"b_now": now_us})]


async def take_lookup(tx: Tx, order: OrderRow, next_at_us: int) -> bool:
    """Claim one look-up for this process; False where another took it."""
    changed = await tx.execute(
        _TAKE_LOOKUP, {"b_id": order.id, "b_seen": order.next_lookup_at, "next_lookup_at": next_at_us}
    )
    return changed == 1


async def find_due_cancels(tx: Tx, before_us: int) -> list[OrderRow]:
    """Open orders whose cancellation is in doubt, or was asked for and never sent."""
    return [order_from(row) for row in await tx.fetch(_DUE_CANCELS, {"b_before": before_us})]


async def count_overdue(tx: Tx, now_us: int) -> int:
    """How many orders are still DISPATCHING past their deadline."""
    row = await tx.fetch_one(_UNRESOLVED, {"b_now": now_us})
    return int(row["n"]) if row is not None else 0


def inserted_intents(rows: Sequence[IntentRow]) -> Write:
    """New rows; UniqueViolation for a key of this user that is there already."""
    return _INSERT_INTENTS, [columns_of(row, INTENT_FIELDS) for row in rows]


def inserted_orders(rows: Sequence[OrderRow]) -> Write:
    """New rows; UniqueViolation for a client order id of this account that is there already."""
    return _INSERT_ORDERS, [columns_of(row, ORDER_FIELDS) for row in rows]


def changed_orders(rows: Sequence[OrderRow]) -> Write:
    """Write back; the account's lock is the protection."""
    return _UPDATE_ORDERS, [{"b_id": row.id, **columns_of(row, _ORDER_MUTABLE)} for row in rows]


def changed_intents(rows: Sequence[IntentRow]) -> Write:
    """Write back."""
    return _UPDATE_INTENTS, [{"b_id": row.id, **columns_of(row, _INTENT_MUTABLE)} for row in rows]


def changed_accounts(rows: Sequence[AccountRow]) -> Write:
    """Write back."""
    return _UPDATE_ACCOUNTS, [{"b_id": row.id, **columns_of(row, _ACCOUNT_MUTABLE)} for row in rows]


def inserted_positions(rows: Sequence[PositionRow]) -> Write:
    """New rows; the account's lock keeps others from making the same one."""
    return _INSERT_POSITIONS, [columns_of(row, POSITION_FIELDS) for row in rows]


def changed_positions(rows: Sequence[PositionRow]) -> Write:
    """Write back."""
    return _UPDATE_POSITIONS, [
        {"b_account": row.account_id, "b_symbol": row.symbol, **columns_of(row, _POSITION_MUTABLE)}
        for row in rows
    ]


def inserted_executions(rows: Sequence[ExecutionRow]) -> Write:
    """New rows; UniqueViolation for an execution that is booked already."""
    return _INSERT_EXECUTIONS, [columns_of(row, EXECUTION_FIELDS) for row in rows]


def inserted_events(rows: Sequence[dict[str, Any]]) -> Write:
    """Event rows of S1, with the sequence numbers the account's row gave."""
    return _INSERT_EVENTS, rows


def booked_prints(account_ids: Sequence[str], execution_ids: Sequence[str]) -> Read:
    """A read of those of these prints that are booked already; `booked_of` understands its rows."""
    return _EXECUTION_IDS, {"b_accounts": sorted(set(account_ids)), "b_ids": sorted(set(execution_ids))}


def booked_of(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """(account, execution id) of prints that are booked."""
    return {(row["account_id"], row["execution_id"]) for row in rows}


async def find_booked(
    tx: Tx, account_ids: Sequence[str], execution_ids: Sequence[str]
) -> set[tuple[str, str]]:
    """(account, execution id) of those that are booked already."""
    return booked_of(await tx.fetch(*booked_prints(account_ids, execution_ids)))


async def last_execution_at(tx: Tx, account_id: str) -> int:
    """When the newest booked print of the account was executed, in microseconds; 0 for none."""
    row = await tx.fetch_one(_LAST_EXECUTION, {"b_account": account_id})
    return int(row["at"]) if row is not None and row["at"] is not None else 0


async def load_cursor(tx: Tx, name: str) -> int:
    """How far a broker's updates have been merged; 0 at first."""
    row = await tx.fetch_one(_CURSOR, {"b_name": name})
    return int(row["cursor"]) if row is not None else 0


async def save_cursor(tx: Tx, name: str, cursor: int) -> None:
    """Move the cursor forward, never back."""
    if await tx.execute(_UPDATE_CURSOR, {"b_name": name, "b_cursor": cursor, "cursor": cursor}) == 0:
        row = await tx.fetch_one(_CURSOR, {"b_name": name})
        if row is None:
            await tx.execute(_INSERT_CURSOR, {"name": name, "cursor": cursor})


async def find_secret(tx: Tx, name: str) -> str | None:
    """A secret of this installation."""
    row = await tx.fetch_one(_SECRET, {"b_name": name})
    return row["value"] if row is not None else None


async def insert_secret(tx: Tx, name: str, value: str, now_us: int) -> None:
    """Raises UniqueViolation where another process was first."""
    await tx.execute(_INSERT_SECRET, {"name": name, "value": value, "created_at": now_us})


async def prune_events(tx: Tx, before_us: int) -> int:
    """Drop event rows older than the replay window of S2."""
    return await tx.execute(_PRUNE_EVENTS, {"b_before": before_us})


async def drop_expired_bodies(tx: Tx, before_us: int) -> int:
    """Let stored answers go after their time (E15); key, fingerprint and status stay."""
    return await tx.execute(_EXPIRED_BODIES, {"b_before": before_us})
